//! Which test shows which row: of the errors that a client can read (config-api §4), and of the faults that are survived
//! (§11). A slug without a test that earns it from the real binary, or a test that is gone, fails here.

use crate::live_config::slugs;
use hotshoe_tests::artifacts::workspace_root;
use std::{collections::BTreeSet, fs};

/// A test and the file of this folder that it is in; for one that lies elsewhere, the path from the workspace.
type Test = (&'static str, &'static str);

const EARNED_BY: &[(&str, Test)] = &[
    (
        "bad-host",
        ("guards.rs", "c07_only_our_own_names_are_hosts"),
    ),
    (
        "bad-json",
        ("bodies.rs", "c13_what_is_no_json_is_told_where"),
    ),
    (
        "duplicate-key",
        ("bodies.rs", "c14_a_name_twice_is_refused_at_the_second"),
    ),
    (
        "number-out-of-range",
        ("bodies.rs", "c15_numbers_and_nesting_have_an_end"),
    ),
    (
        "too-deep",
        ("bodies.rs", "c15_numbers_and_nesting_have_an_end"),
    ),
    (
        "bad-pointer",
        ("edits.rs", "c18_a_pointer_reaches_every_key"),
    ),
    (
        "bad-query",
        ("conditions.rs", "c24_a_dry_run_tells_and_changes_nothing"),
    ),
    (
        "unknown-query",
        ("conditions.rs", "c24_a_dry_run_tells_and_changes_nothing"),
    ),
    (
        "bad-header",
        ("conditions.rs", "c10_a_precondition_is_kept"),
    ),
    ("bad-patch", ("edits.rs", "c21_a_patch_is_all_or_nothing")),
    (
        "token-required",
        ("guards.rs", "c49_with_a_token_the_token_decides"),
    ),
    (
        "token-invalid",
        ("guards.rs", "c49_with_a_token_the_token_decides"),
    ),
    (
        "host-refused",
        ("guards.rs", "c07_only_our_own_names_are_hosts"),
    ),
    (
        "peer-refused",
        ("refusals.rs", "another_user_is_refused_on_the_socket"),
    ),
    (
        "browser-refused",
        ("guards.rs", "c05_pages_neither_change_nor_read"),
    ),
    (
        "no-such-route",
        ("demo.rs", "c06_other_ways_to_the_root_change_nothing"),
    ),
    (
        "touch-disabled",
        ("demo.rs", "c06_without_touch_there_is_none"),
    ),
    (
        "pointer-not-found",
        ("edits.rs", "c19_elements_are_appended_and_replaced"),
    ),
    (
        "generation-not-found",
        (
            "history.rs",
            "c32_an_old_value_comes_back_as_a_new_generation",
        ),
    ),
    (
        "generation-gone",
        ("history.rs", "c33_what_is_no_longer_kept_is_gone"),
    ),
    (
        "method-not-allowed",
        ("demo.rs", "c06_other_ways_to_the_root_change_nothing"),
    ),
    (
        "body-timeout",
        ("refusals.rs", "a_body_that_does_not_end_is_given_up_on"),
    ),
    (
        "confirm-pending",
        ("confirm.rs", "c28_while_one_change_waits_no_other_is_taken"),
    ),
    (
        "nothing-to-confirm",
        ("confirm.rs", "c27_a_confirmed_change_stays"),
    ),
    (
        "readers-nacked",
        ("refusals.rs", "what_a_reader_rejects_is_not_confirmed"),
    ),
    (
        "patch-test-failed",
        ("edits.rs", "c21_a_patch_is_all_or_nothing"),
    ),
    (
        "patch-path-missing",
        ("edits.rs", "c21_a_patch_is_all_or_nothing"),
    ),
    (
        "touch-overflow",
        ("demo.rs", "c08_a_touch_over_the_edge_changes_nothing"),
    ),
    (
        "touch-not-integer",
        ("refusals.rs", "a_touch_needs_an_integer"),
    ),
    (
        "generation-mismatch",
        ("conditions.rs", "c10_a_precondition_is_kept"),
    ),
    (
        "body-too-large",
        ("framing.rs", "c52_a_body_one_byte_over_is_refused"),
    ),
    (
        "document-too-large",
        ("edits.rs", "c22_a_patch_cannot_grow_without_end"),
    ),
    (
        "unsupported-media-type",
        ("conditions.rs", "c23_only_json_is_taken_as_json"),
    ),
    (
        "schema-violation",
        ("bodies.rs", "c16_what_the_schema_refuses_is_pointed_at"),
    ),
    (
        "plugin-veto",
        (
            "confirm.rs",
            "c25_a_plugin_may_veto_and_its_faults_are_refusals",
        ),
    ),
    (
        "if-match-required",
        ("conditions.rs", "c10_a_precondition_can_be_demanded"),
    ),
    (
        "rate-limited",
        ("more.rs", "limits_of_a_peer_are_for_other_machines"),
    ),
    // A panic of our own, which no client can bring about: a handler of the listener's is broken on purpose there.
    (
        "internal",
        (
            "plugins/dynamic-config/src/tests/surface.rs",
            "a_panic_in_a_handler_is_an_answer",
        ),
    ),
    (
        "veto-panicked",
        (
            "confirm.rs",
            "c25_a_plugin_may_veto_and_its_faults_are_refusals",
        ),
    ),
    (
        "storage-failed",
        ("faults.rs", "c46_a_failed_write_ends_in_read_only"),
    ),
    (
        "scope-not-available",
        ("conditions.rs", "c24_a_dry_run_tells_and_changes_nothing"),
    ),
    (
        "not-ready",
        ("faults.rs", "c46_a_failed_write_ends_in_read_only"),
    ),
    (
        "shutting-down",
        ("refusals.rs", "a_change_that_comes_too_late_is_refused"),
    ),
    (
        "store-readonly",
        ("faults.rs", "c46_a_failed_write_ends_in_read_only"),
    ),
    ("busy", ("refusals.rs", "the_queue_of_changes_has_an_end")),
    (
        "veto-timeout",
        (
            "confirm.rs",
            "c25_a_plugin_may_veto_and_its_faults_are_refusals",
        ),
    ),
    (
        "too-many-connections",
        ("refusals.rs", "connections_have_an_end"),
    ),
    (
        "too-many-watchers",
        ("watch.rs", "c37_watchers_have_a_limit_of_their_own"),
    ),
    (
        "disk-full",
        (
            "faults.rs",
            "c44_a_full_disk_changes_nothing_and_room_is_enough_to_go_on",
        ),
    ),
];

/// The faults of §11, each with what shows that it is survived.
const FAULTS: &[(&str, &[Test])] = &[
    (
        "kill -9 anywhere",
        &[
            ("durable.rs", "c30_a_pending_change_does_not_survive_a_kill"),
            (
                "durable.rs",
                "c40_what_was_acknowledged_survives_a_kill_at_any_time",
            ),
            (
                "durable.rs",
                "c40_what_was_acknowledged_survives_a_kill_at_each_call",
            ),
        ],
    ),
    (
        "power loss",
        &[
            ("durable.rs", "c41_a_torn_tail_is_dropped_and_said"),
            // No test takes the power away; what it leaves of a file is written by hand there.
            (
                "host/src/services/config/journal/tests.rs",
                "blocks_lost_at_a_power_failure_are_a_torn_tail",
            ),
        ],
    ),
    (
        "disk full",
        &[
            (
                "faults.rs",
                "c44_a_full_disk_changes_nothing_and_room_is_enough_to_go_on",
            ),
            ("faults.rs", "c45_the_way_back_fits_on_a_full_disk"),
        ],
    ),
    (
        "I/O error on write or sync",
        &[
            ("faults.rs", "c46_a_failed_write_ends_in_read_only"),
            ("faults.rs", "c46_a_failed_sync_ends_in_read_only"),
        ],
    ),
    (
        "state directory deleted while running",
        &[(
            "faults.rs",
            "a_folder_that_is_deleted_ends_in_read_only_at_the_next_segment",
        )],
    ),
    (
        "clock jumps",
        &[(
            "faults.rs",
            "a_clock_that_jumps_moves_no_deadline_and_no_generation",
        )],
    ),
    (
        "out of descriptors; listener thread dies",
        &[
            (
                "faults.rs",
                "without_descriptors_nobody_new_is_accepted_and_the_others_are_served",
            ),
            // Nothing that a client sends ends that thread; the next connection is made to find a bug there.
            (
                "plugins/dynamic-config/src/tests/bounds.rs",
                "a_listener_is_started_again_on_the_same_sockets",
            ),
        ],
    ),
    (
        "isolated plugin process dies",
        &[
            (
                "stream.rs",
                "c54_the_death_of_the_listener_is_nothing_to_records_and_values",
            ),
            (
                "stream.rs",
                "c54_a_listener_that_dies_under_load_loses_nothing",
            ),
            ("faults.rs", "a_change_is_refused_when_its_checker_dies"),
            (
                "faults.rs",
                "a_change_is_refused_when_who_asked_for_it_dies",
            ),
            (
                "faults.rs",
                "a_change_is_refused_when_who_asked_for_it_is_unloaded",
            ),
        ],
    ),
];

/// The functions of a file that is formatted as rustfmt does: their names, whether they are tests, their text.
fn functions(source: &str) -> Vec<(&str, bool, &str)> {
    let mut found = Vec::new();
    let mut is_test = false;
    let mut rest = source;
    while let Some((line, more)) = rest.split_once('\n') {
        let signature = line
            .split_once("fn ")
            .filter(|(before, _)| matches!(*before, "" | "pub(super) " | "pub(crate) "));
        if let Some((_, signature)) = signature {
            let end = signature.find(['(', '<']).unwrap();
            let (text, _) = rest.split_once("\n}\n").unwrap();
            found.push((&signature[..end], is_test, text));
        }
        is_test = line == "#[test]" || is_test && line.starts_with("#[");
        rest = more;
    }
    found
}

/// The text of a test, and of the functions of its file that it calls.
#[track_caller]
fn text_of((file, name): Test) -> String {
    let path = match file.contains('/') {
        true => workspace_root().join(file),
        false => workspace_root().join("tests/suite/config_api").join(file),
    };
    let source = fs::read_to_string(&path).unwrap();
    let functions = functions(&source);
    let named = functions
        .iter()
        .find(|(found, is_test, _)| *found == name && *is_test);
    let (_, _, text) = named.unwrap_or_else(|| panic!("{file} has no test {name}"));
    let called = functions.iter().filter(|(other, is_test, _)| {
        let call = format!("{other}(");
        !is_test && text.contains(&call)
    });
    let texts = called.map(|(_, _, text)| *text);
    [*text].into_iter().chain(texts).collect()
}

#[test]
fn every_refusal_is_earned_by_a_test() {
    let served: BTreeSet<String> = slugs().into_iter().map(|(slug, _)| slug).collect();
    let earned: BTreeSet<String> = EARNED_BY.iter().map(|(slug, _)| (*slug).into()).collect();
    assert_eq!(earned, served, "a row for each slug of the server's table");
    assert_eq!(earned.len(), EARNED_BY.len(), "one row for each");
    for (slug, test) in EARNED_BY {
        let names_it = text_of(*test).contains(&format!("\"{slug}\""));
        assert!(names_it, "{test:?} does not speak of {slug}");
    }
}

#[test]
fn every_fault_is_shown_by_a_test() {
    for (fault, tests) in FAULTS {
        for test in *tests {
            assert!(!text_of(*test).is_empty(), "{fault}: {test:?}");
        }
    }
}

#[test]
fn functions_are_told_apart() {
    let source =
        "#[test]\n#[cfg(unix)]\nfn a() {\n    b(1);\n}\n\npub(super) fn b(n: u8) {\n    c();\n}\n";
    let expected = [
        ("a", true, "fn a() {\n    b(1);"),
        ("b", false, "pub(super) fn b(n: u8) {\n    c();"),
    ];
    assert_eq!(functions(source), expected);
}
