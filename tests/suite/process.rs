//! What belongs to the process and not to the library: the lock of the run folder.

use hotshoe_tests::Setup;

/// A second host of one name would share sockets, addresses and state with the first.
#[test]
fn a_second_host_of_the_same_name_is_refused() {
    let setup = Setup::new();
    setup.entries("", &[setup.misbehave("a")]);
    let mut first = setup.start();
    first.wait_ready();
    let second = setup.run();
    second.assert_code(4);
    assert_eq!(second.error_code(), "already-running");
    assert_eq!(setup.trace().count("a", "driver", "init"), 1);
    first.terminate();
    let mut third = setup.start();
    third.wait_ready();
    third.terminate();
}
