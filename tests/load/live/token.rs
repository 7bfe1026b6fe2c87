//! C50: how long a wrong token takes to be refused says nothing of how much of it is right.

use crate::{client::Client, killing::Served, print, times};
use hotshoe_tests::Setup;
use std::{fs, os::unix::fs::PermissionsExt as _, time::Instant};

const TOKEN: &str = "0123456789abcdefghijklmnopqrstuv";

pub(crate) fn tells_nothing() {
    let tries = times(100_000);
    let setup = Setup::new();
    let file = setup.file("token", TOKEN.as_bytes());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let entry = crate::in_memory().set(&format!("token_file = {:?}", file.display().to_string()));
    setup.entries("", &[entry]);
    let served = Served::start(&setup);
    let mut client = Client::connect(&served.address);
    let right = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(client.ask("GET", "/v1/config", &right, "").status, 200);
    let mut samples = Vec::new();
    // A full period over 32 lengths in an order that has nothing to do with them, so that a drift of the machine is no slope.
    let mut turn = 0_u64;
    for _ in 0..tries {
        turn = turn
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let right = usize::try_from(turn >> 59).unwrap();
        let wrong = "!".repeat(TOKEN.len() - right).replace('!', "_");
        let header = format!("Authorization: Bearer {}{wrong}\r\n", &TOKEN[..right]);
        let begun = Instant::now();
        let response = client.ask("GET", "/v1/config", &header, "");
        samples.push((right as f64, begun.elapsed().as_secs_f64()));
        assert_eq!(response.status, 401, "{}", response.text());
    }
    let found = format!(
        "{tries} wrong tokens with 0 to 31 right leading bytes, r = {:+.4} between bytes and time",
        correlation(&samples)
    );
    print("C50", &found, "|r| < 0.01");
}

fn correlation(samples: &[(f64, f64)]) -> f64 {
    let n = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|s| s.0), mean(|s| s.1));
    let sum =
        |of: &dyn Fn(f64, f64) -> f64| samples.iter().map(|s| of(s.0 - x, s.1 - y)).sum::<f64>();
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}
