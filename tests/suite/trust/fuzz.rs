//! A short run of `fuzz_loader`, with a seed of its own: 20,000 damaged libraries, manifests, locks and signatures, and not one panic.

use super::{corpus::Corpus, mutation};
use hotshoe_tests::Setup;

#[test]
fn twenty_thousand_damaged_files_are_answered() {
    let setup = Setup::new();
    let libraries = Corpus::new(setup.scratch("corpus")).assortment();
    let counts = mutation::run(&libraries, 0x4075_40e5, 0, 20_000);
    assert!(counts.is_clean(), "{counts}");
    // The damage is neither so small that nothing is found, nor so large that nothing is read.
    for ((kind, accepted), refused) in mutation::KINDS
        .iter()
        .zip(counts.accepted)
        .zip(counts.refused)
    {
        let read = accepted > 20 || *kind == "signatures";
        assert!(read && refused > 1_000, "{kind}: {counts}");
    }
    assert!(counts.truncated > 100, "{counts}");
    // The same seed gives the same inputs.
    assert_eq!(
        mutation::run(&libraries, 7, 100, 500),
        mutation::run(&libraries, 7, 100, 500)
    );
}
