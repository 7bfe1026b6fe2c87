//! `hotshoe inspect`: everything that is known of a file before anything of it runs, for people and for scripts; and what a
//! file is that is no plugin.

use super::corpus::{Corpus, GARBAGE, MANIFEST};
use hotshoe_tests::{Setup, artifacts};
use serde_json::Value;

fn json(setup: &Setup, path: &std::path::Path) -> (Option<i32>, Value) {
    let path = path.display().to_string();
    let finished = setup.hotshoe(&["inspect", "--json", &path]);
    let answer: Value = serde_json::from_str(&finished.stdout).unwrap();
    (finished.code, answer[0].clone())
}

#[test]
fn a_plugin_is_told_whole() {
    let setup = Setup::new();
    let (code, answer) = json(&setup, artifacts::fixture("driver-only"));
    assert_eq!(code, Some(0), "{answer:#}");
    let inspection = &answer["inspection"];
    for (key, is) in [
        ("len_bytes", Value::is_u64 as fn(&Value) -> bool),
        ("mapped_bytes", Value::is_u64),
        ("tls_size_bytes", Value::is_u64),
        ("constructors", Value::is_u64),
        ("exec_stack", Value::is_boolean),
        ("text_relocations", Value::is_boolean),
        ("static_tls", Value::is_boolean),
        ("stripped", Value::is_boolean),
        ("uses_origin", Value::is_boolean),
        ("rpath", Value::is_array),
        ("runpath", Value::is_array),
        ("needed", Value::is_array),
        ("glibc_needed", Value::is_array),
        ("compilers", Value::is_array),
        ("platform", Value::is_object),
        ("entry", Value::is_object),
    ] {
        assert!(is(&inspection[key]), "{key}: {inspection:#}");
    }
    for key in ["soname", "build_id", "manifest_fault"] {
        assert!(inspection.get(key).is_some(), "{key}: {inspection:#}");
    }
    let manifest = &inspection["manifest"];
    for (key, value) in [("name", "driver-only"), ("panic", "unwind")] {
        assert_eq!(manifest[key], value, "{manifest:#}");
    }
    for key in [
        "version",
        "abi",
        "rustc",
        "profile",
        "target",
        "components",
        "symbol",
    ] {
        assert!(!manifest[key].is_null(), "{key}: {manifest:#}");
    }
    let compilers = inspection["compilers"].as_array().unwrap();
    let of_rustc = |text: &Value| text.as_str().unwrap().starts_with("rustc version ");
    assert!(compilers.iter().any(of_rustc), "{compilers:?}");
}

#[test]
fn what_is_no_plugin_is_told_what_it_is() {
    let setup = Setup::new();
    let corpus = Corpus::new(setup.scratch("corpus"));
    let plain = corpus.library("libplain.so", "");
    let newer = corpus.plugin("newer.so", &MANIFEST.replace("abi=1", "abi=9"), GARBAGE);
    let text = corpus.write("text.so", "some words\n");
    // The file, the exit code, the refusal, what it is, and whether its bytes are shown.
    for (path, exit, refusal, what, shown) in [
        (&plain, 3, "no-manifest", "a library without manifest", true),
        (
            &newer,
            0,
            "abi-too-new",
            "the Hotshoe plugin hostile 1.0.0 (driver), built for ABI 9.0.0",
            true,
        ),
        (&text, 3, "not-a-library", "a text file", false),
    ] {
        let (code, answer) = json(&setup, path);
        assert_eq!(code, Some(exit), "{answer:#}");
        assert_eq!(answer["problem"]["code"], refusal, "{answer:#}");
        assert_eq!(answer["inspection"].is_object(), shown, "{answer:#}");
        assert_eq!(answer["what"], what, "{answer:#}");

        let words = setup.hotshoe(&["inspect", &path.display().to_string()]);
        assert_eq!(words.code, Some(exit), "{words:#?}");
        let told = format!("{}{}", words.stdout, words.stderr);
        assert!(told.contains(&format!("error[{refusal}]: ")), "{words:#?}");
        assert!(
            told.contains(what) || refusal == "abi-too-new",
            "{words:#?}"
        );
    }
    assert!(!corpus.marker().exists(), "a canary sang");
}
