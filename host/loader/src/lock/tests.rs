//! The text of a lock, what is refused of one, and what differs between two.

use super::*;
use proptest::prelude::*;

fn record(name: &str, byte: u8) -> LockedLibrary {
    LockedLibrary {
        name: name.to_owned(),
        library: format!("./lib{name}.so"),
        version: "0.1.0".to_owned(),
        abi: "1.0.0".to_owned(),
        size: 4711,
        sha256: hex(&[byte; 32]),
        neighbours: Vec::new(),
    }
}

#[test]
fn the_text_is_sorted_one_key_a_line_and_read_back_as_it_was() {
    let mut b = record("b", 2);
    b.library = "a \"quoted\"\\path\n".to_owned();
    b.neighbours = ["lib/z.so", "lib/a.so"]
        .map(|file| LockedNeighbour {
            file: file.to_owned(),
            sha256: hex(&[9; 32]),
        })
        .to_vec();
    let lock = Lock::new(vec![b, record("a", 1)]);
    let text = lock.text();
    let head = "# Written by `hotshoe lock`; keep it beside the configuration, and under version control.\n\
                format = 1\n\n[[library]]\nname = \"a\"\nlibrary = \"./liba.so\"\nversion = \"0.1.0\"\nabi = \"1.0.0\"\nsize = \
                4711\nsha256 = \"0101";
    assert!(text.starts_with(head), "{text}");
    let (first, second) = (text.find("lib/a.so"), text.find("lib/z.so"));
    assert!(first.is_some() && first < second, "{text}");
    assert_eq!(Lock::parse(text.as_bytes()), Ok(lock));
    assert_eq!(Lock::parse(b"format = 1\n"), Ok(Lock::default()));
}

#[test]
fn what_is_no_lock_is_refused_with_its_place() {
    let check = |text: &str, line: usize, column: usize, said: &str| {
        let fault = Lock::parse(text.as_bytes()).expect_err("no lock");
        let place = (fault.line, fault.column);
        assert_eq!(place, (line, column), "{fault:?} in {text}");
        let words = format!("{} {}", fault.wanted, fault.found);
        assert!(words.contains(said), "{words}");
    };
    check("", 1, 1, "format");
    check("format = 1\nlibrary = ?\n", 2, 11, "");
    check("format = 2\nbooks = 1\n", 1, 10, "format = 2");
    check("format = \"1\"\n", 1, 10, "");
    check("format = 1\nbooks = 1\n", 2, 1, "books");
    check("format = 1\n[[library]]\nname = 7\n", 3, 8, "");
    let one = Lock::new(vec![record("a", 1)]).text();
    check(&one.replace("sha256 = \"01", "sha256 = \"0"), 4, 1, "64");
    check(&one.replace("sha256 = \"01", "sha256 = \"0A"), 4, 1, "64");
    check(&one.replace("size = 4711", "size = -1"), 9, 8, "");
    check(&one.replace("abi = ", "api = "), 8, 1, "api");
    let record = one.split_once("\n[[").expect("a record").1;
    check(&format!("{one}\n[[{record}"), 12, 1, "`a` twice");
    let fault = Lock::parse(b"format = 1\n\xff").expect_err("no text");
    assert_eq!((fault.line, fault.column), (2, 1));
    let deep = format!("format = 1\nx = {}", "[".repeat(100_000));
    assert!(Lock::parse(deep.as_bytes()).is_err());
    // Eighty tables, each by a key of eighty parts: more than a thread's stack holds.
    let parts = vec!["a"; 80].join(".");
    let deeper = format!("format = 1\nx = {}", format!("{{ {parts} = ").repeat(80));
    check(&deeper, 2, 8, "dotted");
    check("format = 1\n['a']\n\"b\\\".\"   .c = 1", 3, 10, "dotted");
    check("format = 1\nx = \"\"\"\n.", 2, 5, "several lines");
    assert!(Lock::parse(b"format = 1 # v1.0 \"\n").is_ok());
    let long = vec![b'#'; usize::try_from(LOCK_BYTES_MAX).expect("fits") + 1];
    assert!(Lock::parse(&long).is_err());
}

#[test]
fn other_bytes_are_a_mismatch_and_an_unknown_instance_is_none() {
    let lock = Lock::new(vec![record("a", 1), record("b", 2)]);
    let path = Path::new("liba.so");
    let judge = |found: &LockedLibrary, named| lock.judge(path, found, named);
    let by_config = Named::ByTheConfiguration;
    assert_eq!(judge(&record("a", 1), by_config), Ok(true));
    assert_eq!(judge(&record("c", 3), by_config), Ok(false));
    let refusal = judge(&record("a", 3), by_config).expect_err("other bytes");
    assert_eq!(refusal.code, RefusalCode::HashMismatch);
    assert!(refusal.wanted.contains(&hex(&[1; 32])) && refusal.found.contains(&hex(&[3; 32])));
    let mut brings = record("a", 1);
    brings.neighbours.push(LockedNeighbour {
        file: "x.so".to_owned(),
        sha256: hex(&[4; 32]),
    });
    assert!(judge(&brings, by_config).is_err());
}

/// A library names what it needs in an order of its own; a lock holds it sorted.
#[test]
fn the_order_that_neighbours_are_found_in_is_none_of_the_lock_s_business() {
    use crate::stage::{Neighbour, Staging, stage};
    let folder = tempfile::tempdir().expect("tempdir");
    let staging = Staging::Directory(folder.path().to_path_buf());
    let neighbour = |name: &str| Neighbour {
        place: name.into(),
        bytes: name.into(),
    };
    let path = Path::new("liba.so");
    let found = |neighbours: [&str; 2]| {
        let staged = stage(path, b"abc", &neighbours.map(neighbour), &staging).expect("staged");
        let subject = Subject {
            name: "a".to_owned(),
            version: "0.1.0".to_owned(),
            abi: "1.0.0".to_owned(),
            len_bytes: 3,
            sha256: *staged.sha256(),
        };
        LockedLibrary::of("a", "./liba.so", &subject, &staged)
    };
    let lock = Lock::new(vec![found(["libz.so", "liba-dep.so"])]);
    let lock = Lock::parse(lock.text().as_bytes()).expect("as it was written");
    for order in [["libz.so", "liba-dep.so"], ["liba-dep.so", "libz.so"]] {
        let judged = lock.judge(path, &found(order), Named::ByTheConfiguration);
        assert_eq!(judged, Ok(true), "{order:?}");
    }
}

/// A tampered library may call itself what the lock has never heard of; its path is still the same.
#[test]
fn a_library_that_names_itself_does_not_get_out_of_the_lock_by_another_name() {
    let lock = Lock::new(vec![record("a", 1)]);
    let mut found = record("evil", 3);
    found.library = "./liba.so".to_owned();
    let judge = |found: &LockedLibrary, named| lock.judge(Path::new("liba.so"), found, named);
    let refusal = judge(&found, Named::ByItself).expect_err("other bytes");
    assert_eq!(refusal.code, RefusalCode::HashMismatch);
    // A second instance of locked bytes, and one whose name the operator chose, are merely not locked yet.
    found.sha256 = hex(&[1; 32]);
    assert_eq!(judge(&found, Named::ByItself), Ok(false));
    found.sha256 = hex(&[3; 32]);
    assert_eq!(judge(&found, Named::ByTheConfiguration), Ok(false));
}

#[test]
fn every_difference_is_named() {
    let mut moved = record("d", 4);
    moved.library = "./elsewhere.so".to_owned();
    let locked = Lock::new(vec![record("a", 1), record("b", 2), record("d", 4)]);
    let now = Lock::new(vec![record("b", 3), record("c", 1), moved.clone()]);
    let expected = [
        Difference::Bytes {
            locked: record("b", 2),
            found: record("b", 3),
        },
        Difference::Missing(record("c", 1)),
        Difference::Description {
            locked: record("d", 4),
            found: moved,
        },
        Difference::Stale(record("a", 1)),
    ];
    assert_eq!(locked.differences(&now), expected);
    assert_eq!(now.differences(&now), []);
    let names: Vec<&str> = expected
        .iter()
        .map(|difference| difference.words().0)
        .collect();
    assert_eq!(names, ["b", "c", "d", "a"]);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Lock::parse(&bytes);
    }

    #[test]
    fn whatever_was_locked_is_read_back(names in proptest::collection::vec("\\PC{0,20}", 0..8), size in 0..=i64::MAX as u64) {
        let records = names.iter().map(|name| LockedLibrary { size, library: name.clone(), ..record(name, 1) });
        let lock = Lock::new(records.collect());
        prop_assert_eq!(Lock::parse(lock.text().as_bytes()), Ok(lock));
    }
}
