//! What a plugin says, before the host repeats it: in logs, problems, status. A text that came across the ABI is an
//! allegation: it may be no UTF-8 (another language's glue does not promise it, and one broken byte would cost the whole line
//! that quotes it) and of any length. It is cut and mended here, once, and nowhere else; control characters are for whoever
//! writes it down, who knows what they would do there.

use hotshoe_abi::{
    Failure, Veto,
    abi_stable::std_types::{RResult, RString},
    failure_kind,
};
use std::borrow::Cow;

/// The most of a failure's message that the host keeps: a page to read, and not a megabyte in each line that quotes it.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// The most of one log event's text.
pub(crate) const LOG_BYTES_MAX: usize = 64 << 10;

/// What a failure's code and fix may be long.
const CODE_BYTES_MAX: usize = 128;
const FIX_BYTES_MAX: usize = 4 << 10;

/// A text of a plugin's with at most about `len_max` bytes of it, as UTF-8; one that was cut says so.
pub(crate) fn text(said: &str, len_max: usize) -> Cow<'_, str> {
    // Its type says that it is UTF-8; nobody has looked yet.
    let bytes = said.as_bytes();
    if bytes.len() <= len_max {
        return String::from_utf8_lossy(bytes);
    }
    let is_inside = |byte: u8| byte & 0xC0 == 0x80;
    let mut end = len_max;
    while end > 0 && is_inside(bytes[end]) {
        end -= 1;
    }
    let kept = String::from_utf8_lossy(&bytes[..end]);
    Cow::Owned(format!("{kept}… ({} bytes in all)", bytes.len()))
}

/// A call's answer as it may go on inside the host.
pub(crate) fn taken<T>(answer: RResult<T, Failure>) -> Result<T, Failure> {
    answer.into_result().map_err(|failure| Failure {
        kind: match failure.kind {
            // That a process has died is the host's to say: who believed a plugin that says so would wait for the next one.
            failure_kind::GONE => failure_kind::ERROR,
            kind => kind,
        },
        code: mended(failure.code, CODE_BYTES_MAX),
        message: mended(failure.message, MESSAGE_BYTES_MAX),
        fix: mended(failure.fix, FIX_BYTES_MAX),
    })
}

/// A veto as it may go on inside the host.
pub(crate) fn veto(veto: Veto) -> Veto {
    Veto {
        pointer: mended(veto.pointer, FIX_BYTES_MAX),
        reason: mended(veto.reason, MESSAGE_BYTES_MAX),
    }
}

/// A short word of a plugin's, its own to keep: a name, a key, a path.
pub(crate) fn owned(said: &str) -> String {
    text(said, usize::MAX).into_owned()
}

fn mended(said: RString, len_max: usize) -> RString {
    match text(said.as_str(), len_max) {
        Cow::Borrowed(_) => said,
        Cow::Owned(mended) => mended.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(said: &str, len_max: usize, expected: &str) {
        assert_eq!(text(said, len_max), expected);
    }

    #[test]
    fn a_text_is_kept_and_a_long_one_is_cut_between_characters() {
        check("", 4, "");
        check("four", 4, "four");
        check("fives", 4, "five… (5 bytes in all)");
        check("abcé", 4, "abc… (5 bytes in all)");
        check("\u{1F980}", 3, "… (4 bytes in all)");
    }

    #[test]
    fn a_failure_is_no_longer_than_a_page() {
        let failure = Failure {
            kind: failure_kind::ERROR,
            code: "c".repeat(1 << 20).into(),
            message: "m".repeat(4 << 20).into(),
            fix: "f".into(),
        };
        let taken = taken::<()>(RResult::RErr(failure)).unwrap_err();
        assert!(
            taken.message.len() < MESSAGE_BYTES_MAX + 64,
            "{}",
            taken.message.len()
        );
        assert!(
            taken.code.len() < CODE_BYTES_MAX + 64,
            "{}",
            taken.code.len()
        );
        assert_eq!(taken.fix, "f");
    }

    #[test]
    fn a_plugin_cannot_say_that_its_process_has_died() {
        for (said, expected) in [
            (failure_kind::GONE, failure_kind::ERROR),
            (failure_kind::PANIC, failure_kind::PANIC),
            (failure_kind::TIMEOUT, failure_kind::TIMEOUT),
        ] {
            let failure = crate::services::failure::failure(said, "so it says");
            let taken = taken::<()>(RResult::RErr(failure)).unwrap_err();
            assert_eq!(taken.kind, expected);
        }
    }
}
