//! A plugin's own settings: free in shape, each value with its place, secrets never shown.

use super::*;

#[test]
fn settings_are_free_and_every_value_has_its_place() {
    let folder = Folder::new(&[(
        "hotshoe.toml",
        "[[plugin]]\nlibrary = \"x\"\n[plugin.settings]\nport = \"x\"\nlist = [1, { a = 2.5 }]\n\"a/b~\" = \
         true\nwhen = 1979-05-27T07:32:00Z\nbig = 18446744073709551615\nhex = 0xff\nlow = -5\nfile = \
         \"plain\"\n[plugin.settings.deep.er]\nkey = 'v'\n",
    )]);
    let settings = folder.load().config.unwrap().plugins.remove(0).settings;
    assert_eq!(
        settings.to_value(),
        json!({
            "port": "x", "list": [1, { "a": 2.5 }], "a/b~": true, "when": "1979-05-27T07:32:00Z",
            "big": 18_446_744_073_709_551_615_u64, "hex": 255, "low": -5, "file": "plain",
            "deep": { "er": { "key": "v" } },
        })
    );
    let at = |pointer: &str| {
        settings
            .place(pointer)
            .map(|at| (at.line, at.column))
            .unwrap()
    };
    assert_eq!(at(""), (3, 1));
    assert_eq!(at("/port"), (4, 8));
    assert_eq!(at("/list/1/a"), (5, 18));
    assert_eq!(at("/list/1/b"), (5, 12));
    assert_eq!(at("/list/7"), (5, 8));
    assert_eq!(at("/a~1b~0"), (6, 10));
    assert_eq!(at("/absent"), (3, 1));
    assert_eq!(at("/deep/er/key"), (13, 7));
    assert_eq!(at("/deep/er"), (12, 1));
    let key = |pointer: &str| {
        settings
            .key_place(pointer)
            .map(|at| (at.line, at.column))
            .unwrap()
    };
    assert_eq!(key("/port"), (4, 1));
    assert_eq!(key("/list/1/a"), (5, 14));
    assert_eq!(key("/deep/er"), (12, 23));
    assert_eq!(
        settings.place("/port").unwrap().file,
        folder.path("hotshoe.toml")
    );
    assert_eq!(settings.printable(), settings.to_value());
    assert!(settings.secrets().is_empty());
    assert_eq!(
        Settings::from_values(settings.values().clone()).place("/port"),
        None
    );
}

#[test]
fn secrets_come_from_files_and_variables_and_are_never_shown() {
    let mut folder = Folder::new(&[
        ("hotshoe.toml", ""),
        ("secrets/token", "s3cr3t\n"),
        (
            "hotshoe.d/1.toml",
            "[[plugin]]\nlibrary = \"x\"\n[plugin.settings]\ntoken = { file = \"../secrets/token\" }\n\
            url = \"http://${env:USER_NAME}:${env:_P2}@host/${HOME}\"\nlist = [{ file = \"${env:DIR}/token\" }]\n\
            inner = { file = \"x\", other = 1 }\nplain = \"s\"\n",
        ),
        ("hotshoe.d/token", "two\r\n\r\n"),
    ]);
    folder.env.insert("USER_NAME", "us3r".into());
    folder.env.insert("_P2", "p4ss${env:USER_NAME}".into());
    folder.env.insert("DIR", ".".into());
    let settings = folder.load().config.unwrap().plugins.remove(0).settings;
    assert_eq!(
        settings.to_value(),
        json!({
            "token": "s3cr3t", "url": "http://us3r:p4ss${env:USER_NAME}@host/${HOME}", "list": ["two\r\n"],
            "inner": { "file": "x", "other": 1 }, "plain": "s",
        })
    );
    assert_eq!(
        settings.secrets().iter().collect::<Vec<_>>(),
        ["/list/0", "/token", "/url"]
    );
    let shown = json!({
        "token": "***", "url": "***", "list": ["***"], "inner": { "file": "x", "other": 1 }, "plain": "s",
    });
    assert_eq!(settings.printable(), shown);
    assert_eq!(serde_json::to_value(&settings).unwrap(), shown);
    for secret in ["s3cr3t", "us3r", "p4ss", "two"] {
        assert!(!format!("{settings:?}").contains(secret));
    }
    assert!(
        settings.hides("")
            && settings.hides("/list")
            && settings.hides("/token")
            && settings.hides("/token/x")
    );
    assert!(!settings.hides("/tok") && !settings.hides("/inner") && !settings.hides("/list/1"));
}

#[test]
fn settings_that_cannot_be_filled_are_reported_where_they_stand() {
    let settings = |line: &str| format!("{PLUGIN}[plugin.settings]\n{line}");
    check(
        &settings("a = \"${env:NOT_SET}\""),
        &["unset-variable 4:5 | NOT_SET="],
    );
    check(
        &settings("a = \"x${env:NOT_SET\""),
        &["bad-value 4:5 | close it"],
    );
    check(&settings("a = \"${env:}\""), &["bad-value 4:5"]);
    check(&settings("a = \"${env:A-B}\""), &["bad-value 4:5"]);
    check(
        &settings("a = { file = \"missing\" }"),
        &["unreadable-value 4:5"],
    );
    check(&settings("a = { file = \".\" }"), &["unreadable-value 4:5"]);
    check(
        &settings("a = { file = \"${env:NOT_SET}\" }"),
        &["unset-variable 4:5"],
    );
    check(
        &settings("[plugin.settings.a]\nfile = \"missing\""),
        &["unreadable-value 4:1"],
    );
    check(
        &settings("a = [1, inf, -inf, nan, 1e999]").replace(", 1e999", ""),
        &["bad-value 4:9", "bad-value 4:14", "bad-value 4:20"],
    );
    check(&settings("a = 18446744073709551616"), &["bad-value 4:5"]);
    let deep = format!(
        "a = {}{}",
        "{ a = ".repeat(40),
        "{ a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a = 1 }"
    ) + &" }".repeat(40);
    let loaded = load_text(&settings(&deep));
    assert_eq!(
        (loaded.problems.len(), loaded.problems[0].code.as_str()),
        (1, "bad-value")
    );
    // Each limit of the parser taken to its end, and multiplied.
    let dotted = format!("a{}", ".a".repeat(78));
    let deepest = format!(
        "[{dotted}]\n{dotted} = {}1{}",
        format!("{{ {dotted} = ").repeat(78),
        " }".repeat(78)
    );
    for text in [
        deepest.clone(),
        settings(&deepest.replace("[a.", "[plugin.settings.")),
    ] {
        assert!(load_text(&text).config.is_none());
    }
    let folder = Folder::new(&[("hotshoe.toml", &settings("a = { file = \"latin1\" }"))]);
    folder.write("latin1", b"K\xf6ln");
    assert_eq!(
        folder.seen(&folder.load().problems),
        ["unreadable-value hotshoe.toml:4:5"]
    );
}
