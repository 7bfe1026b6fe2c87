//! Compares each changed copy with the original, by the loader's own comparison, in both directions; prints one line each:
//! `number<TAB>direction<TAB>verdict`.

use abi_stable::{StableAbi, type_layout::TypeLayout};
use std::path::Path;

fn main() {
    for (index, changed) in copies::ALL.iter().enumerate() {
        let original = <copies::original::RootRef as StableAbi>::LAYOUT;
        // The number is the change's own, whichever of the programs holds it.
        let index = copies::FIRST + index;
        say(index, "new plugin in old host", original, changed);
        say(index, "old plugin in new host", changed, original);
    }
}

fn say(index: usize, direction: &str, host: &'static TypeLayout, plugin: &'static TypeLayout) {
    let compared =
        hotshoe_loader::compare_layouts(Path::new("libx.so"), env!("CARGO_PKG_NAME"), host, plugin);
    let verdict = match &compared {
        Ok(()) => "accepted".to_owned(),
        Err(refusal) => {
            let story = refusal
                .detail
                .as_deref()
                .unwrap_or_default()
                .lines()
                .count();
            format!("{}\t{}\t{story}", refusal.code.as_str(), refusal.found)
        }
    };
    println!("{index}\t{direction}\t{verdict}");
}
