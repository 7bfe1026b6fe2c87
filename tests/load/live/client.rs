//! A client that keeps its connection, and says nothing but what a program needs. Judges nothing.

use hotshoe_tests::http;
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

/// One connection to a listener.
pub(crate) struct Client {
    stream: TcpStream,
    host: String,
}

impl Client {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = http::connect(address);
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            host: address.to_owned(),
        }
    }

    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> http::Response {
        let length = match body.is_empty() {
            true => String::new(),
            false => format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            ),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}{length}\r\n{body}",
            self.host
        );
        http::exchange(&mut self.stream, request.as_bytes())
    }

    pub(crate) fn put(&mut self, value: u64) -> http::Response {
        self.ask("PUT", "/v1/config", "", &format!("{{\"value\":{value}}}"))
    }

    /// A touch that is taken; the new value.
    pub(crate) fn touch(&mut self) -> u64 {
        let response = self.ask("POST", "/v1/touch", "", "");
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["value"].as_u64().unwrap()
    }

    /// A touch of a listener that may be gone: whether it was answered.
    pub(crate) fn touched(&mut self) -> bool {
        let request = format!("POST /v1/touch HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        let sent = self.stream.write_all(request.as_bytes());
        let mut answer = [0; 4_096];
        sent.is_ok()
            && self
                .stream
                .read(&mut answer)
                .is_ok_and(|len| answer[..len].starts_with(b"HTTP/1.1 200"))
    }

    /// The value of the demo's schema.
    pub(crate) fn value(&mut self) -> u64 {
        let response = self.ask("GET", "/v1/config/value", "", "");
        assert_eq!(response.status, 200, "{}", response.text());
        response.text().trim_end().parse().unwrap()
    }
}
