//! What a worker prints: its stdout and stderr, line by line, bounded. Author's code prints where it likes; here it becomes the
//! plugin's log.

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, read},
};
use std::os::fd::OwnedFd;

/// A longer line is cut into several: it may never end.
const LINE_LEN_MAX: usize = 8 << 10;

/// Hands every line to `line`, with the name of its stream, until both pipes are closed, or `over` is readable: a process that
/// the worker has left behind holds its pipes for as long as it lives, and has nobody to speak to here.
pub(crate) fn forward(
    output: Vec<(&'static str, OwnedFd)>,
    over: &OwnedFd,
    mut line: impl FnMut(&'static str, &str),
) {
    let mut pipes: Vec<Pipe> = output
        .into_iter()
        .map(|(stream, pipe)| Pipe {
            stream,
            pipe,
            rest: Vec::new(),
        })
        .collect();
    let mut piece = vec![0; LINE_LEN_MAX];
    while !pipes.is_empty() {
        let mut polled: Vec<_> = pipes
            .iter()
            .map(|pipe| PollFd::new(&pipe.pipe, PollFlags::IN))
            .collect();
        polled.push(PollFd::new(over, PollFlags::IN));
        match poll(&mut polled, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return,
        }
        let ready: Vec<bool> = polled
            .iter()
            .map(|polled| !polled.revents().is_empty())
            .collect();
        let is_over = ready.last().copied().unwrap_or(false);
        let mut ready = ready.into_iter();
        pipes.retain_mut(|pipe| {
            if !ready.next().unwrap_or(false) {
                return true;
            }
            match read(&pipe.pipe, &mut piece) {
                Ok(0) | Err(_) => {
                    pipe.end(&mut line);
                    false
                }
                Ok(len) => {
                    pipe.take(&piece[..len], &mut line);
                    true
                }
            }
        });
        if is_over {
            pipes.iter_mut().for_each(|pipe| pipe.end(&mut line));
            return;
        }
    }
}

struct Pipe {
    stream: &'static str,
    pipe: OwnedFd,
    /// A line whose end has not come.
    rest: Vec<u8>,
}

impl Pipe {
    fn take(&mut self, bytes: &[u8], line: &mut impl FnMut(&'static str, &str)) {
        for &byte in bytes {
            if byte != b'\n' {
                self.rest.push(byte);
            }
            if byte == b'\n' || self.rest.len() >= LINE_LEN_MAX {
                line(self.stream, &printable(&self.rest));
                self.rest.clear();
            }
        }
    }

    fn end(&mut self, line: &mut impl FnMut(&'static str, &str)) {
        if !self.rest.is_empty() {
            line(self.stream, &printable(&self.rest));
            self.rest.clear();
        }
    }
}

/// Text that moves no cursor and colours nothing.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\r');
    let shown = text.chars().flat_map(|char| {
        let escaped = (char.is_control() && char != '\t').then(|| char.escape_default());
        let plain = escaped.is_none().then_some(char);
        escaped.into_iter().flatten().chain(plain)
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::write;

    #[test]
    fn lines_come_whole_cut_where_they_do_not_end_and_printable() {
        let (read, tail) = rustix::pipe::pipe().expect("a pipe");
        write(&tail, b"one\r\ntw\x1b[31mo\n\n").expect("room");
        write(&tail, &vec![b'x'; LINE_LEN_MAX + 1]).expect("room");
        drop(tail);
        let mut lines = Vec::new();
        let (over, _until) = rustix::pipe::pipe().expect("a pipe");
        forward(vec![("stdout", read)], &over, |stream, line| {
            lines.push((stream, line.to_owned()));
        });
        let texts: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
        assert_eq!(texts[..3], ["one", "tw\\u{1b}[31mo", ""]);
        assert_eq!(texts[3].len(), LINE_LEN_MAX);
        assert_eq!(texts[4..], ["x"]);
        assert!(lines.iter().all(|(stream, _)| *stream == "stdout"));
    }

    #[test]
    fn whoever_holds_the_pipe_is_not_waited_for_when_all_is_over() {
        let (read, tail) = rustix::pipe::pipe().expect("a pipe");
        write(
            &tail,
            b"one
half",
        )
        .expect("room");
        let (over, until) = rustix::pipe::pipe().expect("a pipe");
        drop(until);
        let mut lines = Vec::new();
        // `tail` stays open.
        forward(vec![("stderr", read)], &over, |_, line| {
            lines.push(line.to_owned());
        });
        assert_eq!(lines, ["one", "half"]);
    }
}
