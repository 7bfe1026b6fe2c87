//! Stamps the manifest into the library as plain bytes, at compile time. A wrong name or version is a compile error.
//!
//! The format is [`hotshoe_abi::manifest`]'s. Nothing here exists at run time.

use hotshoe_abi::{
    ABI_VERSION,
    manifest::{END, LEN_BYTES_MAX, MAGIC},
};

/// What `export_plugin!` knows about a plugin.
#[doc(hidden)]
pub struct Manifest {
    pub name: &'static str,
    pub version: &'static str,
    pub symbol: &'static str,
    pub components: &'static [&'static str],
    pub panic: &'static str,
    pub profile: &'static str,
}

impl Manifest {
    /// Length of the stamp in bytes.
    #[must_use]
    pub const fn stamp_len(&self) -> usize {
        assert!(
            is_name(self.name),
            "a plugin's name is [a-z0-9][a-z0-9._-]*, at most 64 bytes: rename the crate or write `export_plugin!(Type as \"name\": …)`"
        );
        let mut counter = Writer::<0> { bytes: [], len: 0 };
        self.write(&mut counter);
        assert!(counter.len <= LEN_BYTES_MAX, "the manifest is too long");
        counter.len
    }

    /// The stamp.
    #[must_use]
    pub const fn stamp<const LEN: usize>(&self) -> [u8; LEN] {
        let mut writer = Writer::<LEN> {
            bytes: [0; LEN],
            len: 0,
        };
        self.write(&mut writer);
        writer.bytes
    }

    const fn write<const LEN: usize>(&self, out: &mut Writer<LEN>) {
        out.text(MAGIC);
        out.line("name", self.name);
        out.line("version", self.version);
        out.line("abi", ABI_VERSION);
        out.line("symbol", self.symbol);
        out.text("components=");
        let mut i = 0;
        while i < self.components.len() {
            if i > 0 {
                out.text(",");
            }
            out.text(self.components[i]);
            i += 1;
        }
        out.text("\n");
        out.line("rustc", env!("HOTSHOE_RUSTC"));
        out.line("panic", self.panic);
        out.line("profile", self.profile);
        out.line("target", env!("HOTSHOE_TARGET"));
        out.text(END);
    }
}

/// `[a-z0-9][a-z0-9._-]{0,63}`.
const fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > 64 {
        return false;
    }
    let mut i = 0;
    while i < bytes.len() {
        let fits = match bytes[i] {
            b'a'..=b'z' | b'0'..=b'9' => true,
            b'.' | b'_' | b'-' => i > 0,
            _ => false,
        };
        if !fits {
            return false;
        }
        i += 1;
    }
    true
}

/// Counts always, writes as far as there is room: a `Writer<0>` measures.
struct Writer<const LEN: usize> {
    bytes: [u8; LEN],
    len: usize,
}

impl<const LEN: usize> Writer<LEN> {
    const fn text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            if self.len < LEN {
                self.bytes[self.len] = bytes[i];
            }
            self.len += 1;
            i += 1;
        }
    }

    const fn line(&mut self, key: &str, value: &str) {
        self.text(key);
        self.text("=");
        self.text(value);
        self.text("\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: Manifest = Manifest {
        name: "a",
        version: "1.2.3",
        symbol: "hotshoe_root_module_a",
        components: &["driver", "processor"],
        panic: "unwind",
        profile: "debug",
    };

    #[test]
    fn the_stamp_is_exactly_as_long_as_it_says() {
        const LEN: usize = MANIFEST.stamp_len();
        let stamp: [u8; LEN] = MANIFEST.stamp();
        let text = std::str::from_utf8(&stamp).unwrap();
        assert!(
            text.starts_with("HOTSHOE-MANIFEST 1\nname=a\nversion=1.2.3\nabi=1.0.0\n"),
            "{text}"
        );
        assert!(text.contains("\ncomponents=driver,processor\n"));
        assert!(text.ends_with("\nEND\n"));
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "dynamic-config", "0x", "a.b_c"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "A", "a b", "ä", &"a".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
