//! Files that cannot be read, drop-ins, and entries of one name (spark-cases A1, A2).

use super::*;

#[test]
fn a_file_that_cannot_be_read_has_its_own_words() {
    let folder = Folder::new(&[("folder/x", ""), ("hotshoe.d/bad.toml", "x = 1")]);
    let problem = |name: &str| {
        let loaded = load(&folder.path(name));
        assert!(loaded.config.is_none());
        assert_eq!(loaded.problems.len(), 1, "{:?}", loaded.problems);
        loaded.problems.into_iter().next().unwrap()
    };
    // Drop-ins are not looked at where the file is missing.
    let missing = problem("hotshoe.toml");
    assert_eq!(
        (missing.code.as_str(), missing.exit, missing.blame),
        ("no-config", ExitCode::Usage, Blame::Operator)
    );
    assert!(missing.fix.unwrap().contains("hotshoe schema"));
    let dir = problem("folder");
    assert_eq!(dir.code, "config-not-a-file");
    assert!(dir.headline.contains("a folder"));
    folder.write(
        "large/hotshoe.toml",
        &vec![b'\n'; 1 + usize::try_from(parse::FILE_BYTES_MAX).unwrap()],
    );
    assert_eq!(problem("large/hotshoe.toml").code, "config-too-large");
    let below_a_file = problem("folder/x/hotshoe.toml");
    assert_eq!(
        (below_a_file.code.as_str(), below_a_file.blame),
        ("config-unreadable", Blame::Environment)
    );
}

#[cfg(unix)]
#[test]
fn a_device_is_no_configuration_and_is_not_waited_for() {
    let loaded = load(Path::new("/dev/null"));
    assert_eq!(loaded.problems[0].code, "config-not-a-file");
}

#[test]
fn bytes_that_are_not_utf8_are_pointed_at() {
    let folder = Folder::new(&[]);
    let check = |bytes: &[u8], place: &str| {
        folder.write("hotshoe.toml", bytes);
        let loaded = folder.load();
        assert_eq!(
            folder.seen(&loaded.problems),
            [format!("not-utf8 hotshoe.toml:{place}")]
        );
        assert!(loaded.config.is_none());
    };
    check(b"\xff", "1:1");
    check(b"[host]\r\nname = \"K\xf6ln\"", "2:10");
    check("# ä\nx = \"ä".as_bytes().split_last().unwrap().1, "2:6");
}

#[test]
fn drop_ins_come_first_and_the_first_of_a_name_stays() {
    // spark-cases A1.
    let folder = Folder::new(&[
        (
            "hotshoe.d/10-site.toml",
            "[[plugin]]\nname = \" a \"\nlibrary = \"./a.so\"\n[[plugin]]\nname = \"b\"\nlibrary = \"b\"\n",
        ),
        (
            "hotshoe.toml",
            "[[plugin]]\nname = \"b\"\nlibrary = \"b2\"\n[[plugin]]\nname = \"c\"\nlibrary = \
             \"./c.so\"\n[[plugin]]\nname = \" a\"\nlibrary = \"a2\"\n",
        ),
    ]);
    let loaded = folder.load();
    let config = loaded.config.unwrap();
    let names: Vec<&str> = config
        .plugins
        .iter()
        .map(|entry| entry.name.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(
        config.plugins[0].library,
        Library::Path(folder.path("hotshoe.d/./a.so"))
    );
    assert_eq!(
        config.plugins[0].at.file,
        folder.path("hotshoe.d/10-site.toml")
    );
    assert_eq!(
        config.plugins[2].library,
        Library::Path(folder.path("./c.so"))
    );
    assert_eq!(
        folder.seen(&loaded.problems),
        [
            "duplicate-plugin hotshoe.toml:1:1",
            "duplicate-plugin hotshoe.toml:7:1"
        ]
    );
    for (problem, first) in loaded
        .problems
        .iter()
        .zip(["10-site.toml:4:1", "10-site.toml:1:1"])
    {
        assert_eq!(problem.severity, Severity::Warning);
        assert!(
            problem.headline.contains(first) && problem.headline.contains("hotshoe.toml:"),
            "{problem}"
        );
    }
}

#[test]
fn drop_ins_are_sorted_by_name_and_the_rest_of_the_folder_is_left_alone() {
    let entry = |name: &str| format!("[[plugin]]\nname = \"{name}\"\nlibrary = \"x\"");
    let folder = Folder::new(&[("hotshoe.toml", &entry("z"))]);
    for (file, name) in [
        ("9.toml", "nine"),
        ("10.toml", "ten"),
        ("A.toml", "big"),
        ("a.toml", "small"),
    ] {
        folder.write(&format!("hotshoe.d/{file}"), entry(name).as_bytes());
    }
    for other in ["README", "x.toml.bak", ".x.toml", "toml", "sub/x.toml"] {
        folder.write(&format!("hotshoe.d/{other}"), b"not toml");
    }
    let loaded = folder.load();
    assert_eq!(folder.seen(&loaded.problems), [""; 0]);
    let config = loaded.config.unwrap();
    let names: Vec<&str> = config
        .plugins
        .iter()
        .filter_map(|entry| entry.name.as_deref())
        .collect();
    assert_eq!(names, ["ten", "nine", "big", "small", "z"]);
}

#[test]
fn a_drop_in_holds_entries_only_and_every_file_is_judged() {
    let folder = Folder::new(&[
        (
            "hotshoe.d/1.toml",
            "[host]\nname = \"x\"\n[[plugin]]\nprot = 1\nlibrary = \"x\"\n[stream]\n",
        ),
        ("hotshoe.d/2.toml", "x = "),
        ("hotshoe.d/3.toml", "[[plugins]]\nlibrary = \"x\""),
        ("hotshoe.d/4.toml/x", ""),
        ("hotshoe.toml", "[host]\nprot = 1"),
    ]);
    let loaded = folder.load();
    assert!(loaded.config.is_none());
    assert_eq!(
        folder.seen(&loaded.problems),
        [
            "drop-in-key hotshoe.d/1.toml:1:2",
            "unknown-key hotshoe.d/1.toml:4:1",
            "drop-in-key hotshoe.d/1.toml:6:2",
            "bad-toml hotshoe.d/2.toml:1:5",
            "drop-in-key hotshoe.d/3.toml:1:3",
            "config-not-a-file hotshoe.d/4.toml",
            "unknown-key hotshoe.toml:2:1",
        ]
    );
    assert!(
        loaded.problems[4]
            .fix
            .as_ref()
            .unwrap()
            .contains("`plugin`")
    );
}

#[test]
fn a_file_in_place_of_the_drop_in_folder_is_said() {
    let folder = Folder::new(&[("hotshoe.d", "x"), ("hotshoe.toml", "")]);
    let loaded = folder.load();
    assert!(loaded.config.is_none());
    assert_eq!(
        folder.seen(&loaded.problems),
        ["config-unreadable hotshoe.d"]
    );
}

#[test]
fn entries_that_turn_out_to_be_of_one_name_are_merged_later() {
    // spark-cases A2: two paths to one library, neither with a name.
    let text = "[[plugin]]\nlibrary = \"./x.so\"\n[[plugin]]\nlibrary = \"./y.so\"\n";
    let plugins = config(text).plugins;
    assert_eq!(plugins.len(), 2);
    let (kept, warnings) = merge_duplicates(
        plugins
            .into_iter()
            .map(|entry| ("x".to_owned(), entry))
            .collect(),
    );
    assert_eq!(kept.len(), 1);
    assert!(kept[0].1.library.to_string().ends_with("x.so"));
    assert_eq!(
        (warnings.len(), warnings[0].code.as_str()),
        (1, "duplicate-plugin")
    );
    let headline = &warnings[0].headline;
    assert!(
        headline.contains("hotshoe.toml:1:1") && headline.contains("hotshoe.toml:3)"),
        "{headline}"
    );
    // The same file with two names is two instances.
    let named = entries(
        "[[plugin]]\nname = \"x1\"\nlibrary = \"./x.so\"\n[[plugin]]\nname = \"x2\"\nlibrary = \"./x.so\"",
    );
    assert_eq!(merge_duplicates(named).0.len(), 2);
}
