//! Every crime of the zoo, where it is committed, and what is promised of it: one row is one test for each backend that is
//! mounted below, and one line of `docs/containment.md`. To read a row: `row(CRIME, WHAT IT DOES)`, the calls, what else the
//! act needs, then the promise in the host's process and in a process of its own.

use super::{
    drive::commit,
    expect::{
        Backend, Cell, Probe, Records, Row, dies, ends, goes_on, leaves, lost, restarts, row,
        suffers,
    },
};

/// Where a crime that ends its process is committed.
const ANYWHERE: &[&str] = &["driver-init", "on-task-start", "process"];
const EARLY: &[&str] = &["driver-init", "process"];

/// What a plugin changes in its own process is its own.
const FOR_THE_HOST: &str = "A worker leaves requests to stop to its host.";
const ITS_OWN: &str = "It is the worker's own.";

macro_rules! zoo {
    ($($section:literal { $($name:ident: $row:expr;)* })*) => {
        $($(fn $name() -> Row { $row })*)*

        /// The rows, in their sections, with their names.
        pub(super) fn sections() -> Vec<(&'static str, Vec<(&'static str, Row)>)> {
            vec![$(($section, vec![$((stringify!($name), $name())),*])),*]
        }

        macro_rules! mount {
            ($module:ident, $backend:ident) => {
                mod $module {
                    use super::*;
                    $($(#[test] fn $name() { commit(&super::$name(), Backend::$backend); })*)*
                }
            };
        }
    };
}

fn shutdown_overruns() -> Cell {
    ends(
        5,
        "shutdown-timeout",
        "Cut off at its deadline and named; the others are shut down all the same.",
    )
    .delivers(Records::All)
}

zoo! {
    "Errors and panics" {
        error: row("fail", "Answers an error, once.")
            .both(goes_on("The batch runs again."));
        errors: row("fail", "Answers an error, every time.").every_time()
            .both(ends(1, "record-failed", "Out of retries the stream ends, naming the record; `on_error = \"dead-letter\"` goes on without it."));
        gigantic_error: row("fail", "Answers an error of 4 MiB.").at(&["driver-init"]).with("bytes = 4194304").every_time()
            .both(ends(4, "init-failed", "The log keeps the beginning of it."));
        control_characters_in_an_error: row("fail", "Answers an error with NUL, escape sequences and line ends in it.")
            .at(&["driver-init"]).with(r#"text = "a\u0000b\u001b[31mc\rd\nerror[x]: e""#).every_time()
            .both(ends(4, "init-failed", "They are escaped: the log stays a log, and the terminal a terminal."));
        an_error_that_is_no_text: row("fail-invalid", "Answers an error whose text is not UTF-8.").at(&["driver-init"]).every_time()
            .both(ends(4, "init-failed", "What is no text in it is shown as such.").logs("before \u{FFFD}"));
        panic: row("panic", "Panics, once.").at(&["on-task-start", "process"])
            .both(goes_on("Caught; text and place are in the log, and the batch runs again.").logs("crimes/panic.rs:"));
        panic_in_init: row("panic", "Panics in its init.").at(&["driver-init"]).every_time()
            .both(ends(4, "init-panicked", "As an error."));
        gigantic_panic: row("panic", "Panics with a text of 4 MiB.").with("bytes = 4194304")
            .both(goes_on("The log keeps the beginning of it."));
        panic_with_a_payload_that_panics: row("panic-payload", "Panics with a payload whose drop panics.").at(&["on-task-start", "process"])
            .both(goes_on("One panic more, and no more than that."));
        panic_in_drop: row("panic-in-drop", "Drops a value whose drop panics.")
            .both(goes_on("A panic like any other.").logs("a drop panicked"));
        panic_during_a_panic: row("panic-twice", "Drops it while another panic unwinds: Rust aborts then.").at(EARLY)
            .in_process(dies(6)).isolated(restarts("signal 6"));
        panic_in_thread_local: row("panic-in-thread-local", "Panics in a destructor of a thread of its own: Rust aborts then.").at(EARLY)
            .in_process(dies(6)).isolated(restarts("signal 6"));
        panic_on_its_own_thread: row("panic", "Panics on a thread of its own.").at(&["driver-init"]).with("thread = true")
            .both(goes_on("In the log, under its name.").logs("crimes/panic.rs:"));
        replaced_hook: row("replace-hook", "Silences the panic hook, and panics.")
            .both(goes_on("The hook was its own copy's; the panic is caught as ever.").logs("the crime"));
        panic_in_the_hook: row("panic-in-hook", "Panics in the panic hook: Rust aborts then.").at(EARLY)
            .in_process(dies(6)).isolated(restarts("signal 6"));
    }

    "Time" {
        slow: row("slow", "Takes its time.").with("ms = 300")
            .both(goes_on("Within its deadline it may."));
        hang: row("hang", "Never returns, on one of two executors.").executors(2).key("deadlines = { process = \"1s\" }")
            .in_process(goes_on("That executor is left behind; its batch runs again on another.").warns("process-timeout").stuck(1))
            .isolated(goes_on("The worker is killed and started again; its batch runs again.").warns("process-timeout"));
        hang_on_the_last: row("hang", "Never returns, on the only executor.").key("deadlines = { process = \"1s\" }")
            .in_process(ends(1, "process-timeout", "With no executor left the run ends.").stuck(1))
            .isolated(goes_on("The worker is killed and started again; its batch runs again.").warns("process-timeout"));
        spin: row("spin", "Never returns, and burns a processor.").executors(2).key("deadlines = { process = \"1s\" }")
            .in_process(goes_on("As a hang; the processor is lost until the host ends.").warns("process-timeout").stuck(1))
            .isolated(goes_on("Killed, and started again.").warns("process-timeout"));
        deadlock: row("deadlock", "Waits for a lock that it holds itself.").executors(2).key("deadlines = { process = \"1s\" }")
            .in_process(goes_on("As a hang.").warns("process-timeout").stuck(1))
            .isolated(goes_on("Killed, and started again.").warns("process-timeout"));
        shutdown_that_never_returns: row("hang", "Never returns from its shutdown.").at(&["driver-shutdown"])
            .key("deadlines = { shutdown = \"1s\" }").both(shutdown_overruns());
        hang_in_drop: row("hang", "Never returns from the drop of its driver.").at(&["driver-drop"])
            .key("deadlines = { shutdown = \"1s\" }").both(shutdown_overruns());
        hang_in_drop_on_an_executor: row("hang", "Never returns from the drop of a part on an executor.").at(&["executor-drop", "processor-drop"])
            .key("deadlines = { shutdown = \"1s\" }").neighbour_deadlines("hook = \"20s\", shutdown = \"500ms\"").every_time()
            .in_process(ends(5, "shutdown-timeout", "The executor is left behind; drivers are shut down all the same.")
                .delivers(Records::All).stuck(1))
            .isolated(ends(5, "", "The worker is killed; its driver gets no shutdown, all others do.").delivers(Records::All));
        hang_in_drop_of_a_part: row("hang", "Never returns from the drop of its checker, or of itself.").at(&["checker-drop", "plugin-drop"])
            .key("deadlines = { shutdown = \"1s\" }").every_time()
            .both(goes_on("The host leaves without waiting for it."));
        hang_at_exit: row("hang-at-exit", "Leaves a function behind, for when its process exits, that never returns.").at(EARLY)
            .both(goes_on("Nobody runs it: host and worker leave at once."));
        hang_in_thread_local: row("hang-in-thread-local", "Leaves a destructor behind, for when the host's thread ends, that never returns.").at(EARLY)
            .key("deadlines = { shutdown = \"1s\" }")
            .both(goes_on("The host leaves without waiting for the thread."));
        thread_leak: row("leak-threads", "Starts 200 threads that never end.").at(EARLY).with("value = 200")
            .both(goes_on("They are there until their process ends."));
        thread_after_shutdown: row("flood", "Leaves a thread behind in its init that sends for ever, also after its shutdown.").at(&["driver-init"])
            .with("thread = true").with("to = \"good\"").with("text = \"oneway\"")
            .both(goes_on("Each message is taken, or refused at once as `closed`; nobody waits for the thread."));
        ended_thread: row("end-thread", "Ends the host's thread below everybody who stands on it.").at(EARLY)
            .in_process(dies(6)).isolated(restarts("signal 6"));
    }

    "The end of the process" {
        exit: row("exit", "Calls `exit(7)`.").at(ANYWHERE).with("value = 7")
            .in_process(leaves(7, "The host ends with the plugin's code.")).isolated(restarts("7"));
        exit_as_if_all_were_well: row("exit", "Calls `exit(0)`.").at(ANYWHERE)
            .in_process(leaves(0, "The host ends, and its exit code says that all is well.")).isolated(restarts("exit"));
        exit_at_once: row("exit-at-once", "Calls `_exit(3)`.").at(EARLY).with("value = 3")
            .in_process(leaves(3, "The host ends with the plugin's code.")).isolated(restarts("3"));
        exit_in_receive: row("exit", "Calls `exit(7)` in `receive`.").at(&["driver-receive"]).with("value = 7").poked()
            .in_process(leaves(7, "The host ends with the plugin's code.")).isolated(restarts("7"));
        exit_at_the_end: row("exit", "Calls `exit(7)` in its shutdown.").at(&["driver-shutdown"]).with("value = 7")
            .in_process(leaves(7, "Whoever was to be shut down after it is not.").at_the_end(7).delivers(Records::All))
            .isolated(ends(5, "", "A shutdown that failed.").delivers(Records::All));
        abort: row("abort", "Calls `abort`.").at(ANYWHERE)
            .in_process(dies(6)).isolated(restarts("signal 6"));
        exec: row("exec", "Becomes another program.").at(EARLY).with("text = \"exit 9\"")
            .in_process(leaves(9, "The host is that program now.")).isolated(restarts("9"));
        daemonise: row("daemonise", "Forks; the parent ends well, the child goes on in a session of its own.").at(EARLY).fifo()
            .in_process(leaves(0, "The host ends as if all were well, and a copy of it is left.").leaves_a_process())
            .isolated(restarts("exit").leaves_a_process()
                .says("The worker is started again; the copy of it stays, unless `sandbox` forbids processes."));
    }

    "Faults and memory" {
        segfault: row("segfault", "Writes through a pointer to nothing.").at(ANYWHERE)
            .in_process(dies(11)).isolated(restarts("signal 11"));
        segfault_in_receive: row("segfault", "The same, in `receive`.").at(&["driver-receive"]).poked()
            .in_process(dies(11)).isolated(restarts("signal 11"));
        segfault_on_its_own_thread: row("segfault", "The same, on a thread of its own.").at(&["on-task-start"]).with("thread = true")
            .in_process(dies(11).delivers(Records::Some)).isolated(restarts("signal 11"));
        segfault_at_one_record: row("segfault", "The same, whenever it sees one certain record, with `on_error = \"dead-letter\"`.").at(&["record"])
            .with("word = \"two\"").every_time().stream("on_error = \"dead-letter\"").stream("dead_letter = \"dead\"")
            .in_process(dies(11))
            .isolated(goes_on("Three deaths find the record; it becomes a dead letter, and all others come out.").delivers(Records::Exactly("one\nthree\nfour\n")).logs("signal 11"));
        hidden_segfault: row("hide-segfault", "The same, behind a signal handler that ends the process as if all were well.").at(EARLY)
            .in_process(leaves(0, "The host ends, and its exit code says that all is well.")).isolated(restarts("exit"));
        scribble_over_a_page: row("scribble-read-only", "Writes to a page that may only be read.").at(EARLY)
            .in_process(dies(11)).isolated(restarts("signal 11"));
        illegal_instruction: row("illegal-instruction", "Executes what is no instruction.").at(EARLY)
            .in_process(dies(4)).isolated(restarts("signal 4"));
        bus_error: row("bus-error", "Reads what its file no longer has.").at(EARLY)
            .in_process(dies(7)).isolated(restarts("signal 7"));
        division_by_zero: row("divide-by-zero", "Divides by zero, past Rust's own check.").at(EARLY)
            .in_process(dies(8)).isolated(restarts("signal 8"));
        breakpoint: row("breakpoint", "Executes a breakpoint.").at(EARLY)
            .in_process(dies(5)).isolated(restarts("signal 5"));
        stack_overflow: row("overflow-stack", "Calls itself until the stack ends.").at(EARLY)
            .in_process(dies(6)).isolated(restarts("signal"));
        double_free: row("double-free", "Frees twice: the heap is broken.").at(EARLY)
            .in_process(dies(6).says("The host's process ends by it, at the latest when the allocator notices."))
            .isolated(restarts("signal 6"));
        out_of_memory: row("exhaust-memory", "Allocates until it is refused.").at(EARLY).limit("-v 4000000")
            .in_process(dies(6)).isolated(restarts("signal 6"));
        leak: row("leak", "Loses 64 MiB.").with("bytes = 67108864")
            .in_process(suffers("The memory is gone until the host ends.")).isolated(goes_on("The memory is the worker's, and may be limited."));
    }

    "Signals" {
        terminates_itself: row("raise", "Sends itself SIGTERM.").with("value = 15")
            .in_process(suffers("The host takes it for its operator's, and stops in order.").at_the_end(0).delivers(Records::All))
            .isolated(goes_on(FOR_THE_HOST));
        hangs_up: row("raise", "Sends itself SIGHUP.").with("value = 1")
            .in_process(goes_on("The host does not reload, and says so.")).isolated(goes_on(FOR_THE_HOST));
        kills_itself: row("raise", "Sends itself SIGKILL.").at(EARLY).with("value = 9")
            .in_process(dies(9)).isolated(restarts("signal 9"));
        stops_itself: row("raise", "Sends itself SIGSTOP.").with("value = 19").key("deadlines = { process = \"2s\" }")
            .in_process(suffers("The host stands still until somebody sends it SIGCONT.").probed(Probe::StandsStill))
            .isolated(goes_on("A call that does not return: the worker is killed and started again.").warns("died").logs("did not return"));
        ignores_sigterm: row("ignore-signal", "Ignores SIGTERM.").at(EARLY).with("value = 15")
            .in_process(suffers("The host cannot be stopped by it any more; the end of its input, SIGINT or SIGKILL still can.").probed(Probe::IsDeaf))
            .isolated(goes_on(ITS_OWN).probed(Probe::Stops));
        handles_sigsegv: row("handle-signal", "Handles SIGSEGV by doing nothing.").at(EARLY).with("value = 11")
            .in_process(suffers("A later fault, whoever's, spins instead of ending the host.").probed(Probe::Stops))
            .isolated(goes_on(ITS_OWN).probed(Probe::Stops));
        masks_signals: row("mask-signals", "Blocks every signal on its thread.").at(EARLY)
            .both(goes_on("The host takes its signals on a thread of its own.").probed(Probe::Stops));
        alarm: row("alarm", "Sets the process's timer, and handles nothing.").with("ms = 1")
            .in_process(dies(14).delivers(Records::Some)).isolated(restarts("signal 14"));
    }

    "Other processes" {
        fork: row("fork", "Forks; the child goes on after everybody's end.").at(EARLY).fifo()
            .in_process(suffers("A copy of the host stays, with all that it held.").leaves_a_process())
            .isolated(goes_on("The copy is of the worker, and goes with it."));
        fork_and_return: row("fork-and-return", "Forks, and returns in both processes.")
            .in_process(suffers("A copy of the host stays, in which every lock is as it was.").leaves_a_process())
            .isolated(goes_on("The copy ends as soon as it speaks for the worker: a question is answered once."));
        hang_in_another_group: row("change-group", "Joins the host's process group, and never returns.").key("deadlines = { process = \"1s\" }").executors(2)
            .and("hook = \"record\", crime = \"hang\", word = \"two\", once = \"<second>\"")
            .in_process(goes_on("As a hang.").warns("process-timeout").stuck(1))
            .isolated(goes_on("Killed by its own number, wherever it is.").warns("process-timeout"));
        many_forks: row("fork-many", "Forks 32 times, and never asks for its children.").at(EARLY).with("value = 32")
            .in_process(suffers("They wait to be asked for until the host ends."))
            .isolated(goes_on("They are the worker's, and go with it."));
    }

    "Descriptors" {
        descriptors_exhausted_early: row("exhaust-descriptors", "Opens files until it is refused, in its init.").at(&["driver-init"]).limit("-n 256")
            .in_process(ends(1, "source-missing", "There is none left for the host's own input.").uncontained())
            .isolated(goes_on("The descriptors are the worker's.").notes("descriptors true"));
        descriptors_exhausted: row("exhaust-descriptors", "Opens files until it is refused.").limit("-n 256")
            .in_process(suffers("The stream goes on; nobody can connect to the host any more.").without_status().notes("descriptors true"))
            .isolated(goes_on("The descriptors are the worker's.").notes("descriptors true"));
        stdin_closed: row("close-descriptor", "Closes descriptor 0.").at(EARLY)
            .both(goes_on("It is the null device; the records come through another one, which the host keeps for itself."));
        stdout_closed: row("close-descriptor", "Closes descriptor 1.").at(EARLY).with("value = 1")
            .both(goes_on("The data goes through another one, which the host keeps for itself."));
        stderr_closed: row("close-descriptor", "Closes descriptor 2.").at(EARLY).with("value = 2")
            .in_process(suffers("The run goes on, and nobody hears of it any more.").without_status())
            .isolated(goes_on("Its own last words are lost; the host's log is not."));
        all_closed: row("close-descriptors", "Closes every descriptor that it finds.").at(EARLY)
            .in_process(dies(6)).isolated(restarts(""));
        stdout_covered: row("cover-descriptor", "Puts the null device over descriptor 1.").at(EARLY).with("value = 1")
            .both(goes_on("The data goes through another one, which the host keeps for itself."));
        all_covered: row("cover-descriptors", "Puts the null device over every descriptor that it finds.")
            .in_process(lost("The host stands still, ends, or loses what it delivers.").notes("covers them all")).isolated(restarts(""));
        sends_nonsense: row("send-everywhere", "Sends nonsense over every socket that it finds.").at(EARLY).with("text = \"nonsense\"").with("bytes = 100000")
            .in_process(suffers("Whoever is connected to the host may read it."))
            .isolated(restarts("it sent what no worker sends"));
        sends_zeros: row("send-everywhere", "Sends zeros over every socket that it finds.").at(EARLY).with("text = \"\\u0000\"").with("bytes = 64")
            .in_process(suffers("The same."))
            .isolated(restarts("it sent what no worker sends"));
        promises_much: row("send-everywhere", "Announces 64 MiB over every socket that it finds, and sends none of it.").at(EARLY).with("text = \"\\u0000\\u0000\\u0000\\u0004\"").with("bytes = 4")
            .key("deadlines = { init = \"1s\", process = \"1s\" }").memory(160)
            .in_process(suffers("The same."))
            .isolated(restarts("killed"));
        reads_the_input: row("read-input", "Reads the standard input.").at(&["driver-init"]).with("bytes = 4")
            .both(goes_on("There is nothing to be read: it is the null device.").notes("read 0"));
        writes_past_everything: row("write-output", "Writes to descriptors 1 and 2 itself.").at(EARLY).with("text = \"stray\"")
            .both(goes_on("It lands among the logs, never in the data."));
    }

    "What a process has once" {
        folder: row("change-folder", "Changes the working folder.").at(EARLY).with("path = \"/\"")
            .in_process(suffers("It is everybody's; the host itself names no relative path any more.").probed(Probe::Shows("cwd", "/")))
            .isolated(goes_on(ITS_OWN).probed(Probe::ShowsNot("cwd", "/")));
        umask: row("change-umask", "Changes the umask to 0.").at(EARLY)
            .in_process(suffers("It is everybody's: new files may be open to all.").probed(Probe::Shows("status", "Umask:\t0000")))
            .isolated(goes_on(ITS_OWN).probed(Probe::ShowsNot("status", "Umask:\t0000")));
        environment: row("change-environment", "Changes the environment.").at(EARLY).with("name = \"TZ\"").with("text = \"Nowhere/Land\"")
            .in_process(suffers("It is everybody's; the host itself does not read it any more.")).isolated(goes_on(ITS_OWN));
        locale: row("change-locale", "Changes the locale.").at(EARLY).with("text = \"C\"")
            .in_process(suffers("It is everybody's; the host itself depends on none.")).isolated(goes_on(ITS_OWN));
        file_limit: row("lower-limit", "Forbids its process new descriptors.").with("name = \"open-files\"").with("value = 3")
            .in_process(suffers("The stream goes on; nobody can connect to the host any more.").without_status()).isolated(goes_on(ITS_OWN));
        size_limit: row("lower-limit", "Forbids its process to write files.").at(EARLY).with("name = \"file-size\"").with("value = 0")
            .in_process(suffers("The stream goes on; dead letters and live configuration can no longer be kept.")).isolated(goes_on(ITS_OWN));
        run_dir: row("remove-folder", "Removes its run_dir.").at(EARLY)
            .in_process(suffers("Every process of the same user could.").without_status())
            .isolated(suffers("Every process of the same user could; `sandbox` forbids it.").without_status());
    }

    "Words" {
        endless_log: row("log-endlessly", "Logs without end, on a thread of its own.").at(&["driver-init"]).with("thread = true").with("value = 20000")
            .both(goes_on("Each line is written; nobody else waits for them.").logs("and another thing"));
        gigantic_line: row("log", "Logs a line of 8 MiB.").at(EARLY).with("bytes = 8388608")
            .both(goes_on("The log keeps the beginning of it."));
        control_characters: row("log", "Logs NUL, escape sequences and line ends.").at(EARLY)
            .with(r#"text = "a\u0000b\u001b[31mc\rd\nerror[x]: e""#)
            .both(goes_on("They are escaped: the log stays a log, and the terminal a terminal."));
        control_characters_for_people: row("log", "The same, into a log that is text.").at(EARLY).logged_as_text()
            .with(r#"text = "a\u0000b\u001b[31mc\rd\nerror[x]: e""#)
            .both(goes_on("The same.").without_status());
        an_error_for_people: row("fail", "Answers an error with them, into a log that is text.").at(&["driver-init"]).logged_as_text().every_time()
            .with(r#"text = "a\u0000b\u001b[31mc\rd\nerror[x]: e""#)
            .both(ends(4, "init-failed", "The same."));
        a_line_that_is_no_text: row("log-invalid", "Logs what is not UTF-8.").at(EARLY)
            .both(goes_on("What is no text in it is shown as such.").logs("before \u{FFFD}"));
    }

    "Messages" {
        message_storm: row("storm", "Sends 5,000 messages to a neighbour that has something else to do.").with("value = 5000").with("to = \"good\"").with("text = \"oneway\"").fifo()
            .neighbour("hook = \"driver-receive\", crime = \"hang\", path = \"<fifo>\", word = \"oneway\", times = 1")
            .both(goes_on("The mailbox is bounded: what is too much is refused at once, as `full`.").notes("storm taken=true full=true other=false"));
        message_to_itself: row("storm", "Sends itself 5,000 messages.").at(&["driver-receive"]).with("value = 5000").with("text = \"oneway\"").poked()
            .both(goes_on("The same.").notes("storm taken=true full=true other=false"));
        gigantic_message: row("send", "Sends a message of 2 MiB.").with("bytes = 2097152").with("to = \"good\"")
            .both(goes_on("Refused at once, as `too-large`.").notes("send TooLarge"));
        gigantic_answer: row("ask", "Answers a question with 2 MiB.").at(&["on-task-start"]).with("to = \"bad\"").with("text = \"bytes 2097152\"").with("ms = 10000")
            .key("deadlines = { hook = \"20s\" }")
            .both(goes_on("The asker is told `too-large`.").notes("ask TooLarge"));
        colossal_answer: row("ask", "Answers a question with 90 MiB.").at(&["on-task-start"]).with("to = \"bad\"").with("text = \"bytes 94371840\"").with("ms = 10000")
            .key("deadlines = { hook = \"20s\" }").memory(400)
            .both(goes_on("The same.").notes("ask TooLarge"));
        unknown_target: row("send", "Sends to nobody.").with("to = \"nobody\"")
            .both(goes_on("Refused at once, as `unknown`.").notes("send Unknown"));
        asks_itself: row("ask", "Asks itself, in `receive`.").at(&["driver-receive"]).poked()
            .both(goes_on("Refused at once, as `reentrant`.").notes("ask Reentrant"));
        ask_ring: row("ask", "Asks its neighbour, which asks back.").at(&["driver-receive"]).with("to = \"good\"").with("text = \"ring\"").with("ms = 600").poked()
            .neighbour("hook = \"driver-receive\", crime = \"ask\", to = \"bad\", text = \"ask\", ms = 200, word = \"ring\"")
            .both(goes_on("It ends by the deadline of whoever asked last.").notes("ask ok"));
        late_reply: row("slow", "Answers when nobody waits any more.").at(&["driver-receive"]).with("ms = 400").with("word = \"late\"")
            .and("hook = \"on-task-start\", crime = \"ask\", to = \"bad\", text = \"late\", times = 1, ms = 100")
            .and("hook = \"driver-receive\", crime = \"nothing\", word = \"late\"")
            .both(goes_on("The asker was told `timeout`; the answer is dropped.").notes("ask Timeout"));
        context_after_shutdown: row("send", "Uses its context when it has been shut down.").at(&["driver-drop"]).with("to = \"good\"")
            .both(goes_on("Refused at once, as `closed`."));
    }

    "Records, metrics and configuration" {
        gigantic_output: row("", "Writes more than 256 MiB in one call.").set("process = \"huge\"").stream("retries = 0").memory(1024)
            .both(ends(1, "record-failed", "The call has failed; the host keeps no more than the limit."));
        lying_offsets: row("", "Says that its records lie where nothing is.").library("lying-offsets").set("lie = \"beyond\"").stream("retries = 0")
            .both(ends(1, "record-failed", "What a library hands over is checked before it is read.").logs("broken batch"));
        many_metrics: row("metric-storm", "Registers 5,000 metrics.").at(EARLY).with("value = 5000")
            .both(goes_on("From the 1,025th on it is refused.").notes("metric 1024 Full"));
        bad_metric_name: row("gauge", "Registers a metric with an impossible name.").at(EARLY).with("name = \"a b\\u0000\"")
            .both(goes_on("Refused.").notes("gauge Error"));
        metric_nonsense: row("metric-nonsense", "Fills its metrics with what is no number, and over the end.").at(EARLY)
            .both(goes_on("They are its own, and shown as they are."));
        endpoint_storm: row("endpoint-storm", "Names 5,000 endpoints.").at(EARLY).with("value = 5000")
            .both(goes_on("From the 65th on it is refused.").notes("endpoint 64 Full"));
        option_too_late: row("set-option", "Sets a host option when the host runs.").with("name = \"executors.count\"").with("text = \"7\"")
            .both(goes_on("Refused.").notes("set-option Error"));
        unknown_option: row("set-option", "Sets a host option that is none.").at(&["driver-init"]).with("name = \"exit.code\"")
            .both(goes_on("Refused.").notes("set-option Error"));
        declares_twice: row("declare", "Declares its topic twice.").at(&["driver-init"]).with("value = 2")
            .and("hook = \"driver-init\", crime = \"declare\", value = 1")
            .both(goes_on("The second finds the topic as it is.").notes("declare ok 1"));
        declares_too_late: row("declare", "Declares a topic while tasks run.").with("value = 1")
            .both(goes_on("It is one from then on.").notes("declare ok"));
        configuration_storm: row("publish-storm", "Publishes 500 changes at once.").at(&["driver-receive"]).with("value = 500").poked()
            .and("hook = \"driver-init\", crime = \"declare\", value = 1")
            .both(goes_on("Each is a generation; the history is bounded.").notes("published refused=0"));
        gigantic_configuration: row("publish-bytes", "Publishes 32 MiB.").at(&["driver-receive"]).with("bytes = 33554432").poked()
            .and("hook = \"driver-init\", crime = \"declare\", value = 1").memory(512)
            .both(goes_on("Refused.").notes("publish-bytes Error"));
    }
}

mount!(in_process, InProcess);
mount!(isolated, Isolated);

/// Whose column is held by tests.
pub(super) const MOUNTED: &[Backend] = &[Backend::InProcess, Backend::Isolated];
