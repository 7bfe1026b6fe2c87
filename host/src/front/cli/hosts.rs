//! Which hosts of this user run, and which one of them is meant. Looks into their run folders and changes nothing there.

use hotshoe::{Blame, ExitCode, Problem};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A running host: its name and its run folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Running {
    pub(super) name: String,
    pub(super) folder: PathBuf,
}

/// The hosts below `parent`, and the one of a service in `service`, that `is_running` says yes to, by name.
pub(super) fn running(
    parent: &Path,
    service: Option<PathBuf>,
    is_running: impl Fn(&Path) -> bool,
) -> Vec<Running> {
    let folders = fs::read_dir(parent).into_iter().flatten().flatten();
    let folders = folders.map(|folder| folder.path()).chain(service);
    let mut hosts: Vec<Running> = folders
        .filter_map(|folder| {
            let name = folder.file_name()?.to_string_lossy().into_owned();
            is_running(&folder).then_some(Running { name, folder })
        })
        .collect();
    hosts.sort();
    // A service's folder may lie among the others.
    hosts.dedup();
    hosts
}

/// The one that is named, or the only one.
///
/// # Errors
/// `no-such-host`, `no-host` and `several-hosts`, each with what does run. `no-host` ends with `nobody`.
pub(super) fn choose(
    hosts: &[Running],
    host: Option<&str>,
    parent: &Path,
    nobody: ExitCode,
) -> Result<Running, Problem> {
    let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
    let found = match names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let refuse = |exit: ExitCode, code: &str, headline: String| {
        Problem::error(exit, Blame::Operator, code, headline).found(format!("running: {found}"))
    };
    match (host, hosts) {
        (Some(name), hosts) => match hosts.iter().find(|host| host.name == name) {
            Some(host) => Ok(host.clone()),
            None => Err(refuse(
                ExitCode::Usage,
                "no-such-host",
                format!("no host named `{name}` is running"),
            )),
        },
        (None, []) => Err(refuse(
            nobody,
            "no-host",
            format!("no host is running (looked in {})", parent.display()),
        )),
        (None, [host]) => Ok(host.clone()),
        (None, _) => Err(refuse(
            ExitCode::Usage,
            "several-hosts",
            "several hosts are running".to_owned(),
        )
        .fix("name one with --host NAME")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_meant_and_two_must_be_told_apart() {
        let parent = tempfile::tempdir().unwrap();
        for name in ["b", "a", "gone"] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let hosts = running(parent.path(), None, |folder| !folder.ends_with("gone"));
        let choose = |hosts: &[Running], host: Option<&str>| {
            choose(hosts, host, parent.path(), ExitCode::Running)
        };
        let code = |chosen: Result<Running, Problem>| {
            let problem = chosen.unwrap_err();
            (problem.code, problem.found.unwrap(), problem.exit)
        };
        assert_eq!(choose(&hosts, Some("b")).unwrap().name, "b");
        assert_eq!(choose(&hosts[..1], None).unwrap().name, "a");
        let refusals = [
            (
                choose(&hosts, None),
                "several-hosts",
                "running: a, b",
                ExitCode::Usage,
            ),
            (
                choose(&hosts, Some("gone")),
                "no-such-host",
                "running: a, b",
                ExitCode::Usage,
            ),
            (
                choose(&[], None),
                "no-host",
                "running: none",
                ExitCode::Running,
            ),
        ];
        for (chosen, wanted, found, exit) in refusals {
            assert_eq!(code(chosen), (wanted.to_owned(), found.to_owned(), exit));
        }
        assert_eq!(running(&parent.path().join("nowhere"), None, |_| true), []);
        let names = |service: &Path| -> Vec<String> {
            let hosts = running(parent.path(), Some(service.to_owned()), |_| true);
            hosts.into_iter().map(|host| host.name).collect()
        };
        assert_eq!(
            names(Path::new("/run/a-service")),
            ["a", "a-service", "b", "gone"]
        );
        assert_eq!(names(&parent.path().join("b")), ["a", "b", "gone"]);
    }
}
