//! Reads the manifest that `export_plugin!` stamps into a library (format: `hotshoe_abi::manifest`).
//!
//! It is an allegation until it is parsed, and a [`Manifest`] afterwards: every value has its shape. Keys that this host does
//! not know are skipped, so that newer plugins may say more.

use hotshoe_abi::manifest::{END, LEN_BYTES_MAX, MAGIC, key};
use serde::Serialize;
use std::fmt;

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// The plugin's name, `[a-z0-9][a-z0-9._-]{0,63}`.
    pub name: String,
    /// The plugin's version, printable and at most 64 bytes.
    pub version: String,
    /// The ABI version it was built with: major, minor, patch.
    pub abi: (u32, u32, u32),
    /// The symbol of its root module's header.
    pub symbol: String,
    /// What it contributes.
    pub components: Components,
    /// What `rustc --version` said, where it was known.
    pub rustc: Option<String>,
    /// What a panic in it does.
    pub panic: Panic,
    /// How it was built.
    pub profile: Profile,
    /// The target triple it was built for.
    pub target: String,
}

impl Manifest {
    /// The ABI version as text, `1.0.0`.
    #[must_use]
    pub fn abi_text(&self) -> String {
        let (major, minor, patch) = self.abi;
        format!("{major}.{minor}.{patch}")
    }
}

/// The components that a plugin declares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Components {
    /// A driver part.
    pub driver: bool,
    /// A checker part.
    pub checker: bool,
    /// An executor part.
    pub executor: bool,
    /// A processor part.
    pub processor: bool,
    /// Kinds that a newer ABI knows; this host never asks for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other: Vec<String>,
}

impl Components {
    /// Whether the component with this name is declared.
    #[must_use]
    pub fn has(&self, component: &str) -> bool {
        self.names().any(|name| name == component)
    }

    /// The names of the declared components, in the order driver, checker, executor, processor, others.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [
            (self.driver, "driver"),
            (self.checker, "checker"),
            (self.executor, "executor"),
            (self.processor, "processor"),
        ]
        .into_iter()
        .filter_map(|(declared, name)| declared.then_some(name))
        .chain(self.other.iter().map(String::as_str))
    }
}

impl fmt::Display for Components {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names().collect();
        out.write_str(if names.is_empty() { "none" } else { "" })?;
        out.write_str(&names.join(", "))
    }
}

/// What a panic in a plugin does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Panic {
    /// It unwinds to the plugin's own barrier.
    Unwind,
    /// It ends the process.
    Abort,
}

/// How a plugin was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// With debug assertions.
    Debug,
    /// Without.
    Release,
}

/// Why bytes are no manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManifestFault {
    /// What was wanted, one line.
    pub wanted: String,
    /// What is there, one line.
    pub found: String,
}

impl fmt::Display for ManifestFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "wanted {}, found {}", self.wanted, self.found)
    }
}

impl std::error::Error for ManifestFault {}

fn fault(wanted: impl Into<String>, found: impl Into<String>) -> ManifestFault {
    ManifestFault {
        wanted: wanted.into(),
        found: found.into(),
    }
}

/// Everything of [`MAGIC`] but the format's version.
const MAGIC_WORD: &[u8] = b"HOTSHOE-MANIFEST ";

/// Reads a manifest: the contents of a library's section, or the bytes of a mounted entry. What follows its end is not
/// looked at, but for a second manifest: two plugins in one library would be a guess which one is meant.
///
/// # Errors
/// Another format, a missing or repeated key, or a value without its shape.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, ManifestFault> {
    let head = &bytes[..bytes.len().min(LEN_BYTES_MAX)];
    let Some(body) = head.strip_prefix(MAGIC.as_bytes()) else {
        return Err(wrong_magic(head));
    };
    let end = find_end(body).ok_or_else(|| {
        fault(
            format!("a line `{}` within {LEN_BYTES_MAX} bytes", END.trim_end()),
            "no such line",
        )
    })?;
    let rest = &bytes[MAGIC.len() + end..];
    if contains(rest, MAGIC_WORD) {
        return Err(fault(
            "one manifest per library",
            "several: more than one `export_plugin!` is linked into it",
        ));
    }
    let text = std::str::from_utf8(&body[..end]).map_err(|error| {
        fault(
            "UTF-8",
            format!(
                "a byte that is not at {}",
                MAGIC.len() + error.valid_up_to()
            ),
        )
    })?;
    let fields = Fields::split(text)?;
    Ok(Manifest {
        name: fields.shaped(key::NAME, is_name, "[a-z0-9][a-z0-9._-]{0,63}")?,
        version: fields.shaped(
            key::VERSION,
            is_word,
            "1 to 64 printable characters without a space",
        )?,
        abi: read_version(fields.required(key::ABI)?)?,
        symbol: fields.shaped(key::SYMBOL, is_symbol, "1 to 255 of [A-Za-z0-9_.$-]")?,
        components: read_components(fields.required(key::COMPONENTS)?)?,
        rustc: fields
            .get(key::RUSTC)
            .filter(|text| !text.is_empty())
            .map(clip),
        panic: match fields.required(key::PANIC)? {
            "unwind" => Panic::Unwind,
            "abort" => Panic::Abort,
            other => return Err(bad_value(key::PANIC, "unwind or abort", other)),
        },
        profile: match fields.required(key::PROFILE)? {
            "debug" => Profile::Debug,
            "release" => Profile::Release,
            other => return Err(bad_value(key::PROFILE, "debug or release", other)),
        },
        target: fields.shaped(key::TARGET, is_word, "a target triple")?,
    })
}

fn wrong_magic(head: &[u8]) -> ManifestFault {
    let wanted = format!("`{}` in the first line", MAGIC.trim_end());
    match head.strip_prefix(MAGIC_WORD) {
        Some(rest) => {
            let line = rest.split(|&b| b == b'\n').next().unwrap_or_default();
            fault(
                wanted,
                format!("format `{}`", crate::error::printable(line)),
            )
        }
        None if head.iter().all(|&b| b == 0) => fault(wanted, "nothing but zeros"),
        None => fault(
            wanted,
            format!("`{}`", crate::error::printable(&head[..head.len().min(24)])),
        ),
    }
}

/// Where the lines end: [`END`] at the start of a line.
fn find_end(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < body.len() {
        if body[at..].starts_with(END.as_bytes()) {
            return Some(at);
        }
        at += body[at..].iter().position(|&b| b == b'\n')? + 1;
    }
    None
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// The `key=value` lines. At most [`LEN_BYTES_MAX`] bytes, so a linear search is no worse than a map.
struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    fn split(text: &'a str) -> Result<Self, ManifestFault> {
        let mut fields: Vec<(&str, &str)> = Vec::new();
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else {
                return Err(fault(
                    "lines `key=value`",
                    format!("`{}`", crate::error::printable(line.as_bytes())),
                ));
            };
            if fields.iter().any(|(known, _)| *known == key) {
                return Err(fault(
                    "each key once",
                    format!("`{}` twice", crate::error::printable(key.as_bytes())),
                ));
            }
            fields.push((key, value));
        }
        Ok(Self(fields))
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| *value)
    }

    fn required(&self, key: &str) -> Result<&'a str, ManifestFault> {
        self.get(key)
            .ok_or_else(|| fault(format!("the key `{key}`"), "no such key"))
    }

    fn shaped(
        &self,
        key: &str,
        fits: fn(&str) -> bool,
        wanted: &str,
    ) -> Result<String, ManifestFault> {
        let value = self.required(key)?;
        if fits(value) {
            Ok(value.to_owned())
        } else {
            Err(bad_value(key, wanted, value))
        }
    }
}

fn bad_value(key: &str, wanted: &str, value: &str) -> ManifestFault {
    fault(
        format!("`{key}` to be {wanted}"),
        format!("`{}`", crate::error::printable(value.as_bytes())),
    )
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b);
    (1..=64).contains(&bytes.len()) && !b"._-".contains(&bytes[0]) && bytes.iter().all(inner)
}

fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn is_symbol(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.$-".contains(&b))
}

fn clip(text: &str) -> String {
    crate::error::printable(text.as_bytes())
}

/// `MAJOR.MINOR.PATCH`; what follows a `-` or `+` is a pre-release's or a build's name.
fn read_version(text: &str) -> Result<(u32, u32, u32), ManifestFault> {
    let wrong = || bad_value(key::ABI, "MAJOR.MINOR.PATCH", text);
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = core.split('.').map(|part| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if digits {
            part.parse::<u32>().map_err(|_| wrong())
        } else {
            Err(wrong())
        }
    });
    let mut next = || numbers.next().unwrap_or_else(|| Err(wrong()));
    let version = (next()?, next()?, next()?);
    if numbers.next().is_some() {
        Err(wrong())
    } else {
        Ok(version)
    }
}

fn read_components(text: &str) -> Result<Components, ManifestFault> {
    let mut components = Components::default();
    for name in text.split(',').filter(|_| !text.is_empty()) {
        match name {
            "driver" => components.driver = true,
            "checker" => components.checker = true,
            "executor" => components.executor = true,
            "processor" => components.processor = true,
            newer if is_name(newer) => components.other.push(newer.to_owned()),
            wrong => {
                return Err(bad_value(
                    key::COMPONENTS,
                    "names separated by commas",
                    wrong,
                ));
            }
        }
    }
    Ok(components)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "HOTSHOE-MANIFEST 1\nname=geoip\nversion=0.3.1\nabi=1.2.0\nsymbol=hotshoe_root_module_geo-ip\n\
        components=driver,processor\nrustc=rustc 1.85.0 (4d91de4e4 2025-02-17)\npanic=unwind\nprofile=release\n\
        target=x86_64-unknown-linux-gnu\nEND\n";

    #[test]
    fn a_good_manifest_is_read_whole() {
        let manifest = parse_manifest(GOOD.as_bytes()).expect("good");
        assert_eq!(manifest.name, "geoip");
        assert_eq!(
            (manifest.abi, manifest.abi_text()),
            ((1, 2, 0), "1.2.0".to_owned())
        );
        assert_eq!(manifest.symbol, "hotshoe_root_module_geo-ip");
        assert_eq!(manifest.components.to_string(), "driver, processor");
        assert!(manifest.components.has("driver") && !manifest.components.has("checker"));
        assert_eq!(
            (manifest.panic, manifest.profile),
            (Panic::Unwind, Profile::Release)
        );
        assert_eq!(
            manifest.rustc.as_deref(),
            Some("rustc 1.85.0 (4d91de4e4 2025-02-17)")
        );
    }

    #[test]
    fn newer_plugins_may_say_more() {
        let newer = GOOD
            .replace("components=driver,processor", "components=driver,oracle")
            .replace("panic=", "colour=blue\npanic=");
        let manifest =
            parse_manifest(newer.as_bytes()).expect("unknown keys and components are skipped");
        assert_eq!(manifest.components.other, ["oracle"]);
        let padded = format!("{GOOD}\0\0\0 whatever stands here");
        assert!(parse_manifest(padded.as_bytes()).is_ok());
        let silent = GOOD.replace("rustc=rustc 1.85.0 (4d91de4e4 2025-02-17)\n", "");
        assert_eq!(
            parse_manifest(silent.as_bytes())
                .expect("rustc is optional")
                .rustc,
            None
        );
    }

    /// One line per way to be wrong: a change to [`GOOD`], and what the fault says.
    #[test]
    fn what_is_wrong_is_said() {
        let long = "x".repeat(LEN_BYTES_MAX);
        for (from, to, says) in [
            ("MANIFEST 1", "MANIFEST 2", "found format `2`"),
            (
                "HOTSHOE-MANIFEST 1",
                "COLDSHOE",
                "found `COLDSHOE\\nname=geoip\\nvers`",
            ),
            ("END\n", "", "found no such line"),
            ("END\n", "END", "found no such line"),
            (
                "name=geoip",
                &format!("pad={long}\nname=geoip"),
                "found no such line",
            ),
            ("name=geoip\n", "", "wanted the key `name`"),
            ("name=geoip", "name=Geo IP", "found `Geo IP`"),
            ("name=geoip", "name=", "[a-z0-9]"),
            ("name=geoip", "name=-x", "[a-z0-9]"),
            ("name=geoip", "name", "lines `key=value`"),
            ("name=geoip", "name=geoip\nname=other", "`name` twice"),
            ("version=0.3.1", "version=0.3 1", "`version`"),
            ("abi=1.2.0", "abi=1.2", "MAJOR.MINOR.PATCH"),
            ("abi=1.2.0", "abi=1.2.0.4", "MAJOR.MINOR.PATCH"),
            ("abi=1.2.0", "abi=1.+2.0", "MAJOR.MINOR.PATCH"),
            ("abi=1.2.0", "abi=1.2.99999999999", "MAJOR.MINOR.PATCH"),
            (
                "symbol=hotshoe_root_module_geo-ip",
                "symbol=a b",
                "`symbol`",
            ),
            (
                "components=driver,processor",
                "components=driver,",
                "names separated by commas",
            ),
            ("panic=unwind", "panic=explode", "unwind or abort"),
            ("profile=release", "profile=fast", "debug or release"),
            (
                "target=x86_64-unknown-linux-gnu",
                "target=",
                "a target triple",
            ),
            (
                "END\n",
                &format!("END\n{GOOD}"),
                "more than one `export_plugin!`",
            ),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from} is not in the good manifest");
            let said = parse_manifest(text.as_bytes()).expect_err(to).to_string();
            assert!(said.contains(says), "{to}: {said}");
            assert!(!said.contains('\n'), "{said}");
        }
        let mut bytes = GOOD.as_bytes().to_vec();
        bytes[30] = 0xff;
        assert!(
            parse_manifest(&bytes)
                .expect_err("not UTF-8")
                .to_string()
                .contains("UTF-8")
        );
        assert!(
            parse_manifest(&[0; 64])
                .expect_err("zeros")
                .to_string()
                .contains("zeros")
        );
        assert!(parse_manifest(b"").is_err());
    }

    #[test]
    fn no_cut_and_no_flipped_byte_panics() {
        for end in 0..GOOD.len() {
            assert!(
                parse_manifest(&GOOD.as_bytes()[..end]).is_err(),
                "cut at {end}"
            );
        }
        for at in 0..GOOD.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = GOOD.as_bytes().to_vec();
                bytes[at] ^= flip;
                let _ = parse_manifest(&bytes);
            }
        }
    }
}
