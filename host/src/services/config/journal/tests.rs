//! What lines, files and recovery mean, without a disk: the examples of the contract byte for byte, and every cut and every
//! flipped bit of a small journal.

use super::{
    line::{self, Bad, Header, Line},
    recovery::{judge, salvage},
    segment::{self, FaultKind, Segment},
};
use crate::machine::store::{ConfirmMark, Entry, Op, Outcome};

/// Config-api §9, as printed there.
const EXAMPLE: &str = concat!(
    r#"HSJ1 2a8f8857 80 {"kind":"header","plugin":"dynamic-config","segment":1,"store":"7f3a9c21","v":1}"#,
    "\n",
    r#"HSJ1 8b1c89d7 116 {"at":"2026-01-02T03:04:05.000000Z","by":"host","gen":1,"kind":"set","op":"initial","parent":0,"value":{"value":10}}"#,
    "\n",
    r#"HSJ1 e72630d6 123 {"at":"2026-01-02T03:04:06.000000Z","by":"tcp:127.0.0.1","gen":2,"kind":"set","op":"touch","parent":1,"value":{"value":20}}"#,
    "\n",
    r#"HSJ1 4fb4f3c7 121 {"at":"2026-01-02T03:04:07.000000Z","by":"tcp:127.0.0.1","gen":3,"kind":"set","op":"put","parent":2,"value":{"value":42}}"#,
    "\n",
    r#"HSJ1 2f034ae6 190 {"at":"2026-01-02T03:04:08.000000Z","by":"tcp:127.0.0.1","confirm":{"base":3,"deadline":"2026-01-02T03:05:08.000000Z"},"gen":4,"kind":"set","op":"merge-patch","parent":3,"value":{"value":7}}"#,
    "\n",
    r#"HSJ1 b3b04bc3 82 {"at":"2026-01-02T03:04:09.000000Z","by":"tcp:127.0.0.1","gen":4,"kind":"confirm"}"#,
    "\n",
    r#"HSJ1 bd37d0ea 135 {"at":"2026-01-02T03:04:10.000000Z","by":"tcp:127.0.0.1","from":2,"gen":5,"kind":"set","op":"rollback","parent":4,"value":{"value":20}}"#,
    "\n",
);

fn header(segment: u64) -> Header {
    Header {
        plugin: "dynamic-config".into(),
        segment,
        store: "7f3a9c21".into(),
    }
}

fn entry(generation: u64, op: Op, document: &str) -> Entry {
    let by = match op {
        Op::Initial => "host",
        _ => "tcp:127.0.0.1",
    };
    Entry {
        generation,
        parent: generation - 1,
        op,
        at: format!("2026-01-02T03:04:{:02}.000000Z", generation + 4),
        by: by.into(),
        from: None,
        reason: None,
        confirm: None,
        document: document.as_bytes().into(),
    }
}

fn waiting(mut entry: Entry, base: u64) -> Entry {
    entry.confirm = Some(ConfirmMark {
        base,
        deadline: "2026-01-02T03:05:08.000000Z".into(),
        outcome: Outcome::Pending,
    });
    entry
}

fn read(bytes: &[u8]) -> Segment {
    segment::read(1, "dynamic-config", bytes)
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// One segment from entries.
fn segment_of(number: u64, lines: &[Vec<u8>]) -> Vec<u8> {
    let mut all = vec![line::header(&header(number))];
    all.extend_from_slice(lines);
    all.concat()
}

#[test]
fn the_examples_of_the_contract_are_written_byte_for_byte() {
    let mut rollback = entry(5, Op::Rollback, "{\"value\":20}");
    rollback.from = Some(2);
    rollback.at = "2026-01-02T03:04:10.000000Z".into();
    let written = [
        line::header(&header(1)),
        line::set(&entry(1, Op::Initial, "{\"value\":10}")),
        line::set(&entry(2, Op::Touch, "{\"value\":20}")),
        line::set(&entry(3, Op::Put, "{\"value\":42}")),
        line::set(&waiting(entry(4, Op::MergePatch, "{\"value\":7}"), 3)),
        line::confirm("2026-01-02T03:04:09.000000Z", "tcp:127.0.0.1", 4),
        line::set(&rollback),
    ];
    assert_eq!(String::from_utf8(written.concat()).unwrap(), EXAMPLE);
    for (bytes, expected) in written.iter().zip(lines(EXAMPLE)) {
        let (read, len) = line::read(bytes).unwrap();
        assert_eq!(len, expected.len());
        let again = match read {
            Line::Header(header) => line::header(&header),
            Line::Set(entry) => line::set(&entry),
            Line::Confirm { at, by, generation } => line::confirm(&at, &by, generation),
            other => panic!("{other:?}"),
        };
        assert_eq!(again, expected.as_bytes());
    }
}

#[test]
fn the_example_is_read_with_how_its_confirmation_ended() {
    let healthy = judge(&[read(EXAMPLE.as_bytes())]).unwrap();
    assert_eq!(healthy.store, "7f3a9c21");
    assert!(!healthy.history_damaged);
    let outcomes: Vec<_> = healthy
        .entries
        .iter()
        .map(|entry| {
            let outcome = entry.confirm.as_ref().map(|mark| mark.outcome);
            (entry.generation, entry.op, outcome)
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            (1, Op::Initial, None),
            (2, Op::Touch, None),
            (3, Op::Put, None),
            (4, Op::MergePatch, Some(Outcome::Confirmed)),
            (5, Op::Rollback, None),
        ]
    );
}

#[test]
fn strings_that_json_escapes_come_back() {
    let mut strange = entry(2, Op::Put, "\"\\\\\\\"\\n\"");
    strange.by = "plugin:\"\\ \u{1}\u{fc}".into();
    let bytes = line::set(&strange);
    assert_eq!(line::read(&bytes), Ok((Line::Set(strange), bytes.len())));
}

/// C41: whatever is cut off the end was never acknowledged, as long as there is a generation before it.
#[test]
fn a_journal_cut_anywhere_goes_on_from_its_last_whole_line() {
    let ends: Vec<usize> = lines(EXAMPLE)
        .iter()
        .scan(0, |end, line| {
            *end += line.len();
            Some(*end)
        })
        .collect();
    for len in 0..EXAMPLE.len() {
        let segment = read(&EXAMPLE.as_bytes()[..len]);
        let whole = ends.iter().filter(|end| **end <= len).count();
        if whole < 2 {
            let broken = judge(&[segment]).unwrap_err();
            assert_eq!(broken.last_good, 0, "cut at {len}");
            continue;
        }
        assert_eq!(segment.good_len, ends[whole - 1], "cut at {len}");
        let torn = segment.fault.as_ref().map(|fault| &fault.kind);
        let at_end = ends.contains(&len);
        assert_eq!(torn, (!at_end).then_some(&FaultKind::Torn), "cut at {len}");
        let healthy = judge(&[segment]).unwrap();
        let generations = [1, 2, 3, 4, 4, 5];
        assert_eq!(
            healthy.entries.last().unwrap().generation,
            generations[whole - 2]
        );
    }
}

/// C42: damage in a complete line is never taken for an interrupted write, and names the line where it begins.
#[test]
fn every_flipped_bit_is_damage_in_its_line() {
    let lines = lines(EXAMPLE);
    let mut begin = 0;
    for (index, line) in lines.iter().enumerate() {
        for at in begin..begin + line.len() {
            for bit in 0..8 {
                let mut bytes = EXAMPLE.as_bytes().to_vec();
                bytes[at] ^= 1 << bit;
                let broken = judge(&[read(&bytes)]).unwrap_err();
                let found = (broken.fault.line, broken.fault.byte);
                assert_eq!(found, (index + 1, begin), "bit {bit} of byte {at}");
                assert!(
                    matches!(broken.fault.kind, FaultKind::Damage(_)),
                    "{broken:?}"
                );
                let good = [0, 0, 1, 2, 3, 4, 4][index];
                assert_eq!(broken.last_good, good, "bit {bit} of byte {at}");
            }
        }
        begin += line.len();
    }
}

#[test]
fn every_flipped_bit_leaves_a_generation_to_go_on_from() {
    let len: usize = lines(EXAMPLE)[..2].iter().map(|line| line.len()).sum();
    for at in len..EXAMPLE.len() {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        bytes[at] ^= 1;
        let segments = [read(&bytes)];
        let broken = judge(&segments).unwrap_err();
        let salvage = salvage(&segments, Some(&broken), &|_| true);
        // Generation 4 is not confirmed where the confirmation is what was damaged.
        let good = match broken.last_good {
            4 if broken.fault.line == 6 => 3,
            good => good,
        };
        assert_eq!(salvage.from.unwrap().generation, good, "byte {at}");
        // Somebody was told of 5, whether its line can still be read or not.
        assert_eq!(salvage.highest, 5, "byte {at}");
        assert_eq!(salvage.store.as_deref(), Some("7f3a9c21"));
        assert_eq!(salvage.damaged, [true]);
    }
}

#[test]
fn blocks_lost_at_a_power_failure_are_a_torn_tail() {
    let torn = |tail: &[u8]| {
        let bytes = [EXAMPLE.as_bytes(), tail].concat();
        let segment = read(&bytes);
        let kind = segment.fault.clone().unwrap().kind;
        assert_eq!(segment.good_len, EXAMPLE.len());
        kind == FaultKind::Torn
    };
    // Up to the end.
    assert!(torn(&[0]));
    assert!(torn(&[b"HSJ1 ".as_slice(), &[0; 100]].concat()));
    // A run that touches a sector, with more lines behind it.
    let to_sector = EXAMPLE.len().next_multiple_of(512) - EXAMPLE.len();
    let run_at = |skip: usize, run: usize| {
        let mut tail = vec![b'x'; skip];
        tail.extend(vec![0; run]);
        tail.extend_from_slice(lines(EXAMPLE)[2].as_bytes());
        tail
    };
    assert!(torn(&run_at(to_sector, 8)));
    assert!(torn(&run_at(to_sector - 8, 8)));
    assert!(torn(&run_at(to_sector - 4, 8)));
    assert!(!torn(&run_at(to_sector, 7)));
    assert!(!torn(&run_at(to_sector + 1, 8)));
    assert!(!torn(&run_at(to_sector - 9, 8)));
    // Garbage without a line end is no line that was being written.
    assert!(!torn(b"garbage"));
    assert!(!torn(b"HSJ1 xyz"));
    assert!(!torn(b"HSJ1 00000000 012"));
    assert!(torn(b"HSJ1 0000"));
    assert!(torn(b"HSJ1 00000000 12"));
    assert!(torn(b"HSJ1 00000000 12 {\"at\""));
}

#[test]
fn a_chain_that_cannot_be_is_damage() {
    let first = line::set(&entry(1, Op::Initial, "1"));
    let second = line::set(&entry(2, Op::Put, "2"));
    let pending = line::set(&waiting(entry(2, Op::Put, "2"), 1));
    let mut orphan = entry(3, Op::Put, "3");
    orphan.parent = 1;
    let mut way_back = entry(3, Op::AutoRollback, "1");
    way_back.reason = Some("deadline".into());
    let confirm = |generation| line::confirm("2026-01-02T03:04:09.000000Z", "host", generation);
    let bad = [
        vec![second.clone()],
        vec![line::set(&waiting(entry(1, Op::Initial, "1"), 1))],
        vec![first.clone(), first.clone()],
        vec![first.clone(), line::set(&entry(3, Op::Put, "3"))],
        vec![first.clone(), second.clone(), line::set(&orphan)],
        vec![first.clone(), line::set(&entry(2, Op::Recover, "2"))],
        vec![
            first.clone(),
            second.clone(),
            line::base(&entry(2, Op::Put, "2")),
        ],
        vec![first.clone(), line::header(&header(1))],
        // Confirmations: of nothing, of another, twice; a plain change over one that waits; a way back from nothing.
        vec![first.clone(), confirm(1)],
        vec![first.clone(), pending.clone(), confirm(1)],
        vec![first.clone(), pending.clone(), confirm(2), confirm(2)],
        vec![
            first.clone(),
            pending.clone(),
            line::set(&entry(3, Op::Put, "3")),
        ],
        vec![first.clone(), second.clone(), line::set(&way_back)],
        vec![
            first.clone(),
            pending.clone(),
            line::set(&waiting(entry(3, Op::Put, "3"), 2)),
        ],
        vec![
            first.clone(),
            line::set(&waiting(entry(2, Op::Put, "2"), 2)),
        ],
        vec![],
    ];
    for lines in &bad {
        let segment = read(&segment_of(1, lines));
        let text: Vec<_> = lines.iter().map(|l| String::from_utf8_lossy(l)).collect();
        assert!(segment.damaged(), "{text:#?}");
    }
    for (after, outcome) in [
        (confirm(2), Outcome::Confirmed),
        (line::set(&way_back), Outcome::Expired),
        (line::set(&entry(3, Op::Rollback, "1")), Outcome::Cancelled),
        (
            line::set(&waiting(entry(3, Op::Put, "3"), 1)),
            Outcome::Superseded,
        ),
    ] {
        let segment = read(&segment_of(1, &[first.clone(), pending.clone(), after]));
        assert_eq!(segment.fault, None);
        assert_eq!(
            segment.entries[1].confirm.as_ref().unwrap().outcome,
            outcome
        );
    }
}

#[test]
fn unknown_members_kinds_and_versions_are_told_apart() {
    let framed = |payload: &str| {
        let covered = format!("{} {payload}", payload.len());
        format!(
            "HSJ1 {:08x} {covered}\n",
            crc32c::crc32c(covered.as_bytes())
        )
        .into_bytes()
    };
    let newer = r#"{"kind":"header","more":true,"plugin":"dynamic-config","segment":1,"store":"7f3a9c21","v":2}"#;
    assert_eq!(line::read(&framed(newer)).unwrap().0, Line::OtherVersion(2));
    let broken = judge(&[read(&framed(newer))]).unwrap_err();
    assert_eq!(broken.version(), Some(2));
    for payload in [
        r#"{"kind":"header","more":true,"plugin":"dynamic-config","segment":1,"store":"7f3a9c21","v":1}"#,
        r#"{"kind":"header","plugin":"dynamic-config","segment":0,"store":"7f3a9c21","v":1}"#,
        r#"{"kind":"header", "plugin":"dynamic-config","segment":1,"store":"7f3a9c21","v":1}"#,
        r#"{"at":"x","by":"host","gen":1,"kind":"note","op":"initial","parent":0,"value":1}"#,
        r#"{"at":"x","by":"host","gen":1,"kind":"set","more":1,"op":"initial","parent":0,"value":1}"#,
        r#"{"at":"x","by":"host","gen":1,"kind":"set","op":"other","parent":0,"value":1}"#,
        r#"{"at":"x","by":"host","gen":01,"kind":"set","op":"initial","parent":0,"value":1}"#,
        r#"{"at":"x","by":"host","gen":1,"kind":"set","op":"initial","parent":0,"value":1,"w":2}"#,
        r#"{"at":"x","by":"host","gen":1,"kind":"set","op":"initial","parent":0,"value":}"#,
        r#"{"at":"x","by":"host","from":1,"gen":1,"kind":"confirm"}"#,
        "null",
        "",
    ] {
        assert!(
            matches!(line::read(&framed(payload)), Err(Bad::Damage(_))),
            "{payload}"
        );
    }
}

fn segments(files: &[(u64, Vec<u8>)]) -> Vec<Segment> {
    let read = |(first, bytes): &(u64, Vec<u8>)| segment::read(*first, "dynamic-config", bytes);
    files.iter().map(read).collect()
}

/// Three segments; the second begins while generation 3 waits.
fn three() -> Vec<(u64, Vec<u8>)> {
    let third = waiting(entry(3, Op::Put, "3"), 2);
    let mut fourth = entry(4, Op::AutoRollback, "2");
    fourth.reason = Some("deadline".into());
    vec![
        (
            1,
            segment_of(
                1,
                &[
                    line::set(&entry(1, Op::Initial, "1")),
                    line::set(&entry(2, Op::Put, "2")),
                    line::set(&third),
                ],
            ),
        ),
        (3, segment_of(2, &[line::base(&third), line::set(&fourth)])),
        (
            4,
            segment_of(
                3,
                &[line::base(&fourth), line::set(&entry(5, Op::Put, "5"))],
            ),
        ),
    ]
}

#[test]
fn segments_make_one_history() {
    let healthy = judge(&segments(&three())).unwrap();
    let found: Vec<_> = healthy.entries.iter().map(|e| e.generation).collect();
    assert_eq!(found, [1, 2, 3, 4, 5]);
    let third = healthy.entries[2].confirm.as_ref().unwrap();
    assert_eq!(third.outcome, Outcome::Expired, "the later segment tells");
    assert!(!healthy.history_damaged);
}

/// R7.
#[test]
fn damage_in_an_older_segment_costs_only_its_history() {
    for (damaged, kept) in [(0, [3, 4, 5].as_slice()), (1, &[1, 2, 3, 4, 5])] {
        let mut files = three();
        let middle = files[damaged].1.len() - 5;
        files[damaged].1[middle] ^= 1;
        let healthy = judge(&segments(&files)).unwrap();
        assert!(healthy.history_damaged);
        let found: Vec<_> = healthy.entries.iter().map(|e| e.generation).collect();
        // The newest segment repeats generation 4, so damage in the middle one loses nothing here.
        assert_eq!(found, kept, "segment {damaged}");
    }
    // An older segment has no torn tail: it was whole when the next was begun.
    let mut files = three();
    files[0].1.pop();
    assert!(judge(&segments(&files)).unwrap().history_damaged);
    // Another store's.
    let mut files = three();
    let other = Header {
        store: "00000000".into(),
        ..header(1)
    };
    files[0].1 = [line::header(&other), line::set(&entry(1, Op::Initial, "1"))].concat();
    assert!(judge(&segments(&files)).unwrap().history_damaged);
}

#[test]
fn a_newest_segment_that_does_not_continue_its_predecessor_is_damage() {
    let mut files = three();
    let other = entry(4, Op::Put, "4");
    files[2].1 = segment_of(3, &[line::base(&other), line::set(&entry(5, Op::Put, "5"))]);
    let segments = segments(&files);
    let broken = judge(&segments).unwrap_err();
    assert_eq!(
        (broken.segment, broken.fault.line, broken.last_good),
        (2, 2, 4)
    );
    let salvage = salvage(&segments, Some(&broken), &|_| true);
    assert_eq!(salvage.from.unwrap().generation, 4);
    assert_eq!(salvage.highest, 5);
    assert_eq!(salvage.damaged, [false, false, true]);
    assert_eq!(salvage.segment, 4);
}

#[test]
fn salvage_takes_the_newest_that_the_schema_admits_and_nothing_unconfirmed() {
    let segments = segments(&three()[..1]);
    let from = |admits: &dyn Fn(&Entry) -> bool| {
        let found = salvage(&segments, None, admits);
        found.from.map(|entry| entry.generation)
    };
    assert_eq!(from(&|_| true), Some(2), "3 still waits");
    assert_eq!(from(&|entry| &*entry.document == b"1"), Some(1));
    assert_eq!(from(&|_| false), None);
}

/// However a trial ended that nobody confirmed, its value never becomes current.
#[test]
fn salvage_continues_from_no_trial_that_was_never_confirmed() {
    let trial = line::set(&waiting(entry(2, Op::Put, "2"), 1));
    let back = |op: Op, reason: Option<&str>| {
        let mut back = entry(3, op, "1");
        back.reason = reason.map(str::to_owned);
        line::set(&back)
    };
    for after in [
        line::set(&waiting(entry(3, Op::Put, "3"), 1)),
        back(Op::AutoRollback, Some("deadline")),
        back(Op::AutoRollback, Some("restart")),
        back(Op::Rollback, None),
    ] {
        let first = line::set(&entry(1, Op::Initial, "1"));
        let files = [(1, segment_of(1, &[first, trial.clone(), after]))];
        let from = |admits: &dyn Fn(&Entry) -> bool| {
            let found = salvage(&segments(&files), None, admits);
            found.from.map(|entry| entry.generation)
        };
        assert_eq!(from(&|entry| entry.generation < 3), Some(1));
        assert_eq!(from(&|entry| &*entry.document == b"2"), None);
    }
    // One that was confirmed stands.
    let first = line::set(&entry(1, Op::Initial, "1"));
    let confirmed = line::confirm("2026-01-02T03:04:09.000000Z", "host", 2);
    let files = [(1, segment_of(1, &[first, trial, confirmed]))];
    let found = salvage(&segments(&files), None, &|_| true);
    assert_eq!(found.from.unwrap().generation, 2);
}

/// The recovery's own segment follows; that no line ends the trial is its end.
#[test]
fn a_trial_that_a_recovery_passed_over_waits_no_more() {
    let mut recovered = entry(4, Op::Recover, "2");
    recovered.parent = 2;
    let mut files = three();
    files.truncate(1);
    files.push((4, segment_of(2, &[line::set(&recovered)])));
    let healthy = judge(&segments(&files)).unwrap();
    let mark = healthy.entries[2].confirm.as_ref().unwrap();
    assert_eq!(mark.outcome, Outcome::Restart);
}
