//! Waits and changes that hold no thread, against a whole service: who is answered when, by what, and that nobody else waits
//! for a disk meanwhile.

use super::super::{
    Answers, Caller, ConfigService, Home, Recover,
    journal::{Disk, RealDisk},
};
use super::*;
use hotshoe_abi::{Change, ChangeText, Declaration, Opened, change_op};
use hotshoe_loader::EpochPage;
use std::{fs::File, io, sync::mpsc, thread};

const DEADLINE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(3600);
const MEMORY: &str = r#"{"state":"memory"}"#;
const VALUE: &str = r#"{"additionalProperties":false,"properties":{"value":{"type":"integer"}},"required":["value"],"type":"object"}"#;
const DIR: &str = r#"{"state":"dir"}"#;

/// A disk whose syncs wait for a word, where they are told to.
#[derive(Default)]
struct Gate(Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>);

impl Disk for Gate {
    fn reserve(&self, file: &File, at: u64, len: u64) -> io::Result<()> {
        RealDisk.reserve(file, at, len)
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        RealDisk.write(file, bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let gate = self.0.lock().take();
        if let Some((reached, go)) = gate {
            reached.send(()).expect("the test waits");
            go.recv_timeout(DEADLINE).expect("the test says go");
        }
        RealDisk.sync(file)
    }
}

struct Place {
    root: tempfile::TempDir,
    gate: Arc<Gate>,
}

impl Place {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            gate: Arc::default(),
        }
    }

    fn service(&self) -> Arc<ConfigService> {
        self.with_page(EpochPage::create())
    }

    fn with_page(&self, page: io::Result<EpochPage>) -> Arc<ConfigService> {
        let home = Home {
            state_dir: self.root.path().join("state"),
            recover: Recover::No,
            disk: Arc::clone(&self.gate) as Arc<dyn Disk>,
        };
        Arc::new(ConfigService::on(home, page, Arc::default()))
    }

    /// The next sync waits: what tells that it does, and what lets it go on.
    fn hold(&self) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (reached, is_reached) = mpsc::channel();
        let (go, let_go) = mpsc::channel();
        *self.gate.0.lock() = Some((reached, let_go));
        (is_reached, go)
    }
}

fn declare(service: &ConfigService, topic: &str, settings: &str) -> Result<Opened, Failure> {
    let declaration = Declaration {
        schema: VALUE.as_bytes().into(),
        initial: b"{\"value\":0}".as_slice().into(),
        settings: settings.as_bytes().into(),
    };
    service.declare(topic, &declaration)
}

fn put(service: &ConfigService, topic: &str, value: u32) -> Pending<Answers> {
    put_by(service, topic, value, Caller::Other)
}

fn put_by(service: &ConfigService, topic: &str, value: u32, caller: Caller) -> Pending<Answers> {
    let document = format!("{{\"value\":{value}}}");
    let change = Change {
        op: change_op::SET,
        dry_run: false,
        generation: u64::MAX,
        confirm_s: 0,
        text: ChangeText {
            pointer: "".into(),
            by: "".into(),
        },
        document: document.as_bytes().into(),
        expect: [].as_slice().into(),
    };
    pending(|then| service.apply_then(topic, &[change], caller, then))
}

/// The generation that the only change made.
fn made(pending: &Pending<Answers>) -> u64 {
    let answers = pending.answer().unwrap();
    assert_eq!(answers.len(), 1);
    answers[0].as_ref().unwrap().generation
}

struct Pending<T>(mpsc::Receiver<Result<T, Failure>>);

fn pending<T: Send + 'static>(ask: impl FnOnce(Then<T>)) -> Pending<T> {
    let (sender, receiver) = mpsc::channel();
    ask(Box::new(move |answer| {
        let _ = sender.send(answer);
    }));
    Pending(receiver)
}

impl<T> Pending<T> {
    fn answer(&self) -> Result<T, Failure> {
        self.0.recv_timeout(DEADLINE).expect("an answer")
    }

    fn kind(&self) -> u8 {
        self.answer().err().expect("a failure").kind
    }

    fn waits(&self) -> bool {
        matches!(self.0.try_recv(), Err(mpsc::TryRecvError::Empty))
    }
}

struct Listener {
    instance: &'static str,
    closed: Arc<AtomicBool>,
}

impl Listener {
    fn new(instance: &'static str) -> Self {
        let closed = Arc::default();
        Self { instance, closed }
    }

    fn wait(&self, service: &ConfigService, after: u64, timeout: Duration) -> Pending<u64> {
        let waiter = Waiter {
            instance: self.instance,
            closed: &self.closed,
        };
        pending(|then| service.wait_then("t", after, timeout, waiter, then))
    }
}

#[test]
fn everybody_who_waits_is_answered_by_one_change_and_holds_no_thread() {
    let service = Place::new().service();
    declare(&service, "t", MEMORY).unwrap();
    declare(&service, "u", MEMORY).unwrap();
    let listener = Listener::new("listener");
    let waits: Vec<_> = (0..500).map(|_| listener.wait(&service, 1, LONG)).collect();
    let later = listener.wait(&service, 2, LONG);
    assert_eq!(made(&put(&service, "u", 1)), 2, "another topic's");
    assert!(waits.iter().all(Pending::waits));
    assert_eq!(made(&put(&service, "t", 1)), 2);
    for wait in &waits {
        assert_eq!(wait.answer().unwrap(), 2);
    }
    assert!(later.waits());
    assert_eq!(made(&put(&service, "t", 2)), 3);
    assert_eq!(later.answer().unwrap(), 3);
    // What is newer already is answered at once.
    assert!(!listener.wait(&service, 2, LONG).waits());
}

#[test]
fn a_wait_ends_at_its_timeout_and_where_there_is_none_at_once() {
    let service = Place::new().service();
    declare(&service, "t", MEMORY).unwrap();
    let listener = Listener::new("listener");
    assert!(!listener.wait(&service, 1, Duration::ZERO).waits());
    let begun = clock::monotonic();
    let timeout = CLOSED_POLL * 2;
    assert_eq!(listener.wait(&service, 1, timeout).answer().unwrap(), 0);
    assert!(clock::monotonic() - begun >= timeout);
    // The blocking one is the same.
    let waiter = Waiter {
        instance: "listener",
        closed: &listener.closed,
    };
    assert_eq!(
        service
            .wait("t", 1, Duration::from_millis(1), waiter)
            .unwrap(),
        0
    );
    let unknown = service.wait("x", 1, LONG, waiter).unwrap_err();
    assert_eq!(unknown.kind, failure_kind::NO_TOPIC);
}

#[test]
fn a_wait_ends_with_its_component_its_instance_or_the_host() {
    let service = Place::new().service();
    declare(&service, "t", MEMORY).unwrap();
    let (component, instance) = (Listener::new("a"), Listener::new("b"));
    let other = Listener::new("c");
    let waits = [&component, &instance, &other].map(|by| by.wait(&service, 1, LONG));
    component.closed.store(true, Ordering::Release);
    assert_eq!(waits[0].kind(), failure_kind::CLOSED);
    service.end_waits("b");
    assert_eq!(waits[1].kind(), failure_kind::CLOSED);
    // Nothing of theirs waits later either.
    assert_eq!(
        component.wait(&service, 1, LONG).kind(),
        failure_kind::CLOSED
    );
    assert_eq!(
        instance.wait(&service, 1, LONG).kind(),
        failure_kind::CLOSED
    );
    assert!(waits[2].waits());
    service.close();
    assert_eq!(waits[2].kind(), failure_kind::CLOSED);
}

#[test]
fn what_a_dead_life_waits_for_ends_and_the_next_life_waits_again() {
    let service = Place::new().service();
    declare(&service, "t", MEMORY).unwrap();
    let (dead, other) = (Listener::new("dead"), Listener::new("other"));
    let waits = [&dead, &other].map(|by| by.wait(&service, 1, LONG));
    service.forget_waits("dead");
    assert_eq!(waits[0].kind(), failure_kind::CLOSED);
    assert!(waits[1].waits());
    assert!(Listener::new("dead").wait(&service, 1, LONG).waits());
}

#[test]
fn a_service_that_is_dropped_answers_who_waits() {
    let service = Place::new().service();
    declare(&service, "t", MEMORY).unwrap();
    let wait = Listener::new("a").wait(&service, 1, LONG);
    drop(service);
    assert_eq!(wait.kind(), failure_kind::CLOSED);
}

#[test]
fn one_instance_cannot_fill_the_host_with_waits() {
    let service = Place::new().service();
    declare(&service, "t", MEMORY).unwrap();
    let (greedy, other) = (Listener::new("greedy"), Listener::new("other"));
    let waits: Vec<_> = (0..WAITS_PER_INSTANCE_MAX)
        .map(|_| greedy.wait(&service, 1, LONG))
        .collect();
    assert_eq!(greedy.wait(&service, 1, LONG).kind(), failure_kind::FULL);
    let others = other.wait(&service, 1, LONG);
    put(&service, "t", 1);
    assert_eq!(others.answer().unwrap(), 2);
    assert!(waits.iter().all(|wait| wait.answer().unwrap() == 2));
    assert!(
        greedy.wait(&service, 2, LONG).waits(),
        "there is room again"
    );
}

/// Whoever is answered may ask whatever it likes on the thread that answers, but for what waits for that thread.
#[test]
fn an_answer_is_given_with_no_lock_held() {
    let place = Place::new();
    let service = place.service();
    declare(&service, "t", DIR).unwrap();
    let listener = Arc::new(Listener::new("listener"));
    let (sender, seen) = mpsc::channel();
    let then: Then<u64> = {
        let (service, listener) = (Arc::downgrade(&service), Arc::clone(&listener));
        Box::new(move |generation| {
            let service = service.upgrade().unwrap();
            service.status("t").unwrap();
            service.history("t", 0, 10).unwrap();
            // Takes the journal's lock, which a commit holds.
            assert_eq!(declare(&service, "t", DIR).unwrap().generation, 2);
            let next = listener.wait(&service, 2, LONG);
            let change = put(&service, "t", 2);
            sender.send((generation, next, change)).unwrap();
        })
    };
    let waiter = Waiter {
        instance: "listener",
        closed: &listener.closed,
    };
    service.wait_then("t", 1, LONG, waiter, then);
    assert_eq!(made(&put(&service, "t", 1)), 2);
    let (generation, next, change) = seen.recv_timeout(DEADLINE).unwrap();
    assert_eq!(generation.unwrap(), 2);
    assert_eq!((next.answer().unwrap(), made(&change)), (3, 3));
}

#[test]
fn a_change_between_the_look_and_the_entry_is_not_missed() {
    const CHANGES: u64 = 1000;
    let service = Place::new().service();
    declare(&service, "t", MEMORY).unwrap();
    let together = Arc::new(std::sync::Barrier::new(2));
    let writing = {
        let (service, together) = (Arc::clone(&service), Arc::clone(&together));
        thread::spawn(move || {
            for value in 1..=CHANGES {
                together.wait();
                made(&put(&service, "t", u32::try_from(value).unwrap()));
            }
        })
    };
    let listener = Listener::new("listener");
    for generation in 1..=CHANGES {
        together.wait();
        // At any moment of the wait's begin; no later change comes to its help.
        for _ in 0..(generation % 64) * 64 {
            std::hint::spin_loop();
        }
        let newer = listener.wait(&service, generation, LONG).answer();
        assert_eq!(newer.unwrap(), generation + 1);
    }
    writing.join().unwrap();
}

#[test]
fn a_change_that_cannot_be_queued_says_why() {
    let service = Place::new().service();
    assert_eq!(put(&service, "t", 1).kind(), failure_kind::NO_TOPIC);
    declare(&service, "t", MEMORY).unwrap();
    let checker = put_by(&service, "t", 1, Caller::Checker);
    assert_eq!(checker.kind(), failure_kind::REENTRANT);
    assert_eq!(made(&put(&service, "t", 1)), 2);
    let refused = pending(|then| {
        let nonsense = Change {
            op: 99,
            dry_run: false,
            generation: u64::MAX,
            confirm_s: 0,
            text: ChangeText {
                pointer: "".into(),
                by: "".into(),
            },
            document: [].as_slice().into(),
            expect: [].as_slice().into(),
        };
        service.apply_then("t", &[nonsense], Caller::Other, then);
    });
    assert!(refused.answer().is_err());
    service.close();
    assert_eq!(put(&service, "t", 1).kind(), failure_kind::NO_TOPIC);
}

/// A slow disk is waited for by who declares and by who changes that topic, and by nobody else.
#[test]
fn nobody_else_waits_for_a_slow_disk() {
    let place = Place::new();
    let service = place.service();
    declare(&service, "t", MEMORY).unwrap();
    let (reached, go) = place.hold();
    let declaring = {
        let service = Arc::clone(&service);
        thread::spawn(move || declare(&service, "slow", DIR))
    };
    reached.recv_timeout(DEADLINE).expect("a sync");
    let (sender, done) = mpsc::channel();
    let asking = {
        let service = Arc::clone(&service);
        thread::spawn(move || {
            let wait = Listener::new("a").wait(&service, 1, LONG);
            let generation = made(&put(&service, "t", 1));
            service.status("t").unwrap();
            service.history("t", 0, 10).unwrap();
            sender.send((wait.answer().unwrap(), generation)).unwrap();
        })
    };
    assert_eq!(done.recv_timeout(DEADLINE), Ok((2, 2)));
    go.send(()).unwrap();
    declaring.join().unwrap().unwrap();
    asking.join().unwrap();

    // The same while a change of the slow topic is written: what is asked of that very topic is answered.
    let (reached, go) = place.hold();
    let change = put(&service, "slow", 1);
    reached.recv_timeout(DEADLINE).expect("a sync");
    service.status("slow").unwrap();
    service.history("slow", 0, 10).unwrap();
    service.diff("slow", 1, 0).unwrap();
    service.snapshot("slow", 0).unwrap();
    let queued = put(&service, "slow", 2);
    assert!(change.waits() && queued.waits());
    go.send(()).unwrap();
    assert_eq!((made(&change), made(&queued)), (2, 3));
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_that_maps_the_epoch_page_sees_every_publish() {
    let place = Place::new();
    let service = place.service();
    let page = service.epoch_page().unwrap().try_clone_to_owned().unwrap();
    let word = EpochPage::open(page).unwrap();
    assert_eq!(word.load(Ordering::Acquire), 1);
    declare(&service, "t", MEMORY).unwrap();
    made(&put(&service, "t", 1));
    let pin = service.pin();
    assert_eq!(word.load(Ordering::Acquire), pin.epoch());
    let topics: Vec<_> = pin
        .topics()
        .map(|(name, generation, document)| (name, generation, document.to_vec()))
        .collect();
    assert_eq!(topics, [("t", 2, b"{\"value\":1}".to_vec())]);

    // Where there is no page, isolated instances are missing and nothing else.
    let service = place.with_page(Err(io::ErrorKind::Unsupported.into()));
    declare(&service, "t", MEMORY).unwrap();
    made(&put(&service, "t", 1));
    assert_eq!(
        service.word().load(Ordering::Acquire),
        service.pin().epoch()
    );
    let refused = service.epoch_page().unwrap_err();
    assert_eq!(refused.kind, failure_kind::UNSUPPORTED);
}
