//! Limits, hostile clients, and the end.

use super::*;
use std::time::Instant;

const JSON: &str = "content-type: application/json";

#[test]
fn a36_hostile_clients_change_nothing_and_are_let_go() {
    let mut bytes: Vec<u8> = (0..1_u32 << 20)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    bytes[0] = 0xff;
    let instance = start(json!({"profile": "quickstart", "head_timeout": "3s"}));
    let before = instance.state();
    drop(instance.client());
    let mut held = instance.client();
    held.send(b"GET / HT");
    let mut silent = instance.client();
    let mut noise = instance.client();
    noise.try_send(&bytes);
    let answer = noise.answer();
    assert_eq!((answer.status, answer.body.len()), (400, 0));
    assert_eq!(answer.header("connection"), Some("close"));
    let idle: Vec<_> = (0..200).map(|_| instance.client()).collect();
    assert_eq!(instance.get("/healthz").status, 200);
    // A late head is closed without a byte, one that was never begun as well.
    assert_eq!(held.rest(), b"");
    assert_eq!(silent.rest(), b"");
    drop(idle);
    assert_eq!(instance.state(), before);
}

#[test]
fn c51_the_oldest_without_a_head_makes_room() {
    let instance = start(json!({"max_connections": 3, "head_timeout": "20s"}));
    let mut slow: Vec<_> = (0..3).map(|_| instance.client()).collect();
    for client in &mut slow {
        client.send(b"G");
    }
    // All three are in: their order is that of their arrival.
    while instance.app.slots.count() < 3 {
        std::thread::yield_now();
    }
    let mut good = instance.client();
    good.send_request("GET /healthz", &[], b"");
    assert_eq!(good.answer().status, 200);
    assert_eq!(slow[0].rest(), b"");
    slow[1].send(b"ET /healthz HTTP/1.1\r\nhost: localhost:");
    slow[1].send(format!("{}\r\n\r\n", instance.address.port()).as_bytes());
    assert_eq!(slow[1].answer().status, 200);
}

#[test]
fn requests_in_hand_are_never_put_out() {
    let instance = start(json!({"max_connections": 1, "touch": {"step": 10}}));
    let gate = instance.store.close_gate();
    let mut working = instance.client();
    working.send_request("POST /v1/touch", &[], b"");
    gate.entered();
    let mut late = instance.client();
    late.send_request("GET /healthz", &[], b"");
    let answer = late.answer();
    assert_eq!(
        (answer.status, answer.slug().as_str()),
        (503, "too-many-connections")
    );
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    drop(gate);
    assert_eq!(working.answer().status, 200);
}

#[test]
fn c52_heads_and_bodies_have_a_size() {
    let instance = start(json!({"max_body": 1_000}));
    let mut many = instance.client();
    let headers: Vec<String> = (0..100).map(|i| format!("x-{i}: y")).collect();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    many.send_request("GET /healthz", &headers, b"");
    let answer = many.answer();
    assert_eq!((answer.status, answer.body.len()), (431, 0));

    let mut long = instance.client();
    long.send_request(
        "GET /healthz",
        &[&format!("x: {}", "y".repeat(17 << 10))],
        b"",
    );
    let answer = long.answer();
    assert_eq!((answer.status, answer.body.len()), (431, 0));

    let mut two = instance.client();
    let lengths = ["content-length: 1", "content-length: 2"];
    two.send_request("PUT /v1/config", &lengths, b"10");
    let answer = two.answer();
    assert_eq!((answer.status, answer.body.len()), (400, 0));
    assert_eq!(answer.header("connection"), Some("close"));

    let over = instance.ask("PUT /v1/config", &[JSON], &[b' '; 1_001]);
    assert_eq!((over.status, over.slug().as_str()), (413, "body-too-large"));
    assert_eq!(over.header("connection"), Some("close"));
    // Refused at its length: nothing of it has to arrive.
    let announced = instance.ask("PUT /v1/config", &[JSON, "content-length: 5000"], b"");
    assert_eq!(announced.slug(), "body-too-large");
    let mut chunks = "1f4\r\n".to_owned() + &" ".repeat(500) + "\r\n";
    chunks = chunks.repeat(3);
    let chunked = [JSON, "transfer-encoding: chunked"];
    let over = instance.ask("PUT /v1/config", &chunked, chunks.as_bytes());
    assert_eq!(over.slug(), "body-too-large");
    let fits = b"c\r\n{\"value\": 1}\r\n0\r\n\r\n";
    assert_eq!(instance.ask("PUT /v1/config", &chunked, fits).status, 200);
}

#[test]
fn a_length_beside_chunks_is_ignored_and_the_connection_ends() {
    let instance = standard();
    let both = [JSON, "content-length: 3", "transfer-encoding: chunked"];
    let mut client = instance.client();
    client.send_request(
        "PUT /v1/config",
        &both,
        b"c\r\n{\"value\": 1}\r\n0\r\n\r\nGET /healthz",
    );
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_late_body_is_a_timeout() {
    let instance = start(json!({"body_timeout": "200ms"}));
    let mut client = instance.client();
    client.send_request(
        "PUT /v1/config",
        &[JSON, "content-length: 12"],
        b"{\"value\"",
    );
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.slug().as_str()),
        (408, "body-timeout")
    );
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.rest(), b"");
    assert_eq!(instance.state().0, 1);
}

#[test]
fn one_connection_serves_one_request_after_another() {
    let instance = standard();
    let mut client = instance.client();
    for _ in 0..3 {
        client.send_request("PUT /v1/config", &[JSON], b"{");
        assert_eq!(client.answer().status, 400);
        client.send_request("GET /v1/config", &[], b"");
        assert_eq!(client.answer().status, 200);
    }
    client.send_request("POST /v1/touch", &[], b"");
    client.half_close();
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_client_of_http_1_0_is_served_and_let_go() {
    let instance = standard();
    let mut client = instance.client();
    let host = format!("localhost:{}", instance.address.port());
    client.send(format!("GET /v1/config HTTP/1.0\r\nhost: {host}\r\n\r\n").as_bytes());
    assert_eq!(client.answer().text(), "{\"value\":10}\n");
    assert_eq!(client.rest(), b"");
}

#[test]
fn c53_a_stop_answers_what_is_in_hand_and_gives_the_port_back() {
    let mut instance = standard();
    let gate = instance.store.close_gate();
    let mut idle = instance.client();
    idle.send_request("GET /healthz", &[], b"");
    assert_eq!(idle.answer().status, 200);
    let mut half = instance.client();
    half.send(b"GET /healthz HTTP/1.1\r\n");
    let mut working = instance.client();
    working.send_request("POST /v1/touch", &[], b"");
    gate.entered();
    let mut sending = instance.client();
    sending.send_request("PUT /v1/config", &[JSON, "content-length: 9"], b"{");
    // It is in when its head was taken: two requests in hand, one idle, one half a head.
    while instance.app.slots.working() < 2 {
        std::thread::yield_now();
    }
    let late = instance.client();
    let address = instance.address;
    let (opened, stopped) = std::sync::mpsc::channel();
    let stopper = std::thread::spawn(move || {
        let begun = Instant::now();
        let hung = instance.stop();
        opened.send((hung, begun.elapsed())).unwrap();
        instance
    });
    // Idle connections end at once, while the change is still in hand.
    assert_eq!(idle.rest(), b"");
    assert_eq!(half.rest(), b"");
    let answer = sending.answer();
    assert_eq!(
        (answer.status, answer.slug().as_str()),
        (503, "shutting-down")
    );
    drop(gate);
    let answer = working.answer();
    assert_eq!(answer.json()["generation"], 2);
    assert_eq!(working.rest(), b"");
    drop(late);
    let (hung, took) = stopped.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(
        hung.is_empty() && took < Duration::from_secs(10),
        "{hung:?} {took:?}"
    );
    let instance = stopper.join().unwrap();
    assert_eq!(instance.state().0, 2);
    drop(std::net::TcpListener::bind(address).unwrap());
}

#[test]
fn a_change_that_hangs_holds_up_nobody_who_reads() {
    let instance = standard();
    let gate = instance.store.close_gate();
    let mut working = instance.client();
    working.send_request("POST /v1/touch", &[], b"");
    gate.entered();
    for path in [
        "/v1/config",
        "/v1/status",
        "/v1/history",
        "/v1/history/1",
        "/metrics",
    ] {
        assert_eq!(instance.get(path).status, 200, "{path}");
    }
    drop(gate);
    assert_eq!(working.answer().status, 200);
}

#[test]
fn a_store_that_hangs_does_not_hold_up_the_stop() {
    let mut instance = standard();
    let gate = instance.store.close_gate();
    let mut working = instance.client();
    working.send_request("POST /v1/touch", &[], b"");
    gate.entered();
    let begun = Instant::now();
    // Time enough for the other threads, on a busy machine as well.
    let hung = instance.threads.stop(Duration::from_secs(2));
    assert_eq!(hung, ["cfg-write"]);
    assert!(begun.elapsed() < Duration::from_secs(20));
    drop(gate);
    assert_eq!(working.rest(), b"");
}

#[test]
fn a_listener_is_started_again_on_the_same_sockets() {
    let instance = standard();
    instance.app.slots.break_once();
    // The next accept panics in the listener; the kernel holds the connections after it until there is a new life.
    let mut first = instance.client();
    let _ = first.rest();
    let answer = instance.get("/v1/status");
    assert_eq!(
        answer.json()["warnings"],
        json!(["listener-restarted", "loopback-open"])
    );
}
