//! The figures of the whole program, beside what they are compared with, in one run: `cargo bench -p hotshoe-tests`.
//!
//! Each line is a figure and its bar (DESIGN §9). Nothing fails here: a machine that is busy prints worse figures. Traffic
//! stays on this machine's loopback and stops by itself.

mod releases;

use hotshoe_tests::{http, memory};
use releases::{LINES, timed};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

const ROUNDS: usize = 5;
const SAMPLES: usize = 200;

fn main() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let host = releases::host();
    demo(&host, scratch.path());
    stream(&host, scratch.path());
}

fn config(folder: &Path, stream: &str) -> PathBuf {
    let file = folder.join("figures.toml");
    let text = format!(
        "[[plugin]]\nname = \"dynamic-config\"\nlibrary = \"hotshoe_dynamic_config\"\n[plugin.settings]\n\
         profile = \"quickstart\"\nlisten = [\"127.0.0.1:0\"]\n\n\
         [[plugin]]\nname = \"append\"\nlibrary = \"hotshoe_quickstart\"\nafter = [\"dynamic-config\"]\n\
         [plugin.settings]\ntopic = \"dynamic-config\"\n\n[stream]\nprocessors = [\"append\"]\n{stream}\n"
    );
    fs::write(&file, text).expect("the configuration is written");
    file
}

fn command(host: &Path, config: &Path, folder: &Path) -> Command {
    let mut command = releases::command(host, folder);
    command.arg("run").arg(config);
    command
}

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

fn print(what: &str, found: Duration, bar: &str) {
    println!(
        "{what:<44} {:>10.3} ms   bar {bar}",
        found.as_secs_f64() * 1e3
    );
}

/// Start, one line, one change, stop, memory.
fn demo(host: &Path, scratch: &Path) {
    let config = config(scratch, "");
    let (mut readies, mut stops, mut lines, mut changes, mut resident_bytes) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let mut child = command(host, &config, scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the host starts");
        let stderr = line_channel(child.stderr.take().expect("piped"));
        let stdout = line_channel(child.stdout.take().expect("piped"));
        let mut url = String::new();
        loop {
            let line = stderr
                .recv_timeout(Duration::from_secs(20))
                .expect("the host becomes ready");
            if let Some(at) = line.find("http://127.0.0.1:") {
                url = line[at + 7..]
                    .split(' ')
                    .next()
                    .unwrap_or_default()
                    .to_owned();
            }
            if line.contains(" ready ") {
                break;
            }
        }
        readies.push(began.elapsed());
        let mut stdin = child.stdin.take().expect("piped");
        let mut echo = |lines: &mut Vec<Duration>| {
            let sent = Instant::now();
            stdin.write_all(b"hello world\n").expect("the host reads");
            let back = stdout
                .recv_timeout(Duration::from_secs(5))
                .expect("the record comes back");
            lines.push(sent.elapsed());
            back
        };
        for _ in 0..SAMPLES / ROUNDS {
            echo(&mut lines);
        }
        for _ in 0..SAMPLES / ROUNDS {
            let began = Instant::now();
            let answer = http::get(&url, "/");
            let back = echo(&mut Vec::new());
            changes.push(began.elapsed());
            assert!(
                answer
                    .text()
                    .trim_end()
                    .ends_with(back.trim_start_matches("hello world")),
                "{back}"
            );
        }
        resident_bytes = resident_bytes.max(memory::resident_bytes(child.id()).expect("it runs"));
        let began = Instant::now();
        stop(&child);
        let status = child.wait().expect("the host ends");
        stops.push(began.elapsed());
        assert!(status.success());
    }
    print(
        "demo: start to ready",
        median(readies),
        "50 ms; Spark 11,700",
    );
    print(
        "demo: line sent to printed",
        median(lines),
        "1 ms; Spark 134",
    );
    print(
        "demo: change begun to new value printed",
        median(changes),
        "2 ms; Spark 147",
    );
    print("demo: SIGTERM to exit", median(stops), "50 ms; Spark 500");
    println!(
        "{:<44} {:>10.1} MiB  bar 15 MiB; Spark 427",
        "demo: resident memory",
        resident_bytes as f64 / f64::from(1 << 20)
    );
}

fn line_channel(from: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn stop(child: &Child) {
    let pid = Pid::from_child(child);
    kill_process(pid, Signal::TERM).expect("the host is there");
}

/// Lines through the demo's processor, beside `sed`, the same file, turn by turn.
fn stream(host: &Path, scratch: &Path) {
    let input = scratch.join("lines");
    fs::write(&input, b"hello worl\n".repeat(LINES)).expect("the input is written");
    let config = config(scratch, "");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let file = fs::File::open(&input).expect("the input");
        let mut host = command(host, &config, scratch);
        host.stderr(Stdio::null()).stdin(file);
        ours.push(timed(host));
        let mut sed = Command::new("sed");
        sed.arg("s/$/10/")
            .stdin(fs::File::open(&input).expect("the input"));
        theirs.push(timed(sed));
    }
    let rate = |took: Duration| LINES as f64 / took.as_secs_f64() / 1e6;
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "stream: stdin to stdout, 11-byte lines        {:>10.1} M/s  sed {:.1} M/s, ratio {:.2}; bar 1; Spark 0.8 M/s",
        rate(ours),
        rate(theirs),
        theirs.as_secs_f64() / ours.as_secs_f64()
    );
}
