//! C9: the commands of config-api §6 in order, as curl shows them, on a value in memory and without `confirm`: whole and
//! durable they are in `confirm.rs`.

use super::*;

/// `curl -i`, read strictly.
#[track_caller]
pub(super) fn shown(served: &Served<'_>, path: &str, arguments: &[&str]) -> http::Response {
    let url = format!("http://{}{path}", served.localhost());
    let mut all = vec!["-4", "-i"];
    all.extend(arguments);
    all.push(&url);
    let text = curl_text(&all);
    http::read(&mut text.as_bytes())
}

/// Status and body are exactly these, and the length and the generation say so.
#[track_caller]
pub(super) fn assert_shown(response: &http::Response, generation: u64, body: &str) {
    assert_eq!(
        (response.status, response.text()),
        (200, format!("{body}\n"))
    );
    let len = (body.len() + 1).to_string();
    assert_eq!(response.header("content-length"), Some(len.as_str()));
    let named = response.header("hotshoe-generation");
    assert_eq!(named, Some(generation.to_string().as_str()));
}

/// A refusal that is exactly that, but for `detail` and `hint`.
#[track_caller]
pub(super) fn assert_refused(response: &http::Response, body: &str) {
    let expected: Value = serde_json::from_str(body).unwrap();
    let slug = expected["type"].as_str().unwrap();
    let slug = slug.strip_prefix("urn:hotshoe:config:").unwrap();
    let status = u16::try_from(expected["status"].as_u64().unwrap()).unwrap();
    let found = problem(response, status, slug);
    assert_eq!(
        found.get("hint").is_some(),
        expected.get("hint").is_some(),
        "{found}"
    );
    assert_eq!(without_wording(found), without_wording(expected));
}

#[test]
fn c09_the_worked_examples_answer_as_written() {
    let setup = alone(quickstart());
    let served = Served::start(&setup);
    let json = "Content-Type: application/json";

    let response = shown(&served, "", &[]);
    assert_shown(&response, 2, "the latest configuration is 20");
    assert_eq!(
        response.header("content-type"),
        Some("text/plain; charset=utf-8")
    );

    let response = shown(&served, "/v1/config", &[]);
    assert_shown(&response, 2, r#"{"value":20}"#);
    assert_eq!(response.header("etag"), Some("\"2\""));

    let put = [
        "-X",
        "PUT",
        "-H",
        json,
        "-H",
        "If-Match: \"2\"",
        "-d",
        r#"{"value":42}"#,
    ];
    let response = shown(&served, "/v1/config", &put);
    assert_shown(
        &response,
        3,
        r#"{"changed":true,"confirm":null,"durable":false,"generation":3,"op":"put","parent":2}"#,
    );

    let response = shown(&served, "/v1/config", &put);
    assert_eq!(response.header("hotshoe-generation"), Some("3"));
    assert_refused(
        &response,
        r#"{"detail":"If-Match names generation 2, the current generation is 3","generation":3,"hint":"read the value again, then repeat with If-Match: \"3\"","status":412,"title":"Generation mismatch","type":"urn:hotshoe:config:generation-mismatch"}"#,
    );

    let response = shown(
        &served,
        "/v1/config",
        &["-X", "PUT", "-H", json, "-d", r#"{"value": }"#],
    );
    assert_refused(
        &response,
        r#"{"column":11,"detail":"expected a value","line":1,"status":400,"title":"Bad json","type":"urn:hotshoe:config:bad-json"}"#,
    );

    let response = shown(
        &served,
        "/v1/config",
        &["-X", "PUT", "-H", json, "-d", r#"{"value":"x"}"#],
    );
    assert_refused(
        &response,
        r#"{"column":10,"detail":"\"x\" is not of type \"integer\"","line":1,"pointer":"/value","status":422,"title":"Schema violation","type":"urn:hotshoe:config:schema-violation"}"#,
    );

    let dry = ["-X", "PUT", "-H", json, "-d", "43"];
    let response = shown(&served, "/v1/config/value?dry_run=true", &dry);
    assert_shown(
        &response,
        3,
        r#"{"changed":true,"dry_run":true,"generation":3,"patch":[{"op":"replace","path":"/value","value":43}]}"#,
    );

    let merge = [
        "-X",
        "PATCH",
        "-H",
        "Content-Type: application/merge-patch+json",
        "-d",
        r#"{"value":7}"#,
    ];
    let response = shown(&served, "/v1/config", &merge);
    assert_shown(
        &response,
        4,
        r#"{"changed":true,"confirm":null,"durable":false,"generation":4,"op":"merge-patch","parent":3}"#,
    );

    let back = ["-X", "POST", "-H", json, "-d", r#"{"to":2}"#];
    let response = shown(&served, "/v1/rollback", &back);
    assert_shown(
        &response,
        5,
        r#"{"changed":true,"confirm":null,"durable":false,"generation":5,"op":"rollback","parent":4}"#,
    );

    let response = shown(&served, "/v1/history?limit=2", &[]);
    assert_eq!(
        with_times_gone(&response.text()),
        concat!(
            r#"{"items":[{"at":"…","by":"tcp:127.0.0.1","confirm":null,"from":2,"generation":5,"op":"rollback","parent":4},"#,
            r#"{"at":"…","by":"tcp:127.0.0.1","confirm":null,"generation":4,"op":"merge-patch","parent":3}],"#,
            r#""newest":5,"next":4,"oldest":1}"#,
            "\n"
        )
    );

    let response = shown(&served, "", &["-H", "Origin: http://evil.example"]);
    assert_refused(
        &response,
        r#"{"detail":"header Origin marks a browser request","hint":"use a command-line client; browsers may not change configuration","status":403,"title":"Browser refused","type":"urn:hotshoe:config:browser-refused"}"#,
    );

    let response = shown(
        &served,
        "/v1/config",
        &["-X", "PUT", "-d", r#"{"value":1}"#],
    );
    assert_refused(
        &response,
        r#"{"detail":"Content-Type is application/x-www-form-urlencoded","hint":"add -H 'Content-Type: application/json'","status":415,"title":"Unsupported media type","type":"urn:hotshoe:config:unsupported-media-type"}"#,
    );
}

fn with_times_gone(text: &str) -> String {
    const TIME: usize = "2026-01-02T03:04:10.000000Z".len();
    let mut pieces = text.split("\"at\":\"");
    let mut gone = pieces.next().unwrap().to_owned();
    for piece in pieces {
        assert_eq!(piece.as_bytes().get(TIME), Some(&b'"'), "{text}");
        gone += "\"at\":\"…";
        gone += &piece[TIME..];
    }
    gone
}
