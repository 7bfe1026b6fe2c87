//! A call's failure inside the host: the ABI's, with a kind that can be matched on.

use crate::{
    error::{Blame, ExitCode, Problem},
    machine::supervisor::GONE,
};
use hotshoe_abi::{Failure, failure_kind};

/// A failure with the given kind and text.
pub(crate) fn failure(kind: u8, message: impl Into<String>) -> Failure {
    Failure {
        kind,
        code: "".into(),
        message: message.into().into(),
        fix: "".into(),
    }
}

/// The component, or the host, is gone.
pub(crate) fn closed(what: &str) -> Failure {
    failure(failure_kind::CLOSED, format!("{what} is closed"))
}

/// The failure's kind as a word.
pub(crate) fn kind_name(kind: u8) -> &'static str {
    match kind {
        failure_kind::PANIC => "panic",
        failure_kind::CLOSED => "closed",
        failure_kind::TIMEOUT => "timeout",
        failure_kind::UNKNOWN => "unknown",
        failure_kind::FULL => "full",
        failure_kind::GONE => "gone",
        failure_kind::REENTRANT => "reentrant",
        failure_kind::EPOCH => "epoch",
        failure_kind::NOT_READY => "not-ready",
        failure_kind::TOO_LARGE => "too-large",
        failure_kind::UNSUPPORTED => "unsupported",
        failure_kind::NO_TOPIC => "no-topic",
        failure_kind::DECLINED => "declined",
        _ => "error",
    }
}

/// A failed call of an instance as an operator reads it. The author's code and fix are kept; without a code the call names
/// it: `init-failed`, `init-panicked`.
///
/// - `method`: as an operator reads it, `init on executor 3`; `stem`: the same without what varies, `executor-init`.
pub(crate) fn problem_of(
    instance: &str,
    (method, stem): (&str, &str),
    exit: ExitCode,
    failure: &Failure,
) -> Problem {
    let panicked = failure.kind == failure_kind::PANIC;
    let verb = if panicked { "panicked" } else { "failed" };
    let code = match failure.code.as_str() {
        // Whatever the call was: it is the process that is not there.
        _ if failure.kind == failure_kind::GONE => GONE.to_owned(),
        "" => format!("{stem}-{verb}"),
        code => code.to_owned(),
    };
    // "plugin `x`: init failed: …"; a panic's text says "panicked at …" already.
    let text = failure.message.as_str();
    let headline = match panicked {
        true => format!("plugin `{instance}`: {method} {text}"),
        false => format!("plugin `{instance}`: {method} failed: {text}"),
    };
    let problem = Problem::error(exit, Blame::Plugin, code, headline);
    match failure.fix.as_str() {
        "" => problem,
        fix => problem.fix(fix),
    }
}

/// [`problem_of`] a method whose name is its stem.
pub(crate) fn problem(instance: &str, method: &str, exit: ExitCode, failure: &Failure) -> Problem {
    let stem = method.replace([' ', '_'], "-");
    problem_of(instance, (method, &stem), exit, failure)
}
