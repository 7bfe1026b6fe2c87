//! Where the listener is: a taken port (C47), a port that the machine chose (C48).

use super::*;
use hotshoe_tests::DefaultPort;
use std::fs;

/// C47: the stranger is this very test, on one of the two addresses.
#[track_caller]
fn taken(held: &str) {
    let _turn = DefaultPort::take();
    let _held = TcpListener::bind(held).expect("nothing else uses the default port here");
    let setup = Setup::new();
    let stream = "[stream]\nsource = \"stdin\"\nprocessors = [\"probe\", \"append\"]\n";
    let plugin = instance().set("profile = \"quickstart\"");
    setup.entries(stream, &[plugin, setup.misbehave("probe"), append()]);
    let mut host = setup.start();
    host.send_line("hello world ");
    host.close_input();
    host.assert_exit(4);

    let own_name = fs::read_to_string("/proc/self/comm").unwrap();
    let lines = host.logs();
    let mark = "error[config-port-taken]: ";
    let mut problems = lines
        .iter()
        .filter(|line| line.sentence().starts_with(mark));
    let line = problems
        .next()
        .unwrap_or_else(|| panic!("{}", host.stderr()));
    assert!(problems.next().is_none(), "said once:\n{}", host.stderr());
    let wanted = format!(
        "dynamic-config cannot listen on {held}: in use by pid {} ({})",
        std::process::id(),
        own_name.trim_end()
    );
    assert!(line.sentence().contains(&wanted), "{wanted}\n{line:?}");
    assert_eq!(
        line.text_of("fix"),
        "stop it, or set listen to another port, or to port 0"
    );

    assert_eq!(String::from_utf8_lossy(&host.stdout()), "");
    assert_eq!(setup.trace().count("probe", "processor", "process"), 0);
    assert!(!setup.run_dir().join("dynamic-config.addr").exists());
}

#[test]
fn c47_a_port_taken_on_ipv4_stops_the_start() {
    taken("127.0.0.1:9999");
}

#[test]
fn c47_a_port_taken_on_ipv6_alone_stops_the_start() {
    if has_ipv6() {
        taken("[::1]:9999");
    }
}

/// C48.
#[test]
fn c48_a_chosen_port_is_told_everywhere() {
    let setup = alone(standard());
    let mut served = Served::start(&setup);
    let port = served.port;
    assert_ne!(port, 0);
    let mut expected = vec![format!("http://127.0.0.1:{port}")];
    if has_ipv6() {
        expected.push(format!("http://[::1]:{port}"));
    }
    assert_eq!(served.urls, expected);
    let status = served.get("/v1/status").json();
    assert_eq!(status["listen"], json!(expected));
    let endpoints = served.host.instance(INSTANCE)["endpoints"].clone();
    assert_eq!(endpoints, json!(expected));
    served.host.wait_message(
        INSTANCE,
        &format!("config listening on {}", expected.join(" ")),
    );
    for url in &expected {
        let text = curl_text(&[&format!("{url}/v1/config")]);
        assert_eq!(text, "{\"value\":10}\n", "{url}");
    }

    let file = setup.run_dir().join("dynamic-config.addr");
    assert!(file.exists());
    served.host.stop();
    assert!(!file.exists());
    // Nobody listens any more, and the port is free at once for somebody who asks for it the plain way.
    for url in &expected {
        drop(TcpListener::bind(url.strip_prefix("http://").unwrap()).unwrap());
    }
}

/// §3.2: all members always, in order.
#[test]
fn c48_the_status_is_complete() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    let response = served.get("/v1/status");
    let status = response.json();
    assert_eq!(response.text(), canonical(&status) + "\n");
    let members: Vec<&String> = status.as_object().unwrap().keys().collect();
    let mut members: Vec<&str> = members.iter().map(|name| name.as_str()).collect();
    members.sort_unstable();
    assert_eq!(
        members,
        [
            "confirm",
            "connections",
            "durable",
            "generation",
            "history",
            "listen",
            "plugin",
            "profile",
            "readers",
            "started_at",
            "state",
            "store",
            "version",
            "warnings",
            "watchers",
        ]
    );
    for (name, value) in [
        ("confirm", Value::Null),
        ("durable", json!(true)),
        ("generation", json!(1)),
        ("plugin", json!("dynamic-config")),
        ("profile", json!("standard")),
        ("state", json!("ready")),
        ("warnings", json!(["loopback-open"])),
    ] {
        assert_eq!(status[name], value, "{name}");
    }
    let store = status["store"].as_str().unwrap();
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    assert!(store.len() == 8 && store.bytes().all(hex), "{store}");
    assert_eq!(served.get("/healthz").text(), "ok\n");
    assert_eq!(served.get("/readyz").text(), "ready\n");
    assert_eq!(served.setup.addresses(INSTANCE), served.urls);
}
