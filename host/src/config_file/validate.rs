//! What one instance says of another: `after`, `processors`, and the order in which instances are initialised.
//!
//! It wants every instance's name, so it runs after the manifests are known. It changes nothing.

use std::collections::BTreeMap;

use super::{
    model::{PluginEntry, StreamConfig},
    raw::shown,
    read::Located,
    report::{did_you_mean, headline},
};
use crate::error::{Place, Problem};

/// So many names are listed in a `wanted:`; nobody reads a hundred.
const NAMES_SHOWN_MAX: usize = 20;

/// Everything that is wrong between the instances: `after` that names nobody, cycles, `processors` that name no
/// instance, an optional one, or one twice.
#[must_use]
pub fn check_references(
    entries: &[(String, &PluginEntry)],
    stream: Option<&StreamConfig>,
) -> Vec<Problem> {
    let known: BTreeMap<&str, &PluginEntry> = entries
        .iter()
        .map(|(name, entry)| (name.as_str(), *entry))
        .collect();
    let mut problems = Vec::new();
    for (name, entry) in entries {
        for wanted in &entry.after {
            if !known.contains_key(wanted.value.as_str()) {
                problems.push(unknown_after(name, wanted, entries));
            }
        }
    }
    problems.extend(
        cycles(entries)
            .iter()
            .map(|cycle| cycle_problem(cycle, entries)),
    );
    if let Some(stream) = stream {
        check_processors(stream, entries, &known, &mut problems);
    }
    problems
}

/// The order of init, as indices into `entries`: `after` first, otherwise as listed. The next is always the earliest
/// listed one that waits for nobody any more.
///
/// - Errors: a cycle. An `after` that names nobody is [`check_references`]'s to report, and binds nothing here.
pub fn order(entries: &[(String, &PluginEntry)]) -> Result<Vec<usize>, Problem> {
    let edges = Edges::of(entries);
    let mut waits: Vec<usize> = edges.before.iter().map(Vec::len).collect();
    let mut ready: std::collections::BTreeSet<usize> = (0..entries.len())
        .filter(|index| waits[*index] == 0)
        .collect();
    let mut order = Vec::with_capacity(entries.len());
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for next in &edges.behind[index] {
            waits[*next] -= 1;
            if waits[*next] == 0 {
                ready.insert(*next);
            }
        }
    }
    if order.len() == entries.len() {
        return Ok(order);
    }
    let cycles = cycles(entries);
    let cycle = cycles
        .first()
        .expect("what no order holds is on a cycle or behind one");
    Err(cycle_problem(cycle, entries))
}

/// Who comes before whom, by index; a name listed twice in one `after` counts once.
struct Edges {
    before: Vec<Vec<usize>>,
    behind: Vec<Vec<usize>>,
}

impl Edges {
    fn of(entries: &[(String, &PluginEntry)]) -> Self {
        let index: BTreeMap<&str, usize> = entries
            .iter()
            .enumerate()
            .map(|(index, (name, _))| (name.as_str(), index))
            .collect();
        let mut behind = vec![Vec::new(); entries.len()];
        let mut before = Vec::with_capacity(entries.len());
        for (at, (_, entry)) in entries.iter().enumerate() {
            let mut these: Vec<usize> = Vec::new();
            for wanted in &entry.after {
                match index.get(wanted.value.as_str()) {
                    Some(first) if !these.contains(first) => these.push(*first),
                    _ => {}
                }
            }
            for first in &these {
                behind[*first].push(at);
            }
            before.push(these);
        }
        Self { before, behind }
    }
}

/// Every way back that a walk along `after` meets, as the indices on it. Walks without recursion: a chain may be as long
/// as the file has entries.
fn cycles(entries: &[(String, &PluginEntry)]) -> Vec<Vec<usize>> {
    let edges = Edges::of(entries);
    let mut state = vec![Visit::Not; entries.len()];
    let mut found = Vec::new();
    for start in 0..entries.len() {
        if state[start] != Visit::Not {
            continue;
        }
        // The path walked, each with the number of its edges that were taken.
        let mut path = vec![(start, 0_usize)];
        state[start] = Visit::OnPath;
        while let Some((node, taken)) = path.last_mut() {
            let Some(next) = edges.before[*node].get(*taken).copied() else {
                state[*node] = Visit::Done;
                path.pop();
                continue;
            };
            *taken += 1;
            match state[next] {
                Visit::Not => {
                    state[next] = Visit::OnPath;
                    path.push((next, 0));
                }
                Visit::OnPath => {
                    let from = path.iter().position(|(node, _)| *node == next).unwrap_or(0);
                    found.push(path[from..].iter().map(|(node, _)| *node).collect());
                }
                Visit::Done => {}
            }
        }
    }
    found
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visit {
    Not,
    OnPath,
    Done,
}

fn cycle_problem(cycle: &[usize], entries: &[(String, &PluginEntry)]) -> Problem {
    let name = |index: &usize| entries[*index].0.as_str();
    let round: Vec<&str> = cycle.iter().chain(cycle.first()).map(name).collect();
    let round = round.join(" → ");
    let (first, second) = (&entries[cycle[0]], &entries[cycle[1 % cycle.len()]].0);
    let at = first
        .1
        .after
        .iter()
        .find(|wanted| wanted.value == *second)
        .map_or(&first.1.at, |wanted| &wanted.at);
    Problem::usage(
        "after-cycle",
        headline(&format!("`after` goes in a circle: {round}"), at),
    )
    .wanted("an order in which each instance comes after those it names")
    .found(round)
    .at(at.clone())
    .fix(format!(
        "remove `{second}` from the `after` of `{}`, or another of these",
        first.0
    ))
}

fn unknown_after(
    name: &str,
    wanted: &Located<String>,
    entries: &[(String, &PluginEntry)],
) -> Problem {
    let others = || {
        entries
            .iter()
            .map(|(other, _)| other.as_str())
            .filter(|other| *other != name)
    };
    let sentence = format!(
        "{} comes after `{}`, which is no instance",
        shown(name),
        wanted.value
    );
    Problem::usage("unknown-after", headline(&sentence, &wanted.at))
        .wanted(listed(others()))
        .found(wanted.value.clone())
        .at(wanted.at.clone())
        .fix(did_you_mean(
            &wanted.value,
            others(),
            "remove it, or add a [[plugin]] of that name",
        ))
}

fn check_processors(
    stream: &StreamConfig,
    entries: &[(String, &PluginEntry)],
    known: &BTreeMap<&str, &PluginEntry>,
    problems: &mut Vec<Problem>,
) {
    let names = || entries.iter().map(|(name, _)| name.as_str());
    let mut first: BTreeMap<&str, &Place> = BTreeMap::new();
    for processor in &stream.processors {
        let name = processor.value.as_str();
        let problem = |code: &str, sentence: String| {
            Problem::usage(code, headline(&sentence, &processor.at))
                .found(name)
                .at(processor.at.clone())
        };
        if let Some(before) = first.insert(name, &processor.at) {
            let sentence = format!("`processors` of [stream] names `{name}` twice");
            let twice = problem("duplicate-processor", sentence)
                .wanted("each instance once")
                .found(format!("{before} and {}", processor.at))
                .fix("remove one, or add a second [[plugin]] of that library with a `name` of its own");
            problems.push(twice);
            continue;
        }
        match known.get(name) {
            None => {
                let sentence =
                    format!("`processors` of [stream] names `{name}`, which is no instance");
                let advice = "remove it, or add a [[plugin]] of that name";
                let unknown = problem("unknown-processor", sentence)
                    .wanted(listed(names()))
                    .fix(did_you_mean(name, names(), advice));
                problems.push(unknown);
            }
            Some(entry) if !entry.required => {
                let sentence =
                    format!("`processors` of [stream] names `{name}`, which is optional");
                let optional = problem("optional-processor", sentence)
                    .wanted("instances that the host does not go on without")
                    .found(format!("required = false in the entry at {}", entry.at))
                    .fix(format!("remove `required = false` from the entry at {}, or `{name}` from the stream", entry.at));
                problems.push(optional);
            }
            Some(_) => {}
        }
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.len() {
        0 => "an instance; there is none".to_owned(),
        many if many > NAMES_SHOWN_MAX => {
            format!(
                "one of {} and {} more",
                names[..NAMES_SHOWN_MAX].join(", "),
                many - NAMES_SHOWN_MAX
            )
        }
        _ => format!("one of {}", names.join(", ")),
    }
}
