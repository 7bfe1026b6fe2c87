//! What one crossing costs: a batch of records to a worker and back with nothing else under way, and a question to a driver,
//! beside the same in this process and beside a bare socket that carries as many bytes to another process and back.
//!
//! The program itself is the embedder, and its workers are it as well, so that nothing but the crossing lies between two looks
//! at the clock: no source, no sink, no other thread. No criterion: what is compared is measured turn by turn, so that a busy
//! moment of the machine is everybody's. Each line is a figure and its bar (DESIGN §9); nothing fails here but what is no time.

mod common;

use hotshoe::{Host, Side, TaskOutcome, config_file, worker::Workers};
use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};
use std::{
    fs,
    hint::{black_box, spin_loop},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How the program is asked to be the other end of a bare socket: how many bytes come, and how many go back.
const ECHO: &str = "__echo";

/// As long as either side of a worker's socket looks before it sleeps (DESIGN §9).
const LOOK: Duration = Duration::from_micros(50);

/// Of a message in front of offsets and bytes, as the worker's protocol has it.
const HEAD_LEN: usize = 40;

/// So often, and each time so many calls of each.
const TURNS: usize = 200;
const CALLS_A_TURN: usize = 50;
const WARM_UP: usize = 200;

const RECORD: &[u8] = b"hello worl";

/// What the demo's processor appends.
const APPENDED_LEN: usize = 2;

const PATIENCE: Duration = Duration::from_secs(5);

/// Records that the demo's processor appends to.
const APPEND: &str = "[[plugin]]\nname = \"dynamic-config\"\nlibrary = <hotshoe-dynamic-config>\n[plugin.settings]\n\
     profile = \"quickstart\"\nlisten = [\"127.0.0.1:0\"]\n\
     [[plugin]]\nname = \"append\"\nlibrary = <hotshoe-quickstart>\nafter = [\"dynamic-config\"]\n\
     isolation = \"<isolation>\"\n[plugin.settings]\ntopic = \"dynamic-config\"\n";

/// A driver that answers. It has an executor part, whose hooks are none of the records' business above.
const ANSWER: &str = "[[plugin]]\nname = \"message-config\"\nlibrary = <hotshoe-message-config>\n\
     isolation = \"<isolation>\"\n";

fn main() {
    // First of all: the workers are this very program.
    let workers = hotshoe::worker::take_over();
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == ECHO) {
        echo(&words[1..]);
        return;
    }
    let scratch = tempfile::tempdir().expect("a temporary folder");
    crossings(&workers, scratch.path());
}

/// Batches of 1,024 records and of one, and a question.
fn crossings(workers: &Workers, scratch: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let hosts = |plugins: &str| {
        ["process", "in-process"].map(|isolation| {
            let host = host(workers, scratch, &plugins.replace("<isolation>", isolation));
            runtime.block_on(host.start()).expect("it starts");
            host
        })
    };
    let [isolated, here] = hosts(APPEND);
    for records in [1024, 1] {
        batches(&isolated, &here, records);
    }
    runtime.block_on(isolated.shutdown());
    runtime.block_on(here.shutdown());
    let [isolated, here] = hosts(ANSWER);
    questions(&runtime, &isolated, &here);
    runtime.block_on(isolated.shutdown());
    runtime.block_on(here.shutdown());
}

fn host(workers: &Workers, scratch: &Path, plugins: &str) -> Host {
    let folder = tempfile::tempdir_in(scratch)
        .expect("a folder of its own")
        .keep();
    let mut text = format!("[host]\nname = \"crossing\"\n{plugins}");
    for package in [
        "hotshoe-dynamic-config",
        "hotshoe-quickstart",
        "hotshoe-message-config",
    ] {
        let named = format!("<{package}>");
        if text.contains(&named) {
            text = text.replace(&named, &format!("{:?}", common::library(package)));
        }
    }
    let file = folder.join("hotshoe.toml");
    fs::write(&file, text).expect("the configuration is written");
    let loaded = config_file::load(&file);
    let config = loaded
        .config
        .unwrap_or_else(|| panic!("{:?}", loaded.problems));
    let host = Host::builder()
        .config(config)
        .run_dir(&folder)
        .state_dir(&folder)
        .side(Side::Drivers)
        .workers(workers.clone())
        .build();
    host.unwrap_or_else(|error| panic!("{:?}", error.problems))
}

fn at(mut samples: Vec<Duration>, share: f64) -> Duration {
    samples.sort_unstable();
    let place = (samples.len() as f64 * share) as usize;
    samples[place.min(samples.len() - 1)]
}

/// One batch at a time: each is waited for before the next goes out.
fn batches(isolated: &Host, here: &Host, records: usize) {
    let batch = vec![RECORD; records];
    let offsets = (records + 1) * 4;
    let there = HEAD_LEN + offsets + records * RECORD.len();
    let back = there + records * APPENDED_LEN;
    let mut echoes = [Duration::ZERO, LOOK].map(|look| Echo::new(there, back, look));
    let mut slots = [isolated, here].map(|host| {
        let mut slot = host.slot(0);
        slot.start().expect("the slot starts");
        (slot, host.pin())
    });
    let mut took: [Vec<Duration>; 4] = Default::default();
    turns(&mut took, |which| match which {
        0 | 1 => {
            let (slot, pin) = &mut slots[which];
            match slot.run(batch.iter().copied(), pin, 1) {
                TaskOutcome::Done(out) => assert_eq!(black_box(out).len(), records),
                TaskOutcome::Failed(reason) => panic!("{reason}"),
            }
        }
        bare => echoes[bare - 2].round_trip(),
    });
    let [isolated, here, blocking, looking] = took.map(|samples| at(samples, 0.5));
    let us = |took: Duration| took.as_secs_f64() * 1e6;
    // What the slot costs itself, copies of every record among it, is no part of the crossing.
    let crossing = isolated.saturating_sub(here);
    println!(
        "one batch at a time, {records:>5} records: isolated {:>7.1} µs, in-process {:.1} µs, so the crossing {:.1} µs",
        us(isolated),
        us(here),
        us(crossing)
    );
    println!(
        "  a bare socket, {there} bytes there and {back} back: {:.1} µs asleep, {:.1} µs looking first",
        us(blocking),
        us(looking)
    );
    let ratio = us(crossing) / us(blocking);
    match records {
        1 => println!(
            "  a record there and back                    {:>10.1} µs   bar 5 µs where a core is free",
            us(isolated)
        ),
        _ => println!("  the crossing against the bare socket asleep{ratio:>10.2}      bar 1.3"),
    }
    for (slot, _) in &mut slots {
        assert!(slot.stop().is_empty(), "its parts are shut down");
    }
}

/// A driver is asked and answers.
fn questions(runtime: &tokio::runtime::Runtime, isolated: &Host, here: &Host) {
    let mut echo = Echo::new(100, 100, Duration::ZERO);
    let mut took: [Vec<Duration>; 3] = Default::default();
    turns(&mut took, |which| {
        let host = match which {
            0 => isolated,
            1 => here,
            _ => return echo.round_trip(),
        };
        let asked = host.ask("message-config", br#""initial""#, PATIENCE);
        runtime.block_on(asked).expect("an answer");
    });
    let [isolated, here, bare] = took;
    for (what, samples, bar) in [
        (
            "ask, host to an isolated driver and back",
            isolated,
            "none (DESIGN §9 has it in-process)",
        ),
        (
            "ask, host to a driver in-process and back",
            here,
            "10 µs p50",
        ),
        (
            "  a bare socket, 100 bytes there and back",
            bare,
            "none: what two wake-ups cost",
        ),
    ] {
        let us = |share| at(samples.clone(), share).as_secs_f64() * 1e6;
        println!(
            "{what:<44} p50 {:>8.1} µs  p99 {:>8.1} µs   bar {bar}",
            us(0.5),
            us(0.99)
        );
    }
}

/// Calls each in turn, some often enough to be warm, and keeps how long each call took.
fn turns<const N: usize>(took: &mut [Vec<Duration>; N], mut call: impl FnMut(usize)) {
    for which in 0..N {
        for _ in 0..WARM_UP {
            call(which);
        }
    }
    for _ in 0..TURNS {
        for (which, took) in took.iter_mut().enumerate() {
            for _ in 0..CALLS_A_TURN {
                let begun = Instant::now();
                call(which);
                took.push(begun.elapsed());
            }
        }
    }
}

/// Another process at the other end of a socket.
struct Echo {
    socket: OwnedFd,
    child: Child,
    there: Vec<u8>,
    back: Vec<u8>,
    look: Duration,
}

impl Echo {
    fn new(there: usize, back: usize, look: Duration) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("two ends");
        let program = std::env::current_exe().expect("this very file");
        let child = Command::new(program)
            .args([
                ECHO,
                &there.to_string(),
                &back.to_string(),
                &look.as_micros().to_string(),
            ])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("it starts");
        Self {
            socket: ours.into(),
            child,
            there: vec![7; there],
            back: vec![0; back],
            look,
        }
    }

    fn round_trip(&mut self) {
        write_all(self.socket.as_fd(), &self.there);
        let whole = read_exact(self.socket.as_fd(), &mut self.back, self.look);
        assert!(whole, "the other end has ended");
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Its end of the socket tells it to end.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

/// The other end: reads and answers until the first has hung up.
fn echo(words: &[String]) {
    let number = |place: usize| words[place].parse::<usize>().expect("a number");
    let (mut there, back) = (vec![0; number(0)], vec![9; number(1)]);
    let look = Duration::from_micros(number(2) as u64);
    let socket = std::io::stdin();
    while read_exact(socket.as_fd(), &mut there, look) {
        write_all(socket.as_fd(), &back);
    }
}

/// Answers false at the end of the socket.
fn read_exact(socket: BorrowedFd<'_>, bytes: &mut [u8], look: Duration) -> bool {
    let (mut read, begun) = (0, Instant::now());
    while read < bytes.len() {
        let looks = !look.is_zero() && begun.elapsed() < look;
        let flags = match looks {
            true => RecvFlags::DONTWAIT,
            false => RecvFlags::empty(),
        };
        match recv(socket, &mut bytes[read..], flags) {
            Ok((0, _)) => return false,
            Ok((len, _)) => read += len,
            Err(Errno::AGAIN) => spin_loop(),
            Err(Errno::INTR) => {}
            Err(error) => panic!("the bare socket: {error}"),
        }
    }
    true
}

fn write_all(socket: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(len) => bytes = &bytes[len..],
            Err(Errno::INTR) => {}
            // It has hung up: the next read says so.
            Err(_) => return,
        }
    }
}
