//! Documents whose commands are run: the blocks of a document, what a block shows, and a walk through its commands.
//!
//! `sh` blocks are commands, run by a shell in the folder of the config; `text` blocks are what they print, and `text typed`
//! blocks are lines typed into the newest host, each with its answer below. A `…` stands for anything within a line, a line of
//! it alone for any lines. What a command is beyond a shell's, the caller says.

use crate::{Setup, TestHost};
use std::process::{Command, Stdio};

/// A fenced block of a document.
#[derive(Debug)]
pub struct Block {
    /// What stands behind the fence: `sh`, `text`, `text typed`, `toml`.
    pub kind: String,
    /// Its lines.
    pub text: String,
}

/// Every fenced block, in order.
#[must_use]
pub fn blocks(markdown: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            continue;
        };
        let inside = lines.by_ref().take_while(|line| *line != "```");
        let text = inside.map(|line| format!("{line}\n")).collect();
        found.push(Block {
            kind: kind.to_owned(),
            text,
        });
    }
    found
}

/// Whether `text` is what `shown` says it is.
#[must_use]
pub fn fits(shown: &str, text: &str) -> bool {
    lines_fit(
        &shown.lines().collect::<Vec<_>>(),
        &text.lines().collect::<Vec<_>>(),
    )
}

fn lines_fit(shown: &[&str], text: &[&str]) -> bool {
    match (shown.split_first(), text.split_first()) {
        (Some((&"…", rest)), _) => {
            (0..=text.len()).any(|skipped| lines_fit(rest, &text[skipped..]))
        }
        (Some((shown, more)), Some((line, rest))) => {
            line_fits(shown, line) && lines_fit(more, rest)
        }
        (None, None) => true,
        _ => false,
    }
}

fn line_fits(shown: &str, line: &str) -> bool {
    let Some((head, tail)) = shown.split_once('…') else {
        return shown == line;
    };
    let Some(rest) = line.strip_prefix(head) else {
        return false;
    };
    let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    ends.into_iter().any(|at| line_fits(tail, &rest[at..]))
}

/// What a command is.
#[derive(Debug)]
pub enum Step {
    /// One for a shell, run to its end.
    Run,
    /// One that goes on while others run: this is what a shell is given, and the log line with these words says it is up.
    /// Where there are no such words, its first line of output does.
    Start(String, Option<&'static str>),
    /// Done by the caller.
    Done,
}

/// A walk through a document, block by block.
pub struct Tour<'a> {
    setup: &'a Setup,
    /// What was started and is not ended, oldest first, each with what it must have printed so far.
    pub started: Vec<(TestHost<'a>, String)>,
    /// Every command so far.
    pub commands: Vec<String>,
}

impl<'a> Tour<'a> {
    /// At the beginning.
    #[must_use]
    pub fn new(setup: &'a Setup) -> Self {
        Self {
            setup,
            started: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// Takes every block of `document`; `step` says what each command is, `other` takes the blocks that are no commands.
    ///
    /// - Panics: something is not as it is shown.
    #[track_caller]
    pub fn walk(
        &mut self,
        document: &str,
        mut step: impl FnMut(&str, &mut Self) -> Step,
        mut other: impl FnMut(&Block),
    ) {
        let blocks = blocks(document);
        for (place, block) in blocks.iter().enumerate() {
            let next = blocks.get(place + 1).filter(|next| next.kind == "text");
            match block.kind.as_str() {
                "sh" => self.run(&block.text, next.map(|next| next.text.as_str()), &mut step),
                "text typed" => self.type_lines(&block.text),
                "text" => {}
                _ => other(block),
            }
        }
    }

    /// Runs a block's commands; what they print altogether is what is shown.
    #[track_caller]
    fn run(
        &mut self,
        script: &str,
        shown: Option<&str>,
        step: &mut impl FnMut(&str, &mut Self) -> Step,
    ) {
        let mut printed = String::new();
        for command in script.lines() {
            self.commands.push(command.to_owned());
            match step(command, self) {
                Step::Run => printed.push_str(&self.shell(command)),
                Step::Start(command, ready) => {
                    if let Some(line) = self.start(&command, ready) {
                        printed.push_str(&line);
                    }
                }
                Step::Done => {}
            }
        }
        let Some(shown) = shown else { return };
        assert!(
            fits(shown, &printed),
            "the document shows, behind\n{script}\n{shown}\nand what is printed is\n{printed}"
        );
    }

    /// Starts a command; answers its first line, where that says that it is up.
    fn start(&mut self, command: &str, ready: Option<&'static str>) -> Option<String> {
        let mut shell = Command::new("sh");
        // Ctrl-C reaches the command itself.
        shell.arg("-c").arg(format!("exec {command}"));
        let host = self.setup.start_command(shell);
        let first = match ready {
            Some(words) => {
                host.wait_log("the ready line", |line| line.text().contains(words));
                None
            }
            None => Some(host.wait_stdout_lines(1).swap_remove(0) + "\n"),
        };
        self.started.push((host, first.clone().unwrap_or_default()));
        first
    }

    /// Lines to type, each with the line that answers it.
    #[track_caller]
    fn type_lines(&mut self, session: &str) {
        let (host, printed) = self
            .started
            .last_mut()
            .expect("a host runs before anything is typed");
        let lines: Vec<&str> = session.lines().collect();
        for pair in lines.chunks(2) {
            host.send_line(pair[0]);
            printed.push_str(pair[1]);
            printed.push('\n');
            host.wait_stdout(printed.as_bytes());
        }
    }

    /// Runs one command to its end. Only one whose output has an error in it may fail.
    #[track_caller]
    fn shell(&self, command: &str) -> String {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("({command}) 2>&1"));
        self.setup.place(&mut shell);
        let output = shell
            .stdin(Stdio::null())
            .output()
            .expect("every machine has a shell");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let has_error = text.contains("error[");
        assert_eq!(output.status.success(), !has_error, "{command}: {text}");
        text
    }
}

#[test]
fn what_is_shown_fits_what_is_printed_or_not() {
    let check = |shown: &str, text: &str, expected: bool| {
        assert_eq!(fits(shown, text), expected, "{shown:?} {text:?}");
    };
    check("a\nb", "a\nb", true);
    check("a", "a\nb", false);
    check("a\nb", "a", false);
    check("pid …, up … s", "pid 12, up 3 s", true);
    check("pid …, up … s", "pid 12, down 3 s", false);
    check("…\nb\n…", "b", true);
    check("…\nb\n…", "a\na\nb\nc", true);
    check("…\nb\n…", "a\nc", false);
    let found = blocks("x\n```sh\na\nb\n```\n\n```text typed\nc\n```\n");
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[0].kind.as_str(), found[0].text.as_str()),
        ("sh", "a\nb\n")
    );
    assert_eq!(found[1].kind, "text typed");
}
