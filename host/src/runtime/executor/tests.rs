//! Executors, the desk and the tasks together, with workers that die as a script says: whatever happens, each record comes
//! out once or is at fault once, in order.

use super::*;
use crate::{
    backend::scripted::{self, Build, Crime, Scripted, name},
    machine::{ExecutorId, batch::Batch, supervisor::Cancel},
    stream::desk::Outcome,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc::{self, Receiver, Sender},
    time::Duration,
};

/// Ten times what the slowest of them takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

enum Told {
    Died(InstanceId),
    Event(Event),
}

/// Executors on threads of their own, and a supervisor that revives whatever dies, at once.
struct Rig {
    desk: Arc<Desk>,
    services: Arc<Services>,
    instances: Vec<Arc<Scripted>>,
    executors: u32,
    told: Receiver<Told>,
    forgiven: BTreeMap<InstanceId, Vec<u64>>,
    stopped: u32,
    /// Instances that are not revived, and whether there was a death of one.
    lost: BTreeSet<InstanceId>,
}

impl Rig {
    fn new(builds: &[Build], executors: u32, retries: u32) -> Self {
        let (to, told) = mpsc::channel();
        let instances: Vec<Arc<Scripted>> = builds
            .iter()
            .enumerate()
            .map(|(id, build)| {
                let to = to.clone();
                let died = move |id| drop(to.send(Told::Died(id)));
                Scripted::new(id, *build, Box::new(died))
            })
            .collect();
        let (events, heard) = mpsc::channel();
        let services = scripted::services(events);
        forward(heard, to);
        let desk = Arc::new(Desk::new(executors));
        let backends = instances.iter().map(Arc::clone);
        let crew = Crew {
            desk: Arc::clone(&desk),
            services: Arc::clone(&services),
            backends: backends
                .map(|on| Arc::new(on) as Arc<dyn Backend>)
                .collect(),
            chain: instances.iter().map(|on| on.id()).collect(),
            policy: Policy { retries },
            counts: Arc::default(),
            limits: OutputLimits::default(),
        };
        let rig = Self {
            desk,
            services,
            instances,
            executors,
            told,
            forgiven: BTreeMap::new(),
            stopped: 0,
            lost: BTreeSet::new(),
        };
        let all: Vec<InstanceId> = crew.chain.to_vec();
        for id in rig.ids() {
            let post = rig.desk.hire(id).unwrap();
            spawn(post, crew.clone()).unwrap();
            rig.desk.order(id, Order::Start(all.clone()));
        }
        let mut started = 0;
        while started < executors {
            match rig.next() {
                Told::Event(Event::ExecutorStarted(_, outcome)) => {
                    outcome.unwrap();
                    started += 1;
                }
                _ => panic!("something else"),
            }
        }
        rig
    }

    fn ids(&self) -> impl Iterator<Item = ExecutorId> + use<> {
        (0..self.executors).map(ExecutorId)
    }

    fn next(&self) -> Told {
        let told = self.told.recv_timeout(DEADLINE);
        told.unwrap_or_else(|_| panic!("nothing more happens: {}", self.state()))
    }

    fn state(&self) -> String {
        let worlds = self.instances.iter().map(|on| {
            let world = on.world.lock();
            format!("{:?} {:?}", world.crimes, world.violations)
        });
        worlds.collect::<Vec<_>>().join("; ")
    }

    /// Does what a supervisor would.
    fn answer(&mut self, told: Told) {
        match told {
            Told::Died(id) if self.lost.contains(&id) => {}
            Told::Died(id) => {
                self.instances[id.0].respawn();
                for executor in self.ids() {
                    self.desk.order(executor, Order::Revive(id));
                }
            }
            Told::Event(Event::Revived(executor, id, Err(_))) => {
                // A worker that died again is another's to revive.
                if self.instances[id.0].is_alive() {
                    self.desk.order(executor, Order::Revive(id));
                }
            }
            Told::Event(Event::Poisoned(id, lives)) => {
                self.forgiven.entry(id).or_default().extend(lives);
            }
            Told::Event(Event::ExecutorStopped(_, problems)) => {
                assert!(problems.is_empty(), "{problems:?}");
                self.stopped += 1;
            }
            Told::Event(_) => {}
        }
    }

    /// Answers until nothing but silence is to come of `done`.
    fn until<T>(&mut self, done: &Receiver<T>) -> T {
        let began = std::time::Instant::now();
        loop {
            if let Ok(done) = done.try_recv() {
                return done;
            }
            assert!(began.elapsed() < DEADLINE, "stuck: {}", self.state());
            if let Ok(told) = self.told.recv_timeout(Duration::from_millis(1)) {
                self.answer(told);
            }
        }
    }

    fn submit(&self, batches: Vec<Vec<u64>>) {
        let (desk, services) = (Arc::clone(&self.desk), Arc::clone(&self.services));
        thread::spawn(move || {
            for numbers in batches {
                let batch = batch(&numbers);
                desk.submit(|id| TaskRun::new(id, batch, services.config.pin()));
            }
            desk.end_input();
        });
    }

    /// Takes what is completed as the sink does.
    fn sink(&self) -> Receiver<Vec<Completion>> {
        let (to, delivered) = mpsc::channel();
        let desk = Arc::clone(&self.desk);
        thread::spawn(move || {
            let mut all = Vec::new();
            while let Some(completed) = desk.next_completed(|| {}) {
                let Some(run) = completed.run else { continue };
                let mut done = Completion {
                    id: run.id,
                    charged: run.with_history(|history| history.deaths()),
                    ..Completion::default()
                };
                if let Outcome::Delivered(batch, faults) = completed.outcome {
                    let text = |r: &[u8]| String::from_utf8_lossy(r).into_owned();
                    done.out = batch.iter().map(text).collect();
                    done.faults = faults;
                }
                all.push(done);
            }
            let _ = to.send(all);
        });
        delivered
    }

    /// Lets executors finish as the sink does.
    fn finish(&self) -> Receiver<Vec<Option<Result<usize, String>>>> {
        let (to, finished) = mpsc::channel();
        let (desk, services, ids) = (
            Arc::clone(&self.desk),
            Arc::clone(&self.services),
            self.ids(),
        );
        thread::spawn(move || {
            let finish = |id| {
                let run = Arc::new(TaskRun::new(0, Batch::new(), services.config.pin()));
                let answer = desk.finish(id, run);
                answer.map(|answer| answer.map(|batch| batch.len()))
            };
            let _ = to.send(ids.map(finish).collect());
        });
        finished
    }

    fn stop(&mut self) {
        for id in self.ids() {
            self.desk.order(id, Order::Stop);
        }
        while self.stopped < self.executors {
            let told = self.next();
            self.answer(told);
        }
        // What is told after the last stop is told already.
        while let Ok(told) = self.told.try_recv() {
            if !matches!(told, Told::Died(_)) {
                self.answer(told);
            }
        }
        for on in &self.instances {
            assert_eq!(on.world.lock().violations, Vec::<String>::new());
        }
    }
}

/// What became of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
struct Completion {
    id: u64,
    out: Vec<String>,
    faults: Vec<(usize, String)>,
    /// Deaths that no record was found guilty of.
    charged: usize,
}

fn forward(events: Receiver<Event>, to: Sender<Told>) {
    thread::spawn(move || {
        for event in events {
            if to.send(Told::Event(event)).is_err() {
                return;
            }
        }
    });
}

fn batch(numbers: &[u64]) -> Batch {
    let mut batch = Batch::new();
    for number in numbers {
        batch.push(format!("{number}:").as_bytes());
    }
    batch
}

const PLAIN: Build = Build::PLAIN;
const HOOKED: Build = Build::HOOKED;
const WIDE: Build = Build::wide(4);

#[test]
fn a_killing_record_is_charged_exactly_though_four_executors_share_the_worker() {
    let mut rig = Rig::new(&[PLAIN], 4, 3);
    let on = Arc::clone(&rig.instances[0]);
    on.commit(42, Crime::Dies(u32::MAX));
    on.commit(45, Crime::Dies(u32::MAX));
    rig.submit((0..40).map(|n| (n * 4..n * 4 + 4).collect()).collect());
    let sink = rig.sink();
    let all = rig.until(&sink);
    let faults: Vec<u64> = all
        .iter()
        .flat_map(|done| {
            let first = (done.id - 1) * 4;
            done.faults.iter().map(move |(at, _)| first + *at as u64)
        })
        .collect();
    assert_eq!(faults, [42, 45]);
    let out: usize = all.iter().map(|done| done.out.len()).sum();
    assert_eq!(out, 158);
    rig.stop();
    // Six that proved it, and those before them that had company.
    let killed: BTreeSet<u64> = on
        .world
        .lock()
        .killed_by
        .iter()
        .map(|(life, _)| *life)
        .collect();
    let forgiven: BTreeSet<u64> = rig.forgiven[&on.id()].iter().copied().collect();
    assert_eq!(forgiven, killed);
    assert!(killed.len() >= 6);
}

#[test]
fn a_message_waits_for_the_life_that_can_read_it() {
    let mut rig = Rig::new(&[HOOKED], 1, 0);
    let on = Arc::clone(&rig.instances[0]);
    rig.lost.insert(on.id());
    on.commit(0, Crime::Dies(1));
    rig.submit(vec![vec![0]]);
    let sink = rig.sink();
    // Its death is told before the executor has noticed; that it has, its hooks say.
    let Told::Died(id) = rig.next() else {
        panic!("something else")
    };
    let executor = ExecutorId(0);
    while rig.desk.tasks_waiting() == 0 {
        thread::yield_now();
    }
    rig.desk.deliver(executor, id, b"hello").unwrap();
    on.respawn();
    rig.desk.order(executor, Order::Revive(id));
    assert_eq!(rig.until(&sink)[0].out, ["0:a"]);
    rig.stop();
    let log = on.log();
    assert!(log.contains(&"0 message hello".to_owned()), "{log:?}");
}

/// Kills the only worker for good, with one task in hand; answers once the executor waits.
fn dead_for_good(rig: &mut Rig) {
    let on = Arc::clone(&rig.instances[0]);
    rig.lost.insert(on.id());
    on.commit(0, Crime::Dies(1));
    rig.submit(vec![vec![0], vec![1]]);
    let told = rig.next();
    assert!(matches!(told, Told::Died(_)));
    while rig.desk.tasks_waiting() < 2 {
        thread::yield_now();
    }
}

#[test]
fn a_stop_ends_an_executor_whose_instance_never_comes_back() {
    let mut rig = Rig::new(&[HOOKED], 1, 0);
    dead_for_good(&mut rig);
    let finish = rig.finish();
    rig.stop();
    let answers = rig.until(&finish);
    // Refused, or given up: which of the two came first is anybody's guess.
    assert!(!matches!(answers[..], [Some(Ok(_))]), "{answers:?}");
}

#[test]
fn a_cancelled_stream_ends_while_an_instance_is_dead() {
    let mut rig = Rig::new(&[PLAIN], 1, 0);
    dead_for_good(&mut rig);
    let (sink, finish) = (rig.sink(), rig.finish());
    rig.desk.cancel(Cancel::NoWay);
    assert_eq!(rig.until(&sink), []);
    assert_eq!(rig.until(&finish), [None]);
    assert_eq!(rig.desk.settle(), 2);
    rig.stop();
}

#[test]
fn finish_waits_for_a_revival_and_survives_a_death() {
    let mut rig = Rig::new(&[PLAIN, WIDE], 2, 0);
    let on = Arc::clone(&rig.instances[1]);
    on.world.lock().finishes_dying = 2;
    rig.submit((0..9).map(|n| vec![n]).collect());
    let sink = rig.sink();
    assert_eq!(rig.until(&sink).len(), 9);
    let finish = rig.finish();
    assert_eq!(rig.until(&finish), [Some(Ok(2)), Some(Ok(2))]);
    rig.stop();
}

#[test]
fn messages_do_not_starve_behind_a_stream_without_end() {
    let mut rig = Rig::new(&[WIDE], 1, 0);
    let on = Arc::clone(&rig.instances[0]);
    rig.submit((0..20_000).map(|n| vec![n]).collect());
    let sink = rig.sink();
    // Its parts take none, and the desk is rid of them all the same.
    let mut sent = 0;
    while sent < 3000 {
        if rig.desk.deliver(ExecutorId(0), on.id(), b"x").is_ok() {
            sent += 1;
        } else {
            thread::yield_now();
        }
        assert!(rig.told.try_recv().is_err());
    }
    rig.until(&sink);
    rig.stop();
}

/// What is done to a batch.
#[derive(Debug, Clone)]
enum Deed {
    Nothing,
    /// These records kill whoever gets them, always.
    Poison(Vec<usize>),
    /// These records always fail, and those kill.
    Faults(Vec<usize>, Vec<usize>),
    /// This record kills once or twice.
    Kills(usize, u32),
    /// This record fails so many of the retries.
    Fails(usize, u32),
    /// The same by a panic.
    Panics(usize, u32),
}

#[derive(Debug, Clone)]
struct Script {
    builds: Vec<(usize, bool)>,
    executors: u32,
    retries: u32,
    batches: Vec<(u64, Deed, usize)>,
    kills: Vec<(usize, u32)>,
    inits_failing: u32,
    readiness: Vec<bool>,
}

fn deed() -> impl Strategy<Value = Deed> {
    let places = || prop::collection::vec(0..8_usize, 1..4);
    prop_oneof![
        6 => Just(Deed::Nothing),
        1 => places().prop_map(Deed::Poison),
        1 => (places(), places()).prop_map(|(fail, kill)| Deed::Faults(fail, kill)),
        1 => (0..8_usize, 1..3_u32).prop_map(|(place, times)| Deed::Kills(place, times)),
        1 => (0..8_usize, 1..4_u32).prop_map(|(place, times)| Deed::Fails(place, times)),
        1 => (0..8_usize, 1..4_u32).prop_map(|(place, times)| Deed::Panics(place, times)),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    let build = (
        prop_oneof![Just(1_usize), 2..6_usize],
        prop::bool::weighted(0.15),
    );
    (
        prop::collection::vec(build, 1..4),
        1..4_u32,
        1..4_u32,
        prop::collection::vec((0..9_u64, deed(), 0..4_usize), 1..40),
        prop::collection::vec((0..4_usize, 0..40_u32), 0..4),
        0..3_u32,
        prop::collection::vec(any::<bool>(), 0..7),
    )
        .prop_map(
            |(builds, executors, retries, batches, kills, inits_failing, readiness)| Script {
                builds,
                executors,
                retries,
                batches,
                kills,
                inits_failing,
                readiness,
            },
        )
}

/// What is to come of a batch: the reason that each record at fault has, or a part of it.
type Verdict = BTreeMap<usize, String>;

impl Script {
    /// Commits what is to be done to a batch; answers its verdict, and how many deaths at least will be forgiven to whom.
    fn commit(&self, rig: &Rig, first: u64, place: usize) -> (Verdict, Vec<usize>) {
        let (len, deed, whose) = &self.batches[place];
        let on = &rig.instances[*whose % rig.instances.len()];
        let within = |places: &[usize]| -> BTreeSet<usize> {
            let fits = |at: &usize| *at < *len as usize;
            places.iter().copied().filter(fits).collect()
        };
        let always = |at: usize, crime| on.commit(first + at as u64, crime);
        let mut verdict = Verdict::new();
        let mut deaths = 0;
        let mut poison = |places: &BTreeSet<usize>, verdict: &mut Verdict| {
            for (nth, at) in places.iter().enumerate() {
                always(*at, Crime::Dies(u32::MAX));
                let times = if nth == 0 { "3 times" } else { "once" };
                deaths += if nth == 0 { 3 } else { 1 };
                let plugin = name(on.id().0);
                let reason = format!("killed the worker of plugin `{plugin}` {times} (signal");
                verdict.insert(*at, reason);
            }
        };
        match deed {
            Deed::Nothing => {}
            Deed::Poison(places) => poison(&within(places), &mut verdict),
            Deed::Faults(fail, kill) => {
                let kill = within(kill);
                poison(&kill, &mut verdict);
                for at in within(fail).difference(&kill) {
                    always(*at, Crime::Errors(u32::MAX));
                    verdict.insert(*at, "fails".to_owned());
                }
            }
            Deed::Kills(at, times) if *at < *len as usize => always(*at, Crime::Dies(*times)),
            Deed::Fails(at, times) if *at < *len as usize => {
                always(*at, Crime::Errors((*times).min(self.retries)));
            }
            Deed::Panics(at, times) if *at < *len as usize => {
                always(*at, Crime::Panics((*times).min(self.retries)));
            }
            Deed::Kills(..) | Deed::Fails(..) | Deed::Panics(..) => {}
        }
        let mut forgiven = vec![0; rig.instances.len()];
        forgiven[on.id().0] = deaths;
        (verdict, forgiven)
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let builds: Vec<Build> = self
            .builds
            .iter()
            .map(|(window, executor)| Build {
                window: *window,
                executor: *executor,
            })
            .collect();
        let mut rig = Rig::new(&builds, self.executors, self.retries);
        for on in &rig.instances {
            let mut world = on.world.lock();
            world.readiness.clone_from(&self.readiness);
            let mine = |kill: &&(usize, u32)| kill.0 % builds.len() == on.id().0;
            world.kills = self.kills.iter().filter(mine).map(|(_, at)| *at).collect();
            world.inits_failing = self.inits_failing;
        }
        let mut first = 0;
        let (mut batches, mut verdicts) = (Vec::new(), Vec::new());
        let mut forgiven = vec![0; builds.len()];
        for place in 0..self.batches.len() {
            let len = self.batches[place].0;
            let (verdict, deaths) = self.commit(&rig, first, place);
            forgiven
                .iter_mut()
                .zip(deaths)
                .for_each(|(all, some)| *all += some);
            verdicts.push(verdict);
            batches.push((first..first + len).collect::<Vec<u64>>());
            first += len;
        }
        let suffix: String = (0..builds.len()).map(name).collect();
        rig.submit(batches.clone());
        let sink = rig.sink();
        let all = rig.until(&sink);
        let finish = rig.finish();
        for answer in rig.until(&finish) {
            prop_assert_eq!(answer, Some(Ok(builds.len())));
        }
        rig.stop();
        prop_assert_eq!(all.len(), batches.len());
        let numbered = batches.iter().zip(&verdicts).zip(&all);
        for (place, ((numbers, verdict), done)) in numbered.enumerate() {
            prop_assert_eq!(done.id, place as u64 + 1);
            let expected: Vec<String> = numbers
                .iter()
                .enumerate()
                .filter(|(at, _)| !verdict.contains_key(at))
                .map(|(_, number)| format!("{number}:{suffix}"))
                .collect();
            prop_assert_eq!(&done.out, &expected);
            let at_fault: Vec<usize> = done.faults.iter().map(|(at, _)| *at).collect();
            let guilty: Vec<usize> = verdict.keys().copied().collect();
            prop_assert_eq!(at_fault, guilty);
            for (at, reason) in &done.faults {
                prop_assert!(reason.contains(&verdict[at]), "{at}: {reason}");
            }
            // Nobody is guilty by association.
            let own = match self.batches[place].1 {
                Deed::Kills(_, times) => times as usize,
                _ => 0,
            };
            prop_assert!(done.charged <= own, "{done:?}");
        }
        let guilty: BTreeSet<u64> = batches
            .iter()
            .zip(&verdicts)
            .flat_map(|(numbers, verdict)| verdict.keys().map(|at| numbers[*at]))
            .collect();
        for (on, deaths) in rig.instances.iter().zip(forgiven) {
            let told = rig.forgiven.get(&on.id()).cloned().unwrap_or_default();
            // Those that proved it, and no death that a record caused which was found is left.
            prop_assert!(told.len() >= deaths, "{told:?}, {deaths}");
            for (life, record) in &on.world.lock().killed_by {
                let forgiven = told.contains(life) || !guilty.contains(record);
                prop_assert!(forgiven, "life {life}, record {record}: {told:?}");
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_dies_each_record_comes_out_once_or_is_at_fault_once(script in script()) {
        script.check()?;
    }
}
