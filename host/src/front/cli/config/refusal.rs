//! A refusal as somebody reads it: what is wrong, the line of their own input with a caret under the column, what to do.
//!
//! The server counts columns in bytes; a terminal has cells. Nothing of the input reaches a terminal as a control character.

use super::client::Answer;
use crate::front::report::{self, LogFormat};
use hotshoe::{Blame, ExitCode, Place, Problem};
use serde_json::Value;
use std::{env, ffi::OsStr, fmt::Write as _, io::IsTerminal as _, path::PathBuf};

/// Cells of a line that are shown before the caret, and behind it: what does not fit is cut, the fault is not.
const CELLS_BEFORE: usize = 60;
const CELLS_BEHIND: usize = 30;
/// A tab, shown as blanks, so that the caret below stands right whatever the terminal's stops are.
const TAB: &str = "    ";

/// What a body was read from.
#[derive(Debug, Clone, Default)]
pub(super) struct Input {
    /// A file's name, `stdin`, or `VALUE`.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// Prints why the server refused, in the format of the log around it.
pub(super) fn print(answer: &Answer, input: Option<&Input>, format: LogFormat) {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let problem = problem(&body, answer, input);
    if format == LogFormat::Json {
        report::problem(&problem, format);
        return;
    }
    let no_color = env::var_os("NO_COLOR");
    let paint = Paint::chosen(std::io::stderr().is_terminal(), no_color.as_deref());
    report::line(&text(&problem, &body, input, paint));
}

/// The refusal in the shape of every other problem of the command line.
fn problem(body: &Value, answer: &Answer, input: Option<&Input>) -> Problem {
    let slug = body["type"]
        .as_str()
        .and_then(|urn| urn.strip_prefix("urn:hotshoe:config:"));
    let (code, headline) = match (slug, body["detail"].as_str()) {
        (Some(slug), Some(detail)) => (slug, detail.to_owned()),
        _ => (
            "unexpected-answer",
            format!("the server answered {} without saying why", answer.status),
        ),
    };
    let mut problem = Problem::error(ExitCode::Running, Blame::Operator, code, headline);
    if let (Some((line, column)), Some(input)) = (position(body), input) {
        problem = problem.at(Place {
            file: PathBuf::from(&input.name),
            line,
            column,
        });
    }
    let wait = answer.retry_after.as_ref();
    let again = wait.map(|seconds| format!("try again in {seconds} s"));
    match body["hint"].as_str().map(str::to_owned).or(again) {
        Some(fix) => problem.fix(fix),
        None => problem,
    }
}

fn position(body: &Value) -> Option<(usize, usize)> {
    let number = |name: &str| usize::try_from(body[name].as_u64()?).ok();
    Some((number("line")?, number("column")?))
}

/// Whether words are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paint {
    Plain,
    Colours,
}

impl Paint {
    /// Colours on a terminal, and never with NO_COLOR (no-color.org: set, and not empty).
    fn chosen(is_terminal: bool, no_color: Option<&OsStr>) -> Self {
        match is_terminal && no_color.is_none_or(OsStr::is_empty) {
            true => Self::Colours,
            false => Self::Plain,
        }
    }

    /// `text` in bold red.
    fn red(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colours => format!("\x1b[1;31m{text}\x1b[0m"),
        }
    }
}

fn text(problem: &Problem, body: &Value, input: Option<&Input>, paint: Paint) -> String {
    let head = paint.red(&format!("error[{}]", problem.code));
    let mut text = format!("{head}: {}", printable(&problem.headline));
    match body["errors"].as_array().map(Vec::as_slice) {
        // The first of them is what the answer itself says.
        Some(faults) if faults.len() > 1 => {
            for fault in faults {
                let detail = fault["detail"].as_str().unwrap_or_default();
                let _ = write!(text, "\n  - {}", printable(detail));
                place(&mut text, fault, input, paint);
            }
        }
        _ => place(&mut text, body, input, paint),
    }
    if let Some(fix) = &problem.fix {
        let _ = write!(text, "\n  fix:    {}", printable(fix));
    }
    text
}

/// Where a fault is, and the line there.
fn place(text: &mut String, fault: &Value, input: Option<&Input>, paint: Paint) {
    let mut places = Vec::new();
    let found = position(fault).zip(input);
    if let Some(((line, column), input)) = found {
        places.push(format!("{}:{line}:{column}", input.name));
    }
    if let Some(operation) = fault["operation"].as_u64() {
        places.push(format!("operation {operation} of the patch"));
    }
    match fault["pointer"].as_str() {
        Some("") => places.push("the whole value".to_owned()),
        Some(pointer) => places.push(printable(pointer)),
        None => {}
    }
    if !places.is_empty() {
        let _ = write!(text, "\n  at:     {}", places.join(", "));
    }
    if let Some(((line, column), input)) = found {
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let (shown, caret) = snippet(&input.bytes, line, column);
        let caret = paint.red(&caret);
        let _ = write!(text, "\n  {margin} |\n  {number} | {shown}\n  {margin} | ");
        // The blanks before the caret are no part of what is painted.
        text.push_str(&caret);
    }
}

/// The line, and a line with a caret below its column; both 1-based, the column in bytes, 0 before the first.
fn snippet(bytes: &[u8], line: usize, column: usize) -> (String, String) {
    let line = bytes
        .split(|byte| *byte == b'\n')
        .nth(line.saturating_sub(1))
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (before, behind) = line.split_at(column.saturating_sub(1).min(line.len()));
    let before = printable(&String::from_utf8_lossy(before));
    let behind = printable(&String::from_utf8_lossy(behind));
    let before = last_cells(&before, CELLS_BEFORE);
    let behind = first_cells(&behind, CELLS_BEHIND);
    let caret = format!("{}^", " ".repeat(cells(&before)));
    (before + &behind, caret)
}

/// Tabs as blanks, other control characters as U+FFFD.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => shown.push_str(TAB),
            c if c.is_control() => shown.push(char::REPLACEMENT_CHARACTER),
            c => shown.push(c),
        }
    }
    shown
}

fn cells(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// Cells of a terminal: none for what combines, two for East Asian wide characters and emoji (UAX #11, its large blocks).
fn width(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200f | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f900..=0x1f9ff
        | 0x2_0000..=0x3_fffd => 2,
        _ => 1,
    }
}

fn first_cells(text: &str, max: usize) -> String {
    let kept = fitting(text.chars(), max);
    match kept < text.chars().count() {
        true => text.chars().take(kept).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

fn last_cells(text: &str, max: usize) -> String {
    let count = text.chars().count();
    let kept = fitting(text.chars().rev(), max);
    match kept < count {
        true => ['…']
            .into_iter()
            .chain(text.chars().skip(count - kept))
            .collect(),
        false => text.to_owned(),
    }
}

/// How many of the characters fit.
fn fitting(text: impl Iterator<Item = char>, max: usize) -> usize {
    let mut used = 0;
    text.take_while(|c| {
        used += width(*c);
        used <= max
    })
    .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::body::Bytes;

    #[track_caller]
    fn check(input: &str, line: usize, column: usize, shown: &str, caret: &str) {
        let found = snippet(input.as_bytes(), line, column);
        assert_eq!(found, (shown.to_owned(), caret.to_owned()), "{input:?}");
    }

    #[test]
    fn the_caret_stands_under_the_column() {
        check("{\"value\": }", 1, 11, "{\"value\": }", "          ^");
        check("{\n  \"a\": x\r\n}", 2, 8, "  \"a\": x", "       ^");
        check("a", 1, 1, "a", "^");
    }

    /// One letter of two bytes, one of three that takes two cells, one that combines: the column counts bytes.
    #[test]
    fn bytes_are_not_cells() {
        check("\"ü\" x", 1, 6, "\"ü\" x", "    ^");
        check("\"日本\" x", 1, 10, "\"日本\" x", "       ^");
        check("e\u{301} x", 1, 5, "e\u{301} x", "  ^");
        check("\t\tx", 1, 3, "        x", "        ^");
    }

    /// What the server says of a body that ends too early, and what it could say wrongly.
    #[test]
    fn any_position_is_shown_somewhere() {
        check("{\n", 2, 0, "", "^");
        check("", 1, 0, "", "^");
        check("ab", 1, 99, "ab", "  ^");
        check("ab", 99, 99, "", "^");
        check("ab", 0, 0, "ab", "^");
        // In the middle of a letter: two halves that are none.
        check("ü", 1, 2, "\u{fffd}\u{fffd}", " ^");
    }

    #[test]
    fn a_long_line_is_cut_around_the_fault() {
        let line = format!("{}!{}", "a".repeat(500), "b".repeat(500));
        let shown = format!("…{}!{}…", "a".repeat(60), "b".repeat(29));
        check(&line, 1, 501, &shown, &format!("{}^", " ".repeat(61)));
    }

    #[test]
    fn no_control_character_gets_through() {
        check("\x1b[31m x", 1, 7, "\u{fffd}[31m x", "      ^");
        let answer = answer(r#"{"detail":"a\u001b[2Jb","type":"urn:hotshoe:config:plugin-veto"}"#);
        let shown = shown(&answer, None, Paint::Plain);
        assert_eq!(shown, "error[plugin-veto]: a\u{fffd}[2Jb");
    }

    #[test]
    fn colours_are_for_terminals_and_never_with_no_color() {
        let check = |is_terminal, no_color: Option<&str>, expected| {
            let chosen = Paint::chosen(is_terminal, no_color.map(OsStr::new));
            assert_eq!(chosen, expected, "{is_terminal} {no_color:?}");
        };
        check(true, None, Paint::Colours);
        check(true, Some(""), Paint::Colours);
        check(true, Some("0"), Paint::Plain);
        check(false, None, Paint::Plain);
        let answer = answer(r#"{"detail":"no","type":"urn:hotshoe:config:busy"}"#);
        let painted = shown(&answer, None, Paint::Colours);
        assert_eq!(painted, "\x1b[1;31merror[busy]\x1b[0m: no");
    }

    fn answer(body: &str) -> Answer {
        Answer {
            status: 422,
            retry_after: None,
            body: Bytes::from(body.to_owned()),
        }
    }

    fn shown(answer: &Answer, input: Option<&Input>, paint: Paint) -> String {
        let body = serde_json::from_slice(&answer.body).unwrap_or_default();
        text(&problem(&body, answer, input), &body, input, paint)
    }

    #[test]
    fn every_fault_has_its_own_line() {
        let input = Input {
            name: "new.json".to_owned(),
            bytes: b"{\n  \"a\": 1,\n  \"b\": 2\n}\n".to_vec(),
        };
        let answer = answer(
            r#"{"column":8,"detail":"no a","line":2,"pointer":"/a","hint":"read it again",
                "type":"urn:hotshoe:config:schema-violation","errors":[
                {"column":8,"detail":"no a","line":2,"pointer":"/a"},
                {"column":8,"detail":"no b","line":3,"pointer":"/b"}]}"#,
        );
        let expected = "error[schema-violation]: no a
  - no a
  at:     new.json:2:8, /a
    |
  2 |   \"a\": 1,
    |        ^
  - no b
  at:     new.json:3:8, /b
    |
  3 |   \"b\": 2
    |        ^
  fix:    read it again";
        assert_eq!(shown(&answer, Some(&input), Paint::Plain), expected);
    }

    #[test]
    fn an_answer_that_is_no_refusal_is_named_as_that() {
        let mut answer = answer("<html>");
        answer.retry_after = Some("7".to_owned());
        let text = shown(&answer, None, Paint::Plain);
        let expected = "error[unexpected-answer]: the server answered 422 without saying why\n  \
                        fix:    try again in 7 s";
        assert_eq!(text, expected);
    }
}
