//! N11: how much slower records become while the configuration changes a hundred times a second.

use crate::{client::Client, print, times};
use hotshoe_tests::{Entry, Setup, artifacts};
use std::{
    fs,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

const ROUNDS: usize = 21;
const BETWEEN: Duration = Duration::from_millis(10);

pub(crate) fn beside_changes() {
    let lines = usize::try_from(times(20_000_000)).unwrap();
    let setup = Setup::new();
    let input = setup.scratch("lines");
    fs::write(&input, b"hello worl\n".repeat(lines)).unwrap();
    let config = Entry::of(
        "dynamic-config",
        artifacts::library("hotshoe-dynamic-config"),
    )
    .set("listen = [\"127.0.0.1:0\"]")
    .set("state = \"memory\"")
    .set("touch = { step = 10 }");
    let append = Entry::of("append", artifacts::library("hotshoe-quickstart"))
        .key("after = [\"dynamic-config\"]")
        .set("topic = \"dynamic-config\"");
    setup.entries(
        "[stream]\nsource = \"stdin\"\nprocessors = [\"append\"]\n",
        &[config, append],
    );
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let mut changes = 0;
    // Turn by turn, each pair as near to each other as can be.
    for _ in 0..ROUNDS {
        without.push(run(&setup, &input, false).0);
        let (took, changed) = run(&setup, &input, true);
        with.push(took);
        changes += changed;
    }
    without.sort_unstable();
    with.sort_unstable();
    let (without, with) = (without[ROUNDS / 2], with[ROUNDS / 2]);
    let found = format!(
        "{:.2} M records a second without changes, {:.2} with ({changes} changes in all), ratio {:.3}",
        lines as f64 / without.as_secs_f64() / 1e6,
        lines as f64 / with.as_secs_f64() / 1e6,
        without.as_secs_f64() / with.as_secs_f64()
    );
    print("N11", &found, "at least 0.99");
}

/// One run over the whole input; its time, and the changes meanwhile.
fn run(setup: &Setup, input: &std::path::Path, changing: bool) -> (Duration, u64) {
    let mut command = Command::new(artifacts::hotshoe());
    command.args(["run", "hotshoe.toml"]);
    setup.place(&mut command);
    let mut child = command
        .stdin(fs::File::open(input).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut log = std::io::BufRead::lines(log);
    assert!(log.any(|line| line.unwrap().contains(" ready ")));
    let begun = Instant::now();
    let (stop, stopped) = mpsc::channel::<()>();
    let changer = changing.then(|| {
        let address = setup.addresses("dynamic-config")[0]["http://".len()..].to_owned();
        thread::spawn(move || {
            let mut client = Client::connect(&address);
            let mut changes = 0;
            while stopped
                .recv_timeout(BETWEEN)
                .is_err_and(|why| why == mpsc::RecvTimeoutError::Timeout)
            {
                // At the end of its input the host stops.
                if !client.touched() {
                    break;
                }
                changes += 1;
            }
            changes
        })
    });
    let drain = thread::spawn(move || log.map_while(Result::ok).count());
    assert!(child.wait().unwrap().success());
    let took = begun.elapsed();
    drop(stop);
    drain.join().unwrap();
    (took, changer.map_or(0, |changer| changer.join().unwrap()))
}
