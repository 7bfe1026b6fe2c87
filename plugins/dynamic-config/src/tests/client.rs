//! A client that sends exactly the bytes it is told, and reads one answer after another.

use serde_json::Value;
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// No answer takes longer: ten times what the slowest limit of the tests allows.
const DEADLINE: Duration = Duration::from_secs(20);

trait Wire: Read + Write {
    fn half_close(&self);
}

impl Wire for TcpStream {
    fn half_close(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl Wire for UnixStream {
    fn half_close(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

pub(super) struct Client {
    wire: Box<dyn Wire>,
    host: String,
    unread: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Client {
    pub(super) fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self {
            wire: Box::new(stream),
            host: format!("localhost:{}", address.port()),
            unread: Vec::new(),
        }
    }

    pub(super) fn unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self {
            wire: Box::new(stream),
            host: "localhost".to_owned(),
            unread: Vec::new(),
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.wire.write_all(bytes).unwrap();
    }

    /// As [`Client::send`], by somebody who does not mind being cut off.
    pub(super) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.wire.write_all(bytes).is_ok()
    }

    pub(super) fn half_close(&self) {
        self.wire.half_close();
    }

    /// `POST /x` and header lines; `content-length` is added for a body and for methods that have one.
    pub(super) fn send_request(&mut self, method_and_target: &str, headers: &[&str], body: &[u8]) {
        let mut text = format!("{method_and_target} HTTP/1.1\r\n");
        let has = |name: &str| headers.iter().any(|header| header.starts_with(name));
        if !has("host:") {
            text.push_str(&format!("host: {}\r\n", self.host));
        }
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        if !body.is_empty() && !has("transfer-encoding:") && !has("content-length:") {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(body);
        self.send(&bytes);
    }

    /// Reads until `unread` holds `enough`, or the end; false at the end.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 65_536];
        match self.wire.read(&mut buffer) {
            Ok(0) => false,
            Ok(len) => {
                self.unread.extend_from_slice(&buffer[..len]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) if error.kind() == ErrorKind::Interrupted => self.fill(),
            Err(error) => panic!("no answer within {DEADLINE:?}: {error}"),
        }
    }

    /// One answer to a method that has a body in its answer.
    pub(super) fn answer(&mut self) -> Answer {
        self.read_answer(true)
    }

    pub(super) fn answer_without_body(&mut self) -> Answer {
        self.read_answer(false)
    }

    /// The head of an answer whose body has no end.
    pub(super) fn head(&mut self) -> Answer {
        self.read_answer(false)
    }

    /// The next event of a stream, to its empty line: one chunk.
    pub(super) fn event(&mut self) -> String {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n") {
                let size = std::str::from_utf8(&self.unread[..end]).unwrap();
                let len = usize::from_str_radix(size, 16).unwrap();
                if self.unread.len() >= end + 4 + len {
                    let chunk: Vec<u8> = self.unread.drain(..end + 4 + len).collect();
                    let text = &chunk[end + 2..end + 2 + len];
                    return String::from_utf8(text.to_vec()).unwrap();
                }
            }
            assert!(self.fill(), "closed before an event: {:?}", self.unread);
        }
    }

    fn read_answer(&mut self, with_body: bool) -> Answer {
        let end = loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.fill(), "closed before an answer: {:?}", self.unread);
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        let len = answer
            .header("content-length")
            .map_or(0, |len| len.parse().unwrap());
        if with_body && status != 304 {
            while self.unread.len() < len {
                assert!(self.fill(), "closed in the middle of an answer");
            }
            answer.body = self.unread.drain(..len).collect();
        }
        answer
    }

    /// What comes until the other side closes.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.unread)
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.split("\r\n").skip(1);
        let mut fields = lines.filter_map(|line| line.split_once(": "));
        fields
            .find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        assert!(self.body.ends_with(b"\n"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The slug of a problem; checks that status and members agree with it.
    pub(super) fn slug(&self) -> String {
        let json = self.json();
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{json}"
        );
        assert_eq!(json["status"], self.status, "{json}");
        assert!(
            json["detail"].is_string() && json["title"].is_string(),
            "{json}"
        );
        let urn = json["type"].as_str().unwrap();
        urn.strip_prefix("urn:hotshoe:config:").unwrap().to_owned()
    }
}
