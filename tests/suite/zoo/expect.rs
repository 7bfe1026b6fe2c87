//! The words that the table is written in: a [`Row`] is a crime and its circumstances, a [`Cell`] what one backend promises
//! of it. Nothing here runs anything.

/// Where the criminal runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    InProcess,
    Isolated,
}

/// How the host's process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Exit(i32),
    Signal(i32),
}

/// What comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Records {
    All,
    None,
    Exactly(&'static str),
    /// Whatever was through before it.
    Some,
}

/// How a test goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// After the crime another record goes through, and the host is asked for its status; then the input ends.
    GoesOn,
    /// The input ends, and so does the host.
    Ends,
    /// The host ends while its input is still open.
    Dies,
    /// Nothing can be promised: the test ends it when it has happened.
    Lost,
}

/// What the host is asked besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    Nothing,
    /// SIGTERM stops it as ever.
    Stops,
    /// SIGTERM does not stop it any more.
    IsDeaf,
    /// It stands still, until it is told to go on.
    StandsStill,
    /// A file of its `/proc` folder says so.
    Shows(&'static str, &'static str),
    /// A file of its `/proc` folder does not say so.
    ShowsNot(&'static str, &'static str),
}

/// What one backend promises of one crime.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) contained: bool,
    pub(super) course: Course,
    pub(super) end: End,
    pub(super) records: Records,
    /// The code of the first error; "" is any.
    pub(super) error: Option<&'static str>,
    pub(super) warning: Option<&'static str>,
    /// The log says so, of the criminal.
    pub(super) logs: Vec<&'static str>,
    /// The criminal is told so.
    pub(super) notes: Vec<&'static str>,
    pub(super) probe: Probe,
    pub(super) status: bool,
    /// A process stays behind.
    pub(super) leaves: bool,
    /// So many executors are left behind, with what of the neighbour lives on them.
    pub(super) stuck: usize,
    pub(super) verdict: &'static str,
}

fn cell(contained: bool, course: Course, end: End, verdict: &'static str) -> Cell {
    Cell {
        contained,
        course,
        end,
        records: if course == Course::GoesOn {
            Records::All
        } else {
            Records::None
        },
        error: None,
        warning: None,
        logs: Vec::new(),
        notes: Vec::new(),
        probe: Probe::Nothing,
        status: course == Course::GoesOn,
        leaves: false,
        stuck: 0,
        verdict,
    }
}

/// Contained: everybody else goes on, and no record is lost.
pub(super) fn goes_on(verdict: &'static str) -> Cell {
    cell(true, Course::GoesOn, End::Exit(0), verdict)
}

/// Contained: the run ends in order, with that code, and that error comes first.
pub(super) fn ends(exit: i32, error: &'static str, verdict: &'static str) -> Cell {
    Cell {
        error: Some(error),
        ..cell(true, Course::Ends, End::Exit(exit), verdict)
    }
}

/// Contained: the worker dies, which the log says in these words; it is started again, and no record is lost.
pub(super) fn restarts(how: &'static str) -> Cell {
    goes_on("The worker is gone, named in the log, and started again; its batch runs again.")
        .logs(how)
}

/// Not contained: the host's process ends by that signal.
pub(super) fn dies(signal: i32) -> Cell {
    cell(
        false,
        Course::Dies,
        End::Signal(signal),
        "The host's process ends by it.",
    )
}

/// Not contained: the host's process ends with that exit code, without an orderly stop.
pub(super) fn leaves(code: i32, verdict: &'static str) -> Cell {
    cell(false, Course::Dies, End::Exit(code), verdict)
}

/// Not contained: the host may stand still for ever, or end somehow.
pub(super) fn lost(verdict: &'static str) -> Cell {
    Cell {
        records: Records::Some,
        ..cell(false, Course::Lost, End::Signal(9), verdict)
    }
}

/// Not contained: the run goes on, with the damage that the verdict names.
pub(super) fn suffers(verdict: &'static str) -> Cell {
    cell(false, Course::GoesOn, End::Exit(0), verdict)
}

impl Cell {
    pub(super) fn logs(mut self, text: &'static str) -> Self {
        self.logs.push(text);
        self
    }

    pub(super) fn notes(mut self, text: &'static str) -> Self {
        self.notes.push(text);
        self
    }

    pub(super) fn warns(mut self, code: &'static str) -> Self {
        self.warning = Some(code);
        self
    }

    pub(super) fn delivers(mut self, records: Records) -> Self {
        self.records = records;
        self
    }

    pub(super) fn probed(mut self, probe: Probe) -> Self {
        self.probe = probe;
        self
    }

    /// Nobody can ask it for its status any more.
    pub(super) fn without_status(mut self) -> Self {
        self.status = false;
        self
    }

    pub(super) fn leaves_a_process(mut self) -> Self {
        self.leaves = true;
        self
    }

    pub(super) fn stuck(mut self, executors: usize) -> Self {
        self.stuck = executors;
        self
    }

    /// No record comes in after it.
    pub(super) fn at_the_end(mut self, exit: i32) -> Self {
        (self.course, self.end, self.status) = (Course::Ends, End::Exit(exit), false);
        self
    }

    /// The run ends in order, but nobody else's fault is told apart, and nobody is spared.
    pub(super) fn uncontained(mut self) -> Self {
        self.contained = false;
        self
    }

    /// The verdict in words.
    pub(super) fn says(mut self, verdict: &'static str) -> Self {
        self.verdict = verdict;
        self
    }
}

/// A crime, where it is committed, and what comes of it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) crime: &'static str,
    pub(super) hooks: &'static [&'static str],
    pub(super) with: Vec<&'static str>,
    pub(super) once: bool,
    pub(super) acts: Vec<&'static str>,
    pub(super) neighbour: Vec<&'static str>,
    pub(super) keys: Vec<&'static str>,
    pub(super) neighbour_deadlines: &'static str,
    pub(super) settings: Vec<&'static str>,
    pub(super) stream: Vec<&'static str>,
    pub(super) executors: usize,
    /// A library of its own, where the crime needs one.
    pub(super) library: &'static str,
    /// `ulimit` of the host's process.
    pub(super) limit: &'static str,
    pub(super) log_format: &'static str,
    pub(super) fifo: bool,
    pub(super) memory_mib: u64,
    pub(super) in_process: Cell,
    pub(super) isolated: Cell,
}

/// A crime of the fixture's, in `process`; the run goes on in either backend until the row says otherwise.
pub(super) fn row(crime: &'static str, what: &'static str) -> Row {
    Row {
        what,
        crime,
        hooks: &["process"],
        with: Vec::new(),
        once: true,
        acts: Vec::new(),
        neighbour: Vec::new(),
        keys: Vec::new(),
        neighbour_deadlines: "hook = \"20s\"",
        settings: Vec::new(),
        stream: Vec::new(),
        executors: 1,
        library: "misbehave",
        limit: "",
        log_format: "json",
        fifo: false,
        memory_mib: 256,
        in_process: goes_on(""),
        isolated: goes_on(""),
    }
}

impl Row {
    pub(super) fn at(mut self, hooks: &'static [&'static str]) -> Self {
        self.hooks = hooks;
        self
    }

    /// More about the act.
    pub(super) fn with(mut self, more: &'static str) -> Self {
        self.with.push(more);
        self
    }

    /// Whenever it comes to the call, in every life.
    pub(super) fn every_time(mut self) -> Self {
        self.once = false;
        self
    }

    /// The criminal does that as well.
    pub(super) fn and(mut self, act: &'static str) -> Self {
        self.acts.push(act);
        self
    }

    /// The neighbour does that; `<fifo>` is the row's.
    pub(super) fn neighbour(mut self, act: &'static str) -> Self {
        self.neighbour.push(act);
        self
    }

    /// The neighbour's deadlines, where they count as well.
    pub(super) fn neighbour_deadlines(mut self, deadlines: &'static str) -> Self {
        self.neighbour_deadlines = deadlines;
        self
    }

    /// A line of the criminal's entry.
    pub(super) fn key(mut self, key: &'static str) -> Self {
        self.keys.push(key);
        self
    }

    /// A line of its settings.
    pub(super) fn set(mut self, line: &'static str) -> Self {
        self.settings.push(line);
        self
    }

    /// A line of `[stream]`.
    pub(super) fn stream(mut self, line: &'static str) -> Self {
        self.stream.push(line);
        self
    }

    pub(super) fn executors(mut self, count: usize) -> Self {
        self.executors = count;
        self
    }

    pub(super) fn library(mut self, library: &'static str) -> Self {
        self.library = library;
        self
    }

    pub(super) fn limit(mut self, ulimit: &'static str) -> Self {
        self.limit = ulimit;
        self
    }

    /// The log is for people.
    pub(super) fn logged_as_text(mut self) -> Self {
        self.log_format = "text";
        self
    }

    /// The act's `path` is a FIFO. Whoever still waits there at the end is let go by the test.
    pub(super) fn fifo(mut self) -> Self {
        self.fifo = true;
        self
    }

    /// The most that the host's process may have used, in MiB.
    pub(super) fn memory(mut self, mib: u64) -> Self {
        self.memory_mib = mib;
        self
    }

    /// The criminal's executor part asks its driver, in its first task.
    pub(super) fn poked(self) -> Self {
        self.and("hook = \"on-task-start\", crime = \"ask\", to = \"bad\", text = \"poke\", times = 1, ms = 10000")
            .with("word = \"poke\"")
            .key("deadlines = { hook = \"20s\" }")
    }

    pub(super) fn in_process(mut self, cell: Cell) -> Self {
        self.in_process = cell;
        self
    }

    pub(super) fn isolated(mut self, cell: Cell) -> Self {
        self.isolated = cell;
        self
    }

    /// Both backends promise the same.
    pub(super) fn both(self, cell: Cell) -> Self {
        self.in_process(cell.clone()).isolated(cell)
    }
}
