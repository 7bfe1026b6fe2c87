//! The glue between an author's code and the ABI: what unwinds is caught on every entry, and a failure's kind is the glue's
//! word. Driven through the ABI itself, with a host that has nothing to offer.
#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap in here is a failed test, with its line"
)]

use hotshoe_abi::{
    BatchRef, DriverBox, ExecutorBox, Failure, InstanceBox, OutBatch, ProcessorBox, Proposal, Task,
    abi_stable::std_types::RVec, failure_kind, signal_kind,
};
use hotshoe_plugin_api::{
    Batch, Capability, CheckerPart, Context, DriverPlugin, Error, ExecutorPlugin, ExtraConf, Kind,
    Latest, Live, Output, Plugin, Processor, Result, Task as TaskSeen, Verdict, capability, entry,
    export_plugin, schemars, serde, serde_json,
};
use hotshoe_tests::bare::{self, EPOCH, Log};
use std::{
    panic::panic_any,
    sync::{Mutex, atomic::Ordering},
    time::Duration,
};

#[derive(serde::Deserialize, schemars::JsonSchema, Clone)]
#[serde(crate = "hotshoe_plugin_api::serde", deny_unknown_fields)]
#[schemars(crate = "hotshoe_plugin_api::schemars")]
struct Settings {
    /// Which call misbehaves, and how: `panic`, `error`, `payload`.
    #[serde(default)]
    hook: String,
    #[serde(default)]
    crime: String,
}

#[derive(Clone)]
struct Part(Settings);

/// A panic payload whose own Drop panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("the payload's drop");
        }
    }
}

impl Part {
    fn act(&self, hook: &str) -> Result<()> {
        match (self.0.hook == hook).then_some(self.0.crime.as_str()) {
            Some("panic") => panic!("in {hook}"),
            Some("payload") => panic_any(Bomb),
            Some("error") => Err(Error::new(format!("from {hook}"))
                .with_code("a-code")
                .with_fix("a fix")),
            Some("declined") => Err(Error::declined("not here")),
            _ => Ok(()),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.0.hook == "drop" && !std::thread::panicking() {
            panic!("in drop");
        }
    }
}

struct Crook(Settings);

impl Plugin for Crook {
    type Settings = Settings;
    fn new(settings: Settings) -> Result<Self> {
        let newborn = Part(Settings {
            hook: settings.hook.replace("drop", ""),
            ..settings.clone()
        });
        newborn.act("new")?;
        Ok(Self(settings))
    }
    fn driver(&mut self) -> Option<Box<dyn DriverPlugin>> {
        let part = Part(self.0.clone());
        if part.act("factory").is_err() {
            return None;
        }
        Some(Box::new(part))
    }
    fn executor(&mut self) -> Option<Box<dyn ExecutorPlugin>> {
        Some(Box::new(Part(self.0.clone())))
    }
    fn processor(&mut self) -> Option<Box<dyn Processor>> {
        Some(Box::new(Reader {
            part: Part(self.0.clone()),
            live: None,
            latest: None,
        }))
    }
    fn checker(&mut self) -> Option<Box<dyn CheckerPart>> {
        Some(Box::new(Part(self.0.clone())))
    }
}

impl DriverPlugin for Part {
    fn init(&mut self, ctx: Context) -> Result<ExtraConf> {
        self.act("init")?;
        let caller = ctx.ask("", b"", Duration::from_secs(1))?;
        Ok(ExtraConf::from([(
            "caller".to_owned(),
            String::from_utf8_lossy(&caller).into_owned(),
        )]))
    }
    fn register_metrics(&mut self, _: &Context) -> Result<()> {
        self.act("register_metrics")
    }
    fn receive(&mut self, _: &[u8]) -> Result<Vec<u8>> {
        self.act("receive").map(|()| b"heard".to_vec())
    }
    fn shutdown(&mut self) -> Result<()> {
        self.act("shutdown")
    }
}

impl ExecutorPlugin for Part {
    fn init(&mut self, _: Context, _: ExtraConf) -> Result<()> {
        self.act("executor_init")
    }
    fn on_task_start(&mut self, _: TaskSeen) -> Result<()> {
        self.act("on_task_start")
    }
}

impl CheckerPart for Part {
    fn check(&mut self, _: &str, _: &[u8], _: &[u8]) -> Result<Verdict> {
        self.act("check").map(|()| Verdict::veto("/value", "no"))
    }
}

struct Reader {
    part: Part,
    live: Option<Live<serde_json::Value>>,
    latest: Option<Latest<serde_json::Value>>,
}

impl Processor for Reader {
    fn init(&mut self, ctx: Context) -> Result<()> {
        assert_eq!(
            ctx.extra_conf(),
            ExtraConf::from([("of".to_owned(), "processor".to_owned())])
        );
        assert!(ctx.host_has(capability::BASE));
        let next = Capability {
            since_minor: hotshoe_abi::ABI_MINOR + 1,
        };
        assert!(!ctx.host_has(next));
        self.live = Some(ctx.live("topic")?);
        self.latest = Some(ctx.latest("topic")?);
        Ok(())
    }
    fn process(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<()> {
        self.part.act("process")?;
        let (Some(live), Some(latest)) = (&mut self.live, &mut self.latest) else {
            return Err(Error::new("not initialised"));
        };
        let seen = format!("{} {}", live.at(batch)?["value"], latest.get()?["value"]);
        out.push(seen.as_bytes());
        Ok(())
    }
}

export_plugin!(Crook as "crook": driver, executor, processor, checker);

fn instance(hook: &str, crime: &str, log: &Log) -> std::result::Result<InstanceBox, Failure> {
    let settings = serde_json::json!({ "hook": hook, "crime": crime }).to_string();
    let module = (entry!(Crook).module)();
    module.create()(settings.as_str().into(), bare::host("", log))
        .into_result()
        .map(|created| created.instance)
}

fn driver(instance: &mut InstanceBox) -> DriverBox {
    instance
        .driver()
        .into_result()
        .unwrap()
        .into_option()
        .unwrap()
}

fn executor(instance: &mut InstanceBox) -> ExecutorBox {
    instance
        .executor()
        .into_result()
        .unwrap()
        .into_option()
        .unwrap()
}

fn processor(instance: &mut InstanceBox) -> ProcessorBox {
    instance
        .processor()
        .into_result()
        .unwrap()
        .into_option()
        .unwrap()
}

const TASK: Task = Task {
    id: 1,
    attempt: 1,
    records: 1,
    epoch: 1,
};

/// Makes every call that an author can fail, and answers what the one named `hook` came back with.
fn commit(hook: &str, crime: &str) -> Failure {
    let log = Log::default();
    let mut instance = match instance(hook, crime, &log) {
        Ok(instance) => instance,
        Err(failure) => return failure,
    };
    let mut driver = match instance.driver().into_result() {
        Ok(part) => part.into_option().unwrap(),
        Err(failure) => return failure,
    };
    let mut executor = executor(&mut instance);
    let mut processor = processor(&mut instance);
    let mut checker = instance
        .checker()
        .into_result()
        .unwrap()
        .into_option()
        .unwrap();
    checker
        .init(bare::host("checker", &log))
        .into_result()
        .unwrap();
    processor
        .init(bare::host("processor", &log))
        .into_result()
        .unwrap();
    let proposal = Proposal {
        topic: "t".into(),
        candidate: b"{}"[..].into(),
        current: b"{}"[..].into(),
        dry_run: false,
    };
    let batch = BatchRef {
        epoch: 1,
        task: 1,
        attempt: 1,
        offsets: [0, 1][..].into(),
        bytes: b"a"[..].into(),
    };
    let mut out = OutBatch::default();
    let outcomes = [
        (
            "init",
            driver
                .init(bare::host("driver", &log))
                .into_result()
                .map(drop),
        ),
        ("register_metrics", driver.register_metrics().into_result()),
        (
            "receive",
            driver.receive(b""[..].into()).into_result().map(drop),
        ),
        (
            "executor_init",
            executor
                .init(bare::host("executor", &log), RVec::new())
                .into_result(),
        ),
        ("on_task_start", executor.on_task_start(TASK).into_result()),
        ("process", processor.process(batch, &mut out).into_result()),
        ("check", checker.check(proposal).into_result().map(drop)),
        ("shutdown", driver.shutdown().into_result()),
    ];
    let mut failures = outcomes
        .into_iter()
        .filter_map(|(name, outcome)| outcome.err().map(|failure| (name, failure)));
    let (name, failure) = failures.next().unwrap();
    assert_eq!(name, hook);
    assert!(failures.next().is_none(), "one crime, one failure");
    failure
}

const HOOKS: [&str; 8] = [
    "init",
    "register_metrics",
    "receive",
    "executor_init",
    "on_task_start",
    "process",
    "check",
    "shutdown",
];

#[test]
fn a_panic_is_caught_on_every_entry() {
    for hook in HOOKS.into_iter().chain(["new", "factory"]) {
        let failure = commit(hook, "panic");
        assert_eq!(
            (failure.kind, failure.message.as_str()),
            (failure_kind::PANIC, format!("in {hook}").as_str())
        );
    }
}

#[test]
fn a_payload_whose_own_drop_panics_is_caught_too() {
    assert_eq!(commit("process", "payload").kind, failure_kind::PANIC);
}

#[test]
fn what_an_author_returns_is_an_error_with_its_code_and_fix() {
    for hook in HOOKS.into_iter().chain(["new"]) {
        let failure = commit(hook, "error");
        let told = (
            failure.kind,
            failure.message.as_str(),
            failure.code.as_str(),
            failure.fix.as_str(),
        );
        assert_eq!(
            told,
            (
                failure_kind::ERROR,
                format!("from {hook}").as_str(),
                "a-code",
                "a fix"
            )
        );
    }
}

#[test]
fn only_new_can_decline() {
    assert_eq!(commit("new", "declined").kind, failure_kind::DECLINED);
    assert_eq!(commit("init", "declined").kind, failure_kind::ERROR);
}

#[test]
fn a_panic_in_a_drop_is_logged_and_goes_no_further() {
    let log = Log::default();
    let mut instance = instance("drop", "", &log).unwrap();
    let mut part = driver(&mut instance);
    part.init(bare::host("driver", &log)).into_result().unwrap();
    drop(part);
    assert_eq!(
        *log.lock().unwrap(),
        ["driver: panicked while it was dropped: in drop"]
    );
}

#[test]
fn a_part_knows_on_whose_thread_it_asks_and_handles_no_message_by_default() {
    let log = Log::default();
    let mut instance = instance("", "", &log).unwrap();
    let mut driver = driver(&mut instance);
    assert_eq!(
        driver.shutdown().into_result().unwrap_err().kind,
        failure_kind::NOT_READY
    );
    let extra = driver
        .init(bare::host("driver", &log))
        .into_result()
        .unwrap();
    assert_eq!(
        extra
            .iter()
            .map(|pair| (pair.0.as_str(), pair.1.as_str()))
            .collect::<Vec<_>>(),
        [("caller", "driver")]
    );
    let mut executor = executor(&mut instance);
    executor
        .init(bare::host("executor", &log), RVec::new())
        .into_result()
        .unwrap();
    let unsupported = executor.receive(b""[..].into()).into_result().unwrap_err();
    assert_eq!(unsupported.kind, failure_kind::UNSUPPORTED);
}

#[test]
fn a_task_sees_its_pin_and_a_thread_the_newest() {
    let log = Log::default();
    let mut instance = instance("", "", &log).unwrap();
    let mut processor = processor(&mut instance);
    processor
        .init(bare::host("processor", &log))
        .into_result()
        .unwrap();
    let mut seen = |epoch| {
        let batch = BatchRef {
            epoch,
            task: 1,
            attempt: 1,
            offsets: [0, 1][..].into(),
            bytes: b"a"[..].into(),
        };
        let mut out = OutBatch::default();
        processor.process(batch, &mut out).into_result().unwrap();
        String::from_utf8(out.bytes.into()).unwrap()
    };
    // The only test that moves the shared epoch, so the others see 1 or 7 and do not look.
    EPOCH.store(7, Ordering::Release);
    assert_eq!(
        [seen(3), seen(4), seen(3)],
        ["30 70", "40 70", "30 70"],
        "a re-run goes back, a thread never does"
    );
}

#[test]
fn a_shutdown_signal_fires_the_token_of_that_instance_alone() {
    static TOKENS: Mutex<Vec<hotshoe_plugin_api::Shutdown>> = Mutex::new(Vec::new());
    struct Keeper;
    impl Plugin for Keeper {
        type Settings = hotshoe_plugin_api::NoSettings;
        fn new(_: Self::Settings) -> Result<Self> {
            Ok(Self)
        }
        fn driver(&mut self) -> Option<Box<dyn DriverPlugin>> {
            Some(Box::new(Self))
        }
    }
    impl DriverPlugin for Keeper {
        fn init(&mut self, ctx: Context) -> Result<ExtraConf> {
            TOKENS.lock().unwrap().push(ctx.shutdown_token());
            Ok(ExtraConf::new())
        }
    }
    // Mounted without the macro: a second export in one crate would clash on the symbol.
    let log = Log::default();
    let make = || {
        let module = (hotshoe_plugin_api::__private::entry_of::<Keeper>(b"").module)();
        let mut created = module.create()("{}".into(), bare::host("", &log))
            .into_result()
            .unwrap();
        driver(&mut created.instance)
            .init(bare::host("driver", &log))
            .into_result()
            .unwrap();
        created.signals
    };
    let (first, _second) = (make(), make());
    first.signal(signal_kind::SHUTDOWN, 1000);
    first.signal(u32::MAX, 0);
    let tokens = TOKENS.lock().unwrap();
    assert!(tokens[0].is_requested() && tokens[0].wait_timeout(Duration::from_secs(1)));
    assert!(!tokens[1].is_requested());
}

#[test]
fn a_kind_that_this_version_does_not_know_is_an_error() {
    assert_eq!(Error::new("x").kind(), Kind::Error);
}
