//! What a processor writes is an allegation: a batch that is too large or whose offsets lie is refused, and no record of it
//! comes out.

use hotshoe_tests::Setup;

const STREAM: &str = "[stream]\nsource = \"stdin\"\nprocessors = [\"a\"]\nretries = 0\n";

/// More than a call may write is the plugin's fault, and costs no more memory than the limit.
#[test]
fn an_output_over_the_limit_is_refused() {
    let setup = Setup::new();
    setup.entries(STREAM, &[setup.misbehave("a").set("process = \"huge\"")]);
    let mut host = setup.start();
    host.send_line("one");
    host.close_input();
    host.assert_exit(1);
    assert_eq!(host.stdout(), b"");
    let errors = host.errors();
    assert!(errors[0].starts_with("error[record-failed]"), "{errors:#?}");
    assert!(
        errors[0].contains("`a`") && errors[0].contains("268435456 bytes"),
        "{errors:#?}"
    );
}

/// Every way in which offsets can lie, past the glue that would not let an author write them.
#[test]
fn offsets_that_lie_are_refused() {
    for lie in [
        "not-from-zero",
        "falling",
        "short",
        "beyond",
        "bytes-without-offsets",
        "wrapping",
    ] {
        let setup = Setup::new();
        let a = setup
            .fixture("a", "lying-offsets")
            .set(&format!("lie = {lie:?}"));
        setup.entries(STREAM, &[a]);
        let mut host = setup.start();
        host.send(b"one\ntwo\n");
        host.close_input();
        host.assert_exit(1);
        assert_eq!(String::from_utf8_lossy(&host.stdout()), "", "{lie}");
        let errors = host.errors();
        assert!(
            errors[0].starts_with("error[record-failed]"),
            "{lie}: {errors:#?}"
        );
        assert!(
            errors[0].contains("`a`") && errors[0].contains("broken batch"),
            "{lie}: {errors:#?}"
        );
    }
}

/// The control run: the same library, telling the truth.
#[test]
fn offsets_that_do_not_lie_are_records() {
    let setup = Setup::new();
    let a = setup.fixture("a", "lying-offsets").set("lie = \"none\"");
    setup.entries(STREAM, &[a]);
    let mut host = setup.start();
    host.send(b"one\ntwo\n");
    host.close_input();
    host.assert_exit(0);
    assert_eq!(String::from_utf8_lossy(&host.stdout()), "one\ntwo\n");
}

/// No records at all may be said as no offsets at all.
#[test]
fn no_offsets_and_no_bytes_are_no_records() {
    let setup = Setup::new();
    let a = setup.fixture("a", "lying-offsets").set("lie = \"nothing\"");
    setup.entries(STREAM, &[a]);
    let mut host = setup.start();
    host.send(b"one\ntwo\n");
    host.close_input();
    host.assert_exit(0);
    assert_eq!(String::from_utf8_lossy(&host.stdout()), "");
}
