//! What a plugin pays for its host's services, in-process: metrics, live configuration, messages. Measured inside mounted
//! plugins, where they are used.
#![allow(
    missing_docs,
    reason = "criterion's macro makes an undocumented function"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use hotshoe::Host;
use hotshoe_plugin_api::{
    Batch, Context, Counter, DriverPlugin, Error, ExtraConf, Gauge, Histogram, Latest, Live,
    NoSettings, Output, Plugin, Processor, Result, entry, export_plugin,
};
use serde_json::{Value, json};
use std::{
    hint::black_box,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// What `process` repeats, and how often; the answer comes back as its duration.
static ASKED: Mutex<(&str, u64)> = Mutex::new(("", 0));
static TOOK_NS: AtomicU64 = AtomicU64::new(0);

struct Bench;

impl Plugin for Bench {
    type Settings = NoSettings;
    fn new(_: NoSettings) -> Result<Self> {
        Ok(Self)
    }
    fn driver(&mut self) -> Option<Box<dyn DriverPlugin>> {
        Some(Box::new(Echo))
    }
    fn processor(&mut self) -> Option<Box<dyn Processor>> {
        Some(Box::new(Repeat(None)))
    }
}

struct Echo;

impl DriverPlugin for Echo {
    fn init(&mut self, ctx: Context) -> Result<ExtraConf> {
        let schema = json!({
            "type": "object",
            "properties": { "value": { "type": "integer" } },
            "additionalProperties": false,
        });
        ctx.config()
            .declare(&schema, &json!({ "value": 10 }), &json!({}))?;
        Ok(ExtraConf::new())
    }
    fn receive(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(message.to_vec())
    }
}

struct Handles {
    counter: Counter,
    gauge: Gauge,
    histogram: Histogram,
    live: Live<Value>,
    latest: Latest<Value>,
}

struct Repeat(Option<Handles>);

impl Processor for Repeat {
    fn init(&mut self, ctx: Context) -> Result<()> {
        self.0 = Some(Handles {
            counter: ctx.metrics().counter("counter")?,
            gauge: ctx.metrics().gauge("gauge")?,
            histogram: ctx
                .metrics()
                .histogram("histogram", &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0])?,
            live: ctx.live("bench")?,
            latest: ctx.latest("bench")?,
        });
        Ok(())
    }

    fn process(&mut self, batch: &Batch<'_>, _: &mut Output<'_>) -> Result<()> {
        let handles = self
            .0
            .as_mut()
            .ok_or_else(|| Error::new("not initialised"))?;
        let (what, times) = *ASKED.lock().map_err(|_| Error::new("poisoned"))?;
        let began = Instant::now();
        for turn in 0..times {
            match what {
                "counter" => handles.counter.inc(),
                "gauge" => handles.gauge.set(black_box(1.0)),
                "histogram" => handles.histogram.observe(black_box((turn % 40) as f64)),
                "live" => drop(black_box(handles.live.at(black_box(batch))?)),
                "latest" => drop(black_box(handles.latest.get()?)),
                _ => drop(black_box(turn)),
            }
        }
        TOOK_NS.store(
            u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Ordering::Release,
        );
        Ok(())
    }
}

export_plugin!(Bench as "bench": driver, processor);

fn handles(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let host = Host::builder()
        .plugin("bench", entry!(Bench), ())
        .side(hotshoe::Side::Drivers)
        .build()
        .expect("built");
    runtime.block_on(host.start()).expect("started");
    let mut slot = host.slot(0);
    slot.start().expect("the slot starts");
    let pin = host.pin();
    let mut group = c.benchmark_group("handle");
    for what in [
        "empty loop",
        "counter",
        "gauge",
        "histogram",
        "live",
        "latest",
    ] {
        group.bench_function(what, |bencher| {
            bencher.iter_custom(|times| {
                *ASKED.lock().expect("unpoisoned") = (what, times);
                slot.run([&b"x"[..]], &pin, 1);
                Duration::from_nanos(TOOK_NS.load(Ordering::Acquire))
            });
        });
    }
    group.finish();

    c.bench_function("ask, host to driver and back", |bencher| {
        bencher.iter(|| {
            runtime
                .block_on(host.ask("bench", b"x", Duration::from_secs(5)))
                .expect("answered")
        });
    });
    let mut value = 0_u64;
    c.bench_function("publish, until every later batch sees it", |bencher| {
        bencher.iter(|| {
            value += 1;
            runtime
                .block_on(host.publish("bench", &json!({ "value": value })))
                .expect("published")
        });
    });
    drop(slot);
    runtime.block_on(host.shutdown());
}

criterion_group!(benches, handles);
criterion_main!(benches);
