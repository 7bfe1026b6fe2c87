//! hotshoe.toml: read, merged with its drop-ins, and judged; every problem at once, each with file, line and column.
//!
//! One pass finds what is wrong, because a wrong value is reported and its default taken for the rest of the pass. It
//! opens the configuration, its drop-ins and the files that settings name, looks whether the paths of sandboxes are there,
//! and nothing else: whether a library exists or a port is free is found out by whoever needs it. It prints nothing.
//!
//! Paths in a file are relative to the folder of that file.

#![allow(
    clippy::result_large_err,
    reason = "a problem is made once for each mistake of a person, not in a loop that counts"
)]

mod address;
mod echo;
mod merge;
mod model;
mod parse;
mod raw;
mod read;
mod report;
mod schema;
mod settings;
#[cfg(test)]
mod tests;
mod units;
mod validate;
mod words;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub(crate) use self::model::is_spelled;
pub use self::{
    address::{Admin, Sink, Source},
    merge::merge_duplicates,
    model::{
        Absent, Config, Deadlines, ExecutorsConfig, HostConfig, Limits, OnError, PluginEntry,
        Restart, Sandbox, StreamConfig, TrustConfig,
    },
    read::Located,
    schema::schema,
    settings::Settings,
    validate::{check_references, order},
    words::{Isolation, Library, OnSourceEnd, Require, Stage},
};
use self::{
    echo::echo,
    model::folder_of,
    parse::Text,
    raw::FileTable,
    read::{Cursor, Section as _},
    report::{Env, Report, did_you_mean},
};
use crate::error::{Problem, Severity};

/// What came of a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration; `None` where any problem is an error.
    pub config: Option<Config>,
    /// Errors and warnings: the drop-ins' in file-name order, then the file's, each file's from top to bottom.
    pub problems: Vec<Problem>,
}

/// Reads FILE and `hotshoe.d/*.toml` beside it.
///
/// What instances say of each other is judged by [`check_references`], once the libraries have said what entries without
/// a name are called. Only where the configuration is refused anyway, and every entry states a name, it is judged here,
/// so that one run shows every problem.
#[must_use]
pub fn load(file: &Path) -> Loaded {
    load_with(file, &|name| std::env::var_os(name))
}

/// The same, with another environment.
fn load_with(file: &Path, env: &Env<'_>) -> Loaded {
    let work = || load_here(file, env);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("config".to_owned())
            .stack_size(STACK_BYTES);
        match thread.spawn_scoped(scope, work) {
            Ok(loading) => loading
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // No thread to be had: nearly every file needs no depth.
            Err(_) => work(),
        }
    })
}

/// The parser limits tables within tables to 80 levels and dotted keys to 80 parts, each alone: together they build, and
/// drop by recursion, a tree of 6,400 levels, more than a caller's stack may hold. Untouched pages cost nothing.
const STACK_BYTES: usize = 64 << 20;

fn load_here(file: &Path, env: &Env<'_>) -> Loaded {
    let main = match Text::read(file) {
        // Where the file is not one, what stands beside it is hardly meant.
        Err(problem) if Text::is_unread(&problem) => {
            return Loaded {
                config: None,
                problems: vec![problem],
            };
        }
        read => read,
    };
    let folder = folder_of(file);
    let (mut problems, mut absent) = (Vec::new(), Vec::new());
    let mut files = Vec::new();
    let drop_ins = merge::drop_ins(&folder).unwrap_or_else(|problem| {
        problems.push(problem);
        Vec::new()
    });
    for drop_in in drop_ins {
        let table = read_table(
            Text::read(&drop_in),
            fill_drop_in,
            env,
            (&mut problems, &mut absent),
        );
        files.push((drop_in, table));
    }
    let table = read_table(main, FileTable::fill, env, (&mut problems, &mut absent));
    files.push((file.to_owned(), table));
    let mut loaded = merge_files(files, &folder, problems);
    match &mut loaded.config {
        Some(config) => config.absent = absent,
        // There will be no host to be built, and everything that is wrong is told at once.
        None => {
            let absent = absent.into_iter().map(|absent| absent.problem);
            loaded.problems.extend(absent);
            loaded.problems.sort_by(|a, b| a.at.cmp(&b.at));
        }
    }
    loaded
}

/// One file's table; `None` where there is no tree to read, which is reported.
fn read_table(
    text: Result<Text, Problem>,
    fill: impl FnOnce(Cursor<'_, '_, '_>) -> FileTable,
    env: &Env<'_>,
    (problems, absent): (&mut Vec<Problem>, &mut Vec<Absent>),
) -> Option<FileTable> {
    let read = |text: &Text, problems: &mut Vec<Problem>| {
        let tree = text.tree()?;
        let mut report = Report::new(text, env);
        let table = fill(Cursor::root(tree.get_ref(), FileTable::KEYS, &mut report));
        absent.extend(report.take_absent());
        problems.extend(report.into_problems());
        Ok(table)
    };
    match text.and_then(|text| read(&text, problems)) {
        Ok(table) => Some(table),
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

/// A drop-in adds instances; what the host itself is stands in one place.
fn fill_drop_in(mut cursor: Cursor<'_, '_, '_>) -> FileTable {
    const KEY: &str = "plugin";
    let table = FileTable {
        plugin: cursor.take(KEY, raw::Plugins::default()),
        ..FileTable::default()
    };
    for (key, span) in cursor.keys_but(&[KEY]) {
        let problem = cursor
            .error(
                "drop-in-key",
                &format!("`{}` does not belong in a drop-in", echo(key)),
                &span,
            )
            .wanted("[[plugin]] entries only")
            .found(echo(key))
            .fix(did_you_mean(
                key,
                [KEY],
                "move it to the file beside the folder hotshoe.d",
            ));
        cursor.add(problem);
    }
    table
}

/// One list out of all files, and the verdict.
fn merge_files(
    files: Vec<(PathBuf, Option<FileTable>)>,
    folder: &Path,
    mut problems: Vec<Problem>,
) -> Loaded {
    let order: Vec<PathBuf> = files.iter().map(|(file, _)| file.clone()).collect();
    let all_read = files.iter().all(|(_, table)| table.is_some());
    let (mut plugins, mut main) = (Vec::new(), None);
    // The file itself is the last, and says it for its drop-ins too.
    let executors = files.last().and_then(|(_, table)| table.as_ref());
    let executors = executors.map_or(1, |table| table.executors.count.0);
    let mut first = BTreeMap::new();
    for (file, table) in files {
        let mut table = table.unwrap_or_default();
        let own_folder = folder_of(&file);
        for located in std::mem::take(&mut table.plugin).0 {
            problems.extend(located.value.check_room(executors));
            let entry = PluginEntry::resolve(located, &own_folder);
            match entry
                .name
                .as_ref()
                .and_then(|name| first.get(name).map(|at| (name, at)))
            {
                Some((name, at)) => problems.push(merge::duplicate(name, at, &entry.at)),
                None => {
                    if let Some(name) = &entry.name {
                        first.insert(name.clone(), entry.at.clone());
                    }
                    plugins.push(entry);
                }
            }
        }
        main = Some((file, table));
    }
    let (file, table) = main.expect("the file itself is always the last of the files");
    let stream = table
        .stream
        .map(|stream| StreamConfig::resolve(stream, folder));
    let refused = problems
        .iter()
        .any(|problem| problem.severity == Severity::Error);
    if refused && all_read {
        let named: Option<Vec<_>> = plugins
            .iter()
            .map(|entry| Some((entry.name.clone()?, entry)))
            .collect();
        let named = named.unwrap_or_default();
        // With a name unknown, "names no instance" would be a guess.
        if named.len() == plugins.len() {
            problems.extend(check_references(&named, stream.as_ref()));
        }
    }
    sort(&mut problems, &order);
    let config = (!refused).then(|| Config {
        host: HostConfig::resolve(table.host, &file, folder),
        folder: folder.to_owned(),
        executors: ExecutorsConfig::resolve(table.executors),
        stream,
        trust: TrustConfig::resolve(&table.trust, folder),
        plugins,
        absent: Vec::new(),
        file,
    });
    Loaded { config, problems }
}

/// Files in the order of the merge, each from top to bottom; what stands in no file, first.
fn sort(problems: &mut [Problem], order: &[PathBuf]) {
    problems.sort_by_key(|problem| {
        let at = problem.at.as_ref();
        let file = at.and_then(|at| order.iter().position(|file| *file == at.file));
        (file, at.map(|at| (at.line, at.column)))
    });
}
