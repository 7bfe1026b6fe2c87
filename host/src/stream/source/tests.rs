//! What a source delivers, however its bytes arrive: against a slow and obvious reading of the same bytes.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::*;
use std::os::fd::OwnedFd;

/// For waits that end at once unless something is broken.
const DEADLINE: Duration = Duration::from_secs(10);

/// One thing that came out of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Record(u64, Vec<u8>),
    TooLong {
        offset: u64,
        len: u64,
        kept: Vec<u8>,
    },
}

fn record(offset: u64, bytes: &[u8]) -> Seen {
    Seen::Record(offset, bytes.to_vec())
}

/// What must come out, computed line by line from the whole input.
fn expected(input: &[u8], limits: Limits) -> Vec<Seen> {
    let mut offset = 0;
    let mut seen = Vec::new();
    for line in input.split_inclusive(|&byte| byte == b'\n') {
        let bytes = match line.strip_suffix(b"\n") {
            Some(ended) => ended.strip_suffix(b"\r").unwrap_or(ended),
            None => line,
        };
        let len = bytes.len() as u64;
        seen.push(match bytes.len() > limits.record_max {
            true => Seen::TooLong {
                offset,
                len,
                kept: bytes[..len.min(KEPT_BYTES_MAX as u64) as usize].to_vec(),
            },
            false => record(offset, bytes),
        });
        offset += line.len() as u64;
    }
    seen
}

fn piped(limits: Limits) -> (Source, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (
        Source::from_fd(ours.into(), "a test", limits).unwrap(),
        theirs,
    )
}

/// One call of `next`, checked against the limits. `None` where it is not a batch nor a long line.
fn step(source: &mut Source, limits: Limits, seen: &mut Vec<Seen>) -> Option<Cut> {
    let mut batch = Batch::new();
    match source.next(&mut batch) {
        Ok(Cut::Batch) => {
            assert!(!batch.is_empty() && batch.len() <= limits.batch_records);
            assert!(batch.bytes().len() <= limits.batch_bytes || batch.len() == 1);
            for (i, bytes) in batch.iter().enumerate() {
                seen.push(record(batch.source_offset(i), bytes));
            }
            None
        }
        Ok(cut) => {
            assert!(batch.is_empty());
            Some(cut)
        }
        Err(SourceError::TooLong {
            offset, len, kept, ..
        }) => {
            seen.push(Seen::TooLong { offset, len, kept });
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn drain(source: &mut Source, limits: Limits, seen: &mut Vec<Seen>) -> Cut {
    loop {
        if let Some(cut) = step(source, limits, seen) {
            return cut;
        }
    }
}

/// A file with these bytes, as a source.
fn filed(input: &[u8], limits: Limits) -> Source {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(input).unwrap();
    Source::open(&Endpoint::File(file.path().to_owned()), limits).unwrap()
}

fn check(input: &[u8], limits: Limits) {
    let expected = expected(input, limits);
    let mut seen = Vec::new();
    assert_eq!(
        drain(&mut filed(input, limits), limits, &mut seen),
        Cut::End
    );
    // Not assert_eq where a failure would print megabytes.
    assert!(
        seen == expected,
        "file of {} bytes: {} seen",
        input.len(),
        seen.len()
    );
    let (mut source, mut peer) = piped(limits);
    let feeder = thread::spawn({
        let input = input.to_vec();
        move || peer.write_all(&input).unwrap()
    });
    let mut seen = Vec::new();
    assert_eq!(drain(&mut source, limits, &mut seen), Cut::End);
    feeder.join().unwrap();
    assert!(
        seen == expected,
        "stream of {} bytes: {} seen",
        input.len(),
        seen.len()
    );
}

fn limits(batch_records: usize, batch_bytes: usize, record_max: usize) -> Limits {
    Limits {
        batch_records,
        batch_bytes,
        record_max,
    }
}

/// Runs `work` on a thread of its own and gives up after the deadline.
fn within_deadline<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, waited) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    waited
        .recv_timeout(DEADLINE)
        .expect("no answer within the deadline")
}

#[test]
fn a_record_is_a_line_without_its_end() {
    let check = |input: &[u8], records: &[&[u8]]| {
        let mut seen = Vec::new();
        let limits = Limits::default();
        assert_eq!(
            drain(&mut filed(input, limits), limits, &mut seen),
            Cut::End
        );
        let found: Vec<&[u8]> = seen
            .iter()
            .map(|seen| match seen {
                Seen::Record(_, bytes) => &bytes[..],
                Seen::TooLong { .. } => panic!("{seen:?}"),
            })
            .collect();
        assert_eq!(found, records, "{input:?}");
    };
    // Case A37.
    check(
        b"hello world \n\na\r\n\xff\xc3(\nlast",
        &[b"hello world ", b"", b"a", b"\xff\xc3(", b"last"],
    );
    check(b"", &[]);
    check(b"\n", &[b""]);
    check(b"\r\n", &[b""]);
    check(b"a\r\r\n", &[b"a\r"]);
    check(b"a\rb\n", &[b"a\rb"]);
    // Without a newline there is no line end for the carriage return to belong to.
    check(b"a\r", &[b"a\r"]);
    check(b"\0\n\0", &[b"\0", b"\0"]);
}

#[test]
fn records_do_not_depend_on_how_the_bytes_arrive() {
    let input = b"hello\r\n\n\r\n\ra much longer line\nx\r\r\nab\nabc\r\nabcd\nend\r";
    let variants = [
        Limits::default(),
        limits(1, 64, 64),
        limits(2, 64, 64),
        limits(64, 4, 64),
        limits(64, 64, 3),
        limits(3, 5, 2),
    ];
    for limits in variants {
        let expected = expected(input, limits);
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let (mut source, mut peer) = piped(limits);
                let mut seen = Vec::new();
                for piece in [&input[..first], &input[first..second], &input[second..]] {
                    peer.write_all(piece).unwrap();
                    // This reads the piece, and what of it is complete comes out before the next is sent.
                    if !piece.is_empty() {
                        assert_eq!(source.fill(Patience::Wait), Filled::Changed);
                    }
                    while source.has_line() {
                        assert_eq!(step(&mut source, limits, &mut seen), None);
                    }
                }
                drop(peer);
                assert_eq!(drain(&mut source, limits, &mut seen), Cut::End);
                assert_eq!(seen, expected, "{limits:?}, cut at {first} and {second}");
                assert_eq!(step(&mut source, limits, &mut seen), Some(Cut::End));
            }
        }
    }
}

impl Source {
    /// Whether the next call of `next` comes back without reading.
    fn has_line(&self) -> bool {
        self.window.rest().contains(&b'\n')
    }
}

#[test]
fn sizes_around_every_limit_come_out_right() {
    let defaults = Limits::default();
    for len in [
        CHUNK_BYTES - 1,
        CHUNK_BYTES,
        CHUNK_BYTES + 1,
        64 << 10,
        (64 << 10) + 1,
        1 << 20,
    ] {
        let line = vec![b'x'; len];
        check(&[b"a\n", &line[..], b"\nb\n"].concat(), defaults);
        check(&line, defaults);
    }
    // Around the record limit, with and without a carriage return, at the end and before a line.
    let small = limits(1024, 64 << 10, 300_000);
    for len in 299_998..300_003 {
        let line = vec![b'x'; len];
        for tail in [&b""[..], b"\r", b"\n", b"\r\n", b"\r\nb\n", b"\nb"] {
            check(&[b"a\n", &line[..], tail].concat(), small);
        }
    }
    // The limit is smaller than what is kept of a line that breaks it.
    let tiny = limits(1024, 64 << 10, 10);
    check(&[&vec![b'x'; 200_000][..], b"\r\nb\n"].concat(), tiny);
    check(&[&[b'x'; 40][..], b"\r\nb\n"].concat(), tiny);
}

#[test]
fn a_line_over_the_limit_is_reported_in_its_place_and_reading_goes_on() {
    // Case A37, with the default limit of 16 MiB.
    let len = (16 << 20) + 1;
    let long = vec![b'x'; len];
    let input = [b"before\n", &long[..], b"\r\nafter\n"].concat();
    check(&input, Limits::default());

    let mut source = filed(&input, Limits::default());
    let mut batch = Batch::new();
    assert_eq!(source.next(&mut batch).unwrap(), Cut::Batch);
    let problem = source.next(&mut batch).unwrap_err().problem();
    assert!(batch.is_empty());
    assert_eq!(
        (problem.code.as_str(), problem.exit),
        ("record-too-long", ExitCode::Running)
    );
    assert!(
        problem
            .headline
            .starts_with("the record at byte 7 of the source file:"),
        "{problem}"
    );
    assert!(problem.headline.contains(&len.to_string()), "{problem}");
    assert_eq!(source.next(&mut batch).unwrap(), Cut::Batch);
    assert_eq!(batch.record(0), b"after");
    assert_eq!(
        source.window.buffer.len(),
        CHUNK_BYTES,
        "the long line's memory is given back"
    );
}

#[test]
fn memory_stays_bounded_while_a_line_is_skipped() {
    let limits = limits(1024, 64 << 10, 1 << 20);
    let (mut source, mut peer) = piped(limits);
    let feeder = thread::spawn(move || {
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..8 {
            peer.write_all(&piece).unwrap();
        }
        peer.write_all(b"\nb\n").unwrap();
    });
    let mut seen = Vec::new();
    let mut largest = 0;
    while source.fill(Patience::Wait) == Filled::Changed && seen.is_empty() {
        largest = largest.max(source.window.buffer.len());
        if source.window.rest().len() > limits.record_max || source.skip.is_some() {
            step(&mut source, limits, &mut seen);
        }
    }
    feeder.join().unwrap();
    assert!(largest <= limits.record_max + CHUNK_BYTES, "{largest}");
    drain(&mut source, limits, &mut seen);
    let kept = vec![b'x'; KEPT_BYTES_MAX];
    assert_eq!(
        seen[0],
        Seen::TooLong {
            offset: 0,
            len: 8 << 20,
            kept
        }
    );
    assert_eq!(seen[1..], [record((8 << 20) + 1, b"b")]);
}

#[test]
fn lines_sent_together_are_one_batch_and_limits_cut_it() {
    // Case A19: ten lines in one write, five records a batch.
    let cut = |limits: Limits, input: &[u8]| {
        let (mut source, mut peer) = piped(limits);
        peer.write_all(input).unwrap();
        drop(peer);
        let mut batch = Batch::new();
        let mut sizes = Vec::new();
        while source.next(&mut batch).unwrap() == Cut::Batch {
            sizes.push(batch.len());
        }
        sizes
    };
    let ten = b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n";
    assert_eq!(cut(limits(5, 64 << 10, 1 << 20), ten), [5, 5]);
    assert_eq!(cut(limits(4, 64 << 10, 1 << 20), ten), [4, 4, 2]);
    assert_eq!(cut(limits(1024, 3, 1 << 20), ten), [3, 3, 3, 1]);
    assert_eq!(cut(Limits::default(), ten), [10]);
    // A larger record is a batch of its own.
    assert_eq!(
        cut(limits(1024, 3, 1 << 20), b"a\nb\nlarge\nc\nd\n"),
        [2, 1, 2]
    );
    assert_eq!(cut(limits(1024, 3, 1 << 20), b"a\nb\nlarge"), [2, 1]);
}

#[test]
fn a_line_is_delivered_while_the_next_has_not_come() {
    let (mut source, mut peer) = piped(Limits::default());
    let (batches, received) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut batch = Batch::new();
        while source.next(&mut batch).unwrap() == Cut::Batch {
            let _ = batches.send(batch.iter().map(<[u8]>::to_vec).collect::<Vec<_>>());
        }
    });
    peer.write_all(b"one\ntw").unwrap();
    assert_eq!(received.recv_timeout(DEADLINE).unwrap(), [b"one"]);
    peer.write_all(b"o\n").unwrap();
    assert_eq!(received.recv_timeout(DEADLINE).unwrap(), [b"two"]);
    drop(peer);
    reader.join().unwrap();
}

#[test]
fn a_million_lines_come_out_in_order() {
    // A hundredth of case A37's count: the suite divides counts by 100.
    let input: Vec<u8> = (0..10_000)
        .flat_map(|i| format!("{i}\n").into_bytes())
        .collect();
    check(&input, Limits::default());
}

/// A source that has read all that was sent, and waits on a thread of its own.
fn waiting(
    limits: Limits,
    sent: &[u8],
) -> (StopHandle, mpsc::Receiver<(Vec<Seen>, Cut)>, UnixStream) {
    let (mut source, mut peer) = piped(limits);
    let handle = source.stop_handle();
    let (done, waited) = mpsc::channel();
    peer.write_all(sent).unwrap();
    let probe = source_fd(&source);
    thread::spawn(move || {
        let mut seen = Vec::new();
        let cut = drain(&mut source, limits, &mut seen);
        let _ = done.send((seen, cut));
    });
    let begun = Instant::now();
    while rustix::io::ioctl_fionread(&probe).unwrap() > 0 {
        assert!(begun.elapsed() < DEADLINE, "the source does not read");
        thread::yield_now();
    }
    (handle, waited, peer)
}

#[test]
fn a_carriage_return_at_the_limit_waits_for_its_newline() {
    let check = |first: &[u8], second: &[u8]| {
        let limits = limits(1024, 64, 3);
        let (_handle, waited, mut peer) = waiting(limits, first);
        peer.write_all(second).unwrap();
        drop(peer);
        let (seen, cut) = waited.recv_timeout(DEADLINE).unwrap();
        assert_eq!(
            (seen, cut),
            (expected(&[first, second].concat(), limits), Cut::End)
        );
    };
    check(b"abc\r", b"\nd\n");
    check(b"abc\r", b"\r\nd\n");
    check(b"abc\r", b"");
    check(b"abcd", b"\nd\n");
}

fn source_fd(source: &Source) -> OwnedFd {
    input_fd(&source.input).try_clone_to_owned().unwrap()
}

#[test]
fn a_stop_ends_the_wait_and_nothing_read_is_lost() {
    let check = |limits: Limits, sent: &[u8]| {
        let (handle, waited, peer) = waiting(limits, sent);
        handle.clone().stop();
        handle.stop();
        let (seen, cut) = waited.recv_timeout(DEADLINE).expect("a stop ends the wait");
        assert_eq!(
            (seen, cut),
            (expected(sent, limits), Cut::Stopped),
            "{sent:?}"
        );
        drop(peer);
    };
    check(Limits::default(), b"");
    check(Limits::default(), b"a\nb\n");
    check(Limits::default(), b"a\nrest");
    check(Limits::default(), b"rest\r");
    // In the middle of a line that is too long: what is known of it is told.
    check(limits(1024, 64, 4), b"a\ntoo long\r");
}

#[test]
fn a_stop_before_the_first_call_reads_nothing() {
    let (mut source, mut peer) = piped(Limits::default());
    peer.write_all(b"a\n").unwrap();
    source.stop_handle().stop();
    let mut batch = Batch::new();
    assert_eq!(source.next(&mut batch).unwrap(), Cut::Stopped);
    assert_eq!(source.next(&mut batch).unwrap(), Cut::Stopped);
    let mut left = [0; 4];
    let mut probe = UnixStream::from(source_fd(&source));
    assert_eq!(
        probe.read(&mut left).unwrap(),
        2,
        "it is still there for the next reader"
    );
}

#[test]
fn a_stop_with_many_batches_read_delivers_them_all() {
    let limits = limits(2, 64, 64);
    let (mut source, mut peer) = piped(limits);
    peer.write_all(b"1\n2\n3\n4\n5\n6").unwrap();
    let mut seen = Vec::new();
    assert_eq!(step(&mut source, limits, &mut seen), None);
    source.stop_handle().stop();
    peer.write_all(b"7\n8\n").unwrap();
    assert_eq!(drain(&mut source, limits, &mut seen), Cut::Stopped);
    // The line in hand is finished by what is there of it; the next is not touched.
    assert_eq!(seen, expected(b"1\n2\n3\n4\n5\n67\n", limits));
    let mut left = [0; 8];
    assert_eq!(
        UnixStream::from(source_fd(&source))
            .read(&mut left)
            .unwrap(),
        2
    );
}

#[test]
fn a_stop_in_a_file_never_cuts_a_line_in_two() {
    // No chunk ends with a line end.
    let line = b"0123456789\n";
    let input = line.repeat(3 * CHUNK_BYTES / line.len());
    let limits = limits(usize::MAX, usize::MAX, 64);
    let mut source = filed(&input, limits);
    assert_eq!(source.fill(Patience::Wait), Filled::Changed);
    source.stop_handle().stop();
    let mut seen = Vec::new();
    assert_eq!(drain(&mut source, limits, &mut seen), Cut::Stopped);
    assert_eq!(seen.len(), CHUNK_BYTES / line.len() + 1);
    assert!(
        seen.iter()
            .all(|seen| matches!(seen, Seen::Record(_, bytes) if bytes == b"0123456789"))
    );

    // The same where the file itself ends in the middle, and where the line never becomes a record.
    let mut source = filed(&[&vec![b'x'; CHUNK_BYTES][..], b"\r\nb\n"].concat(), limits);
    assert_eq!(source.fill(Patience::Wait), Filled::Changed);
    source.stop_handle().stop();
    let mut seen = Vec::new();
    assert_eq!(drain(&mut source, limits, &mut seen), Cut::Stopped);
    let kept = vec![b'x'; KEPT_BYTES_MAX];
    assert_eq!(
        seen,
        [Seen::TooLong {
            offset: 0,
            len: CHUNK_BYTES as u64,
            kept
        }]
    );
}

#[test]
fn a_listener_takes_one_peer_after_the_other_and_never_ends() {
    let endpoint = Endpoint::TcpListen("127.0.0.1:0".parse().unwrap());
    let mut source = Source::open(&endpoint, Limits::default()).unwrap();
    let (address, handle) = (source.local_addr().unwrap(), source.stop_handle());
    let (events, received) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut batch = Batch::new();
        loop {
            let cut = source.next(&mut batch).unwrap();
            let records = batch.iter().enumerate();
            let records: Vec<_> = records
                .map(|(i, bytes)| (batch.source_offset(i), bytes.to_vec()))
                .collect();
            let _ = events.send((cut, records));
            if cut != Cut::Batch {
                return;
            }
        }
    });
    let next = || received.recv_timeout(DEADLINE).unwrap();
    let mut first = TcpStream::connect(address).unwrap();
    let mut second = TcpStream::connect(address).unwrap();
    second.write_all(b"two\r\n").unwrap();
    first.write_all(b"one\n").unwrap();
    assert_eq!(next(), (Cut::Batch, vec![(0, b"one".to_vec())]));
    first.write_all(b"rest").unwrap();
    drop(first);
    assert_eq!(next(), (Cut::Batch, vec![(4, b"rest".to_vec())]));
    assert_eq!(next(), (Cut::Batch, vec![(8, b"two".to_vec())]));
    drop(second);
    // One that says nothing is no end either.
    drop(TcpStream::connect(address).unwrap());
    let mut third = TcpStream::connect(address).unwrap();
    third.write_all(b"three\n").unwrap();
    assert_eq!(next(), (Cut::Batch, vec![(13, b"three".to_vec())]));
    handle.stop();
    assert_eq!(next(), (Cut::Stopped, vec![]));
    reader.join().unwrap();
}

#[test]
fn a_listener_outlives_a_peer_that_resets() {
    let endpoint = Endpoint::TcpListen("127.0.0.1:0".parse().unwrap());
    let mut source = Source::open(&endpoint, Limits::default()).unwrap();
    let mut peer = TcpStream::connect(source.local_addr().unwrap()).unwrap();
    peer.write_all(b"rest").unwrap();
    // The peer is taken, then its bytes are.
    assert_eq!(source.fill(Patience::Wait), Filled::Changed);
    assert_eq!(source.fill(Patience::Wait), Filled::Changed);
    reset(&source, peer);
    let mut next = TcpStream::connect(source.local_addr().unwrap()).unwrap();
    next.write_all(b"next\n").unwrap();
    let seen = within_deadline(move || {
        let mut seen = Vec::new();
        assert_eq!(step(&mut source, Limits::default(), &mut seen), None);
        assert_eq!(step(&mut source, Limits::default(), &mut seen), None);
        seen
    });
    assert_eq!(seen, [record(0, b"rest"), record(4, b"next")]);
}

/// Closes a source's peer by a reset: that is what a close is while there are bytes that the peer has not read.
fn reset(source: &Source, peer: TcpStream) {
    TcpStream::from(source_fd(source)).write_all(b"x").unwrap();
    peer.peek(&mut [0; 1]).unwrap();
}

#[test]
fn a_connected_peer_is_a_source_until_it_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::TcpConnect(listener.local_addr().unwrap().to_string());
    let mut source = Source::open(&endpoint, Limits::default()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(b"hello world\nrest").unwrap();
    drop(peer);
    let (seen, cut) = within_deadline(move || {
        let mut seen = Vec::new();
        let cut = drain(&mut source, Limits::default(), &mut seen);
        (seen, cut)
    });
    assert_eq!(
        (seen, cut),
        (expected(b"hello world\nrest", Limits::default()), Cut::End)
    );
}

#[test]
fn what_cannot_be_opened_says_why_and_what_to_do() {
    let check = |endpoint: Endpoint, code: &str, exit: ExitCode, words: &[&str]| {
        let problem = Source::open(&endpoint, Limits::default()).unwrap_err();
        assert_eq!(
            (problem.code.as_str(), problem.exit),
            (code, exit),
            "{problem}"
        );
        assert!(
            problem.headline.contains(&endpoint.to_string()),
            "{problem}"
        );
        let text = format!("{problem:#}");
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(problem.fix.is_some(), "{text}");
    };
    let folder = tempfile::tempdir().unwrap();
    let file = |path: &str| Endpoint::File(folder.path().join(path));
    check(
        file("missing"),
        "source-missing",
        ExitCode::Running,
        &["no such file"],
    );
    check(
        file(""),
        "source-unreadable",
        ExitCode::Running,
        &["folder"],
    );

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let us = format!(
        "port {} is taken by pid {} (",
        address.port(),
        std::process::id()
    );
    check(
        Endpoint::TcpListen(address),
        "source-port-taken",
        ExitCode::Init,
        &[&us],
    );
    drop(listener);
    let refused = Endpoint::TcpConnect(address.to_string());
    check(
        refused,
        "source-refused",
        ExitCode::Running,
        &["nothing listens there", "nc -lk"],
    );
    let unknown = Endpoint::TcpConnect("no port".to_owned());
    check(unknown, "source-missing", ExitCode::Running, &["HOST:PORT"]);
    // TEST-NET-1 is no machine's address.
    let foreign = Endpoint::TcpListen("192.0.2.1:0".parse().unwrap());
    check(
        foreign,
        "source-unlistenable",
        ExitCode::Init,
        &["cannot listen"],
    );
}

#[test]
fn a_fifo_is_waited_for_not_taken_for_empty() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let limits = Limits::default();
    let mut source = Source::open(&Endpoint::File(path.clone()), limits).unwrap();
    // There is no writer yet, which a bare read would take for the end.
    assert_eq!(source.fill(Patience::Look), Filled::Nothing);
    let writer = thread::spawn(move || {
        std::fs::write(path, b"a\nb").unwrap();
    });
    let (seen, cut) = within_deadline(move || {
        let mut seen = Vec::new();
        let cut = drain(&mut source, limits, &mut seen);
        (seen, cut)
    });
    writer.join().unwrap();
    assert_eq!((seen, cut), (expected(b"a\nb", limits), Cut::End));
}

#[test]
fn a_failing_read_delivers_what_came_and_names_source_and_offset() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::TcpConnect(listener.local_addr().unwrap().to_string());
    let mut source = Source::open(&endpoint, Limits::default()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(b"a\nrest").unwrap();
    let mut seen = Vec::new();
    assert_eq!(step(&mut source, Limits::default(), &mut seen), None);
    reset(&source, peer);
    let (seen, outcome, after) = within_deadline(move || {
        let mut batch = Batch::new();
        assert_eq!(step(&mut source, Limits::default(), &mut seen), None);
        let outcome = source.next(&mut batch).unwrap_err();
        (seen, outcome, source.next(&mut batch).unwrap())
    });
    assert_eq!(seen, expected(b"a\nrest", Limits::default()));
    assert!(
        matches!(outcome, SourceError::Io { offset: 6, .. }),
        "{outcome}"
    );
    let problem = outcome.problem();
    assert_eq!(
        (problem.code.as_str(), problem.exit),
        ("source-failed", ExitCode::Running)
    );
    assert!(
        problem.headline.contains(&endpoint.to_string()),
        "{problem}"
    );
    assert!(problem.headline.contains("at byte 6"), "{problem}");
    assert_eq!(after, Cut::End);
}

#[test]
fn devices_and_descriptors_that_never_block_are_sources_too() {
    let mut batch = Batch::new();
    let mut nothing = Source::open(&Endpoint::File("/dev/null".into()), Limits::default()).unwrap();
    assert_eq!(nothing.next(&mut batch).unwrap(), Cut::End);
    let (ours, mut peer) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut source = Source::from_fd(ours.into(), "a test", Limits::default()).unwrap();
    let reader = thread::spawn(move || {
        let mut seen = Vec::new();
        (drain(&mut source, Limits::default(), &mut seen), seen)
    });
    peer.write_all(b"a\n").unwrap();
    drop(peer);
    assert_eq!(reader.join().unwrap(), (Cut::End, vec![record(0, b"a")]));
}
