//! What a seed stands for: the configuration of a run and everything that is done to it, as logical steps.
//!
//! A step waits for what the run itself shows (a line of output, a traced call, "in service again"), never for a time, so one
//! seed is one schedule on every machine. Nothing in here looks at a host.

use std::fmt;

/// Splitmix64: a seed, and then numbers without a pattern.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end`, without it.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// So many times in a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// Which file an instance of the chain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Library {
    /// The hostile plugin with all its parts.
    Misbehave,
    /// The same without an executor part.
    Lean,
    /// The demo's processor, and nothing else. It traces nothing and commits nothing.
    Append,
}

impl Library {
    /// Whether the trace shows its lives and its acts can be asked for.
    pub(crate) fn acts(self) -> bool {
        self != Self::Append
    }
}

/// One instance of the chain.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) library: Library,
    pub(crate) isolated: bool,
    /// How its process ends where a record says so.
    pub(crate) death: &'static str,
    /// Asks the next link's driver at each start of a task.
    pub(crate) asks: bool,
    /// A task hook that panics once a life.
    pub(crate) hook_panics: bool,
}

/// An instance: 0 is the one that holds the configuration, 1, 2, … the chain.
pub(crate) type Who = usize;

/// What a record makes an instance do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// Takes its time.
    Slow,
    /// Fails at it once a life: an attempt more, and it goes through.
    Once,
    /// Fails at it always.
    Fault,
    /// Panics at it always.
    Panic,
    /// Dies of it always.
    Die,
}

impl Word {
    pub(crate) fn text(self, who: Who) -> String {
        let word = match self {
            Self::Slow => "slow",
            Self::Once => "once",
            Self::Fault => "fault",
            Self::Panic => "panic",
            Self::Die => "die",
        };
        format!("!{word}{who}")
    }

    /// Whether the record ends among the dead letters.
    pub(crate) fn is_bad(self) -> bool {
        matches!(self, Self::Fault | Self::Panic | Self::Die)
    }
}

/// One thing that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many records in one write; those at the places named have a word in them.
    Burst(u32, Vec<(u32, Word, Who)>),
    /// So many records, each written when the one before it has come out.
    Trickle(u32),
    /// A change of the configuration: its acknowledgement counts for every record that is written later.
    Change,
    /// SIGKILL, once the instance is in service.
    Kill(Who),
    /// SIGKILL of two, one right after the other.
    KillBoth(Who, Who),
    /// A record at which the instance takes its time, and SIGKILL when the trace shows it in `process`.
    KillInTask(Who),
    /// SIGKILL, and again when the trace shows the next life in its init.
    KillInInit(Who),
    /// SIGSTOP, so many records and a change, SIGCONT.
    Freeze(Who, u32),
    /// SIGSTOP and a record: the host kills what does not answer within its deadline. Only where the plan says so.
    Stall(Who),
    /// So many records in one write, and waits until about half of them have come out.
    Half(u32),
    /// All instances in service, all records out. What is killed next finds nothing under way.
    Settle,
}

/// How the run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The input ends.
    Input,
    /// SIGTERM, with records under way.
    Signal,
    /// A bad record, where `on_error = "stop"`.
    BadRecord(Who, Word),
}

/// See the file.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) executors: u32,
    pub(crate) batch_records: u32,
    /// Records at fault are kept apart; else they end the run.
    pub(crate) dead_letters: bool,
    pub(crate) config_isolated: bool,
    pub(crate) chain: Vec<Link>,
    /// How long a driver's init of the chain takes.
    pub(crate) init_ms: u64,
    /// The chain's isolated instances have a deadline for `process` that is worth waiting for.
    pub(crate) stalls: bool,
    /// Killed in its very first init, which is tried again.
    pub(crate) kill_in_first_init: Option<Who>,
    pub(crate) steps: Vec<Step>,
    /// So many records that are under way when the end is asked for.
    pub(crate) last_records: u32,
    pub(crate) end: End,
    /// Killed just before the end is asked for.
    pub(crate) kill_before_end: Option<Who>,
    /// Killed when the trace shows it in its driver's shutdown.
    pub(crate) kill_in_shutdown: Option<Who>,
}

impl Plan {
    /// - `periods`: how often all comes to rest; about two kills each.
    pub(crate) fn of(seed: u64, periods: u32) -> Self {
        let mut dice = Dice::new(seed);
        let dead_letters = dice.chance(65);
        let mut plan = Self {
            seed,
            executors: 1 + dice.below(4) as u32,
            batch_records: dice.pick(&[1, 3, 16, 100, 1024]),
            dead_letters,
            config_isolated: dice.chance(30),
            chain: Vec::new(),
            init_ms: dice.pick(&[0, 0, 2, 10]),
            stalls: dice.chance(10),
            kill_in_first_init: None,
            steps: Vec::new(),
            last_records: 0,
            end: End::Input,
            kill_before_end: None,
            kill_in_shutdown: None,
        };
        plan.chain = chain(&mut dice);
        if dice.chance(15) {
            plan.kill_in_first_init = pick(&mut dice, &plan.victims(|link| link.library.acts()));
        }
        // Each once, so that what a first death makes the host keep is there when things are counted.
        for who in plan.anyone() {
            plan.steps.extend([Step::Kill(who), Step::Settle]);
        }
        for _ in 0..periods {
            plan.period(&mut dice);
            plan.steps.push(Step::Settle);
        }
        if plan.stalls {
            let who = dice.pick(&plan.victims(|_| true));
            let before = plan.burst(&mut dice, &[]);
            plan.steps.extend([before, Step::Stall(who), Step::Settle]);
        }
        plan.choose_end(&mut dice);
        plan
    }

    /// The isolated instances that are wanted; of the chain, those that `of_chain` wants.
    fn victims(&self, of_chain: impl Fn(&Link) -> bool) -> Vec<Who> {
        let links = self.chain.iter().enumerate();
        let links = links.filter(|(_, link)| link.isolated && of_chain(link));
        links.map(|(place, _)| place + 1).collect()
    }

    fn anyone(&self) -> Vec<Who> {
        let mut all = self.victims(|_| true);
        if self.config_isolated {
            all.push(0);
        }
        all
    }

    pub(crate) fn isolated(&self, who: Who) -> bool {
        match who {
            0 => self.config_isolated,
            who => self.chain[who - 1].isolated,
        }
    }

    fn burst(&self, dice: &mut Dice, words: &[Word]) -> Step {
        let records = 1 + dice.pick(&[5, 40, 300, 1500]);
        let records = 1 + dice.below(records) as u32;
        let mut places = Vec::new();
        for word in words {
            let able: Vec<Who> = (1..=self.chain.len())
                .filter(|who| {
                    let link = &self.chain[who - 1];
                    link.library.acts() && (link.isolated || *word != Word::Die)
                })
                .collect();
            if let Some(who) = pick(dice, &able) {
                places.push((dice.below(records.into()) as u32, *word, who));
            }
        }
        places.sort_by_key(|(place, ..)| *place);
        places.dedup_by_key(|(place, ..)| *place);
        Step::Burst(records, places)
    }

    /// Two kills at most while the same records are under way: the third proves a record guilty (DESIGN §6). More only where
    /// such records are kept apart and the judge knows how many there may be.
    // STYLE R12: one table, worse in two halves.
    fn period(&mut self, dice: &mut Dice) {
        let victims = self.victims(|_| true);
        let acting = self.victims(|link| link.library.acts());
        let anyone = self.anyone();
        let one = |dice: &mut Dice| dice.pick(&victims);
        let course = dice.below(if self.dead_letters { 14 } else { 10 });
        let steps = match course {
            0 => vec![Step::Kill(one(dice))],
            1 | 2 => vec![
                self.burst(dice, &[]),
                Step::Kill(dice.pick(&anyone)),
                self.burst(dice, &[Word::Slow]),
                Step::Kill(one(dice)),
            ],
            3 => match pick(dice, &acting) {
                Some(who) => vec![
                    self.burst(dice, &[]),
                    Step::KillInTask(who),
                    self.burst(dice, &[]),
                ],
                None => vec![Step::Trickle(2), Step::Kill(one(dice)), Step::Trickle(2)],
            },
            4 => match pick(dice, &acting) {
                Some(who) => vec![self.burst(dice, &[]), Step::KillInInit(who)],
                None => vec![self.burst(dice, &[]), Step::Kill(one(dice)), Step::Change],
            },
            5 => vec![
                self.burst(dice, &[Word::Once]),
                Step::KillBoth(dice.pick(&anyone), one(dice)),
                Step::Change,
                self.burst(dice, &[]),
            ],
            6 => {
                let who = one(dice);
                vec![
                    Step::Freeze(who, 1 + dice.below(200) as u32),
                    Step::Kill(who),
                ]
            }
            7 => vec![
                Step::Change,
                self.burst(dice, &[Word::Slow, Word::Once]),
                Step::Change,
                Step::Kill(dice.pick(&anyone)),
                self.burst(dice, &[]),
                Step::Change,
            ],
            8 => vec![
                Step::Half(20 + dice.below(400) as u32),
                Step::Kill(one(dice)),
                Step::Trickle(1 + dice.below(3) as u32),
                Step::Change,
                Step::Kill(one(dice)),
            ],
            9 => vec![
                Step::Trickle(1 + dice.below(3) as u32),
                Step::Kill(dice.pick(&anyone)),
                Step::Trickle(1),
                Step::Change,
                Step::Trickle(1),
            ],
            // None that fails once beside them: the last retry is its only one, and it would be at fault rightly.
            10 => vec![self.burst(dice, &[Word::Fault, Word::Panic])],
            11 => vec![
                self.burst(dice, &[Word::Die]),
                Step::Change,
                self.burst(dice, &[Word::Fault]),
            ],
            12 => vec![
                self.burst(dice, &[Word::Die, Word::Slow, Word::Panic]),
                Step::Kill(one(dice)),
            ],
            _ => {
                // A storm: some records may be taken for poison, and are kept apart.
                let mut steps = vec![self.burst(dice, &[Word::Slow, Word::Slow])];
                for _ in 0..3 + dice.below(4) {
                    steps.push(Step::Kill(dice.pick(&anyone)));
                    if dice.chance(40) {
                        steps.push(self.burst(dice, &[Word::Slow]));
                    }
                }
                steps
            }
        };
        self.steps.extend(steps);
    }

    fn choose_end(&mut self, dice: &mut Dice) {
        let victims = self.victims(|_| true);
        let acting = self.victims(|link| link.library.acts());
        if dice.chance(40) {
            self.last_records = 1 + dice.below(2000) as u32;
        }
        if dice.chance(50) {
            self.end = End::Signal;
        } else if !self.dead_letters && dice.chance(40) {
            let word = dice.pick(&[Word::Fault, Word::Panic, Word::Die]);
            // Only to have one chosen that is able to.
            if let Step::Burst(_, places) = self.burst(dice, &[word]) {
                if let Some((_, word, who)) = places.first() {
                    self.end = End::BadRecord(*who, *word);
                    return;
                }
            }
        }
        if dice.chance(40) {
            self.kill_before_end = pick(dice, &victims);
        } else if dice.chance(40) {
            self.kill_in_shutdown = pick(dice, &acting);
        }
    }
}

fn pick(dice: &mut Dice, from: &[Who]) -> Option<Who> {
    (!from.is_empty()).then(|| dice.pick(from))
}

fn chain(dice: &mut Dice) -> Vec<Link> {
    let len = 1 + dice.below(3);
    // Several tasks of an executor are in flight only where nobody has an executor part.
    let lean = dice.chance(45);
    let mut chain: Vec<Link> = (0..len)
        .map(|_| {
            let kinds: &[Library] = match lean {
                true => &[Library::Lean, Library::Lean, Library::Append],
                false => &[
                    Library::Misbehave,
                    Library::Misbehave,
                    Library::Lean,
                    Library::Append,
                ],
            };
            Link {
                library: dice.pick(kinds),
                isolated: dice.chance(70),
                death: dice.pick(&["abort", "segfault", "exit-at-once", "exit"]),
                asks: dice.chance(25),
                hook_panics: dice.chance(20),
            }
        })
        .collect();
    if chain.iter().all(|link| !link.isolated) {
        let place = dice.below(len) as usize;
        chain[place].isolated = true;
    }
    chain
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            executors,
            batch_records,
            dead_letters,
            config_isolated,
            chain,
            init_ms,
            stalls,
            ..
        } = self;
        writeln!(
            f,
            "seed {seed}: {executors} executors, batches of {batch_records}, dead letters {dead_letters}, \
             isolated configuration {config_isolated}, init {init_ms} ms, stalls {stalls}"
        )?;
        for (place, link) in chain.iter().enumerate() {
            writeln!(f, "  instance {}: {link:?}", place + 1)?;
        }
        writeln!(
            f,
            "  killed in the first init: {:?}",
            self.kill_in_first_init
        )?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "  {number}. {step:?}")?;
        }
        write!(
            f,
            "  {} records, then the end: {:?}, killed before it: {:?}, in its shutdown: {:?}",
            self.last_records, self.end, self.kill_before_end, self.kill_in_shutdown
        )
    }
}
