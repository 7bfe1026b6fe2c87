//! A segment of a journal. An input whose first byte is odd is taken as payloads, one a line, and framed first: a fuzzer
//! guesses no checksum, and so comes to what stands behind it. Where its second byte is odd too, the last line is cut.
#![no_main]

use hotshoe::fuzz::journal::{framed, segment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [first, second, rest @ ..] = bytes else {
        return;
    };
    if first % 2 == 0 {
        segment(rest);
        return;
    }
    let mut lines: Vec<u8> = rest.split(|byte| *byte == b'\n').flat_map(framed).collect();
    if second % 2 == 1 {
        let cut = usize::from(*second) % (lines.len() + 1);
        lines.truncate(lines.len() - cut);
    }
    segment(&lines);
});
