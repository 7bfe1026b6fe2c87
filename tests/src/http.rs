//! A small HTTP/1.1 client over any stream: what it sends is what a test wrote, what it reads it judges strictly.

use crate::{DEADLINE, read_some};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    path::Path,
};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// 200, 404, …
    pub status: u16,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Exactly the body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name, which is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// - Panics: it is none; prints it.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {self:?}: {}", self.text()))
    }
}

/// `GET path` from a TCP address, as curl would ask.
///
/// - Panics: no connection, no answer within the deadline, or one that is no HTTP.
#[track_caller]
pub fn get(address: &str, path: &str) -> Response {
    send(address, "GET", path, &[], b"")
}

/// Any request to a TCP address, on a connection of its own.
///
/// - Panics: as [`get`].
#[track_caller]
pub fn send(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let request = request(method, path, address, headers, body);
    exchange(&mut connect(address), &request)
}

/// `GET path` from a Unix socket.
///
/// - Panics: as [`get`].
#[track_caller]
pub fn get_unix(socket: &Path, path: &str) -> Response {
    let mut stream = UnixStream::connect(socket)
        .unwrap_or_else(|error| panic!("cannot connect to {}: {error}", socket.display()));
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a deadline above zero");
    exchange(&mut stream, &request("GET", path, "localhost", &[], b""))
}

/// A TCP connection whose reads and writes have a deadline.
///
/// - Panics: nobody listens there.
#[must_use]
#[track_caller]
pub fn connect(address: &str) -> TcpStream {
    let mut addresses = address.to_socket_addrs().expect("an address");
    let address = addresses.next().expect("at least one address");
    let stream = TcpStream::connect_timeout(&address, DEADLINE)
        .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
    stream
        .set_read_timeout(Some(DEADLINE))
        .expect("a deadline above zero");
    stream
        .set_write_timeout(Some(DEADLINE))
        .expect("a deadline above zero");
    stream
}

/// A request's bytes.
#[must_use]
pub fn request(
    method: &str,
    path: &str,
    host: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// Sends `request` and reads one answer; the connection may stay open.
///
/// - Panics: as [`get`].
#[track_caller]
pub fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> Response {
    stream
        .write_all(request)
        .expect("the other side takes the request");
    read(stream)
}

/// Reads one answer.
///
/// - Panics: as [`get`].
#[track_caller]
pub fn read(stream: &mut impl Read) -> Response {
    let mut response = read_head(stream);
    if let Some(len) = response.header("content-length") {
        let len: usize = len.parse().expect("a length in digits");
        while response.body.len() < len {
            assert!(
                more(stream, &mut response.body),
                "a body shorter than it said: {response:?}"
            );
        }
        assert_eq!(
            response.body.len(),
            len,
            "bytes behind the body: {}",
            response.text()
        );
    } else if response.header("transfer-encoding") == Some("chunked") {
        while !response.body.ends_with(b"0\r\n\r\n") {
            assert!(
                more(stream, &mut response.body),
                "a body without its end: {response:?}"
            );
        }
        response.body = dechunked(&response.body);
    } else {
        while more(stream, &mut response.body) {}
    }
    response
}

/// Reads the last answer of a connection, one that has no body whatever length it names: to `HEAD`, or a 304.
///
/// - Panics: as [`get`]; a body came all the same.
#[track_caller]
pub fn read_without_body(stream: &mut impl Read) -> Response {
    let mut response = read_head(stream);
    while more(stream, &mut response.body) {}
    assert_eq!(
        response.text(),
        "",
        "a body where none belongs: {response:?}"
    );
    response
}

/// The head, and what came of the body with it.
#[track_caller]
fn read_head(stream: &mut impl Read) -> Response {
    let mut bytes = Vec::new();
    let head_len = loop {
        if let Some(at) = find(&bytes, b"\r\n\r\n") {
            break at + 4;
        }
        assert!(
            more(stream, &mut bytes),
            "the answer ended in its head: {}",
            lossy(&bytes)
        );
    };
    let head = lossy(&bytes[..head_len - 4]);
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .unwrap_or_else(|| panic!("no HTTP/1.1 status line: {first:?}"));
    let headers: Vec<(String, String)> = lines
        .map(|line| {
            let (name, value) = line
                .split_once(':')
                .unwrap_or_else(|| panic!("no header: {line:?}"));
            (name.to_ascii_lowercase(), value.trim().to_owned())
        })
        .collect();
    Response {
        status,
        headers,
        body: bytes.split_off(head_len),
    }
}

fn more(stream: &mut impl Read, bytes: &mut Vec<u8>) -> bool {
    let mut piece = [0; 16 << 10];
    let len = read_some(stream, &mut piece)
        .unwrap_or_else(|error| panic!("no more of the answer: {error}; so far: {}", lossy(bytes)));
    bytes.extend_from_slice(&piece[..len]);
    len > 0
}

fn dechunked(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(at) = find(chunks, b"\r\n") {
        let len = usize::from_str_radix(lossy(&chunks[..at]).trim(), 16).expect("a chunk's length");
        let start = at + 2;
        body.extend_from_slice(&chunks[start..start + len]);
        chunks = &chunks[start + len + 2..];
        if len == 0 {
            break;
        }
    }
    body
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_end_where_they_say() {
        let check = |answer: &[u8], body: &[u8]| assert_eq!(read(&mut &*answer).body, body);
        check(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc");
        check(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            b"abc",
        );
        check(b"HTTP/1.1 200 OK\r\n\r\nabc", b"abc");
        let response =
            read(&mut &b"HTTP/1.1 404 Not Found\r\nX-Y:  z \r\nContent-Length: 0\r\n\r\n"[..]);
        assert_eq!((response.status, response.header("x-y")), (404, Some("z")));
    }
}
