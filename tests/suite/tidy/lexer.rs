//! Takes a Rust file apart into code and comments, line by line: enough to look for words, nothing more.
//!
//! Text in strings and character literals is blanked out of the code, so that a word in a message is no word in the code.

/// One line of a file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// What the compiler reads; literals are blanks.
    pub(super) code: String,
    /// The text of comments, slashes included.
    pub(super) comment: String,
}

impl Line {
    /// Whether `word` stands in the code as a whole identifier.
    pub(super) fn has_word(&self, word: &str) -> bool {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        self.code.match_indices(word).any(|(at, _)| {
            !self.code[..at].ends_with(is_part)
                && !self.code[at + word.len()..].starts_with(is_part)
        })
    }
}

enum State {
    Code,
    LineComment,
    /// Depth: block comments nest.
    BlockComment(u32),
    String,
    /// How many `#` close it.
    RawString(usize),
}

/// The file's lines.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let mut lines = vec![Line::default()];
    let mut state = State::Code;
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        if rest[0] == '\n' {
            if matches!(state, State::LineComment) {
                state = State::Code;
            }
            lines.push(Line::default());
            at += 1;
            continue;
        }
        let line = lines.last_mut().expect("never empty");
        at += match &mut state {
            State::Code => code(rest, at.checked_sub(1).map(|i| chars[i]), &mut state, line),
            State::LineComment => {
                line.comment.push(rest[0]);
                1
            }
            State::BlockComment(_) => block_comment(rest, &mut state, line),
            State::String => string(rest, &mut state),
            State::RawString(_) => raw_string(rest, &mut state),
        };
    }
    lines
}

/// Reads one piece of code; answers its length.
fn code(rest: &[char], before: Option<char>, state: &mut State, line: &mut Line) -> usize {
    let goes_on = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match rest {
        ['/', '/', ..] => {
            line.comment.push_str("//");
            *state = State::LineComment;
            2
        }
        ['/', '*', ..] => {
            line.comment.push_str("/*");
            *state = State::BlockComment(1);
            2
        }
        ['"', ..] => {
            line.code.push('"');
            *state = State::String;
            1
        }
        ['r', ..] | ['b', 'r', ..] | ['c', 'r', ..] if !goes_on && raw_start(rest).is_some() => {
            let (len, hashes) = raw_start(rest).expect("just seen");
            line.code.push('"');
            *state = State::RawString(hashes);
            len
        }
        // A character, and not a lifetime: 'x' or an escape.
        ['\'', '\\', ..] => {
            line.code.push(' ');
            // The character behind the backslash may itself be a quote.
            3 + rest[3..]
                .iter()
                .take_while(|c| **c != '\'' && **c != '\n')
                .count()
                + 1
        }
        ['\'', _, '\'', ..] => {
            line.code.push(' ');
            3
        }
        [c, ..] => {
            line.code.push(*c);
            1
        }
        [] => 1,
    }
}

/// Length and number of `#` of `r"`, `r#"`, `br##"`, …
fn raw_start(rest: &[char]) -> Option<(usize, usize)> {
    let r = rest.iter().position(|c| *c == 'r')?;
    let hashes = rest[r + 1..].iter().take_while(|c| **c == '#').count();
    (rest.get(r + 1 + hashes) == Some(&'"')).then_some((r + hashes + 2, hashes))
}

fn block_comment(rest: &[char], state: &mut State, line: &mut Line) -> usize {
    let State::BlockComment(depth) = state else {
        return 1;
    };
    let len = match rest {
        ['*', '/', ..] => {
            *depth -= 1;
            2
        }
        ['/', '*', ..] => {
            *depth += 1;
            2
        }
        _ => 1,
    };
    line.comment.extend(&rest[..len]);
    if *depth == 0 {
        *state = State::Code;
    }
    len
}

fn string(rest: &[char], state: &mut State) -> usize {
    match rest {
        // An escaped line end is left to the caller, who counts lines.
        ['\\', '\n', ..] => 1,
        ['\\', ..] => 2,
        ['"', ..] => {
            *state = State::Code;
            1
        }
        _ => 1,
    }
}

fn raw_string(rest: &[char], state: &mut State) -> usize {
    let State::RawString(hashes) = *state else {
        return 1;
    };
    let closes = rest[0] == '"' && rest[1..].iter().take_while(|c| **c == '#').count() >= hashes;
    if !closes {
        return 1;
    }
    *state = State::Code;
    1 + hashes
}

#[test]
fn words_in_text_are_no_words_in_code() {
    let code_of =
        |text: &str| -> Vec<String> { lines(text).into_iter().map(|line| line.code).collect() };
    assert_eq!(code_of("let a = \"unsafe \\\" x\"; b"), ["let a = \"; b"]);
    assert_eq!(code_of("r#\"unsafe \" x\"# y"), ["\" y"]);
    assert_eq!(code_of("f('\\'', '\"', 'a') // unsafe"), ["f( ,  ,  ) "]);
    assert_eq!(
        code_of("fn f<'a>(x: &'a str) {}"),
        ["fn f<'a>(x: &'a str) {}"]
    );
    assert_eq!(code_of("a /* unsafe /* deeper */ still */ b"), ["a  b"]);
    assert_eq!(code_of("\"two\nlines\"; c"), ["\"", "; c"]);
    assert_eq!(code_of("\"two \\\n lines\"; c"), ["\"", "; c"]);
    assert_eq!(code_of("'\\u{1F600}' d"), ["  d"]);
    assert_eq!(code_of("bar\"x\" e"), ["bar\" e"]);
}

#[test]
fn a_word_is_a_whole_identifier() {
    let line = |code: &str| Line {
        code: code.into(),
        comment: String::new(),
    };
    assert!(line("thread::sleep(x)").has_word("sleep"));
    assert!(!line("asleep(x)").has_word("sleep"));
    assert!(!line("#![forbid(unsafe_code)]").has_word("unsafe"));
    assert!(line("#[unsafe(no_mangle)]").has_word("unsafe"));
}
