//! Every sort of mistake, where it is said to stand, and what is offered instead.

use super::*;

#[test]
fn unknown_keys_are_reported_where_they_stand() {
    check("[host]\nprot = 1", &["unknown-key 2:1"]);
    check(
        "[host]\nnmae = \"x\"",
        &["unknown-key 2:1 | did you mean `name`?"],
    );
    check(
        "[stream]\nbatch-records = 1",
        &["unknown-key 2:1 | did you mean `batch_records`?"],
    );
    check(
        "[hosts]\nname = \"x\"",
        &["unknown-key 1:2 | did you mean `host`?"],
    );
    check(
        "[[plugins]]\nlibrary = \"x\"",
        &["unknown-key 1:3 | did you mean `plugin`?"],
    );
    check(
        "[host]\nretries = 1",
        &["unknown-key 2:1 | move it to [stream]"],
    );
    check("count = 2", &["unknown-key 1:1 | move it to [executors]"]);
    check(
        &format!("{PLUGIN}listen = \"x\""),
        &["unknown-key 3:1 | [plugin.settings]"],
    );
    check(
        &format!("{PLUGIN}deadlines.start = \"1s\""),
        &["unknown-key 3:11"],
    );
    check(
        &format!("{PLUGIN}[plugin.deadlines]\nstart = \"1s\""),
        &["unknown-key 4:1"],
    );
    check(
        &format!("{PLUGIN}deadlines = {{ init = \"1s\", strat = \"1s\" }}"),
        &["unknown-key 3:28"],
    );
    check("[executors]\n\"co\\nunt\" = 1", &["unknown-key 2:1"]);
}

#[test]
fn wrong_types_are_reported_at_the_value() {
    check("host = 1", &["wrong-type 1:8"]);
    check("[[host]]\nname = \"a\"", &["wrong-type 1:1 | as [host]"]);
    check(
        "[plugin]\nlibrary = \"x\"",
        &["wrong-type 1:1 | as [[plugin]]"],
    );
    check(
        "[plugin]\nlibrary = 1",
        &["wrong-type 1:1", "wrong-type 2:11"],
    );
    check("plugin = \"x\"", &["wrong-type 1:10"]);
    check("plugin = [\"x\"]", &["wrong-type 1:11"]);
    check("[host]\nname = 1", &["wrong-type 2:8"]);
    check(
        "[host]\nadmin = false",
        &["wrong-type 2:9 | did you mean `admin = \"off\"`?"],
    );
    check(
        "[host]\nresources = { gpu = \"5\" }",
        &["wrong-type 2:21 | did you mean `gpu = [\"5\"]`?"],
    );
    check(
        "[host]\nresources = { gpu = [5] }",
        &["wrong-type 2:22 | did you mean `\"5\"`?"],
    );
    check("[host]\nresources = []", &["wrong-type 2:13"]);
    check(
        "[executors]\ncount = \"2\"",
        &["wrong-type 2:9 | did you mean `count = 2`?"],
    );
    check(
        "[executors]\ncount = 2.0",
        &["wrong-type 2:9 | as in `count = 1`"],
    );
    check(
        "[executors]\ndrain = 5",
        &["wrong-type 2:9 | did you mean `drain = \"5s\"`?"],
    );
    check(
        "[executors]\ndrain = 07:32:00",
        &["wrong-type 2:9 | as in `drain = \"5s\"`"],
    );
    check(
        "[stream]\nprocessors = \"a\"",
        &["wrong-type 2:14 | did you mean `processors = [\"a\"]`?"],
    );
    check(
        "[stream]\nprocessors = [\"a\", 1, \"b\"]",
        &[
            "unknown-processor 2:15",
            "wrong-type 2:20",
            "unknown-processor 2:23",
        ],
    );
    check(
        "[stream]\nbatch_bytes = true",
        &["wrong-type 2:15 | as in `batch_bytes = \"64KiB\"`"],
    );
    check(
        &format!("{PLUGIN}required = \"False\""),
        &["wrong-type 3:12 | did you mean `required = false`?"],
    );
    check(&format!("{PLUGIN}settings = 1"), &["wrong-type 3:12"]);
    check(&format!("{PLUGIN}deadlines = []"), &["wrong-type 3:13"]);
    check(&format!("{PLUGIN}sandbox = true"), &["wrong-type 3:11"]);
}

#[test]
fn bad_values_are_reported_with_what_was_meant() {
    check(
        "[host]\nadmin = \"unx\"",
        &["bad-value 2:9 | did you mean `admin = \"unix\"`?"],
    );
    check(
        "[host]\nadmin = \"localhost:9464\"",
        &["bad-value 2:9 | did you mean `admin = \"127.0.0.1:9464\"`?"],
    );
    check("[host]\nplugin_path = [\"\", \"a\"]", &["bad-value 2:16"]);
    check("[host]\nplugin_path = [\"a\\u0000b\"]", &["bad-value 2:16"]);
    check("[host]\nhostname = \" \"", &["bad-value 2:12"]);
    check(
        "[executors]\ncount = 0",
        &["bad-value 2:9 | the least is `count = 1`"],
    );
    check("[executors]\ncount = 1025", &["bad-value 2:9"]);
    check("[executors]\ncount = -1", &["bad-value 2:9"]);
    check(
        "[executors]\ncount = 99999999999999999999",
        &["bad-value 2:9"],
    );
    check(
        "[executors]\ndrain = \"5 seconds\"",
        &["bad-value 2:9 | did you mean `drain = \"5s\"`?"],
    );
    check("[executors]\ndrain = \"soon\"", &["bad-value 2:9"]);
    check(
        "[stream]\nsource = \"tcp-conect:h:1\"",
        &["bad-value 2:10 | did you mean `source = \"tcp-connect:h:1\"`?"],
    );
    check(
        "[stream]\nsource = \"stdn\"",
        &["bad-value 2:10 | did you mean `source = \"stdin\"`?"],
    );
    for wrong in [
        "h", ":1", "h:", "h:0", "h:65536", "h:+1", "::1:5", "[::1:5", "[h]:5", "a b:1",
    ] {
        check(
            &format!("[stream]\nsource = \"tcp-connect:{wrong}\""),
            &["bad-value 2:10"],
        );
    }
    check(
        "[stream]\nsource = \"tcp-listen::9998\"",
        &["bad-value 2:10 | \"tcp-listen:127.0.0.1:9998\""],
    );
    check(
        "[stream]\nsource = \"tcp-listen:localhost:1\"",
        &["bad-value 2:10 | \"tcp-listen:127.0.0.1:1\""],
    );
    check(
        "[stream]\nsource = \"tcp-listen:example.org:1\"",
        &["bad-value 2:10"],
    );
    check("[stream]\nsource = \"file:\"", &["bad-value 2:10"]);
    check(
        "[stream]\nsink = \"fiel:x\"",
        &["bad-value 2:8 | did you mean `sink = \"file:x\"`?"],
    );
    check("[stream]\non_source_end = \"wait\"", &["bad-value 2:17"]);
    check("[stream]\nbatch_records = 65537", &["bad-value 2:17"]);
    check("[stream]\nbatch_bytes = 1023", &["bad-value 2:15"]);
    check(
        "[stream]\nbatch_bytes = \"64KB\"",
        &["bad-value 2:15 | did you mean `batch_bytes = \"64KiB\"`?"],
    );
    check("[stream]\nrecord_max = \"2GiB\"", &["bad-value 2:14"]);
    check(
        "[stream]\nretries = 101",
        &["bad-value 2:11 | the most is `retries = 100`"],
    );
    check(
        "[stream]\non_error = \"dead_leter\"",
        &["bad-value 2:12 | did you mean `on_error = \"dead-letter\"`?"],
    );
    check(&format!("{PLUGIN}init_attempts = 0"), &["bad-value 3:17"]);
    check(&format!("{PLUGIN}stage = \"dir\""), &["bad-value 3:9"]);
    check(
        &format!("{PLUGIN}deadlines.init = \"0s\""),
        &["bad-value 3:18"],
    );
    check(
        &format!("{PLUGIN}deadlines.init = \"721h\""),
        &["bad-value 3:18"],
    );
    check("[[plugin]]\nlibrary = \" \"", &["bad-value 2:11"]);
    check("[[plugin]]\nlibrary = \"..\"", &["bad-value 2:11"]);
}

#[test]
fn names_are_trimmed_and_judged() {
    for (written, name) in [
        ("a", "a"),
        (" a\t", "a"),
        ("0.9_x-", "0.9_x-"),
        (&"x".repeat(64), &"x".repeat(64)),
    ] {
        assert_eq!(
            config(&format!("{PLUGIN}name = \"{written}\"")).plugins[0]
                .name
                .as_deref(),
            Some(name)
        );
    }
    for wrong in [
        "",
        "  ",
        "-a",
        ".a",
        "_a",
        "a/b",
        "a b",
        "..",
        "ä",
        &"x".repeat(65),
    ] {
        check(&format!("[host]\nname = \"{wrong}\""), &["bad-value 2:8"]);
        check(&format!("{PLUGIN}name = \"{wrong}\""), &["bad-value 3:8"]);
        check(
            &format!("{PLUGIN}after = [\"{wrong}\"]"),
            &["bad-value 3:10"],
        );
        check(
            &format!("{PLUGIN}checks = [\"{wrong}\"]"),
            &["bad-value 3:11"],
        );
        check(
            &format!("[stream]\nprocessors = [\"{wrong}\"]"),
            &["bad-value 2:15"],
        );
    }
    check(
        "[host]\nname = \"My Host\"",
        &["bad-value 2:8 | did you mean `name = \"my-host\"`?"],
    );
}

#[test]
fn a_missing_library_is_reported_at_its_entry() {
    check(
        "[[plugin]]\nname = \"geo\"",
        &["missing-key 1:1 | library = \"geo\""],
    );
    check(
        "[host]\n\n  [[plugin]]\n[[plugin]]\nlibrary = \"x\"",
        &["missing-key 3:3"],
    );
    check("plugin = [{ library = \"x\" }, {}]", &["missing-key 1:30"]);
    check(
        "[[plugin]]\n[plugin.settings]\nlibrary = \"x\"",
        &["missing-key 1:1"],
    );
}

#[test]
fn dead_letters_need_both_halves() {
    check(
        "[stream]\non_error = \"dead-letter\"",
        &["missing-key 2:12 | dead_letter"],
    );
    check(
        "[stream]\ndead_letter = \"d\"",
        &["bad-value 2:15 | on_error = \"dead-letter\""],
    );
    check(
        "[stream]\non_error = \"stop\"\ndead_letter = \"d\"",
        &["bad-value 3:15"],
    );
    // One mistake is one problem.
    check(
        "[stream]\non_error = \"dead-letter\"\ndead_letter = 1",
        &["wrong-type 3:15"],
    );
    check(
        "[stream]\non_error = \"dead\"\ndead_letter = \"d\"",
        &["bad-value 2:12"],
    );
}

#[test]
fn signatures_and_keys_want_each_other() {
    let both = "keys = [\"a.pub\", \"b.pub\"]\nrequire = \"signed\"";
    check(&format!("[trust]\n{both}"), &[]);
    check("[trust]\nrequire = \"locked\"", &[]);
    check("[trust]\nrequire = \"signed\"", &["no-keys 2:11 | keys"]);
    check("[trust]\nkeys = [\"a.pub\"]", &["unused-keys 2:8"]);
}

/// An entry that runs in a process of its own, and one more line.
fn isolated(line: &str) -> String {
    format!("{PLUGIN}isolation = \"process\"\n{line}")
}

#[test]
fn walls_and_limits_want_a_process_to_be_around() {
    check(&isolated("sandbox = \"standard\""), &[]);
    check(&isolated("limits = { memory = \"64MiB\" }"), &[]);
    check(&isolated("restart = { attempts = 6 }"), &[]);
    check(
        &format!("{PLUGIN}sandbox = \"standard\""),
        &["needs-process 3:11 | add `isolation = \"process\"`"],
    );
    check(
        &format!("{PLUGIN}sandbox = {{}}"),
        &["needs-process 3:11 | or remove `sandbox`"],
    );
    check(
        &format!("{PLUGIN}[plugin.limits]\nmemory = \"64MiB\""),
        &["needs-process 3:1"],
    );
    check(&format!("{PLUGIN}sandbox = \"none\"\nlimits = {{}}"), &[]);
    // Nobody is left without what was asked for, so this is a warning.
    check(
        &format!("{PLUGIN}restart = {{ attempts = 6 }}"),
        &["no-effect 3:11"],
    );
    check(&format!("{PLUGIN}restart = {{ attempts = 5 }}"), &[]);
    check(
        &format!("{PLUGIN}restart.backoff = \"2m\""),
        &["no-effect 3:1", "bad-value 3:19"],
    );
    // One mistake is told once.
    check(
        &format!("{PLUGIN}isolation = \"proces\"\nsandbox = \"standard\""),
        &["bad-value 3:13 | \"process\"", "needs-process 4:11"],
    );
    let problem = load_text(&format!("{PLUGIN}limits = {{ files = 64 }}"))
        .problems
        .remove(0);
    assert_eq!(problem.exit, ExitCode::Usage);
    assert!(problem.headline.contains("`limits`"), "{problem}");
}

#[test]
fn a_sandbox_is_a_word_or_says_what_it_lets_through() {
    check(
        &isolated("sandbox = \"standart\""),
        &["bad-value 4:11 | \"standard\""],
    );
    check(
        &isolated("sandbox = { raed = [\".\"] }"),
        &["unknown-key 4:13 | `read`"],
    );
    check(
        &isolated("sandbox = { net = { listen = [80] } }"),
        &["unknown-key 4:21"],
    );
    check(
        &isolated(
            "sandbox = { net = { bind = [1, 65535], connect = [0, 65536, \"*:1\", \"443\"] } }",
        ),
        &[
            "bad-value 4:51",
            "bad-value 4:54",
            "wrong-type 4:61",
            "wrong-type 4:68 | 443",
        ],
    );
    check(
        &isolated("sandbox = { env = [\"HOME\", \"$KEY\", \"A=b\", \"\", 5] }"),
        &[
            "bad-value 4:28 | \"KEY\"",
            "bad-value 4:36 | \"A\"",
            "bad-value 4:43",
            "wrong-type 4:47",
        ],
    );
}

#[test]
fn the_paths_of_a_sandbox_are_there_and_begin_at_their_file() {
    let folder = Folder::new(&[
        ("data/x", ""),
        ("hotshoe.d/data/x", ""),
        (
            "hotshoe.toml",
            &isolated(
                "sandbox = { read = [\"data\", \"data/x\", \"/usr\"], write = [\"gone\", \"data/../gone\"] }",
            ),
        ),
        (
            "hotshoe.d/a.toml",
            &isolated("name = \"a\"\nsandbox = { read = [\"data\", \"../gone\"] }"),
        ),
    ]);
    let loaded = folder.load();
    assert_eq!(loaded.problems, []);
    let mut config = loaded.config.unwrap();
    let said = |config: &Config| -> Vec<Problem> {
        let absent = config.absent.iter();
        absent.map(|absent| absent.problem.clone()).collect()
    };
    assert_eq!(
        folder.seen(&said(&config)),
        [
            "no-such-path hotshoe.d/a.toml:5:29",
            "no-such-path hotshoe.toml:4:57",
            "no-such-path hotshoe.toml:4:65",
        ]
    );
    let problem = said(&config).remove(1);
    assert!(problem.headline.contains("`sandbox.write[0]`"), "{problem}");
    assert!(problem.headline.contains("is not there"), "{problem}");
    // What a start makes itself is left out by whoever makes nothing; what climbs out of it is another's.
    config.leave_out_own(&[folder.path("gone")]);
    assert_eq!(
        folder.seen(&said(&config)),
        [
            "no-such-path hotshoe.d/a.toml:5:29",
            "no-such-path hotshoe.toml:4:65",
        ]
    );
    let written = |config: &Config| match &config.plugins[1].sandbox {
        Sandbox::Only { write, .. } => write.clone(),
        other => panic!("a table, and not {other:?}"),
    };
    assert_eq!(written(&config), [folder.path("data/../gone")]);
    // A path that cannot be looked at is nobody's to make, and then all that is not there is told with it.
    folder.write(
        "hotshoe.toml",
        isolated("sandbox = { write = [\"data/x/y\"] }").as_bytes(),
    );
    assert_eq!(
        folder.seen(&folder.load().problems),
        [
            "no-such-path hotshoe.d/a.toml:5:29",
            "no-such-path hotshoe.toml:4:22"
        ]
    );
    folder.write("gone/x", b"");
    folder.write(
        "hotshoe.toml",
        isolated("sandbox = { write = [\"gone\"] }").as_bytes(),
    );
    let config = folder.load().config.unwrap();
    let path = |name: &str| folder.path(name);
    let expected = Sandbox::Only {
        read: vec![path("hotshoe.d/data"), path("hotshoe.d/../gone")],
        write: Vec::new(),
        bind: Vec::new(),
        connect: Vec::new(),
        env: Vec::new(),
    };
    assert_eq!(config.plugins[0].sandbox, expected);
    let Sandbox::Only { write, .. } = &config.plugins[1].sandbox else {
        panic!("a table")
    };
    assert_eq!(*write, [path("gone")]);
}

#[test]
fn limits_are_not_less_than_a_worker_needs() {
    let limits = |limits: &str| isolated(&format!("limits = {{ {limits} }}"));
    check(
        &limits("memory = \"32MiB\", cpu_time = \"1s\", files = 16, processes = 16"),
        &[],
    );
    check(
        &limits("memory = \"31MiB\""),
        &["bad-value 4:21 | the least is `memory = \"32MiB\"`"],
    );
    check(
        &limits("memory = \"1025GiB\""),
        &["bad-value 4:21 | the most is `memory = \"1024GiB\"`"],
    );
    check(
        &limits("memory = \"64MB\""),
        &["bad-value 4:21 | \"64MiB\""],
    );
    check(&limits("cpu_time = \"999ms\""), &["bad-value 4:23"]);
    check(
        &limits("files = 15"),
        &["bad-value 4:20 | the least is `files = 16`"],
    );
    check(
        &limits("processes = -1"),
        &["bad-value 4:24 | the least is `processes = 16`"],
    );
    check(
        &limits("files = 1048577"),
        &["bad-value 4:20 | the most is `files = 1048576`"],
    );
    check(
        &limits("processes = true"),
        &["wrong-type 4:24 | processes = 16"],
    );
    check(
        &limits("memroy = \"1GiB\""),
        &["unknown-key 4:12 | `memory`"],
    );
    let problem = load_text(&limits("memory = \"1MiB\"")).problems.remove(0);
    assert!(
        problem
            .wanted
            .as_deref()
            .is_some_and(|wanted| wanted.contains("32MiB")),
        "{problem:#}"
    );
    // Each executor has a socket, and a thread with its stack, in the worker.
    let with = |executors: u32, limits: &str| {
        format!(
            "[executors]\ncount = {executors}\n{}",
            isolated(&format!("limits = {{ {limits} }}"))
        )
    };
    check(
        &with(8, "memory = \"53MiB\", files = 23, processes = 23"),
        &[],
    );
    check(
        &with(8, "memory = \"52MiB\""),
        &["bad-value 6:21 | memory = \"53MiB\""],
    );
    check(
        &with(8, "files = 22, processes = 16"),
        &[
            "bad-value 6:20 | files = 23",
            "bad-value 6:36 | processes = 23",
        ],
    );
}

#[test]
fn syntax_errors_have_their_place() {
    check("[host]\nname = ", &["bad-toml 2:8"]);
    check("[host\nname = 1", &["bad-toml 1:6"]);
    check("a = \"x", &["bad-toml 1:7"]);
    check(
        "[host]\nname = \"a\"\nname = \"b\"",
        &["bad-toml 3:1 | remove one"],
    );
    check("[host]\n[host]", &["bad-toml 2:2"]);
    check("[stream]\nretries = 1\nretries = 2\n[x", &["bad-toml 3:1"]);
    check("\u{0}", &["bad-toml 1:1"]);
}

#[test]
fn several_problems_of_one_file_come_together_and_in_order() {
    check(
        "[stream]\nretries = 101\nsorce = \"x\"\n[[plugin]]\nname = \"B\"\n[plugin.settings]\nx = nan\n[host]\nadmin = \
         1\n[executors]\ncount = 0",
        &[
            "bad-value 2:11",
            "unknown-key 3:1 | did you mean `source`?",
            "missing-key 4:1",
            "bad-value 5:8",
            "bad-value 7:5",
            "wrong-type 9:9",
            "bad-value 11:9",
        ],
    );
}

#[test]
fn columns_count_bytes_whatever_the_line_ends_in() {
    // CRLF, as Windows' editors write it.
    check(
        "[host]\r\nadmin = 1\r\nprot = 2\r\n",
        &["wrong-type 2:9", "unknown-key 3:1"],
    );
    // Two bytes for each umlaut.
    check(
        "host = { \"ä\" = 1, \"öö\" = 2 }",
        &["unknown-key 1:10", "unknown-key 1:20"],
    );
    check(
        "host.hostname = \"äö\" # ü\nhost.prot = 1",
        &["unknown-key 2:6"],
    );
    // A byte order mark is nothing that an editor shows.
    check("\u{feff}prot = 1", &["unknown-key 1:1"]);
    // Dotted keys and inline tables, nested.
    check(
        "executors.count = 0\nexecutors.drain = \"1s\"",
        &["bad-value 1:19"],
    );
    check(
        "plugin = [{ library = \"x\", deadlines = { init = 1 } }]",
        &["wrong-type 1:49"],
    );
    check(
        "plugin = [\n  { library = \"x\",\n    prot = 1 },\n]",
        &["unknown-key 3:5"],
    );
}

#[test]
fn what_is_quoted_is_short_and_harmless() {
    let long = "ä".repeat(10_000);
    for text in [
        format!("[host]\nadmin = \"{long}\""),
        format!("[host]\n\"{long}\" = 1"),
        format!("[stream]\nprocessors = \"{long}\""),
        format!("[stream]\nsource = \"fiel:{long}\""),
        format!("[stream]\nsource = \"{long}:x\""),
        format!("[executors]\ndrain = 1{}", "0".repeat(10_000)),
        format!("[executors]\ncount = 1.{}", "0".repeat(10_000)),
        format!("{PLUGIN}name = \"{long}\"\nprot = 1"),
        format!("{PLUGIN}settings.\"{long}\" = nan"),
        format!(
            "{PLUGIN}settings.a = {{ file = \"{}\" }}",
            "x".repeat(10_000)
        ),
        format!("{PLUGIN}settings.a = \"${{env:{}}}\"", "x".repeat(10_000)),
        format!("\"{long}\" = 1\n\"{long}\" = 1"),
    ] {
        for problem in load_text(&text).problems {
            assert!(format!("{problem:#}").len() < 1_500, "{problem:#}");
        }
    }
    let problem = load_text("[host]\nadmin = \"a\\u001b[31m\\u202e\\n\"")
        .problems
        .remove(0);
    assert_eq!(
        problem.found.as_deref(),
        Some("\"a\\u{1b}[31m\\u{202e}\\n\"")
    );
    assert!(!problem.headline.contains(char::is_control), "{problem}");
}

#[test]
fn text_is_kept_as_an_operator_sees_it() {
    let check = |text: &str, shown: &str| {
        let folder = Folder::new(&[("hotshoe.toml", text)]);
        let problem = folder.load().problems.remove(0);
        let prefix = format!("{}/", folder.dir.path().display());
        assert_eq!(format!("{problem:#}").replace(&prefix, ""), shown);
    };
    check(
        "[host]\nnmae = \"x\"",
        "error[unknown-key]: `nmae` is not a key of [host] (hotshoe.toml:2)\n  wanted: name, plugin_path, admin, \
         hostname, resources\n  found:  nmae\n  at:     hotshoe.toml:2:1\n  fix:    did you mean `name`?",
    );
    check(
        "[stream]\nretries = 101",
        "error[bad-value]: `retries` of [stream] cannot be 101 (hotshoe.toml:2)\n  wanted: a whole number from 0 to \
         100\n  found:  101\n  at:     hotshoe.toml:2:11\n  fix:    the most is `retries = 100`",
    );
    check(
        "[[plugin]]\nname = \"b\"\nlibrary = \"b\"\ndeadlines.init = 5",
        "error[wrong-type]: `deadlines.init` of plugin `b` cannot be a whole number (hotshoe.toml:4)\n  \
         wanted: a duration: a whole number and ms, s, m or h; from \"1ms\" to \"720h\"\n  found:  5\n  at:     hotshoe.toml:4:18\n  fix:    did you mean `init = \"5s\"`?",
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    /// Whatever an operator's editor did to the file: problems with places in it, and no panic.
    #[test]
    fn no_text_panics_the_reader(cut in 0..DESIGN.len(), with in "[ -~\n\r\tä\"\\[\\]{}=.#]{0,8}", keep in 0..40_usize) {
        let start = (0..=cut).rev().find(|at| DESIGN.is_char_boundary(*at)).unwrap_or(0);
        let rest = DESIGN.get(start + keep..).unwrap_or("");
        let text = format!("{}{with}{rest}", &DESIGN[..start]);
        let lines = text.split('\n').count();
        for problem in load_text(&text).problems {
            let at = problem.at.expect("every problem has a place");
            proptest::prop_assert!(at.line >= 1 && at.line <= lines && at.column >= 1, "{text}\n{at}");
        }
    }
}
