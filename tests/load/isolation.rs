//! What a process of its own costs, and how fast a dead one is back: `cargo bench -p hotshoe-tests --bench isolation [-- KILLS]
//! [starts] [stream] [crossings] [deaths]`; all four where none is named.
//!
//! Each line is a figure and its bar (issue 5, DESIGN §9). Nothing fails here but what is not a time: a machine that is busy
//! prints worse figures.

mod releases;

use releases::{LINES, timed};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

const ROUNDS: usize = 5;
const KILLS: usize = 200;

fn main() {
    let kills = std::env::args()
        .filter_map(|word| word.parse().ok())
        .next()
        .unwrap_or(KILLS);
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let host = releases::host();
    let named: Vec<String> = std::env::args()
        .filter(|word| ["starts", "stream", "crossings", "deaths"].contains(&word.as_str()))
        .collect();
    let wanted = |name: &str| named.is_empty() || named.iter().any(|word| word == name);
    if wanted("starts") {
        starts(&host, scratch.path());
    }
    if wanted("stream") {
        stream(&host, scratch.path());
    }
    if wanted("crossings") {
        crossings();
    }
    if wanted("deaths") {
        deaths(&host, scratch.path(), kills, Weight::Light);
        deaths(&host, scratch.path(), kills, Weight::Gibibyte);
    }
}

/// What the host holds when its worker dies: a fork of its memory would show.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    Light,
    /// 1 GiB, resident.
    Gibibyte,
}

fn config(folder: &Path, isolation: &str, stream: &str) -> PathBuf {
    let file = folder.join(format!("{isolation}.toml"));
    let text = format!(
        "[[plugin]]\nname = \"dynamic-config\"\nlibrary = \"hotshoe_dynamic_config\"\n[plugin.settings]\n\
         profile = \"quickstart\"\nlisten = [\"127.0.0.1:0\"]\n\n\
         [[plugin]]\nname = \"append\"\nlibrary = \"hotshoe_quickstart\"\nafter = [\"dynamic-config\"]\n\
         isolation = \"{isolation}\"\nrestart = {{ attempts = 1000, within = \"1ms\", backoff = \"1ms\" }}\n\
         [plugin.settings]\ntopic = \"dynamic-config\"\n\n[stream]\nprocessors = [\"append\"]\n{stream}\n"
    );
    let text = match isolation {
        "process" => text,
        _ => text.replace(
            "restart = { attempts = 1000, within = \"1ms\", backoff = \"1ms\" }\n",
            "",
        ),
    };
    fs::write(&file, text).expect("the configuration is written");
    file
}

fn command(host: &Path, config: &Path, folder: &Path) -> Command {
    let mut command = releases::command(host, folder);
    command.args(["--log-format", "json", "run"]).arg(config);
    command
}

fn at(mut samples: Vec<Duration>, share: f64) -> Duration {
    samples.sort_unstable();
    let place = (samples.len() as f64 * share) as usize;
    samples[place.min(samples.len() - 1)]
}

fn print(what: &str, samples: &[Duration], bar: &str) {
    let ms = |share| at(samples.to_vec(), share).as_secs_f64() * 1e3;
    println!(
        "{what:<44} p50 {:>8.3} ms  p99 {:>8.3} ms   bar {bar}",
        ms(0.5),
        ms(0.99)
    );
}

/// The lines of a log, with the moment at which each was read.
fn log(child: &mut Child) -> mpsc::Receiver<(Instant, String)> {
    let stderr = child.stderr.take().expect("piped");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send((Instant::now(), line)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Waits for a line that holds `wanted`.
fn wait_for(log: &mpsc::Receiver<(Instant, String)>, wanted: &str) -> Instant {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match log.recv_timeout(left) {
            Ok((at, line)) if line.contains(wanted) => return at,
            Ok(_) => {}
            Err(error) => panic!("no line with {wanted:?}: {error}"),
        }
    }
}

/// From the start to ready, turn by turn.
fn starts(host: &Path, scratch: &Path) {
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS * 4 {
        for (isolation, took) in ["in-process", "process"].iter().zip(&mut took) {
            let config = config(scratch, isolation, "");
            let begun = Instant::now();
            let mut child = command(host, &config, scratch)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it starts");
            let log = log(&mut child);
            took.push(wait_for(&log, "\"ready\"").duration_since(begun));
            drop(child.stdin.take());
            assert!(child.wait().expect("it ends").success());
        }
    }
    let [in_process, process] = took;
    print("start to ready, in-process", &in_process, "50 ms");
    print("start to ready, one of two isolated", &process, "55 ms");
}

/// Lines through the demo's processor in the host and in a worker, the same file, turn by turn.
fn stream(host: &Path, scratch: &Path) {
    let input = scratch.join("lines");
    fs::write(&input, b"hello worl\n".repeat(LINES)).expect("the input is written");
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (isolation, took) in ["in-process", "process"].iter().zip(&mut took) {
            let config = config(scratch, isolation, "");
            let mut host = command(host, &config, scratch);
            host.stderr(Stdio::null())
                .stdin(fs::File::open(&input).expect("the input"));
            took.push(timed(host));
        }
    }
    let [in_process, process] = took.map(|samples| at(samples, 0.5));
    let rate = |took: Duration| LINES as f64 / took.as_secs_f64() / 1e6;
    println!(
        "stream, 11-byte lines: isolated              {:>10.1} M/s  in-process {:.1} M/s, share {:.0} %   bar 50 %",
        rate(process),
        rate(in_process),
        100.0 * in_process.as_secs_f64() / process.as_secs_f64()
    );
    let ns = |took: Duration| took.as_secs_f64() * 1e9 / LINES as f64;
    println!(
        "  a record                                   {:>10.1} ns   in-process {:.1} ns, ratio {:.2}   bar 2",
        ns(process),
        ns(in_process),
        ns(process) / ns(in_process)
    );
}

/// One batch, or one question, at a time. An embedder measures that best, so it is a bench of the library's own.
fn crossings() {
    let benched = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["bench", "-p", "hotshoe", "--bench", "crossing"])
        .current_dir(hotshoe_tests::artifacts::workspace_root())
        .status();
    assert!(
        benched.is_ok_and(|status| status.success()),
        "the bench of the crossings failed"
    );
}

/// Kills an idle worker again and again: when its death is logged, and when it is in service again.
fn deaths(host: &Path, scratch: &Path, kills: usize, weight: Weight) {
    let config = config(scratch, "process", "");
    if weight == Weight::Gibibyte {
        let mut text = fs::read_to_string(&config).expect("just written");
        let library = hotshoe_tests::artifacts::fixture("misbehave");
        text.push_str(&format!(
            "\n[[plugin]]\nname = \"fat\"\nlibrary = {:?}\n[plugin.settings]\n\
             acts = [{{ hook = \"driver-init\", crime = \"leak\", bytes = {} }}]\n",
            library.display().to_string(),
            1 << 30
        ));
        fs::write(&config, text).expect("the configuration is written");
    }
    let mut child = command(host, &config, scratch)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let log = log(&mut child);
    wait_for(&log, "\"ready\"");
    let (mut noticed, mut back) = (Vec::new(), Vec::new());
    for _ in 0..kills {
        let worker = worker_of(&child);
        let killed = Instant::now();
        kill_process(worker, Signal::KILL).expect("the worker is there");
        noticed.push(wait_for(&log, "its worker died").duration_since(killed));
        back.push(wait_for(&log, "in service again").duration_since(killed));
    }
    let resident = hotshoe_tests::memory::resident_bytes(child.id()).expect("it runs");
    println!(
        "{kills} kills, {} MiB resident in the host:",
        resident >> 20
    );
    print(
        "  SIGKILL of a worker to its death in the log",
        &noticed,
        "5 ms p99",
    );
    print(
        "  SIGKILL of a worker to in service again",
        &back,
        "20 ms p99",
    );
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());
}

/// The only child of the host.
fn worker_of(host: &Child) -> Pid {
    // A worker is a child of the thread that started it.
    let tasks = fs::read_dir(format!("/proc/{}/task", host.id())).expect("the host is there");
    let children =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let child = children
        .flat_map(|list| {
            list.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .find_map(|pid| pid.parse().ok().and_then(Pid::from_raw));
    child.expect("a worker")
}
