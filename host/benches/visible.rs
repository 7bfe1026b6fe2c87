//! N2 of the configuration contract: from the swap of a new value to a reader that spins on another core. Prints its figure
//! beside its bar and stops by itself: `cargo bench -p hotshoe --bench visible`.
//!
//! The swap is the last thing that `Host::install` does: how long behind that call's return the value is seen is the figure,
//! nothing where it is seen before; how long behind its begin is an upper bound. The reader is a plugin's `Latest<T>`,
//! decoded value included.
#![allow(clippy::print_stdout, reason = "a program that prints its figure")]

use hotshoe::{CallError, DriversElsewhere, Host};
use hotshoe_plugin_api::{
    Batch, Context, DriverPlugin, Error, ExtraConf, Latest, NoSettings, Output, Plugin, Processor,
    Result, entry, export_plugin,
};
use serde_json::json;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const SWAPS: u64 = 20_000;
/// Between what a reader has seen and the next swap: it spins again by then.
const PAUSE: Duration = Duration::from_micros(10);

/// The newest value that the reader has seen, and when; the value that ends its call.
static SEEN: AtomicU64 = AtomicU64::new(0);
static SEEN_AT: Mutex<Option<Instant>> = Mutex::new(None);
const LAST: u64 = 10 + SWAPS;

struct Bench;

impl Plugin for Bench {
    type Settings = NoSettings;
    fn new(_: NoSettings) -> Result<Self> {
        Ok(Self)
    }
    fn driver(&mut self) -> Option<Box<dyn DriverPlugin>> {
        Some(Box::new(Owner))
    }
    fn processor(&mut self) -> Option<Box<dyn Processor>> {
        Some(Box::new(Spins(None)))
    }
}

struct Owner;

impl DriverPlugin for Owner {
    fn init(&mut self, ctx: Context) -> Result<ExtraConf> {
        let schema = json!({"type": "integer"});
        ctx.config().declare(&schema, &json!(10), &json!({}))?;
        Ok(ExtraConf::new())
    }
}

struct Spins(Option<Latest<u64>>);

impl Processor for Spins {
    fn init(&mut self, ctx: Context) -> Result<()> {
        self.0 = Some(ctx.latest("bench")?);
        Ok(())
    }

    /// One call, as long as the values last.
    fn process(&mut self, _: &Batch<'_>, _: &mut Output<'_>) -> Result<()> {
        let latest = self.0.as_mut();
        let latest = latest.ok_or_else(|| Error::new("not initialised"))?;
        let mut seen = *latest.get()?;
        SEEN.store(seen, Ordering::Release);
        while seen < LAST {
            let value = *latest.get()?;
            if value == seen {
                std::hint::spin_loop();
                continue;
            }
            let now = Instant::now();
            *SEEN_AT.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
            seen = value;
            SEEN.store(seen, Ordering::Release);
        }
        Ok(())
    }
}

export_plugin!(Bench as "bench": driver, processor);

/// Nobody here talks to the other half.
struct Silent;

impl DriversElsewhere for Silent {
    fn send(&self, _: &str, _: &[u8]) -> std::result::Result<(), CallError> {
        Err(CallError::gone("nobody is asked here"))
    }
    fn ask(&self, _: &str, _: &[u8], _: Duration) -> std::result::Result<Vec<u8>, CallError> {
        Err(CallError::gone("nobody is asked here"))
    }
}

fn wait_seen(value: u64) {
    while SEEN.load(Ordering::Acquire) < value {
        std::hint::spin_loop();
    }
}

/// The value below which the fraction `part` of the samples lies.
fn percentile(samples: &mut [Duration], part: f64) -> Duration {
    samples.sort_unstable();
    samples[((samples.len() - 1) as f64 * part) as usize]
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let builder = || Host::builder().plugin("bench", entry!(Bench), ());
    let owner = builder()
        .side(hotshoe::Side::Drivers)
        .build()
        .expect("built");
    runtime.block_on(owner.start()).expect("started");
    // Encoded beforehand, so that nothing but the swap is under way while a reader spins.
    let mut sets = vec![owner.pin().encode()];
    for value in 11..=LAST {
        runtime
            .block_on(owner.publish("bench", &json!(value)))
            .expect("published");
        sets.push(owner.pin().encode());
    }
    let readers = builder()
        .drivers_elsewhere(Arc::new(Silent))
        .build()
        .expect("built");
    runtime.block_on(readers.start()).expect("started");
    let first = readers.install(&sets[0]).expect("a set");
    let mut slot = readers.slot(0);
    slot.start().expect("the slot starts");
    let (mut behind, mut bound) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| slot.run([&b"x"[..]], &first, 1));
        wait_seen(10);
        for (value, set) in (11..).zip(&sets[1..]) {
            let begun = Instant::now();
            readers.install(set).expect("a set");
            let swapped = Instant::now();
            wait_seen(value);
            let at = SEEN_AT.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = at.expect("it was just seen");
            drop(at);
            behind.push(seen.saturating_duration_since(swapped));
            bound.push(seen - begun);
            let until = Instant::now() + PAUSE;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
    });
    println!(
        "N2   seen p50 {:?}, p99 {:?} behind a swap, and p50 {:?}, p99 {:?} behind the begin of its call ({SWAPS} swaps); bar: p50 1 µs, p99 5 µs behind the swap",
        percentile(&mut behind, 0.5),
        percentile(&mut behind, 0.99),
        percentile(&mut bound, 0.5),
        percentile(&mut bound, 0.99)
    );
    drop(slot);
    runtime.block_on(readers.shutdown());
    runtime.block_on(owner.shutdown());
}
