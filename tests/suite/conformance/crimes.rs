//! Every crime, in every call, and its verdict: what a host makes of it, in code and in words. One row is one test for each
//! backend, with the instance required and, where the verdict differs, optional. A backend that cannot keep a promise says so
//! here, with the reason.
//!
//! | backend | what it cannot keep |
//! |---|---|
//! | in-process | a call that never returns keeps its thread for as long as the process lives, and what else lives on that thread |
//! | isolated | a call that overruns, slow or hung, ends the process, and with it whatever else of the instance was under way |

use super::commit::{Backend, Crime, commit, on};

/// Makes each row a test of each backend that is mounted below: `name: crime;`.
macro_rules! crimes {
    ($($name:ident: $crime:expr;)*) => {
        $(fn $name() -> Crime { $crime })*

        macro_rules! mount {
            ($module:ident, $backend:ident) => {
                mod $module {
                    use super::*;
                    $(#[test] fn $name() { commit(&super::$name(), Backend::$backend); })*
                }
            };
        }

        /// No row without words.
        #[test]
        fn every_crime_has_its_verdict() {
            let crimes: Vec<(&str, Crime)> = vec![$((stringify!($name), $name())),*];
            for (name, crime) in crimes {
                assert!(crime.verdict.ends_with('.'), "{name} has no verdict in words");
            }
        }
    };
}

crimes! {
    // The instance itself.
    new_fails: on("new", "fail").ends(4, "new-failed").or_does_without()
        .says("The start ends before any init; an optional instance is left out.");
    new_panics: on("new", "panic").ends(4, "new-panicked").or_does_without()
        .says("As an error.");
    new_hangs: on("new", "hang").deadline("load", "2s").ends(4, "load-timeout").or_does_without()
        .says("Cut off at deadlines.load; its thread is left behind.");
    plugin_drop_panics: on("plugin-drop", "panic").uncertain().goes_on(None)
        .says("Logged where there is still somebody to log it; the host leaves without waiting for it.");

    // Factories.
    driver_factory_hands_out_nothing: on("make-driver", "absent").ends(4, "part-missing").or_does_without()
        .says("A part that the manifest declares and nobody hands out fails the instance.");
    driver_factory_panics: on("make-driver", "panic").ends(4, "init-panicked").or_does_without()
        .says("As a panic in that part's init.");
    driver_factory_hangs: on("make-driver", "hang").deadline("init", "1s").ends(4, "init-timeout").or_does_without()
        .says("As an init that hangs.");
    checker_factory_hands_out_nothing: on("make-checker", "absent").ends(4, "part-missing").or_does_without()
        .says("As the driver's; the driver was initialised and is shut down.");
    checker_factory_panics: on("make-checker", "panic").ends(4, "checker-init-panicked").or_does_without()
        .says("As a panic in that part's init.");
    checker_factory_hangs: on("make-checker", "hang").deadline("init", "1s").ends(4, "init-timeout").or_does_without()
        .when_isolated(|crime| crime.killed(1))
        .says("As an init that hangs.");
    executor_factory_hands_out_nothing: on("make-executor", "absent").ends(6, "part-missing").or_does_without()
        .says("Each start of the executor fails, as often as executors.max_restarts allows.");
    executor_factory_panics: on("make-executor", "panic").ends(6, "executor-init-panicked").or_does_without()
        .says("As a panic in that part's init.");
    executor_factory_hangs: on("make-executor", "hang").deadline("init", "1s").ends(4, "init-timeout").stuck(1)
        .or_does_without()
        .when_isolated(|crime| crime.killed_for_good().ends(1, "quarantined").or_does_without())
        .says("As an init that hangs.");
    processor_factory_hands_out_nothing: on("make-processor", "absent").ends(6, "part-missing").or_does_without()
        .says("As the executor's.");
    processor_factory_panics: on("make-processor", "panic").ends(6, "executor-init-panicked").or_does_without()
        .says("As a panic in that part's init.");
    processor_factory_hangs: on("make-processor", "hang").deadline("init", "1s").ends(4, "init-timeout").stuck(1)
        .or_does_without()
        .when_isolated(|crime| crime.killed_for_good().ends(1, "quarantined").or_does_without())
        .says("As an init that hangs.");

    // The driver.
    driver_init_fails: on("driver-init", "fail").ends(4, "init-failed").or_does_without()
        .says("What was initialised is shut down in reverse, it itself not; an optional instance is left out.");
    driver_init_panics: on("driver-init", "panic").ends(4, "init-panicked").or_does_without()
        .says("As an error.");
    driver_init_hangs: on("driver-init", "hang").deadline("init", "1s").ends(4, "init-timeout").or_does_without()
        .says("Cut off at deadlines.init and not tried again; its thread is left behind.");
    register_metrics_fails: on("register-metrics", "fail").ends(4, "register-metrics-failed").or_does_without()
        .says("As an init that fails; the driver was initialised and is shut down.");
    register_metrics_panics: on("register-metrics", "panic").ends(4, "register-metrics-panicked").or_does_without()
        .says("As an error.");
    register_metrics_hangs: on("register-metrics", "hang").deadline("init", "1s").deadline("shutdown", "1s")
        .ends(4, "init-timeout").or_ends(5, "shutdown-timeout")
        .when_isolated(|crime| crime.killed(1).or_does_without())
        .says("Cut off at deadlines.init; its shutdown, which it is owed, cannot begin and overruns as well.");
    receive_fails: on("driver-receive", "fail").poked().goes_on(None).notes("ask Error the crime")
        .says("The asker's error, with its text; nothing else.");
    receive_panics: on("driver-receive", "panic").poked().ends(1, "receive-panicked").delivers_all().or_does_without()
        .notes("ask Panic").says("The asker's error, and the instance has failed: an orderly stop, or on without it.");
    receive_is_slow: on("driver-receive", "slow").with("ms = 2000").deadline("receive", "1s").poked()
        .goes_on(Some("receive-timeout")).notes("ask ok")
        .when_isolated(|crime| crime.killed(1).untold())
        .says("Reported when it overruns; it serves again when it has returned.");
    receive_hangs: on("driver-receive", "hang").deadline("receive", "1s").deadline("shutdown", "1s")
        .poked_for("600").warns("receive-timeout").ends(5, "shutdown-timeout").delivers_all().notes("ask Timeout")
        .when_isolated(|crime| crime.killed(1).untold().runs_on(Some("receive-timeout")))
        .says("The asker's error; the run goes on, and its shutdown, which cannot begin, overruns at the end.");
    driver_shutdown_fails: on("driver-shutdown", "fail").ends(5, "shutdown-failed").delivers_all()
        .says("The others are shut down all the same; the exit code tells.");
    driver_shutdown_panics: on("driver-shutdown", "panic").ends(5, "shutdown-panicked").delivers_all()
        .says("As an error.");
    driver_shutdown_hangs: on("driver-shutdown", "hang").deadline("shutdown", "1s").ends(5, "shutdown-timeout")
        .delivers_all().says("Cut off at deadlines.shutdown; its thread is left behind.");
    driver_drop_panics: on("driver-drop", "panic").goes_on(None)
        .says("Logged, and nothing else.");

    // The checker.
    checker_init_fails: on("checker-init", "fail").ends(4, "checker-init-failed").or_does_without()
        .says("As a driver's init; the driver was initialised and is shut down.");
    checker_init_panics: on("checker-init", "panic").ends(4, "checker-init-panicked").or_does_without()
        .says("As an error.");
    checker_init_hangs: on("checker-init", "hang").deadline("init", "1s").ends(4, "init-timeout").or_does_without()
        .when_isolated(|crime| crime.killed(1))
        .says("Cut off at deadlines.init; its thread is left behind.");
    check_fails: on("check", "fail").checks().goes_on(None).notes("publish Error")
        .says("The change is refused; nothing else.");
    check_panics: on("check", "panic").checks().goes_on(None).notes("veto-panicked")
        .says("The change is refused as veto-panicked, and the checker is made anew.");
    check_hangs: on("check", "hang").checks().deadline("check", "1s").goes_on(Some("check-timeout"))
        .notes("veto-timeout")
        .when_isolated(|crime| crime.killed(1).untold())
        .says("The change is refused as veto-timeout; a hung checker lets no change pass.");
    checker_drop_panics: on("checker-drop", "panic").uncertain().goes_on(None)
        .says("Logged, and nothing else.");

    // The executor part.
    executor_init_fails: on("executor-init", "fail").ends(6, "executor-init-failed").or_does_without()
        .says("The executor's start is tried again; out of attempts, required decides.");
    executor_init_panics: on("executor-init", "panic").ends(6, "executor-init-panicked").or_does_without()
        .says("As an error.");
    executor_init_hangs: on("executor-init", "hang").deadline("init", "1s").ends(4, "init-timeout").stuck(1)
        .or_does_without()
        .when_isolated(|crime| crime.killed_for_good().ends(1, "quarantined").or_does_without())
        .says("Its thread is left behind; without an optional instance the executor starts on another.");
    task_start_fails: on("on-task-start", "fail").logs("a task hook failed").goes_on(None)
        .says("Counted in hook_errors; the task is unaffected.");
    task_start_panics: on("on-task-start", "panic").logs("a task hook failed").goes_on(None)
        .says("As an error.");
    task_start_hangs: on("on-task-start", "hang").once().deadline("hook", "1s").executors(2).stuck(1)
        .goes_on(Some("hook-timeout"))
        .when_isolated(|crime| crime.killed(1))
        .says("The executor is left behind; its batch runs again on another.");
    task_start_hangs_the_last_executor: on("on-task-start", "hang").deadline("hook", "1s").stuck(1)
        .ends(1, "hook-timeout")
        .when_isolated(|crime| crime.killed(1).runs_on(Some("hook-timeout")))
        .says("With no executor left the run ends.");
    task_success_fails: on("on-task-succeeded", "fail").logs("a task hook failed").goes_on(None)
        .says("Counted in hook_errors; the task has succeeded all the same.");
    task_success_panics: on("on-task-succeeded", "panic").logs("a task hook failed").goes_on(None)
        .says("As an error.");
    task_success_hangs: on("on-task-succeeded", "hang").once().deadline("hook", "1s").executors(2).stuck(1)
        .goes_on(Some("hook-timeout"))
        .when_isolated(|crime| crime.killed(1))
        .says("The executor is left behind; the batch runs again and is printed once.");
    task_failure_fails: on("on-task-failed", "fail").fails_once().logs("a task hook failed").goes_on(None)
        .says("Counted in hook_errors; the task is tried again as ever.");
    task_failure_panics: on("on-task-failed", "panic").fails_once().logs("a task hook failed").goes_on(None)
        .says("As an error.");
    task_failure_hangs: on("on-task-failed", "hang").once().fails_once().deadline("hook", "1s").executors(2).stuck(1)
        .goes_on(Some("hook-timeout"))
        .when_isolated(|crime| crime.killed(1))
        .says("The executor is left behind; the batch runs again on another.");
    executor_receive_fails: on("executor-receive", "fail").broadcasts().logs("a broadcast message failed").goes_on(None)
        .says("Counted; nobody waits for it.");
    executor_receive_panics: on("executor-receive", "panic").broadcasts().ends(1, "receive-panicked").delivers_all()
        .or_does_without().says("The instance has failed: an orderly stop, or on without it.");
    executor_receive_hangs: on("executor-receive", "hang").with("executor = \"0\"").broadcasts().executors(2).stuck(1)
        .deadline("receive", "1s").goes_on(Some("receive-timeout"))
        .when_isolated(|crime| crime.killed(1))
        .says("The executor is left behind; the others go on.");
    executor_shutdown_fails: on("executor-shutdown", "fail").ends(5, "executor-shutdown-failed").delivers_all()
        .says("The others are shut down all the same; the exit code tells.");
    executor_shutdown_panics: on("executor-shutdown", "panic").ends(5, "executor-shutdown-panicked").delivers_all()
        .says("As an error.");
    executor_shutdown_hangs: on("executor-shutdown", "hang").deadline("shutdown", "1s").stuck(1)
        .ends(5, "shutdown-timeout").delivers_all()
        .when_isolated(|crime| crime.killed(1))
        .says("The executor is left behind, with whatever of others is not shut down on it yet; drivers are.");
    executor_drop_panics: on("executor-drop", "panic").goes_on(None)
        .says("Logged, and nothing else.");

    // The processor.
    processor_init_fails: on("processor-init", "fail").ends(6, "executor-init-failed").or_does_without()
        .says("As an executor part's.");
    processor_init_panics: on("processor-init", "panic").ends(6, "executor-init-panicked").or_does_without()
        .says("As an error.");
    processor_init_hangs: on("processor-init", "hang").deadline("init", "1s").ends(4, "init-timeout").stuck(1)
        .or_does_without()
        .when_isolated(|crime| crime.killed_for_good().ends(1, "quarantined").or_does_without())
        .says("As an executor part's.");
    process_fails_once: on("process", "fail").once().in_stream().goes_on(None)
        .says("The whole chain runs again on the same batch.");
    process_always_fails: on("process", "fail").in_stream().ends(1, "record-failed")
        .says("Out of retries the stream ends, naming the record.");
    process_panics_once: on("process", "panic").once().in_stream().goes_on(None).inits("processor", 2)
        .says("That executor's processor is dropped, and a new one serves the retry.");
    process_always_panics: on("process", "panic").in_stream().ends(1, "record-failed")
        .says("As an error, out of retries.");
    process_hangs_once: on("process", "hang").once().in_stream().deadline("process", "1s").executors(2).stuck(1)
        .goes_on(Some("process-timeout"))
        .when_isolated(|crime| crime.killed(1))
        .says("The executor is left behind; its batch runs again on another.");
    process_hangs_the_last_executor: on("process", "hang").in_stream().deadline("process", "1s").stuck(1)
        .ends(1, "process-timeout")
        .when_isolated(|crime| crime.killed(5).ends(1, "record-failed"))
        .says("With no executor left the run ends.");
    finish_fails: on("finish", "fail").in_stream().ends(1, "finish-failed").delivers_all()
        .says("The stream has failed; what was delivered before is.");
    finish_panics: on("finish", "panic").in_stream().ends(1, "finish-failed").delivers_all()
        .says("As an error.");
    finish_hangs: on("finish", "hang").in_stream().deadline("process", "1s").stuck(1)
        .ends(1, "process-timeout").delivers_all()
        .when_isolated(|crime| crime.killed_for_good().ends(1, "quarantined").delivers_all())
        .says("With no executor left the run ends.");
    processor_drop_panics: on("processor-drop", "panic").goes_on(None)
        .says("Logged, and nothing else.");
}

mount!(in_process, InProcess);
mount!(isolated, Isolated);
