//! C52: heads and bodies that are too long, or say two things.

use super::*;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
};

const BODY_BYTES_MAX: usize = 1 << 20;

/// Sends raw bytes and reads the answer, and that nothing follows it.
#[track_caller]
fn raw(served: &Served<'_>, request: &[u8]) -> http::Response {
    let mut stream = http::connect(&served.address());
    stream.write_all(request).unwrap();
    let response = http::read(&mut stream);
    assert_ended(stream);
    response
}

#[track_caller]
fn assert_ended(mut stream: TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end as well: not all of what was sent may have been read.
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

/// Made below the router: no body, and the connection is over.
#[track_caller]
fn assert_bare(response: &http::Response, status: u16) {
    assert_eq!((response.status, response.text().as_str()), (status, ""));
    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(response.header("content-length").unwrap_or("0"), "0");
}

fn head(served: &Served<'_>, first: &str, headers: &[String]) -> Vec<u8> {
    let mut text = format!("{first} HTTP/1.1\r\nHost: {}\r\n", served.localhost());
    for header in headers {
        text += &format!("{header}\r\n");
    }
    (text + "\r\n").into_bytes()
}

/// C52: 101 headers, 17 KiB in one, two lengths.
#[test]
fn c52_a_head_has_its_limits() {
    let setup = alone(standard());
    let mut served = Served::start(&setup);
    served.unchanged(|| {
        // With `Host` these are 101.
        let many: Vec<String> = (0..100).map(|n| format!("X-{n}: y")).collect();
        assert_bare(&raw(&served, &head(&served, "POST /v1/touch", &many)), 431);
        let long = [format!("X: {}", "y".repeat(17 << 10))];
        assert_bare(&raw(&served, &head(&served, "POST /v1/touch", &long)), 431);
        let two = [
            "Content-Type: application/json".to_owned(),
            "Content-Length: 11".to_owned(),
            "Content-Length: 12".to_owned(),
        ];
        let mut request = head(&served, "PUT /v1/config", &two);
        request.extend_from_slice(b"{\"value\":1} ");
        assert_bare(&raw(&served, &request), 400);
        for length in ["-1", "x", "18446744073709551616", "1, 2"] {
            let one = [format!("Content-Length: {length}")];
            assert_bare(&raw(&served, &head(&served, "PUT /v1/config", &one)), 400);
        }
        for first in ["GARBAGE", "POST /v1/touch HTTP/9.9", "\u{1}\u{2}\u{3}"] {
            let request = format!("{first}\r\nHost: {}\r\n\r\n", served.localhost());
            assert_bare(&raw(&served, request.as_bytes()), 400);
        }
    });
    // One less is well: `Host` and 99 more, and 15 KiB.
    let many: Vec<String> = (0..98)
        .map(|n| format!("X-{n}: y"))
        .chain(["Connection: close".to_owned()])
        .collect();
    let answer = raw(&served, &head(&served, "POST /v1/touch", &many));
    assert_eq!(answer.status, 200);
    let long = [
        format!("X: {}", "y".repeat(15 << 10)),
        "Connection: close".to_owned(),
    ];
    let answer = raw(&served, &head(&served, "POST /v1/touch", &long));
    assert_eq!(answer.status, 200);
    served.host.stop();
}

/// C52: a body one byte over is refused by its length, before it comes, and when it comes.
#[test]
fn c52_a_body_one_byte_over_is_refused() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    let announced = |len: usize| {
        let headers = [
            "Content-Type: application/json".to_owned(),
            format!("Content-Length: {len}"),
        ];
        head(&served, "PUT /v1/config", &headers)
    };
    served.unchanged(|| {
        let mut stream = http::connect(&served.address());
        let response = http::exchange(&mut stream, &announced(BODY_BYTES_MAX + 1));
        problem(&response, 413, "body-too-large");
        let file = setup.file("body.json", &[b' '; BODY_BYTES_MAX + 1]);
        let data = format!("@{}", file.display());
        let url = format!("http://{}/v1/config", served.localhost());
        let put = ["-i", "-X", "PUT", "-H", "Content-Type: application/json"];
        let shown = curl(&[&put[..], &["--data-binary", &data, &url]].concat());
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(text.contains("HTTP/1.1 413 "), "{text}\n{}", shown.stderr);
        assert!(text.contains("urn:hotshoe:config:body-too-large"), "{text}");
    });
    let mut body = b"{\"value\":11}".to_vec();
    body.resize(BODY_BYTES_MAX, b' ');
    let response = served.ask("PUT", "/v1/config", &[JSON], &body);
    changed(&response, "put", 2);
}

/// C52: a chunked body has no length that could be refused; it is refused as soon as it has become too long.
#[test]
fn c52_a_chunked_body_is_counted_as_it_comes() {
    let setup = alone(standard());
    let served = Served::start(&setup);
    let headers = [
        "Content-Type: application/json".to_owned(),
        "Transfer-Encoding: chunked".to_owned(),
    ];
    let head = head(&served, "PUT /v1/config", &headers);
    let chunk = |len: usize| format!("{len:x}\r\n{}\r\n", " ".repeat(len));
    served.unchanged(|| {
        let stream = http::connect(&served.address());
        let mut writer = stream.try_clone().unwrap();
        let request = [
            &head[..],
            chunk(BODY_BYTES_MAX / 2).repeat(2).as_bytes(),
            chunk(1).as_bytes(),
        ]
        .concat();
        // No last chunk: the answer does not wait for one. The rest may meet a closed connection.
        let writing = thread::spawn(move || writer.write_all(&request).is_ok());
        let mut stream = stream;
        let response = http::read(&mut stream);
        problem(&response, 413, "body-too-large");
        let _ = writing.join().unwrap();
    });
    let whole = [&head[..], b"c\r\n{\"value\":11}\r\n0\r\n\r\n"].concat();
    let mut stream = http::connect(&served.address());
    changed(&http::exchange(&mut stream, &whole), "put", 2);
}
