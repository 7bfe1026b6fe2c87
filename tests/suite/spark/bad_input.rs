//! What an operator can get wrong, in one table: how the host ends, by which error, where it points, and what it advises.
//!
//! Beside what a row has wrong there is always a good plugin, which shows that nothing was started, or that everything that
//! was is undone. What can be known before a start, `hotshoe check` says in the same words.
// STYLE R12: one table, worse in two halves.

use hotshoe_tests::{Finished, LogLine, Setup, artifacts};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    net::{TcpListener, TcpStream},
};

/// One mistake.
struct Row {
    /// What is wrong, as the issue calls it.
    what: &'static str,
    /// `hotshoe.toml`. `»` stands just before the place that the error names; `@…@` is filled in by [`World`]; without
    /// `@good@`, the good plugin comes last.
    config: &'static str,
    exit: i32,
    code: &'static str,
    /// Part of the advice.
    fix: &'static str,
    known: Known,
}

/// When a mistake can be known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Before anything is started; `hotshoe check` says it as well.
    Before,
    /// When it is tried: what was started is stopped again. `hotshoe check` tries nothing, and finds nothing wrong.
    WhenTried,
}

const fn before(
    what: &'static str,
    config: &'static str,
    (exit, code): (i32, &'static str),
    fix: &'static str,
) -> Row {
    Row {
        what,
        config,
        exit,
        code,
        fix,
        known: Known::Before,
    }
}

const fn when_tried(
    what: &'static str,
    config: &'static str,
    (exit, code): (i32, &'static str),
    fix: &'static str,
) -> Row {
    Row {
        what,
        config,
        exit,
        code,
        fix,
        known: Known::WhenTried,
    }
}

const LIBRARIES: &[Row] = &[
    before(
        "missing file",
        "[[plugin]]\nname = \"bad\"\nlibrary = »\"./libgone.so\"",
        (3, "not-found"),
        "correct `library`",
    ),
    before(
        "missing file, near another",
        "[[plugin]]\nname = \"bad\"\nlibrary = »\"some/libgeoop.so\"",
        (3, "not-found"),
        "did you mean @folder@/some/libgeoip.so?",
    ),
    before(
        "missing file, by a bare name",
        "[[plugin]]\nname = \"bad\"\nlibrary = »\"nobody-has-this\"",
        (3, "not-found"),
        "[host] plugin_path",
    ),
    before(
        "not a library",
        "[[plugin]]\nname = \"bad\"\nlibrary = »\"./some/libgeoip.so\"",
        (3, "not-a-library"),
        "library",
    ),
    before(
        "a folder",
        "[[plugin]]\nname = \"bad\"\nlibrary = »\"./some\"",
        (3, "not-a-file"),
        "name the library file itself",
    ),
    before(
        "a FIFO",
        "[[plugin]]\nname = \"bad\"\nlibrary = »\"@fifo@\"",
        (3, "not-a-file"),
        "name the library file itself",
    ),
    before(
        "a library without the manifest",
        "[[plugin]]\nname = \"bad\"\nlibrary = »\"@no-symbol@\"",
        (3, "no-manifest"),
        "export_plugin!",
    ),
    before(
        "a library without the symbol",
        "[[plugin]]\nname = \"bad\"\nlibrary = »\"@no-entry@\"",
        (3, "no-entry"),
        "build the plugin again",
    ),
    before(
        "wrong ABI",
        "[[plugin]]\nname = \"bad\"\nlibrary = »\"@newer@\"",
        (3, "abi-too-new"),
        "upgrade hotshoe",
    ),
    before(
        "a panic that would end the host",
        "[[plugin]]\nname = \"bad\"\nlibrary = »\"@panic-abort@\"",
        (3, "panic-abort"),
        "panic = \"unwind\"",
    ),
];

const REFERENCES: &[Row] = &[
    before(
        "unknown `after`",
        "[[plugin]]\nname = \"a\"\nlibrary = \"@misbehave@\"\nafter = [»\"god\"]",
        (2, "unknown-after"),
        "did you mean `good`?",
    ),
    before(
        "cycle",
        "[[plugin]]\nname = \"a\"\nlibrary = \"@misbehave@\"\nafter = [»\"b\"]\n\
         [[plugin]]\nname = \"b\"\nlibrary = \"@misbehave@\"\nafter = [\"a\"]",
        (2, "after-cycle"),
        "remove `b` from the `after` of `a`",
    ),
    before(
        "cycle of one",
        "[[plugin]]\nname = \"a\"\nlibrary = \"@misbehave@\"\nafter = [»\"a\"]",
        (2, "after-cycle"),
        "remove `a` from the `after` of `a`",
    ),
    before(
        "processor that no instance offers",
        "[stream]\nprocessors = [»\"god\"]",
        (2, "unknown-processor"),
        "did you mean `good`?",
    ),
    before(
        "processor of an instance that has none",
        "[stream]\nprocessors = [»\"d\"]\n[[plugin]]\nname = \"d\"\nlibrary = \"@driver-only@\"",
        (2, "missing-component"),
        "export_plugin!",
    ),
    before(
        "processor that is optional",
        "[stream]\nprocessors = [»\"o\"]\n[[plugin]]\nname = \"o\"\nlibrary = \"@misbehave@\"\nrequired = false",
        (2, "optional-processor"),
        "remove `required = false`",
    ),
    before(
        "checks without a checker",
        "[[plugin]]\nname = \"d\"\nlibrary = \"@driver-only@\"\nchecks = [»\"good\"]",
        (2, "missing-component"),
        "export_plugin!",
    ),
];

const WORDS: &[Row] = &[
    before(
        "bad name",
        "[[plugin]]\nname = »\"Geo IP\"\nlibrary = \"@misbehave@\"",
        (2, "bad-value"),
        "`name = \"geo-ip\"`",
    ),
    before(
        "empty name",
        "[[plugin]]\nname = »\"  \"\nlibrary = \"@misbehave@\"",
        (2, "bad-value"),
        "name",
    ),
    before(
        "bad host name",
        "[host]\nname = »\"../x\"",
        (2, "bad-value"),
        "name",
    ),
    before(
        "no library",
        "»[[plugin]]\nname = \"geo\"",
        (2, "missing-key"),
        "library = \"geo\"",
    ),
    before("no TOML", "[host]\nname = »", (2, "bad-toml"), ""),
    before(
        "a table twice",
        "[host]\nadmin = \"off\"\n[»host]\nadmin = \"unix\"",
        (2, "bad-toml"),
        "",
    ),
    before(
        "invalid UTF-8",
        "[host]\nhostname = \"caf»@byte@\"",
        (2, "not-utf8"),
        "iconv",
    ),
    before(
        "unknown key at the top",
        "»retry = 1",
        (2, "unknown-key"),
        "remove",
    ),
    before(
        "unknown table",
        "[»hosts]\nname = \"x\"",
        (2, "unknown-key"),
        "did you mean `host`?",
    ),
    before(
        "unknown key of [host]",
        "[host]\n»nmae = \"x\"",
        (2, "unknown-key"),
        "did you mean `name`?",
    ),
    before(
        "unknown key of [executors]",
        "[executors]\n»cuont = 1",
        (2, "unknown-key"),
        "did you mean `count`?",
    ),
    before(
        "unknown key of [stream]",
        "[stream]\n»sorce = \"stdin\"",
        (2, "unknown-key"),
        "did you mean `source`?",
    ),
    before(
        "unknown key of [trust]",
        "[trust]\n»requires = \"none\"",
        (2, "unknown-key"),
        "did you mean `require`?",
    ),
    before(
        "unknown key of [[plugin]]",
        "[[plugin]]\nlibrary = \"@misbehave@\"\n»aftre = []",
        (2, "unknown-key"),
        "did you mean `after`?",
    ),
    before(
        "a setting beside the settings",
        "[[plugin]]\nlibrary = \"@misbehave@\"\n»listen = \"127.0.0.1:1\"",
        (2, "unknown-key"),
        "[plugin.settings]",
    ),
    before(
        "unknown deadline",
        "[[plugin]]\nlibrary = \"@misbehave@\"\ndeadlines = { »innit = \"1s\" }",
        (2, "unknown-key"),
        "did you mean `init`?",
    ),
    before(
        "unknown key of restart",
        "[[plugin]]\nlibrary = \"@misbehave@\"\nrestart = { attempts = 5, »withn = \"5m\" }",
        (2, "unknown-key"),
        "did you mean `within`?",
    ),
    before(
        "unknown limit",
        "[[plugin]]\nlibrary = \"@misbehave@\"\nlimits = { »memroy = \"1GiB\" }",
        (2, "unknown-key"),
        "did you mean `memory`?",
    ),
    before(
        "wrong type of a table",
        "host = »1",
        (2, "wrong-type"),
        "host",
    ),
    before(
        "wrong type: text",
        "[executors]\ncount = »\"2\"",
        (2, "wrong-type"),
        "did you mean `count = 2`?",
    ),
    before(
        "wrong type: number",
        "[executors]\ndrain = »5",
        (2, "wrong-type"),
        "did you mean `drain = \"5s\"`?",
    ),
    before(
        "wrong type: list",
        "[stream]\nprocessors = »\"good\"",
        (2, "wrong-type"),
        "`processors = [\"good\"]`",
    ),
    before(
        "wrong type: truth",
        "[[plugin]]\nlibrary = \"@misbehave@\"\nrequired = »\"no\"",
        (2, "wrong-type"),
        "required = ",
    ),
    before(
        "out of range",
        "[stream]\nretries = »101",
        (2, "bad-value"),
        "the most is `retries = 100`",
    ),
    before(
        "unknown word",
        "[stream]\non_error = »\"dead-leter\"",
        (2, "bad-value"),
        "`on_error = \"dead-letter\"`",
    ),
    before(
        "unknown source",
        "[stream]\nsource = »\"stdn\"",
        (2, "bad-value"),
        "`source = \"stdin\"`",
    ),
];

const SETTINGS: &[Row] = &[
    before(
        "settings of another type",
        "[[plugin]]\nname = \"p\"\nlibrary = \"@schema-port@\"\n[plugin.settings]\n»port = \"x\"",
        (2, "settings-invalid"),
        "hotshoe inspect --schema",
    ),
    before(
        "settings out of range",
        "[[plugin]]\nname = \"p\"\nlibrary = \"@schema-port@\"\n[plugin.settings]\n»port = 0",
        (2, "settings-invalid"),
        "hotshoe inspect --schema",
    ),
    before(
        "unknown setting",
        "[[plugin]]\nname = \"p\"\nlibrary = \"@schema-port@\"\n[plugin.settings]\n»prot = 1",
        (2, "settings-invalid"),
        "did you mean `port`?",
    ),
    before(
        "unknown setting, deep",
        "[[plugin]]\nname = \"p\"\nlibrary = \"@misbehave@\"\n[plugin.settings]\nacts = [{ hook = \"new\", crime = \"nothing\", »tims = 1 }]",
        (2, "settings-invalid"),
        "hotshoe inspect --schema",
    ),
];

const TRIED: &[Row] = &[
    when_tried(
        "port taken, the plugin's",
        "@good@\n[[plugin]]\nname = \"dc\"\nlibrary = \"@dynamic-config@\"\n[plugin.settings]\nprofile = \"quickstart\"\n\
         listen = [\"@taken@\"]",
        (4, "config-port-taken"),
        "listen",
    ),
    when_tried(
        "port taken, the source's",
        "[stream]\nsource = \"tcp-listen:@taken@\"",
        (4, "source-port-taken"),
        "choose another port in `[stream] source`",
    ),
    when_tried(
        "port taken, the admin socket's",
        "[host]\nadmin = \"@taken@\"",
        (4, "admin-socket"),
        "[host] admin",
    ),
    when_tried(
        "source file missing",
        "[stream]\nsource = \"file:@folder@/gone.txt\"",
        (1, "source-missing"),
        "create the file",
    ),
    when_tried(
        "source file is a folder",
        "[stream]\nsource = \"file:@folder@\"",
        (1, "source-unreadable"),
        "`[stream] source`",
    ),
    when_tried(
        "source peer refuses",
        "[stream]\nsource = \"tcp-connect:@refusing@\"",
        (1, "source-refused"),
        "start the peer first",
    ),
    when_tried(
        "the sink's folder is missing",
        "[stream]\nsource = \"stdin\"\nsink = \"file:@folder@/gone/out.txt\"",
        (1, "sink-unwritable"),
        "`[stream] sink`",
    ),
];

/// What the rows' `@…@` stand for.
struct World {
    setup: Setup,
    taken: TcpListener,
    /// Its own port is in use, and nobody listens there.
    refusing: TcpStream,
}

impl World {
    fn new() -> Self {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let refusing = TcpStream::connect(taken.local_addr().unwrap()).unwrap();
        let setup = Setup::new();
        setup.file(
            "some/libgeoip.so",
            b"This is text, and no library at all, whatever its name says.\n",
        );
        mkfifoat(CWD, setup.scratch("fifo"), Mode::from_raw_mode(0o600)).unwrap();
        Self {
            setup,
            taken,
            refusing,
        }
    }

    /// What a word between two `@` means.
    fn meaning(&self, word: &str) -> String {
        let path = |path: &std::path::Path| path.display().to_string();
        let good = artifacts::fixture("driver-only");
        let patched = |folder: &str, from: &str, to: &str| {
            let folder = self.setup.file(&format!("{folder}/keep"), b"");
            path(&artifacts::patched(
                good,
                folder.parent().unwrap(),
                from,
                to,
            ))
        };
        match word {
            "good" => self.setup.misbehave("good").to_string(),
            "folder" => path(&self.setup.folder()),
            "fifo" => path(&self.setup.scratch("fifo")),
            "taken" => self.taken.local_addr().unwrap().to_string(),
            "refusing" => self.refusing.local_addr().unwrap().to_string(),
            "newer" => patched("newer", "\nabi=1.0.0\n", "\nabi=2.0.0\n"),
            "no-entry" => patched(
                "no-entry",
                "hotshoe_root_module_driver-only\n",
                "hotshoe_root_module_driver-0nly\n",
            ),
            "panic-abort" => path(artifacts::panic_abort()),
            "dynamic-config" => path(artifacts::library("hotshoe-dynamic-config")),
            fixture => path(artifacts::fixture(fixture)),
        }
    }

    fn filled(&self, text: &str) -> String {
        let mut filled = String::new();
        for (place, piece) in text.split('@').enumerate() {
            match place % 2 {
                0 => filled.push_str(piece),
                _ if piece == "byte" => filled.push_str("@byte@"),
                _ => filled.push_str(&self.meaning(piece)),
            }
        }
        filled
    }

    /// Writes the row's config; answers the place that its error names.
    fn write(&self, row: &Row) -> Option<(usize, usize)> {
        let mut text = self.filled(row.config);
        if !row.config.contains("@good@") {
            text = format!("{text}\n{}", self.filled("@good@"));
        }
        let place = text.find('»').map(|at| {
            let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
            (text[..at].matches('\n').count() + 1, at - line_start + 1)
        });
        let text = text.replacen('»', "", 1);
        let bytes = match text.split_once("@byte@") {
            Some((head, tail)) => [head.as_bytes(), b"\xe9", tail.as_bytes()].concat(),
            None => text.into_bytes(),
        };
        self.setup.file("hotshoe.toml", &bytes);
        place
    }
}

/// Everything in which the row is not as it should be.
fn complaints(row: &Row) -> Vec<String> {
    let world = World::new();
    let place = world.write(row);
    let at = place.map_or_else(String::new, |(line, column)| {
        format!("{}:{line}:{column}", world.setup.config_path().display())
    });
    let fix = world.filled(row.fix);
    let run = world.setup.run();
    let mut complaints = Vec::new();
    let mut complain = |what: &str, wanted: &str, found: &str| {
        complaints.push(format!(
            "{}: {what}: wanted {wanted}, found {found}",
            row.what
        ));
    };
    if run.code != Some(row.exit) {
        complain(
            "exit code",
            &row.exit.to_string(),
            &format!("{:?}", run.code),
        );
    }
    let errors: Vec<LogLine> = run
        .logs()
        .into_iter()
        .filter(|line| line.sentence().starts_with("error["))
        .collect();
    let Some(error) = errors.first() else {
        complain("error", row.code, &run.stderr);
        return complaints;
    };
    if errors.len() > 1 {
        complain(
            "errors",
            "one",
            &format!(
                "{:?}",
                errors.iter().map(LogLine::sentence).collect::<Vec<_>>()
            ),
        );
    }
    for (what, wanted, found) in [
        ("code", row.code, error.text_of("code")),
        ("place", &at, error.text_of("at")),
    ] {
        if wanted != found {
            complain(what, wanted, &found);
        }
    }
    let advice = [error.text_of("fix"), error.text_of("wanted")].join("; ");
    if !advice.contains(&fix) {
        complain("fix", &fix, &advice);
    }
    // STYLE R19; a plugin's own failure has a message and a fix (DESIGN §3).
    let details: &[&str] = match row.code {
        "config-port-taken" => &["fix"],
        _ => &["wanted", "found", "fix"],
    };
    for detail in details {
        if error.text_of(detail).is_empty() {
            complain(detail, "one", "none");
        }
    }
    // The headline stands alone in a log (DESIGN §5): it names the file that is meant.
    let file = if row.exit == 2 { "hotshoe.toml" } else { "" };
    if !error.sentence().contains(file) {
        complain("headline", file, error.sentence());
    }
    started(&world.setup, row, &mut complain);
    checked(&world.setup, row, error, place, &mut complain);
    complaints
}

/// Nothing is still started.
fn started(setup: &Setup, row: &Row, complain: &mut impl FnMut(&str, &str, &str)) {
    let lines = setup.trace().lines();
    let mut lives: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.rest.is_empty()) {
        let life = lives
            .entry(format!(
                "{} {} {}",
                line.instance, line.component, line.executor
            ))
            .or_default();
        match (line.call.as_str(), line.component.as_str()) {
            ("init", _) if row.known == Known::Before => {
                complain("inits", "none", &line.to_string())
            }
            ("init", "driver" | "executor") => life[0] += 1,
            ("shutdown", _) => life[1] += 1,
            _ => {}
        }
    }
    // The admin socket is tried first of all; whatever else fails then fails beside a plugin that runs.
    let beside = usize::from(row.known == Known::WhenTried && row.code != "admin-socket");
    let good = lives.get("good driver driver").map_or(0, |life| life[0]);
    if good != beside {
        complain(
            "inits of the good plugin's driver",
            &beside.to_string(),
            &good.to_string(),
        );
    }
    for (part, [inits, shutdowns]) in lives {
        if inits != shutdowns {
            complain(
                "rollback",
                &format!("{inits} shutdowns of {part}"),
                &shutdowns.to_string(),
            );
        }
    }
}

/// `hotshoe check --json` says the same, or nothing, and starts nothing.
fn checked(
    setup: &Setup,
    row: &Row,
    error: &LogLine,
    place: Option<(usize, usize)>,
    complain: &mut impl FnMut(&str, &str, &str),
) {
    let inits_before = inits(setup);
    let (finished, answer) = setup.check_json();
    let problems: Vec<&Value> = answer["problems"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|problem| problem["severity"] == "error")
        .collect();
    if inits(setup) != inits_before {
        complain("check", "no init", &setup.trace().text());
    }
    if row.known == Known::WhenTried {
        if finished.code != Some(0) || !problems.is_empty() {
            complain("check", "nothing wrong", &format!("{finished:#?}"));
        }
        return;
    }
    if finished.code != Some(row.exit) || answer["ok"] != false {
        complain(
            "check's exit code",
            &row.exit.to_string(),
            &format!("{finished:#?}"),
        );
    }
    let [problem] = problems[..] else {
        return complain("check", "one error", &format!("{problems:#?}"));
    };
    let sentence = format!(
        "error[{}]: {}",
        row.code,
        problem["headline"].as_str().unwrap_or_default()
    );
    if sentence != error.sentence() {
        complain("check's headline", error.sentence(), &sentence);
    }
    let number = |key: &str| problem["at"][key].as_u64().unwrap_or_default() as usize;
    let found = problem["at"]
        .is_object()
        .then(|| (number("line"), number("column")));
    if found != place {
        complain(
            "check's place",
            &format!("{place:?}"),
            &format!("{found:?}"),
        );
    }
    for key in ["fix", "wanted", "found"] {
        let found = problem[key].as_str().unwrap_or_default();
        if found != error.text_of(key) {
            complain(&format!("check's {key}"), &error.text_of(key), found);
        }
    }
}

fn inits(setup: &Setup) -> usize {
    setup
        .trace()
        .lines()
        .iter()
        .filter(|line| line.call == "init")
        .count()
}

#[track_caller]
fn assert_rows(rows: &[Row]) {
    let complaints: Vec<String> = rows.iter().flat_map(complaints).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn bad_libraries_are_refused_before_anything_starts() {
    assert_rows(LIBRARIES);
}

#[test]
fn bad_references_are_refused_before_anything_starts() {
    assert_rows(REFERENCES);
}

#[test]
fn bad_words_are_refused_before_anything_starts() {
    assert_rows(WORDS);
}

#[test]
fn bad_settings_are_refused_before_anything_starts() {
    assert_rows(SETTINGS);
}

#[test]
fn what_fails_when_it_is_tried_is_undone() {
    assert_rows(TRIED);
}

#[test]
fn a_drop_in_is_judged_as_strictly_and_named() {
    for (text, code, fix, column) in [
        (
            "[[plugin]]\nlibary = \"x\"\nlibrary = \"x\"\n",
            "unknown-key",
            "did you mean `library`?",
            1,
        ),
        (
            "\n[stream]\nsource = \"stdin\"\n",
            "drop-in-key",
            "move it to the file beside",
            2,
        ),
    ] {
        let setup = Setup::new();
        setup.entries("", &[setup.misbehave("good")]);
        let path = setup.file("hotshoe.d/10-site.toml", text.as_bytes());
        let run = setup.run();
        run.assert_code(2);
        let problem = &run.problems(code);
        assert_eq!(problem.len(), 1, "{run:#?}");
        assert_eq!(
            problem[0].text_of("at"),
            format!("{}:2:{column}", path.display())
        );
        assert!(problem[0].text_of("fix").contains(fix), "{run:#?}");
        assert_eq!(setup.trace().text(), "");
    }
}

#[test]
fn an_empty_configuration_says_so() {
    for text in ["", "# nothing yet\n", "[host]\nname = \"x\"\n"] {
        let setup = Setup::with(text);
        let run = setup.run();
        run.assert_code(0);
        let said: Vec<LogLine> = run.logs();
        assert_eq!(said.len(), 1, "{run:#?}");
        assert!(said[0].message().starts_with("nothing to run"), "{run:#?}");
        assert_eq!(said[0].level(), "INFO");
        assert_eq!(run.stdout, "");

        let checked = setup.check();
        checked.assert_code(0);
        assert_eq!(checked.stdout, "no plugins\n");
        let (_, answer) = setup.check_json();
        assert_eq!(
            (&answer["ok"], &answer["problems"]),
            (&true.into(), &serde_json::json!([]))
        );
    }
}

#[test]
fn a_missing_configuration_is_named() {
    let setup = Setup::new();
    for finished in [setup.run(), setup.check()] {
        finished.assert_code(2);
        assert_eq!(finished.error_code(), "no-config", "{finished:#?}");
        assert!(
            finished
                .error()
                .contains(&setup.config_path().display().to_string()),
            "{finished:#?}"
        );
    }
}

#[test]
fn every_mistake_is_told_at_once_and_the_last_line_says_what_to_run_next() {
    let setup = Setup::new();
    let entries = format!(
        "{}\n{}",
        setup.misbehave("good"),
        "[[plugin]]\nname = \"bad\"\nlibrary = \"./libgone.so\"\n"
    );
    setup.config(&format!(
        "{entries}after = [\"nobody\"]\n[stream]\nprocessors = [\"somebody\"]\n"
    ));
    let path = setup.config_path().display().to_string();
    let run: Finished = setup.hotshoe(&["run", &path]);
    run.assert_code(3);
    let errors: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| line.starts_with("error["))
        .collect();
    let codes: Vec<&str> = errors
        .iter()
        .map(|line| line["error[".len()..].split(']').next().unwrap())
        .collect();
    assert_eq!(
        codes,
        ["not-found", "unknown-after", "unknown-processor"],
        "{run:#?}"
    );
    for (error, part) in errors
        .iter()
        .zip(["; fix: ", "hotshoe.toml:", "hotshoe.toml:"])
    {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(
        run.stderr.lines().last(),
        Some(format!("next: hotshoe check {path}").as_str())
    );
    assert_eq!(setup.trace().text(), "");
    assert!(
        fs::read_dir(setup.run_dir()).map_or(0, Iterator::count) <= 1,
        "only the lock may be left"
    );
}
