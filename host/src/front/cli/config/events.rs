//! Server-sent events out of the pieces in which they come (WHATWG HTML §9.2). It reads no socket and knows no event's meaning.

/// The longest event that is read: the largest value that settings allow, and its head (config-api §12).
const EVENT_BYTES_MAX: usize = 17 << 20;

/// One event, dispatched at its empty line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// `config`, `reset`, `confirm`, `bye`; empty where the stream names none.
    pub(super) name: String,
    pub(super) data: String,
}

/// What a stream has said so far.
#[derive(Debug, Default)]
pub(super) struct Stream {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    /// The last event's, for the next connection.
    pub(super) last_id: Option<String>,
    id: Option<String>,
    /// Milliseconds until a client may come again.
    pub(super) retry_ms: Option<u64>,
}

/// An event that is longer than any the server may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

impl Stream {
    /// Reads a piece; answers the events that it ends.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        let mut rest = piece;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            events.extend(self.line(&String::from_utf8_lossy(line)));
        }
        self.line.extend_from_slice(rest);
        match self.line.len() + self.event.data.len() > EVENT_BYTES_MAX {
            true => Err(TooLong),
            false => Ok(events),
        }
    }

    /// A new connection: what the old one left half said is said again.
    pub(super) fn begin_anew(&mut self) {
        *self = Self {
            last_id: self.last_id.take(),
            retry_ms: self.retry_ms,
            ..Self::default()
        };
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event.name),
            "id" => self.id = Some(value.to_owned()),
            "retry" => self.retry_ms = value.parse().ok().or(self.retry_ms),
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // A comment, or a field of a later version.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        if let Some(id) = self.id.take() {
            self.last_id = Some(id);
        }
        let event = std::mem::take(&mut self.event);
        std::mem::take(&mut self.has_data).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hotshoe 1\nretry: 1000\n\nid: 3\nevent: config\ndata: {\"generation\":3}\n\n: hb\n\n\
                          event: bye\r\ndata: a\r\ndata: b\r\n\r\n";

    fn event(name: &str, data: &str) -> Event {
        Event {
            name: name.to_owned(),
            data: data.to_owned(),
        }
    }

    /// Wherever the pieces end, the events are the same.
    #[test]
    fn pieces_do_not_matter() {
        for len in 1..=STREAM.len() {
            let mut stream = Stream::default();
            let pieces = STREAM.as_bytes().chunks(len);
            let events: Vec<Event> = pieces
                .flat_map(|piece| stream.feed(piece).unwrap())
                .collect();
            let expected = [event("config", "{\"generation\":3}"), event("bye", "a\nb")];
            assert_eq!(events, expected, "{len}");
            assert_eq!(stream.last_id.as_deref(), Some("3"));
            assert_eq!(stream.retry_ms, Some(1000));
        }
    }

    /// An id counts only once its event is there: a cut in between must bring the event again.
    #[test]
    fn half_an_event_moves_nothing() {
        let mut stream = Stream::default();
        assert_eq!(
            stream.feed(b"id: 4\nevent: config\ndata: {}\n").unwrap(),
            []
        );
        assert_eq!(stream.last_id, None);
        stream.begin_anew();
        let events = stream.feed(b"id: 4\nevent: config\ndata: {}\n\n").unwrap();
        assert_eq!(events, [event("config", "{}")]);
        assert_eq!(stream.last_id.as_deref(), Some("4"));
    }

    #[test]
    fn a_stream_without_an_end_is_given_up_on() {
        let mut stream = Stream::default();
        let piece = vec![b'a'; EVENT_BYTES_MAX];
        assert_eq!(stream.feed(&piece), Ok(Vec::new()));
        assert_eq!(stream.feed(b"a"), Err(TooLong));
    }
}
