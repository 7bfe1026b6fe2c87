//! Whom `hotshoe config` asks: what a host that was killed left behind is nobody's address, whoever listens there by now.

use super::config_cli::ready;
use hotshoe_tests::{Entry, Finished, Setup, artifacts};
use rustix::process::Signal;
use std::{fs, io::ErrorKind, net::TcpListener, os::unix::fs::PermissionsExt as _};

const NO_ADMIN: &str = "[host]\nadmin = \"off\"\n";

fn listener(name: &str) -> Entry {
    Entry::of(name, artifacts::library("hotshoe-dynamic-config"))
        .set("listen = [\"127.0.0.1:0\"]")
        .set("state = \"memory\"")
}

#[track_caller]
fn config(setup: &Setup, line: &str) -> Finished {
    let mut arguments = vec!["--log-format", "json", "config"];
    arguments.extend(line.split(' '));
    setup.hotshoe(&arguments)
}

#[track_caller]
fn refused(setup: &Setup, line: &str) -> String {
    let finished = config(setup, line);
    assert_eq!(finished.stdout, "", "{finished:#?}");
    finished.error_code()
}

/// Another program, on the port that an address file names.
struct Stranger(TcpListener);

impl Stranger {
    /// A host of that config is killed, and the stranger comes by its port.
    #[track_caller]
    fn behind_a_killed_host(setup: &Setup, instance: &str) -> Self {
        let mut host = ready(setup);
        host.signal(Signal::KILL);
        host.wait_exit();
        let stranger = Self(TcpListener::bind("127.0.0.1:0").unwrap());
        let file = setup.run_dir().join(format!("{instance}.addr"));
        assert!(file.exists(), "a killed host removes nothing");
        fs::write(file, format!("http://{}\n", stranger.address())).unwrap();
        stranger
    }

    fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// Nobody as much as connected.
    #[track_caller]
    fn heard_nothing(&self) {
        self.0.set_nonblocking(true).unwrap();
        let error = self.0.accept().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

/// A change that would bring a token along.
fn change_with_token(setup: &Setup) -> String {
    let token = setup.file("token", b"0123456789abcdef0123456789abcdef\n");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    format!("set /value 5 --token-file {}", token.display())
}

/// Also where a start in between failed, which takes the admin socket away that would have told.
#[test]
fn a_stranger_on_the_port_of_a_dead_host_is_not_asked() {
    for tables in ["", NO_ADMIN] {
        let setup = Setup::new();
        setup.entries(tables, &[listener("p")]);
        let stranger = Stranger::behind_a_killed_host(&setup, "p");
        let change = change_with_token(&setup);
        assert_eq!(refused(&setup, &change), "no-host", "{tables}");

        let taken = Entry::of("p", artifacts::library("hotshoe-dynamic-config"))
            .set(&format!("listen = [{:?}]", stranger.address()))
            .set("state = \"memory\"");
        setup.entries(tables, &[taken]);
        let finished = setup.run();
        finished.assert_code(4);
        assert_eq!(finished.error_code(), "config-port-taken");
        assert_eq!(refused(&setup, &change), "no-host", "{tables}");
        assert!(!setup.run_dir().join("p.addr").exists(), "{tables}");
        stranger.heard_nothing();
    }
}

/// The next host has no such plugin any more, or calls it otherwise.
#[test]
fn an_address_of_the_host_before_is_not_one_of_this_host() {
    for tables in ["", NO_ADMIN] {
        let setup = Setup::new();
        setup.entries(tables, &[listener("p")]);
        let stranger = Stranger::behind_a_killed_host(&setup, "p");
        let change = change_with_token(&setup);
        let other = Entry::of("other", artifacts::library("hotshoe-message-config"));
        setup.entries(tables, &[other]);
        let mut host = ready(&setup);
        assert_eq!(refused(&setup, &change), "no-listener", "{tables}");
        host.stop();
        stranger.heard_nothing();

        setup.entries(tables, &[listener("p")]);
        let stranger = Stranger::behind_a_killed_host(&setup, "p");
        setup.entries(tables, &[listener("q")]);
        let mut host = ready(&setup);
        config(&setup, &change).assert_code(0);
        assert_eq!(config(&setup, "get /value").stdout, "5\n", "{tables}");
        host.stop();
        stranger.heard_nothing();
    }
}

/// A host that is alive is asked for its addresses; what else lies in its run folder is not read.
#[test]
fn an_address_that_the_host_does_not_name_is_not_asked() {
    let setup = Setup::new();
    setup.entries("", &[listener("p")]);
    let mut host = ready(&setup);
    let stranger = Stranger(TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("http://{}\n", stranger.address());
    for name in ["p.addr", "ghost.addr"] {
        fs::write(setup.run_dir().join(name), &url).unwrap();
    }
    assert_eq!(config(&setup, "get /value").stdout, "10\n");
    assert_eq!(refused(&setup, "get --plugin ghost"), "no-such-plugin");
    host.stop();
    stranger.heard_nothing();
}

/// The plugin's address file may lie in a folder of its own; the host knows the address all the same.
#[test]
fn a_plugin_with_a_run_dir_of_its_own_is_found() {
    let setup = Setup::new();
    let elsewhere = setup.scratch("elsewhere");
    let entry = listener("p").set(&format!("run_dir = {:?}", elsewhere.display().to_string()));
    setup.entries("", &[entry]);
    let mut host = ready(&setup);
    assert!(elsewhere.join("p.addr").exists() && !setup.run_dir().join("p.addr").exists());
    assert_eq!(config(&setup, "get /value").stdout, "10\n");
    config(&setup, "set /value 5").assert_code(0);
    host.stop();
}

/// One whose process died for good listens nowhere, and does not say that it does.
#[test]
fn a_plugin_that_is_quarantined_leaves_no_address() {
    let setup = Setup::new();
    let entry = listener("p")
        .key("isolation = \"process\"")
        .key("required = false")
        .key("restart = { attempts = 0 }");
    setup.entries("", &[entry]);
    if setup.check().code != Some(0) {
        // No isolation here.
        return;
    }
    let mut host = ready(&setup);
    assert!(setup.run_dir().join("p.addr").exists());
    let worker = host.worker("p").unwrap();
    rustix::process::kill_process(worker, Signal::KILL).unwrap();
    host.wait_log("the quarantine", |line| {
        line.sentence().contains("[quarantined]")
    });
    assert!(!setup.run_dir().join("p.addr").exists());
    assert_eq!(refused(&setup, "get"), "no-listener");
    host.terminate();
}
