//! What a file is that is no plugin: the answer an operator needs who named the wrong one.
//!
//! Recognises by the first bytes; refuses to be `file(1)`: it knows what people put into a plugin folder by mistake.

use crate::error::printable;

/// What the bytes are, to follow "is": `a script (#!/bin/sh)`. The first four kilobytes are enough.
#[must_use]
pub fn describe(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "an empty file".to_owned();
    }
    if let Some(what) = by_magic(bytes) {
        return what.to_owned();
    }
    let head = &bytes[..bytes.len().min(4096)];
    if let Some(interpreter) = head.strip_prefix(b"#!") {
        let line = interpreter
            .split(|&b| b == b'\n')
            .next()
            .unwrap_or_default();
        return format!("a script (#!{})", printable(line));
    }
    if head.iter().all(|&b| b == 0) {
        return "nothing but zeros".to_owned();
    }
    if is_text(head) {
        return text_kind(head);
    }
    "no file format that is known here".to_owned()
}

fn by_magic(bytes: &[u8]) -> Option<&'static str> {
    const MAGICS: &[(&[u8], &str)] = &[
        (b"\x7fELF", "an ELF file, but no shared library"),
        (
            b"!<arch>\n",
            "a static library (an ar archive; a crate needs crate-type \"cdylib\")",
        ),
        (b"!<thin>\n", "a static library (a thin ar archive)"),
        (b"\x1f\x8b", "a gzip archive; unpack it first"),
        (b"PK\x03\x04", "a zip archive; unpack it first"),
        (b"\xfd7zXZ\0", "an xz archive; unpack it first"),
        (b"BZh", "a bzip2 archive; unpack it first"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
        (b"\0asm", "a WebAssembly module"),
        (b"BC\xc0\xde", "LLVM bitcode"),
        (b"rust\0\0\0", "Rust metadata (an .rmeta file)"),
        (
            b"\xca\xfe\xba\xbe",
            "a Java class or a Mach-O file for several processors",
        ),
        (b"\xcf\xfa\xed\xfe", "a Mach-O file, but no shared library"),
        (b"\xce\xfa\xed\xfe", "a Mach-O file, but no shared library"),
        (b"MZ", "a DOS or Windows program, not a library"),
    ];
    if bytes.get(257..262) == Some(b"ustar") {
        return Some("a tar archive; unpack it first");
    }
    MAGICS
        .iter()
        .find(|(magic, _)| bytes.starts_with(magic))
        .map(|(_, what)| *what)
}

/// Valid UTF-8 (but for a character that the end cuts) without control characters.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && !text.chars().any(|c| c.is_control() && !c.is_whitespace())
}

fn text_kind(head: &[u8]) -> String {
    let start = head.trim_ascii_start();
    let lower = start[..start.len().min(16)].to_ascii_lowercase();
    let what = if lower.starts_with(b"<!doctype html") || lower.starts_with(b"<html") {
        "an HTML page (a download that failed?)"
    } else if start.starts_with(b"version https://git-") {
        "a git-lfs pointer (run `git lfs pull`)"
    } else if start.starts_with(b"INPUT(")
        || start.starts_with(b"GROUP(")
        || start.starts_with(b"/* GNU ld script")
    {
        "a linker script, not the library it points to"
    } else {
        "a text file"
    };
    what.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_people_put_there_by_mistake() {
        let tar = [&[b'x'; 257][..], b"ustar\x0000", &[0; 200]].concat();
        for (bytes, what) in [
            (&b""[..], "an empty file"),
            (b"#!/bin/sh\nrm -rf /\n", "a script (#!/bin/sh)"),
            (b"hello\nworld\n", "a text file"),
            ("gr\u{fc}\u{df}e".as_bytes(), "a text file"),
            (
                &"\u{fc}".as_bytes()[..1],
                "no file format that is known here",
            ),
            (
                b"  <!DOCTYPE html><html>",
                "an HTML page (a download that failed?)",
            ),
            (
                b"version https://git-lfs.github.com/spec/v1\n",
                "a git-lfs pointer (run `git lfs pull`)",
            ),
            (
                b"!<arch>\nfoo",
                "a static library (an ar archive; a crate needs crate-type \"cdylib\")",
            ),
            (b"\x1f\x8b\x08", "a gzip archive; unpack it first"),
            (b"\0asm\x01\0\0\0", "a WebAssembly module"),
            (&[0; 100], "nothing but zeros"),
            (&tar, "a tar archive; unpack it first"),
            (b"\x01\x02\x03\xff", "no file format that is known here"),
        ] {
            assert_eq!(describe(bytes), what);
        }
    }
}
