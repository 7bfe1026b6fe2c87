//! Who may ask: browsers (C5), foreign `Host` names (C7), addresses that others reach (C49).

use super::*;
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

/// C5: every header of §10's strict rule, each alone.
#[test]
fn c05_browsers_are_refused() {
    let setup = alone(quickstart());
    let served = Served::start(&setup);
    served.unchanged(|| {
        for (name, value) in [
            ("Origin", "http://evil.example"),
            ("Origin", "null"),
            ("Referer", "http://evil.example/page"),
            ("Cookie", "a=b"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "none"),
            ("Sec-Fetch-Mode", "no-cors"),
            ("Sec-Fetch-Dest", "image"),
            ("Sec-Fetch-User", "?1"),
            ("Sec-Fetch-Storage-Access", "active"),
            ("Sec-Purpose", "prefetch"),
            ("Purpose", "prefetch"),
            ("X-Moz", "prefetch"),
            ("Accept-Language", "en"),
            ("Upgrade-Insecure-Requests", "1"),
            ("Forwarded", "for=192.0.2.1"),
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Forwarded-Host", "evil.example"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Anything", ""),
            ("Via", "1.1 proxy"),
            ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"),
        ] {
            let response = served.ask("GET", "/", &[(name, value)], NO_BODY);
            let json = problem(&response, 403, "browser-refused");
            assert!(json["hint"].is_string(), "{name}: {json}");
        }
    });
    // What command-line clients send is let through.
    for headers in [
        &[("User-Agent", "curl/7.88.1"), ("Accept", "*/*")][..],
        &[("User-Agent", "Wget/1.21 (Mozilla/ not first)")],
        &[("Accept-Encoding", "gzip"), ("X-Request-Id", "1")],
    ] {
        assert_eq!(served.ask("GET", "/", headers, NO_BODY).status, 200);
    }
}

/// C5, the rule of the other routes: what a page cannot hide.
#[test]
fn c05_pages_neither_change_nor_read() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    served.unchanged(|| {
        for (name, value, reads) in [
            ("Origin", "http://evil.example", false),
            ("Sec-Fetch-Site", "cross-site", false),
            ("Sec-Fetch-Site", "same-origin", false),
            ("Referer", "http://evil.example/", true),
            ("Cookie", "a=b", true),
        ] {
            let response = served.ask("POST", "/v1/touch", &[(name, value)], NO_BODY);
            problem(&response, 403, "browser-refused");
            let headers = [JSON, (name, value)];
            let response = served.ask("PUT", "/v1/config", &headers, b"{\"value\":1}");
            problem(&response, 403, "browser-refused");
            let response = served.ask("GET", "/v1/config", &[(name, value)], NO_BODY);
            match reads {
                true => assert_eq!(response.status, 200, "{name}"),
                false => drop(problem(&response, 403, "browser-refused")),
            }
        }
        // The preflight of a scripted change.
        let preflight = [
            ("Origin", "http://evil.example"),
            ("Access-Control-Request-Method", "PUT"),
        ];
        let response = served.ask("OPTIONS", "/v1/config", &preflight, NO_BODY);
        problem(&response, 405, "method-not-allowed");
    });
    let typed = [("Sec-Fetch-Site", "none"), ("Accept-Language", "en")];
    assert_eq!(served.ask("POST", "/v1/touch", &typed, NO_BODY).status, 200);
}

/// C7: the names are spelled by hand, since no client sends none or two.
#[test]
fn c07_only_our_own_names_are_hosts() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    let port = served.port;
    let touch = |hosts: &[String]| {
        let lines: String = hosts
            .iter()
            .map(|host| format!("Host: {host}\r\n"))
            .collect();
        let request = format!("POST /v1/touch HTTP/1.1\r\nConnection: close\r\n{lines}\r\n");
        let mut stream = http::connect(&served.address());
        let response = http::exchange(&mut stream, request.as_bytes());
        assert_fixed_headers(&response, "/v1/touch");
        response
    };
    served.unchanged(|| {
        for host in [
            "evil.example".to_owned(),
            format!("evil.example:{port}"),
            format!("localhost.:{port}"),
            "localhost:1".to_owned(),
            "localhost".to_owned(),
            format!("127.1:{port}"),
            format!("[::2]:{port}"),
        ] {
            problem(&touch(&[host]), 403, "host-refused");
        }
        let ours = format!("localhost:{port}");
        problem(&touch(&[]), 400, "bad-host");
        problem(&touch(&[ours.clone(), ours.clone()]), 400, "bad-host");
        problem(&touch(&[ours, "evil.example".to_owned()]), 400, "bad-host");

        // An absolute target must say the same as the header.
        let request = format!(
            "POST http://evil.example/v1/touch HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
        );
        let response = http::exchange(&mut http::connect(&served.address()), request.as_bytes());
        problem(&response, 400, "bad-host");
    });
    for name in ["localhost", "127.0.0.1", "[::1]"] {
        assert_eq!(touch(&[format!("{name}:{port}")]).status, 200, "{name}");
    }
}

#[test]
fn c07_further_names_are_taken_from_the_settings() {
    let names = r#"allowed_hosts = ["config.example", "other.example:80"]"#;
    let setup = alone(standard().set(names));
    let served = Served::start(&setup);
    for (host, status) in [
        (format!("config.example:{}", served.port), 200),
        // As a proxy passes on what its clients send, and as people write names.
        ("config.example".to_owned(), 200),
        ("Config.Example".to_owned(), 200),
        ("config.example:1".to_owned(), 403),
        ("other.example:80".to_owned(), 200),
        (format!("other.example:{}", served.port), 403),
    ] {
        let request = http::request("GET", "/v1/config", &host, &[], NO_BODY);
        let response = http::exchange(&mut http::connect(&served.address()), &request);
        assert_eq!(response.status, status, "{host}");
        if status == 403 {
            let hint = response.json()["hint"].as_str().unwrap().to_owned();
            let entry = host.trim_end_matches(&format!(":{}", served.port));
            let add = format!("add \"{entry}\" to allowed_hosts");
            assert!(hint.ends_with(&add), "{hint}");
        }
    }
}

const TOKEN: &str = "0123456789abcdefghijklmnopqrstuv";

fn token_file(path: &Path, token: &str, mode: u32) -> String {
    fs::write(path, format!("{token}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    format!("token_file = {:?}", path.display().to_string())
}

/// C49, first half.
#[test]
fn c49_an_open_address_needs_a_token() {
    let setup = alone(instance().set("listen = [\"0.0.0.0:0\"]"));
    let finished = setup.run();
    finished.assert_code(4);
    assert_eq!(finished.error_code(), "config-bind-needs-token");
    let [line] = &finished.problems("config-bind-needs-token")[..] else {
        panic!("one problem, once: {finished:#?}");
    };
    assert!(line.text_of("fix").contains("token_file"), "{line:?}");
    assert!(!setup.run_dir().join("dynamic-config.addr").exists());
}

/// C49, second half.
#[test]
fn c49_with_a_token_the_token_decides() {
    let setup = Setup::new();
    let setting = token_file(&setup.scratch("token"), TOKEN, 0o600);
    let entry = instance()
        .set("listen = [\"0.0.0.0:0\"]")
        .set("touch = { step = 10 }")
        .set(&setting);
    setup.entries("", &[entry]);
    let served = Served::start(&setup);
    let good = format!("Bearer {TOKEN}");
    let ask = |path: &str, token: Option<&str>| {
        let headers: Vec<_> = token
            .iter()
            .map(|token| ("Authorization", *token))
            .collect();
        served.ask("GET", path, &headers, NO_BODY)
    };
    for path in ["/v1/config", "/v1/status", "/no-such-route"] {
        let none = ask(path, None);
        problem(&none, 401, "token-required");
        assert_eq!(none.header("www-authenticate"), Some("Bearer"));
        let basic = ask(path, Some("Basic MDEyMzQ1Njc4OWFiY2RlZg=="));
        problem(&basic, 401, "token-required");
        for wrong in [&good[..good.len() - 1], &format!("{good}x"), "Bearer x"] {
            let wrong = ask(path, Some(wrong));
            problem(&wrong, 401, "token-invalid");
            assert_eq!(wrong.header("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(ask("/v1/config", Some(&good)).text(), "{\"value\":10}\n");
    problem(&ask("/no-such-route", Some(&good)), 404, "no-such-route");
    let denied = served.touch();
    problem(&denied, 401, "token-required");
    let bearer = [("Authorization", good.as_str())];
    let touched = served.ask("POST", "/v1/touch", &bearer, NO_BODY);
    assert_eq!(touched.json()["value"], 20);
    assert_eq!(served.get("/healthz").text(), "ok\n");
    assert_eq!(served.get("/readyz").text(), "ready\n");
    assert!(!served.host.stderr().contains(TOKEN), "a token in the log");
}

/// A token is for every door, the ones of this machine included.
#[test]
fn c49_a_token_is_asked_for_on_loopback_too() {
    let setup = Setup::new();
    let socket = setup.scratch("config.sock");
    let setting = token_file(&setup.scratch("token"), TOKEN, 0o400);
    let unix = format!("unix = {:?}", socket.display().to_string());
    setup.entries("", &[standard().set(&setting).set(&unix)]);
    let served = Served::start(&setup);
    problem(&served.get("/v1/config"), 401, "token-required");
    problem(
        &http::get_unix(&socket, "/v1/config"),
        401,
        "token-required",
    );
}

#[test]
fn c49_a_token_file_that_others_read_is_refused() {
    for (token, mode) in [(TOKEN, 0o644), ("short", 0o600), ("", 0o600)] {
        let setup = Setup::new();
        let setting = token_file(&setup.scratch("token"), token, mode);
        setup.entries("", &[standard().set(&setting)]);
        let finished = setup.run();
        finished.assert_code(4);
        assert_eq!(
            finished.error_code(),
            "config-bad-setting",
            "{token} {mode:o}"
        );
        assert!(finished.error().contains("token_file"), "{finished:?}");
    }
}

/// A relative path depends on where the host was started: the refusal says where it looked, and what is missing there.
#[test]
fn a_file_that_is_not_there_is_named_whole() {
    for key in ["schema", "token_file"] {
        let setup = alone(standard().set(&format!("{key} = \"not/there\"")));
        let finished = setup.run();
        finished.assert_code(4);
        let place = setup.folder().join("not/there");
        let why = format!(
            "{key} = \"not/there\": the file {} does not exist",
            place.display()
        );
        assert!(finished.error().contains(&why), "{}", finished.error());
        let [line] = &finished.problems("config-bad-setting")[..] else {
            panic!("one problem, once: {finished:#?}");
        };
        assert!(
            line.text_of("fix").starts_with("put the file there"),
            "{line:?}"
        );
    }
}
