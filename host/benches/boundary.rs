//! What the boundary costs: the quickstart's processor out of a library against the same code mounted statically, and an
//! empty hook against a direct call, and what it costs to ask for a capability. Read the ratios, not the times.
#![allow(
    missing_docs,
    reason = "criterion's macro makes an undocumented function"
)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hotshoe_abi::{
    BatchRef, Entry, Executor, Executor_TO, ExecutorBox, Failure, HostBox, OutBatch, Pairs,
    PluginModuleRef, ProcessorBox, Task,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RResult, RSlice, RStr, RString, RVec},
    },
    failure_kind,
};
use hotshoe_plugin_api::{
    Context, ExecutorPlugin, ExtraConf, NoSettings, Plugin, Result, capability, entry,
    export_plugin,
};
use hotshoe_tests::bare::{self, Log};
use std::{
    hint::black_box,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
};

mod common;

fn processor(module: PluginModuleRef, settings: &str) -> ProcessorBox {
    let created = module.create()(settings.into(), bare::host("bench", &Log::default()))
        .into_result()
        .expect("the quickstart's settings");
    let mut instance = created.instance;
    let part = instance
        .processor()
        .into_result()
        .expect("a processor")
        .into_option();
    let mut processor = part.expect("a processor");
    processor
        .init(bare::host("bench", &Log::default()))
        .into_result()
        .expect("init");
    // Its parts outlive it in this bench as they do in a host.
    std::mem::forget(instance);
    processor
}

fn records(c: &mut Criterion) {
    let path = common::library("hotshoe-quickstart");
    let verified =
        hotshoe_loader::verify(&path, &hotshoe_loader::Policy::default()).expect("verified");
    let loaded = hotshoe_loader::load(verified, "bench").expect("loaded");
    let settings = r#"{"topic":"dynamic-config"}"#;
    let linked: Entry = entry!(hotshoe_quickstart::Append);
    let mut sides = [
        ("static", processor((linked.module)(), settings)),
        ("library", processor(loaded.module, settings)),
    ];
    let mut group = c.benchmark_group("record");
    for batch in [1_usize, 64, 1024] {
        let bytes = b"hello world".repeat(batch);
        let offsets: Vec<u32> = (0..=batch).map(|index| (index * 11) as u32).collect();
        group.throughput(Throughput::Elements(batch as u64));
        for (side, processor) in &mut sides {
            group.bench_function(BenchmarkId::new(*side, batch), |bencher| {
                bencher.iter(|| {
                    let mut out = OutBatch::default();
                    out.bytes.reserve(bytes.len() * 2);
                    out.offsets.reserve(offsets.len());
                    let lent = BatchRef {
                        epoch: 1,
                        task: 1,
                        attempt: 1,
                        offsets: offsets.as_slice().into(),
                        bytes: bytes.as_slice().into(),
                    };
                    processor
                        .process(black_box(lent), &mut out)
                        .into_result()
                        .expect("processed");
                    black_box(out.bytes.len())
                });
            });
        }
    }
    group.finish();
}

struct Empty;

impl Plugin for Empty {
    type Settings = NoSettings;
    fn new(_: NoSettings) -> Result<Self> {
        Ok(Self)
    }
    fn executor(&mut self) -> Option<Box<dyn ExecutorPlugin>> {
        Some(Box::new(Self))
    }
}

impl ExecutorPlugin for Empty {
    fn init(&mut self, ctx: Context, _: ExtraConf) -> Result<()> {
        CONTEXT.get_or_init(|| ctx);
        Ok(())
    }
}

export_plugin!(Empty as "empty": executor);

/// An empty hook through the ABI against the same call on the author's own object: behind a barrier alone, and as the API's glue
/// makes it, which also notes for whom the thread works.
fn hooks(c: &mut Criterion) {
    let module = (entry!(Empty).module)();
    let mut instance = module.create()("{}".into(), bare::host("bench", &Log::default()))
        .into_result()
        .expect("created")
        .instance;
    let mut part = instance
        .executor()
        .into_result()
        .expect("a part")
        .into_option()
        .expect("a part");
    part.init(bare::host("bench", &Log::default()), RVec::new())
        .into_result()
        .expect("init");
    let task = Task {
        id: 1,
        attempt: 1,
        records: 1,
        epoch: 1,
    };
    let mut group = c.benchmark_group("hook");
    group.bench_function("through the ABI", |bencher| {
        bencher.iter(|| part.on_task_start(black_box(task)).into_result().is_ok());
    });
    let mut barrier: ExecutorBox =
        Executor_TO::from_value(BarrierAlone(Box::new(Empty)), TD_Opaque);
    group.bench_function("through the ABI, the barrier alone", |bencher| {
        bencher.iter(|| barrier.on_task_start(black_box(task)).into_result().is_ok());
    });
    let mut direct: Box<dyn DirectHook> = Box::new(Empty);
    group.bench_function("direct", |bencher| {
        bencher.iter(|| black_box(&mut direct).hook(black_box(task)));
    });
    group.finish();
}

/// A virtual call of the same shape.
trait DirectHook {
    fn hook(&mut self, task: Task) -> bool;
}

impl DirectHook for Empty {
    fn hook(&mut self, task: Task) -> bool {
        task.id != 0
    }
}

/// What the glue is without attribution.
struct BarrierAlone(Box<dyn DirectHook + Send>);

impl BarrierAlone {
    fn call(&mut self, task: Task) -> RResult<(), Failure> {
        match catch_unwind(AssertUnwindSafe(|| self.0.hook(task))) {
            Ok(true) => RResult::ROk(()),
            Ok(false) | Err(_) => RResult::RErr(unsupported()),
        }
    }
}

impl Executor for BarrierAlone {
    fn init(&mut self, _: HostBox, _: Pairs) -> RResult<(), Failure> {
        RResult::ROk(())
    }

    fn on_task_start(&mut self, task: Task) -> RResult<(), Failure> {
        self.call(task)
    }

    fn on_task_succeeded(&mut self, task: Task) -> RResult<(), Failure> {
        self.call(task)
    }

    fn on_task_failed(&mut self, task: Task, _: RStr<'_>) -> RResult<(), Failure> {
        self.call(task)
    }

    fn receive(&mut self, _: RSlice<'_, u8>) -> RResult<RVec<u8>, Failure> {
        RResult::RErr(unsupported())
    }

    fn shutdown(&mut self) -> RResult<(), Failure> {
        RResult::ROk(())
    }
}

#[cold]
fn unsupported() -> Failure {
    Failure {
        kind: failure_kind::UNSUPPORTED,
        code: RString::new(),
        message: RString::new(),
        fix: RString::new(),
    }
}

static CONTEXT: OnceLock<Context> = OnceLock::new();

/// Whether the other side has a method: asked in either direction before it is called.
fn capabilities(c: &mut Criterion) {
    let context = CONTEXT.get().expect("the hooks' part was initialised");
    let path = common::library("hotshoe-quickstart");
    let verified =
        hotshoe_loader::verify(&path, &hotshoe_loader::Policy::default()).expect("verified");
    let library = hotshoe_loader::load(verified, "bench").expect("loaded");
    let mut group = c.benchmark_group("capability");
    group.bench_function("a plugin asks its host", |bencher| {
        bencher.iter(|| black_box(context).host_has(black_box(capability::BASE)));
    });
    group.bench_function("the host asks a plugin", |bencher| {
        bencher.iter(|| black_box(&library).has(black_box(capability::BASE)));
    });
    group.finish();
}

criterion_group!(benches, records, hooks, capabilities);
criterion_main!(benches);
