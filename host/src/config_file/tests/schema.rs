//! `hotshoe schema` and the reader say the same of every file.

use super::*;

/// What a TOML document is in JSON, as an editor's validator sees it.
fn as_json(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap()
}

#[test]
fn the_schema_knows_the_same_keys_and_no_others() {
    let schema = schema();
    let keys = |schema: &Value| -> Vec<String> {
        assert_eq!(schema["additionalProperties"], json!(false), "{schema}");
        schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    let same = |found: Vec<String>, keys: &[&str]| {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        let mut found = found;
        found.sort();
        assert_eq!(found, keys);
    };
    let defs = &schema["$defs"];
    same(keys(&schema), FileTable::KEYS);
    same(keys(&defs["HostTable"]), raw::HostTable::KEYS);
    same(keys(&defs["ExecutorsTable"]), raw::ExecutorsTable::KEYS);
    same(keys(&defs["StreamTable"]), raw::StreamTable::KEYS);
    same(keys(&defs["TrustTable"]), raw::TrustTable::KEYS);
    same(keys(&defs["PluginTable"]), raw::PluginTable::KEYS);
    same(keys(&defs["DeadlinesTable"]), raw::DeadlinesTable::KEYS);
    same(keys(&defs["RestartTable"]), raw::RestartTable::KEYS);
    same(keys(&defs["LimitsTable"]), raw::LimitsTable::KEYS);
    same(keys(&defs["SandboxTable"]), raw::SandboxTable::KEYS);
    same(keys(&defs["NetTable"]), raw::NetTable::KEYS);
    assert_eq!(defs["PluginTable"]["required"], json!(["library"]));
    assert!(
        !schema.to_string().contains("null"),
        "TOML has no null: {schema:#}"
    );
}

#[test]
fn the_schema_s_defaults_are_those_of_an_empty_file() {
    let schema = schema();
    let defaults = |table: &str| -> toml::Table {
        let properties = schema["$defs"][table]["properties"].as_object().unwrap();
        let default =
            |(key, schema): (&String, &Value)| Some((key.clone(), schema.get("default")?.clone()));
        let defaults: serde_json::Map<String, Value> =
            properties.iter().filter_map(default).collect();
        serde_json::from_value(Value::Object(defaults)).unwrap()
    };
    let mut entry = defaults("PluginTable");
    assert!(entry.contains_key("deadlines") && entry.contains_key("settings"));
    entry.insert("library".to_owned(), "x".into());
    let mut file = toml::Table::new();
    for (key, table) in [
        ("host", "HostTable"),
        ("executors", "ExecutorsTable"),
        ("stream", "StreamTable"),
        ("trust", "TrustTable"),
    ] {
        file.insert(key.to_owned(), toml::Value::Table(defaults(table)));
    }
    file.insert("plugin".to_owned(), vec![toml::Value::Table(entry)].into());
    let spelled_out = config(&toml::to_string(&file).unwrap());
    let left_out = config("[host]\n[stream]\n[[plugin]]\nlibrary = \"x\"");
    assert_eq!(spelled_out.host.admin, left_out.host.admin);
    assert_eq!(spelled_out.executors, left_out.executors);
    assert_eq!(spelled_out.trust, left_out.trust);
    let (mut a, mut b) = (spelled_out.stream.unwrap(), left_out.stream.unwrap());
    b.at = a.at.clone();
    assert_eq!(a, b);
    a.at.line = 0;
    let (a, mut b) = (spelled_out.plugins[0].clone(), left_out.plugins[0].clone());
    (b.at, b.library_at, b.settings) = (a.at.clone(), a.library_at.clone(), a.settings.clone());
    assert_eq!(a, b);
}

#[test]
fn reader_and_schema_agree_on_what_a_file_may_hold() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let check = |text: &str| {
        let refused = load_text(text).problems.iter().any(|problem| {
            problem.severity == Severity::Error
                // What keys say of each other, and of this machine, is not a schema's.
                && !["no-keys", "needs-process", "no-such-path"].contains(&problem.code.as_str())
        });
        assert_eq!(validator.is_valid(&as_json(text)), !refused, "{text}");
    };
    check("");
    check(DESIGN);
    for text in [
        "[host]\nname = \" a \"",
        "[host]\nname = \"A\"",
        "[host]\nadmin = \"127.0.0.1:1\"",
        "[host]\nadmin = \"on\"",
        "[host]\nadmin = 1",
        "[host]\nprot = 1",
        "[host]\nresources = { gpu = [\"1\"] }",
        "[host]\nresources = { gpu = [1] }",
        "[host]\nhostname = \"\"",
        "hots = 1",
        "[executors]\ncount = 0",
        "[executors]\ncount = 1024",
        "[executors]\ncount = 1025",
        "[executors]\ndrain = \"0s\"",
        "[executors]\ndrain = \"5\"",
        "[stream]\nsource = \"file:x\"",
        "[stream]\nsource = \"x\"",
        "[stream]\nbatch_bytes = 1024",
        "[stream]\nbatch_bytes = 1023",
        "[stream]\nbatch_bytes = \"64KB\"",
        "[stream]\nprocessors = [\"\"]",
        "[stream]\non_error = \"x\"",
        "[stream]\nsink = \"x\"",
        "[trust]\nrequire = \"signed\"",
        "[trust]\nrequire = \"x\"",
        "[[plugin]]",
        "[[plugin]]\nlibrary = \"x\"\nrequired = 1",
        "[[plugin]]\nlibrary = \"x\"\nsandbox = \"standard\"",
        "[[plugin]]\nlibrary = \"x\"\nsandbox = { read = [\"x\"] }",
        "[[plugin]]\nlibrary = \"x\"\nsandbox = { x = 1 }",
        "[[plugin]]\nlibrary = \"x\"\nlimits = { memory = \"64MiB\", cpu_time = \"1h\", files = 5 }",
        "[[plugin]]\nlibrary = \"x\"\nlimits = { memory = 5.0 }",
        "[[plugin]]\nlibrary = \"x\"\nlimits = { cpu_time = \"1s\", files = 16, processes = 16 }",
        "[[plugin]]\nlibrary = \"x\"\nlimits = { processes = 15 }",
        "[[plugin]]\nlibrary = \"x\"\nlimits = { cpu_time = \"1ms\" }",
        "[[plugin]]\nlibrary = \"x\"\nsandbox = { net = { bind = [1], connect = [65535] }, env = [\"A\"] }",
        "[[plugin]]\nlibrary = \"x\"\nsandbox = { net = { bind = [0] } }",
        "[[plugin]]\nlibrary = \"x\"\nsandbox = { net = { connect = [\"1\"] } }",
        "[[plugin]]\nlibrary = \"x\"\nsandbox = { env = [\"A=\"] }",
        "[[plugin]]\nlibrary = \"x\"\ndeadlines = { init = \"0s\" }",
        "[[plugin]]\nlibrary = \"x\"\ndeadlines = { init = \"10s\" }",
        "[[plugin]]\nlibrary = \"x\"\nsettings = { any = [1, { b = true }] }",
        "[[plugin]]\nlibrary = \"x\"\nsettings = 1",
        "plugin = 1",
    ] {
        check(text);
    }
}
