//! The library without the binary: mounted plugins, two hosts in one process, half a host, and a host that is dropped.
#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap in here is a failed test, with its line"
)]

use hotshoe::config_file::{Sink, Source, StreamConfig};
use hotshoe::{CallError, DriversElsewhere, ExitCode, Host, Side, TaskOutcome};
use hotshoe_plugin_api::{
    Batch, Context, DriverPlugin, Error, ExecutorPlugin, ExtraConf, Live, Output, Plugin,
    Processor, Result, Task, entry, export_plugin, schemars, serde,
};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Says what happens to it, over a channel that the test finds by its settings.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "hotshoe_plugin_api::serde", deny_unknown_fields)]
#[schemars(crate = "hotshoe_plugin_api::schemars")]
struct Settings {
    diary: String,
}

/// One diary per test: mounted instances share the program's statics.
static DIARIES: Mutex<Vec<(String, mpsc::Sender<String>)>> = Mutex::new(Vec::new());

fn diary(name: &str) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    DIARIES.lock().unwrap().push((name.to_owned(), sender));
    receiver
}

fn note(diary: &str, line: impl Into<String>) {
    let diaries = DIARIES.lock().unwrap();
    if let Some((_, sender)) = diaries.iter().find(|(name, _)| name == diary) {
        let _ = sender.send(line.into());
    }
}

fn read(diary: &mpsc::Receiver<String>) -> String {
    diary.recv_timeout(PATIENCE).unwrap()
}

struct Scribe(Settings);

impl Plugin for Scribe {
    type Settings = Settings;
    fn new(settings: Settings) -> Result<Self> {
        Ok(Self(settings))
    }
    fn driver(&mut self) -> Option<Box<dyn DriverPlugin>> {
        Some(Box::new(Driver {
            diary: self.0.diary.clone(),
            ctx: None,
        }))
    }
    fn executor(&mut self) -> Option<Box<dyn ExecutorPlugin>> {
        Some(Box::new(Executor {
            diary: self.0.diary.clone(),
        }))
    }
    fn processor(&mut self) -> Option<Box<dyn Processor>> {
        Some(Box::new(Append(None)))
    }
}

struct Driver {
    diary: String,
    ctx: Option<Context>,
}

impl DriverPlugin for Driver {
    fn init(&mut self, ctx: Context) -> Result<ExtraConf> {
        let schema = json!({
            "type": "object",
            "properties": { "value": { "type": "integer" } },
            "required": ["value"],
            "additionalProperties": false,
        });
        ctx.config()
            .declare(&schema, &json!({ "value": 10 }), &json!({}))?;
        ctx.metrics().counter("inits")?.inc();
        self.ctx = Some(ctx);
        note(&self.diary, "driver init");
        Ok(ExtraConf::from([(
            "from".to_owned(),
            "the driver".to_owned(),
        )]))
    }
    fn receive(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        match message {
            b"broadcast" => {
                let ctx = self
                    .ctx
                    .as_ref()
                    .ok_or_else(|| Error::new("not initialised"))?;
                Ok(ctx.broadcast(b"to all")?.to_string().into_bytes())
            }
            b"fail" => Err(Error::new("as asked")),
            _ => Ok([b"re: ", message].concat()),
        }
    }
    fn shutdown(&mut self) -> Result<()> {
        note(&self.diary, "driver shutdown");
        Ok(())
    }
}

struct Executor {
    diary: String,
}

impl ExecutorPlugin for Executor {
    fn init(&mut self, ctx: Context, extra: ExtraConf) -> Result<()> {
        note(
            &self.diary,
            format!("executor {} init {extra:?}", ctx.executor_id()),
        );
        let answer = ctx.ask(ctx.instance(), b"hello", PATIENCE)?;
        note(&self.diary, String::from_utf8_lossy(&answer));
        Ok(())
    }
    fn on_task_failed(&mut self, task: Task, reason: &str) -> Result<()> {
        note(
            &self.diary,
            format!("task {} attempt {} failed: {reason}", task.id, task.attempt),
        );
        Ok(())
    }
    fn receive(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        note(
            &self.diary,
            format!("received {}", String::from_utf8_lossy(message)),
        );
        Ok(Vec::new())
    }
    fn shutdown(&mut self) -> Result<()> {
        note(&self.diary, "executor shutdown");
        Ok(())
    }
}

struct Append(Option<Live<Value>>);

impl Processor for Append {
    fn init(&mut self, ctx: Context) -> Result<()> {
        self.0 = Some(ctx.live("scribe")?);
        Ok(())
    }
    fn process(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<()> {
        let live = self
            .0
            .as_mut()
            .ok_or_else(|| Error::new("not initialised"))?;
        let suffix = live.at(batch)?["value"].to_string();
        for record in batch {
            if record == b"bad" {
                return Err(Error::new("a bad record"));
            }
            out.push_parts(&[record, suffix.as_bytes()]);
        }
        Ok(())
    }
}

export_plugin!(Scribe as "scribe": driver, executor, processor);

fn host(diary: &str) -> Host {
    let settings = json!({ "diary": diary });
    Host::builder()
        .plugin("scribe", entry!(Scribe), settings)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_mounted_plugin_is_asked_changed_and_shut_down() {
    let diary = diary("mounted");
    let host = host("mounted");
    host.start().await.unwrap();
    assert_eq!(read(&diary), "driver init");
    assert_eq!(read(&diary), r#"executor 0 init {"from": "the driver"}"#);
    assert_eq!(read(&diary), "re: hello");
    assert_eq!(host.ask("scribe", b"x", PATIENCE).await.unwrap(), b"re: x");
    assert_eq!(
        host.ask("nope", b"x", PATIENCE).await.unwrap_err().kind(),
        "unknown"
    );
    assert_eq!(
        host.ask("scribe", b"fail", PATIENCE)
            .await
            .unwrap_err()
            .to_string(),
        "as asked"
    );
    assert_eq!(
        host.publish("scribe", &json!({ "value": 11 }))
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        host.current("scribe").unwrap(),
        (2, br#"{"value":11}"#.to_vec())
    );
    let refused = host
        .publish("scribe", &json!({ "value": "x" }))
        .await
        .unwrap_err();
    assert!(
        refused.to_string().starts_with("schema-violation: "),
        "{refused}"
    );
    let status = host.status();
    assert_eq!(
        (status.state, status.instances.len(), status.executors.len()),
        ("ready", 1, 1)
    );
    assert_eq!(status.topics["scribe"], 2);
    assert!(
        host.metrics()
            .contains("hotshoe_plugin_inits_total{plugin=\"scribe\",component=\"driver\"} 1\n")
    );
    let outcome = host.shutdown().await;
    assert_eq!((outcome.exit, outcome.problems.len()), (ExitCode::Clean, 0));
    assert_eq!(read(&diary), "executor shutdown");
    assert_eq!(read(&diary), "driver shutdown");
    assert!(
        !tracing::dispatcher::has_been_set(),
        "a host installs no subscriber"
    );
}

/// A program that moved its descriptors away hands them over; the host touches neither 0 nor 1.
#[tokio::test]
async fn records_come_from_what_the_program_hands_over_as_its_stdin() {
    let _diary = diary("piped");
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let (mut back, out) = std::os::unix::net::UnixStream::pair().unwrap();
    let stream = StreamConfig::new(Source::Stdin, &["scribe"], Sink::Stdout).unwrap();
    let host = Host::builder()
        .plugin("scribe", entry!(Scribe), json!({ "diary": "piped" }))
        .stream(stream)
        .stdin(theirs.into())
        .stdout(out.into())
        .build()
        .unwrap();
    host.start().await.unwrap();
    (&ours).write_all(b"one\ntwo\n").unwrap();
    drop(ours);
    let outcome = host.run_until(std::future::pending()).await;
    assert_eq!(outcome.exit, ExitCode::Clean);
    drop(host);
    let mut delivered = String::new();
    back.read_to_string(&mut delivered).unwrap();
    assert_eq!(delivered, "one10\ntwo10\n");
}

#[tokio::test]
async fn two_hosts_in_one_process_share_nothing() {
    let (_first_diary, _second_diary) = (diary("first"), diary("second"));
    let (first, second) = (host("first"), host("second"));
    first.start().await.unwrap();
    second.start().await.unwrap();
    first
        .publish("scribe", &json!({ "value": 1 }))
        .await
        .unwrap();
    assert_eq!(first.current("scribe").unwrap().0, 2);
    assert_eq!(
        second.current("scribe").unwrap(),
        (1, br#"{"value":10}"#.to_vec())
    );
    assert_ne!(first.run_dir(), second.run_dir());
    assert_eq!(first.shutdown().await.exit, ExitCode::Clean);
    assert_eq!(
        second.ask("scribe", b"still", PATIENCE).await.unwrap(),
        b"re: still"
    );
    assert_eq!(second.shutdown().await.exit, ExitCode::Clean);
}

#[test]
fn a_host_that_is_dropped_stops_in_order_and_takes_its_folder_along() {
    let diary = diary("dropped");
    let host = host("dropped");
    // Any runtime will do, and it need not outlive the start.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(host.start()).unwrap();
    drop(runtime);
    let run_dir = host.run_dir().to_owned();
    assert!(run_dir.is_dir());
    drop(host);
    let lines: Vec<String> = diary.try_iter().collect();
    assert_eq!(
        lines[lines.len() - 2..],
        ["executor shutdown", "driver shutdown"]
    );
    assert!(!run_dir.exists());
}

/// The other half is in this process, and could be anywhere.
struct Link(Arc<Host>, tokio::runtime::Handle);

impl DriversElsewhere for Link {
    fn send(&self, to: &str, message: &[u8]) -> Result<(), CallError> {
        self.ask(to, message, PATIENCE).map(drop)
    }
    fn ask(&self, to: &str, message: &[u8], deadline: Duration) -> Result<Vec<u8>, CallError> {
        self.1.block_on(self.0.ask(to, message, deadline))
    }
}

#[test]
fn half_a_host_keeps_drivers_here_and_executors_there() {
    let diary = diary("halves");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let builder = || Host::builder().plugin("scribe", entry!(Scribe), json!({ "diary": "halves" }));
    let drivers = Arc::new(builder().side(Side::Drivers).build().unwrap());
    runtime.block_on(drivers.start()).unwrap();
    assert!(drivers.status().executors.is_empty());

    let link = Arc::new(Link(Arc::clone(&drivers), runtime.handle().clone()));
    let extra = drivers.extra_conf("scribe");
    let executors = Arc::new(
        builder()
            .drivers_elsewhere(link)
            .extra_conf("scribe", extra)
            .build()
            .unwrap(),
    );
    runtime.block_on(executors.start()).unwrap();
    let old = executors.install(&drivers.pin().encode()).unwrap();

    let mut slot = executors.slot(7);
    slot.start().unwrap();
    assert_eq!(read(&diary), "driver init");
    assert_eq!(read(&diary), r#"executor 7 init {"from": "the driver"}"#);
    assert_eq!(read(&diary), "re: hello");
    let ten = TaskOutcome::Done(vec![b"a10".to_vec()]);
    assert_eq!(slot.run([&b"a"[..]], &old, 1), ten);

    runtime
        .block_on(drivers.publish("scribe", &json!({ "value": 20 })))
        .unwrap();
    let new = executors.install(&drivers.pin().encode()).unwrap();
    assert!(new.epoch() > old.epoch());
    // A slot belongs to no thread: the next task may come from another.
    let (mut slot, outcomes) = thread::spawn(move || {
        let newer = slot.run([&b"a"[..]], &new, 1);
        let older = slot.run([&b"a"[..]], &old, 1);
        (slot, [newer, older])
    })
    .join()
    .unwrap();
    assert_eq!(outcomes, [TaskOutcome::Done(vec![b"a20".to_vec()]), ten]);

    let pin = executors.pin_by("stage 3");
    let failed = slot.run([&b"good"[..], b"bad"], &pin, 1);
    assert!(
        matches!(&failed, TaskOutcome::Failed(reason) if reason.contains("a bad record")),
        "{failed:?}"
    );
    assert!(read(&diary).starts_with("task 4 attempt 1 failed: "));
    runtime
        .block_on(drivers.publish("scribe", &json!({ "value": 30 })))
        .unwrap();
    executors.install(&drivers.pin().encode()).unwrap();
    assert_eq!(
        executors.pin_by("stage 3").epoch(),
        pin.epoch(),
        "the first asker pins"
    );

    slot.receive("scribe", b"from afar");
    assert_eq!(read(&diary), "received from afar");
    assert!(slot.stop().is_empty());
    assert_eq!(read(&diary), "executor shutdown");
    drop((slot, executors));
    let (sender, receiver) = mpsc::channel();
    drivers.on_broadcast(move |instance, message| {
        let _ = sender.send((instance.to_owned(), message.to_vec()));
        Ok(())
    });
    assert_eq!(
        runtime
            .block_on(drivers.ask("scribe", b"broadcast", PATIENCE))
            .unwrap(),
        b"1"
    );
    assert_eq!(
        receiver.recv_timeout(PATIENCE).unwrap(),
        ("scribe".to_owned(), b"to all".to_vec())
    );
}

#[tokio::test]
async fn what_the_program_gets_wrong_is_said_before_anything_runs() {
    let bad_name = Host::builder()
        .plugin("Not A Name", entry!(Scribe), json!({ "diary": "x" }))
        .build();
    assert_eq!(bad_name.err().unwrap().exit(), ExitCode::Usage);
    let bad_settings = Host::builder()
        .plugin("scribe", entry!(Scribe), json!({ "dairy": "x" }))
        .build()
        .unwrap();
    let outcome = bad_settings.start().await.unwrap_err();
    assert_eq!(outcome.exit, ExitCode::Usage);
    assert_eq!(outcome.problems[0].code, "settings-invalid");
    assert!(
        outcome.problems[0]
            .wanted
            .as_ref()
            .unwrap()
            .contains("did you mean `diary`?"),
        "{outcome}"
    );
}
