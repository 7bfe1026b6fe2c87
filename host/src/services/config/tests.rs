//! Topics with a journal, from a declaration to the files: what is durable, what a full or failing disk does, and what the
//! next start finds. The disk is real but for the calls that a test makes fail.

use super::*;
use crate::machine::store::{Expect, Operation};
use hotshoe_abi::{ChangeText, change_op};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

const DEADLINE: Duration = Duration::from_secs(20);
const NOSPC: i32 = 28;
const EIO: i32 = 5;

/// Makes calls fail, as long as it is told to.
#[derive(Default)]
struct Failing {
    reserve: AtomicBool,
    write: AtomicBool,
    sync: AtomicBool,
    syncs: AtomicU64,
}

impl Disk for Failing {
    fn reserve(&self, file: &File, at: u64, len: u64) -> io::Result<()> {
        match self.reserve.load(Ordering::SeqCst) {
            true => Err(io::Error::from_raw_os_error(NOSPC)),
            false => RealDisk.reserve(file, at, len),
        }
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.write.load(Ordering::SeqCst) {
            // As a full disk does: some of it is there.
            RealDisk.write(file, &bytes[..bytes.len() / 2], at)?;
            return Err(io::Error::from_raw_os_error(NOSPC));
        }
        RealDisk.write(file, bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        match self.sync.load(Ordering::SeqCst) {
            true => Err(io::Error::from_raw_os_error(EIO)),
            false => RealDisk.sync(file),
        }
    }
}

struct Place {
    root: tempfile::TempDir,
    disk: Arc<Failing>,
}

impl Place {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            disk: Arc::default(),
        }
    }

    fn service(&self, recover: Recover) -> ConfigService {
        self.service_on(Arc::clone(&self.disk) as _, recover)
    }

    fn service_on(&self, disk: Arc<dyn Disk>, recover: Recover) -> ConfigService {
        let home = Home {
            state_dir: self.root.path().join("state"),
            recover,
            disk,
        };
        ConfigService::on(home, EpochPage::create(), Arc::default())
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("state/config/dynamic-config")
    }

    /// Names and bytes of the segments.
    fn segments(&self) -> Vec<(String, Vec<u8>)> {
        let names = fs::read_dir(self.folder()).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".hsj"))
            .collect();
        names.sort();
        let read = |name: String| {
            let bytes = fs::read(self.folder().join(&name)).unwrap();
            (name, bytes)
        };
        names.into_iter().map(read).collect()
    }

    fn only(&self) -> PathBuf {
        self.folder().join(&self.segments()[0].0)
    }
}

const VALUE: &str = r#"{"additionalProperties":false,"properties":{"value":{"type":"integer"}},"required":["value"],"type":"object"}"#;

fn declare_as(
    service: &ConfigService,
    schema: &str,
    initial: &str,
    settings: &str,
) -> Result<Opened, Failure> {
    service.declare(
        "dynamic-config",
        &Declaration {
            schema: schema.as_bytes().into(),
            initial: initial.as_bytes().into(),
            settings: settings.as_bytes().into(),
        },
    )
}

fn declare(service: &ConfigService) -> Result<Opened, Failure> {
    let settings = r#"{"state":"dir","touch":{"step":10}}"#;
    declare_as(service, VALUE, "{\"value\":10}", settings)
}

fn put(value: i64) -> store::Change {
    change(Operation::Set {
        pointer: String::new(),
        value: json!({"value": value}),
    })
}

fn change(operation: Operation) -> store::Change {
    store::Change {
        operation,
        expect: Expect::Absent,
        dry_run: false,
        confirm: None,
        by: "tcp:127.0.0.1".into(),
    }
}

fn provisional(value: i64, wait: Duration) -> store::Change {
    store::Change {
        confirm: Some(wait),
        ..put(value)
    }
}

fn apply_all(service: &ConfigService, changes: Vec<store::Change>) -> Answers {
    let (sender, receiver) = mpsc::channel();
    let answer = Box::new(move |answers| sender.send(answers).unwrap());
    service.enqueue("dynamic-config", changes, answer).unwrap();
    receiver.recv_timeout(DEADLINE).unwrap()
}

fn apply(service: &ConfigService, change: store::Change) -> Result<Applied, ChangeError> {
    apply_all(service, vec![change]).remove(0)
}

fn generation(service: &ConfigService, change: store::Change) -> u64 {
    let applied = apply(service, change).unwrap();
    assert!(applied.durable && applied.changed);
    applied.generation
}

fn slug(service: &ConfigService, change: store::Change) -> String {
    apply(service, change).unwrap_err().slug.into_string()
}

fn value(service: &ConfigService) -> String {
    let snapshot = service.snapshot("dynamic-config", 0).unwrap();
    String::from_utf8(snapshot.document.to_vec()).unwrap()
}

fn status(service: &ConfigService) -> serde_json::Value {
    serde_json::from_slice(&service.status("dynamic-config").unwrap()).unwrap()
}

fn history(service: &ConfigService) -> Vec<(u64, String)> {
    let entries = service.history("dynamic-config", 0, 1000).unwrap();
    let read = |entry: &HistoryEntry| {
        let item: serde_json::Value = serde_json::from_slice(&entry.item).unwrap();
        (entry.generation, item["op"].as_str().unwrap().to_owned())
    };
    entries.iter().map(read).collect()
}

/// Waits on the store itself until the current generation is newer.
fn wait(service: &ConfigService, after: u64) -> u64 {
    let open = Arc::new(AtomicBool::new(false));
    service
        .wait(
            "dynamic-config",
            after,
            DEADLINE,
            Waiter {
                instance: "reader",
                closed: &open,
            },
        )
        .unwrap()
}

#[test]
fn what_was_answered_is_there_after_a_restart() {
    let place = Place::new();
    let service = place.service(Recover::No);
    let opened = declare(&service).unwrap();
    assert!(opened.durable && !opened.recovered);
    assert_eq!(generation(&service, put(20)), 2);
    assert_eq!(generation(&service, change(Operation::Touch)), 3);
    assert!(!apply(&service, put(30)).unwrap().changed);
    let bytes = place.segments()[0].1.clone();
    assert_eq!(status(&service)["history"]["bytes"], bytes.len());
    assert_eq!(status(&service)["durable"], true);
    service.close();

    let service = place.service(Recover::Newest);
    let again = declare(&service).unwrap();
    assert!(again.durable && again.recovered);
    assert_eq!((again.generation, &again.store), (3, &opened.store));
    assert_eq!(value(&service), "{\"value\":30}");
    let ops = [(3, "touch"), (2, "put"), (1, "initial")];
    assert_eq!(history(&service), ops.map(|(g, op)| (g, op.to_owned())));
    assert_eq!(
        place.segments()[0].1,
        bytes,
        "a healthy store is left as it is"
    );
    // Declared again while it runs: the same store.
    assert_eq!(declare(&service).unwrap().generation, 3);
    assert_eq!(generation(&service, put(1)), 4);
}

#[test]
fn a_topic_in_memory_writes_nothing() {
    let place = Place::new();
    let service = place.service(Recover::No);
    let opened = declare_as(&service, VALUE, "{\"value\":10}", r#"{"state":"memory"}"#).unwrap();
    assert!(!opened.durable);
    assert!(!apply(&service, put(20)).unwrap().durable);
    assert!(!place.root.path().join("state").exists());
    let changed = declare(&service).unwrap_err();
    assert_eq!(changed.code, "config-bad-setting");
    for bad in [
        r#"{"state":"disk"}"#,
        r#"{"state":"dir","state_dir":"here"}"#,
    ] {
        let other = place.service(Recover::No);
        let refused = declare_as(&other, VALUE, "{\"value\":10}", bad).unwrap_err();
        assert_eq!(refused.code, "config-bad-setting", "{bad}");
    }
}

#[test]
fn a_group_is_one_sync() {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    let before = place.disk.syncs.load(Ordering::SeqCst);
    let stale = store::Change {
        expect: Expect::OneOf(vec![1]),
        ..put(5)
    };
    let mut changes: Vec<_> = (0..50).map(put).collect();
    changes.insert(25, stale);
    let answers = apply_all(&service, changes);
    assert_eq!(place.disk.syncs.load(Ordering::SeqCst), before + 1);
    let generations: Vec<_> = answers.iter().flatten().map(|a| a.generation).collect();
    assert_eq!(generations, (2..=51).collect::<Vec<u64>>());
    assert_eq!(
        answers[25].as_ref().unwrap_err().slug,
        "generation-mismatch"
    );
    assert_eq!(status(&service)["generation"], 51);
}

/// C44, with the reserve refused.
#[test]
fn without_room_nothing_is_written_and_with_room_it_goes_on() {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    let bytes = place.segments();
    for full in [&place.disk.reserve, &place.disk.write] {
        full.store(true, Ordering::SeqCst);
        assert_eq!(slug(&service, put(20)), "disk-full");
        let both = apply_all(&service, vec![put(20), put(10), put(20), put(21)]);
        let slugs: Vec<_> = both
            .iter()
            .map(|answer| answer.as_ref().map_or_else(|e| e.slug.as_str(), |_| ""))
            .collect();
        // The second is a no-op on what is still current.
        assert_eq!(slugs, ["disk-full", "", "disk-full", "disk-full"]);
        assert_eq!(value(&service), "{\"value\":10}");
        assert_eq!(status(&service)["read_only"], false);
        assert_eq!(place.segments(), bytes);
        full.store(false, Ordering::SeqCst);
    }
    assert_eq!(generation(&service, put(20)), 2);
}

/// config-api §8: it goes back by itself, and once nobody objects any more it may be confirmed.
#[test]
fn what_a_reader_cannot_decode_is_not_confirmed() {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    let wait = Duration::from_secs(600);
    assert_eq!(generation(&service, provisional(20, wait)), 2);
    let confirm = || change(Operation::Confirm { generation: None });
    // An objection to what was before is none to this.
    service.nacked("dynamic-config", "other on 1", 1, "too old");
    service.nacked("dynamic-config", "append on 0", 2, "expected a string");
    let bytes = place.segments();
    assert_eq!(slug(&service, confirm()), "readers-nacked");
    let shown = status(&service);
    assert_eq!(shown["confirm"]["base"], 1, "it still waits: {shown}");
    let nacked = json!({"error": "expected a string", "generation": 2, "reader": "append on 0"});
    assert_eq!(shown["readers"]["nacked"][0], nacked, "{shown}");
    assert_eq!(place.segments(), bytes);
    service.read_by("dynamic-config", "append on 0", 2);
    assert!(apply(&service, confirm()).is_ok());
}

/// C45.
#[test]
fn the_way_back_has_its_room() {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    assert_eq!(
        generation(&service, provisional(20, Duration::from_millis(50))),
        2
    );
    place.disk.reserve.store(true, Ordering::SeqCst);
    assert_eq!(wait(&service, 2), 3);
    assert_eq!(value(&service), "{\"value\":10}");
    assert_eq!(status(&service)["warnings"], json!([]));
    assert_eq!(slug(&service, put(1)), "disk-full");
    service.close();
    let service = place.service(Recover::No);
    assert_eq!(declare(&service).unwrap().generation, 3);
    assert_eq!(history(&service)[0].1, "auto-rollback");
}

#[test]
fn a_way_back_that_cannot_be_written_is_in_force_and_written_later() {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    // Longer than a disk may take for the change itself, which comes before the fault.
    generation(&service, provisional(20, Duration::from_secs(2)));
    place.disk.write.store(true, Ordering::SeqCst);
    assert_eq!(wait(&service, 2), 3);
    assert_eq!(value(&service), "{\"value\":10}");
    let shown = status(&service);
    assert_eq!(shown["warnings"], json!(["rollback-not-durable"]));
    assert_eq!(shown["read_only"], true);
    assert_eq!(slug(&service, put(1)), "store-readonly");
    place.disk.write.store(false, Ordering::SeqCst);
    let begun = clock::monotonic();
    while status(&service)["read_only"] == true {
        assert!(clock::monotonic() - begun < DEADLINE);
        // Each refusal makes the writer look whether it is time.
        let _ = apply(&service, change(Operation::Confirm { generation: None }));
    }
    assert_eq!(generation(&service, put(1)), 4);
    service.close();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    let ops: Vec<_> = history(&service).into_iter().map(|(_, op)| op).collect();
    assert_eq!(ops, ["put", "auto-rollback", "put", "initial"]);
}

/// C46.
#[test]
fn a_failed_sync_makes_the_topic_read_only_until_a_restart() {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    let bytes = place.segments();
    place.disk.sync.store(true, Ordering::SeqCst);
    let answers = apply_all(&service, vec![put(10), put(20), put(20), put(30)]);
    let slugs: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().map_or_else(|e| e.slug.as_str(), |_| ""))
        .collect();
    // A no-op before the failure stands; one that was evaluated on what never was does not.
    assert_eq!(
        slugs,
        ["", "storage-failed", "store-readonly", "store-readonly"]
    );
    place.disk.sync.store(false, Ordering::SeqCst);
    assert_eq!(slug(&service, put(20)), "store-readonly");
    assert_eq!(value(&service), "{\"value\":10}");
    let shown = status(&service);
    assert_eq!(shown["read_only"], true);
    assert_eq!(shown["warnings"], json!(["store-readonly"]));
    assert_eq!(place.segments(), bytes, "cut back to the last good length");
    service.close();
    let service = place.service(Recover::No);
    assert_eq!(declare(&service).unwrap().generation, 1);
    assert_eq!(generation(&service, put(20)), 2);
}

#[test]
fn what_waited_at_the_end_goes_back_at_the_start() {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    generation(&service, put(20));
    generation(&service, provisional(30, Duration::from_secs(600)));
    service.close();
    let service = place.service(Recover::No);
    let opened = declare(&service).unwrap();
    assert_eq!(opened.generation, 4);
    assert_eq!(value(&service), "{\"value\":20}");
    let ops: Vec<_> = history(&service).into_iter().map(|(_, op)| op).collect();
    assert_eq!(ops, ["auto-rollback", "put", "put", "initial"]);
    service.close();
    // R9 has to be written before anybody reads.
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    generation(&service, provisional(30, Duration::from_secs(600)));
    service.close();
    place.disk.write.store(true, Ordering::SeqCst);
    let refused = declare(&place.service(Recover::No)).unwrap_err();
    assert_eq!(refused.code, "config-state-unwritable");
}

fn fill(service: &ConfigService, groups: i64, of: i64) {
    for group in 0..groups {
        let changes = (0..of).map(|i| put(1_000 + group * of + i)).collect();
        let answers = apply_all(service, changes);
        assert!(answers.iter().all(Result::is_ok));
    }
}

#[test]
fn segments_follow_each_other_and_old_ones_go() {
    let place = Place::new();
    let service = place.service(Recover::No);
    let settings = r#"{"state":"dir","history_generations":1500}"#;
    let declared = |service: &ConfigService| declare_as(service, VALUE, "{\"value\":10}", settings);
    declared(&service).unwrap();
    fill(&service, 4, 500);
    let names = |place: &Place| -> Vec<String> {
        place.segments().into_iter().map(|(name, _)| name).collect()
    };
    // A group ends in the segment that it begins in, so a segment may be longer than its thousand lines.
    assert_eq!(
        names(&place),
        ["00000000000000000001.hsj", "00000000000000001001.hsj"]
    );
    let second = String::from_utf8(place.segments()[1].1.clone()).unwrap();
    let mut lines = second.lines();
    assert!(lines.next().unwrap().contains(r#""segment":2"#));
    assert!(
        lines
            .next()
            .unwrap()
            .contains(r#""gen":1001,"kind":"base""#)
    );
    assert!(lines.next().unwrap().contains(r#""gen":1002,"kind":"set""#));
    // 1,500 are kept: 502 to 2001, then 1003 to 2502. The first segment has none of these.
    fill(&service, 1, 501);
    assert_eq!(
        names(&place),
        ["00000000000000001001.hsj", "00000000000000002001.hsj"]
    );
    let before = history(&service);
    let total: usize = place.segments().iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(status(&service)["history"]["bytes"], total);
    service.close();
    let service = place.service(Recover::No);
    assert_eq!(declared(&service).unwrap().generation, 2502);
    assert_eq!(history(&service), before);
    fill(&service, 1, 500);
    fill(&service, 1, 500);
    assert_eq!(names(&place).last().unwrap(), "00000000000000003002.hsj");
}

#[test]
fn a_folder_that_is_gone_ends_in_read_only_at_the_next_segment() {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    fs::remove_dir_all(place.folder()).unwrap();
    fill(&service, 1, 1_000);
    assert_eq!(slug(&service, put(1)), "storage-failed");
    assert_eq!(slug(&service, put(1)), "store-readonly");
    assert_eq!(status(&service)["generation"], 1001);
}

#[test]
fn one_host_at_a_time() {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    let refused = declare(&place.service(Recover::Newest)).unwrap_err();
    assert_eq!(refused.code, "config-state-locked");
    let pid = format!("pid {}", std::process::id());
    assert!(refused.message.contains(&pid), "{}", refused.message);
    service.close();
    declare(&place.service(Recover::No)).unwrap();
}

#[test]
fn what_others_may_touch_is_refused() {
    let spoil: [fn(&Path); 5] = [
        |folder| fs::set_permissions(folder, fs::Permissions::from_mode(0o750)).unwrap(),
        |folder| {
            let file = folder.join("00000000000000000001.hsj");
            fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
        },
        |folder| {
            let file = folder.join("00000000000000000001.hsj");
            fs::hard_link(&file, folder.join("other")).unwrap();
        },
        |folder| {
            let file = folder.join("00000000000000000001.hsj");
            fs::rename(&file, folder.join("other")).unwrap();
            symlink("other", &file).unwrap();
        },
        |folder| {
            let moved = folder.with_file_name("moved");
            fs::rename(folder, &moved).unwrap();
            symlink(moved, folder).unwrap();
        },
    ];
    for (index, spoil) in spoil.into_iter().enumerate() {
        let place = Place::new();
        let service = place.service(Recover::No);
        declare(&service).unwrap();
        service.close();
        spoil(&place.folder());
        let refused = declare(&place.service(Recover::Initial)).unwrap_err();
        assert_eq!(refused.code, "config-state-permissions", "case {index}");
    }
}

/// Four generations, and the byte of the journal where the third begins damaged.
fn damaged() -> (Place, Vec<u8>) {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    for value in [20, 30, 40] {
        generation(&service, put(value));
    }
    service.close();
    let mut bytes = fs::read(place.only()).unwrap();
    let third = bytes.windows(7).position(|w| w == b"\"gen\":3").unwrap();
    bytes[third + 6] = b'7';
    fs::write(place.only(), &bytes).unwrap();
    (place, bytes)
}

#[test]
fn damage_is_refused_by_name_and_recovered_on_request() {
    let (place, bytes) = damaged();
    let refused = declare(&place.service(Recover::No)).unwrap_err();
    let file = place.only();
    let file = file.display();
    let line_4 = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .nth(2)
        .unwrap()
        .0
        + 1;
    assert_eq!(refused.code, "config-state-corrupt");
    assert_eq!(
        refused.message,
        format!("{file}: line 4, byte {line_4}: checksum mismatch; last good generation is 2")
    );
    assert_eq!(
        refused.fix,
        format!(
            "start once with --recover to continue from generation 2 (the damaged file is kept as {file}.corrupt-<utc>), or \
             restore the file from a backup"
        )
    );
    assert_eq!(fs::read(place.only()).unwrap(), bytes, "left as it is");

    let service = place.service(Recover::Newest);
    let opened = declare(&service).unwrap();
    assert_eq!(opened.generation, 5, "4 was seen");
    assert_eq!(value(&service), "{\"value\":20}");
    assert_eq!(history(&service)[0], (5, "recover".to_owned()));
    let kept: Vec<_> = fs::read_dir(place.folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".hsj.corrupt-"))
        .collect();
    assert_eq!(fs::read(&kept[0]).unwrap(), bytes);
    assert_eq!(generation(&service, put(7)), 6);
    service.close();
    let service = place.service(Recover::No);
    let again = declare(&service).unwrap();
    assert_eq!((again.generation, again.store), (6, opened.store));
}

#[test]
fn without_a_good_generation_only_the_initial_value_is_left() {
    let (place, mut bytes) = damaged();
    let first = bytes.windows(7).position(|w| w == b"\"gen\":1").unwrap();
    bytes[first + 6] = b'7';
    fs::write(place.only(), &bytes).unwrap();
    for recover in [Recover::No, Recover::Newest] {
        let refused = declare(&place.service(recover)).unwrap_err();
        assert_eq!(refused.code, "config-state-corrupt");
        assert!(refused.fix.contains("--recover=initial"), "{}", refused.fix);
        assert_eq!(fs::read(place.only()).unwrap(), bytes);
    }
    let service = place.service(Recover::Initial);
    assert_eq!(declare(&service).unwrap().generation, 5);
    assert_eq!(value(&service), "{\"value\":10}");
    service.close();
    assert_eq!(declare(&place.service(Recover::No)).unwrap().generation, 5);
}

/// C43.
#[test]
fn another_format_is_never_rewritten() {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    service.close();
    let payload =
        r#"{"kind":"header","plugin":"dynamic-config","segment":1,"store":"7f3a9c21","v":2}"#;
    let covered = format!("{} {payload}", payload.len());
    let line = format!(
        "HSJ1 {:08x} {covered}\nmore",
        crc32c::crc32c(covered.as_bytes())
    );
    fs::write(place.only(), &line).unwrap();
    for recover in [Recover::No, Recover::Newest, Recover::Initial] {
        let refused = declare(&place.service(recover)).unwrap_err();
        assert_eq!(refused.code, "config-state-version");
        assert_eq!(fs::read_to_string(place.only()).unwrap(), line);
    }
}

/// C43.
#[test]
fn a_value_that_the_schema_no_longer_admits_is_refused() {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    generation(&service, put(20));
    generation(&service, put(2_000));
    service.close();
    let bytes = place.segments();
    let small = VALUE.replace("\"integer\"", "\"integer\",\"maximum\":100");
    let again = |recover| {
        let service = place.service(recover);
        declare_as(&service, &small, "{\"value\":1}", r#"{"state":"dir"}"#).map(|o| (service, o))
    };
    let Err(refused) = again(Recover::No) else {
        panic!("2,000 is more than 100")
    };
    assert_eq!(refused.code, "config-state-schema");
    assert!(refused.message.contains("/value"), "{}", refused.message);
    assert_eq!(place.segments(), bytes);
    let Ok((service, opened)) = again(Recover::Newest) else {
        panic!("20 is less than 100")
    };
    assert_eq!(opened.generation, 4);
    assert_eq!(value(&service), "{\"value\":20}");
    assert_eq!(place.segments()[0], bytes[0], "what is not damaged stays");
    let ops: Vec<_> = history(&service).into_iter().map(|(_, op)| op).collect();
    assert_eq!(ops, ["recover", "put", "put", "initial"]);
    service.close();
    assert!(again(Recover::No).is_ok());
}

/// C41, on files: the tail is cut off, and said.
#[test]
fn a_torn_tail_is_dropped() {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    generation(&service, put(20));
    service.close();
    let whole = fs::read(place.only()).unwrap();
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|b| *b == b'\n')
        .unwrap()
        + 1;
    for len in [last + 1, last + 30, whole.len() - 1] {
        fs::write(place.only(), &whole[..len]).unwrap();
        let service = place.service(Recover::No);
        assert_eq!(declare(&service).unwrap().generation, 1);
        assert_eq!(fs::read(place.only()).unwrap(), whole[..last]);
        assert_eq!(generation(&service, put(30)), 2);
        service.close();
    }
}

#[test]
fn what_was_never_committed_goes_at_the_start() {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    service.close();
    let leftover = place.folder().join("00000000000000000009.hsj.tmp");
    fs::write(&leftover, "HSJ1").unwrap();
    let service = place.service(Recover::No);
    assert_eq!(declare(&service).unwrap().generation, 1);
    assert!(!leftover.exists());
}

/// Copies a folder's segments each time the journal makes a call: what a kill at that moment would leave.
#[derive(Default)]
struct Stepping {
    folder: Mutex<Option<PathBuf>>,
    acknowledged: AtomicU64,
    /// The generation acknowledged by then, and the segments with their bytes.
    left: Mutex<Vec<(u64, Left)>>,
}

type Left = Vec<(String, Vec<u8>)>;

impl Stepping {
    fn step(&self) {
        let folder = self.folder.lock().clone();
        let Some(entries) = folder.and_then(|folder| fs::read_dir(folder).ok()) else {
            return;
        };
        let files = entries.map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.to_string_lossy().contains(".hsj"));
        let left = files.map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        });
        let left = left.collect();
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        self.left.lock().push((acknowledged, left));
    }
}

impl Disk for Stepping {
    fn reserve(&self, file: &File, at: u64, len: u64) -> io::Result<()> {
        self.step();
        RealDisk.reserve(file, at, len)
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        for piece in [1, bytes.len() / 2, bytes.len() - 1] {
            RealDisk.write(file, &bytes[..piece], at)?;
            self.step();
        }
        RealDisk.write(file, bytes, at)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.step();
        RealDisk.sync(file)?;
        self.step();
        Ok(())
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        self.step();
        RealDisk.truncate(file, len)?;
        self.step();
        Ok(())
    }
}

/// C40: at each call of the commit path, a new segment included.
#[test]
fn a_kill_at_any_call_loses_nothing_that_was_answered() {
    let place = Place::new();
    let disk = Arc::new(Stepping::default());
    let service = {
        let disk: Arc<dyn Disk> = Arc::clone(&disk) as _;
        place.service_on(disk, Recover::No)
    };
    declare(&service).unwrap();
    fill(&service, 1, 996);
    disk.acknowledged.store(997, Ordering::SeqCst);
    *disk.folder.lock() = Some(place.folder());
    for value in 0..6 {
        let acknowledged = generation(&service, put(value));
        disk.acknowledged.store(acknowledged, Ordering::SeqCst);
    }
    for change in [
        provisional(77, Duration::from_secs(600)),
        change(Operation::Confirm { generation: None }),
    ] {
        let acknowledged = apply(&service, change).unwrap().generation;
        disk.acknowledged.store(acknowledged, Ordering::SeqCst);
    }
    service.close();
    assert_eq!(place.segments().len(), 2, "one began meanwhile");
    let left = std::mem::take(&mut *disk.left.lock());
    assert!(left.len() > 40, "{} calls", left.len());
    for (acknowledged, files) in left {
        let place = Place::new();
        // The first start makes the folder; what it wrote there is replaced.
        let service = place.service(Recover::No);
        declare(&service).unwrap();
        service.close();
        fs::remove_file(place.only()).unwrap();
        for (name, bytes) in &files {
            let path = place.folder().join(name);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let service = place.service(Recover::No);
        let opened = declare(&service).unwrap();
        assert!(opened.generation >= acknowledged);
        let kept = history(&service);
        assert!(
            kept.iter()
                .any(|(generation, _)| *generation == acknowledged)
        );
        service.close();
    }
}

/// A checker that is asked here, and answers when the test does.
fn slow_checker(service: &ConfigService) -> mpsc::Receiver<VerdictTo> {
    let (asked, question) = mpsc::channel();
    let ask = move |_, verdict_to| asked.send(verdict_to).unwrap();
    let checker = CheckedBy {
        instance: "slow".into(),
        deadline: DEADLINE,
        ask: Arc::new(ask),
    };
    service.check_by("dynamic-config", checker);
    question
}

/// The way back is not held up by a checker, and what was asked meanwhile is judged on the value that is current then.
#[test]
fn a_deadline_that_passes_while_a_checker_thinks_is_kept() {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    // The change that follows is drafted before that.
    generation(&service, provisional(20, Duration::from_secs(3)));
    let question = slow_checker(&service);
    let (sender, answers) = mpsc::channel();
    let chained = store::Change {
        expect: Expect::OneOf(vec![2]),
        ..provisional(30, Duration::from_secs(600))
    };
    let answer = Box::new(move |answers| sender.send(answers).unwrap());
    service
        .enqueue("dynamic-config", vec![chained], answer)
        .unwrap();
    let verdict_to = question.recv_timeout(DEADLINE).unwrap();
    assert_eq!(wait(&service, 2), 3);
    assert_eq!(value(&service), "{\"value\":10}");
    verdict_to(Ok(None));
    let answers = answers.recv_timeout(DEADLINE).unwrap();
    assert_eq!(answers[0].as_ref().unwrap_err().slug, "generation-mismatch");
}

/// What its owner asked for is nothing that anybody wants once he is gone, whatever a checker says of it; others go on.
#[test]
fn a_change_ends_with_the_life_of_who_asked_for_it() {
    let place = Place::new();
    let service = place.service(Recover::No);
    declare(&service).unwrap();
    let question = slow_checker(&service);
    let touch = || {
        let (sender, answers) = mpsc::channel();
        let change = Change {
            op: change_op::TOUCH,
            dry_run: false,
            generation: u64::MAX,
            confirm_s: 0,
            text: ChangeText {
                pointer: "".into(),
                by: "".into(),
            },
            document: (&[] as &[u8]).into(),
            expect: (&[] as &[u64]).into(),
        };
        let then: Then<Answers> = Box::new(move |answers| sender.send(answers).unwrap());
        service.apply_then("dynamic-config", &[change], Caller::Other, then);
        answers
    };
    let (checked, queued) = (touch(), touch());
    let verdict_to = question.recv_timeout(DEADLINE).unwrap();
    service.forget_changes("dynamic-config");
    let of_the_next_life = touch();
    verdict_to(Ok(None));
    for answers in [checked, queued] {
        let answers = answers.recv_timeout(DEADLINE).unwrap().unwrap();
        assert_eq!(answers[0].as_ref().unwrap_err().slug, "shutting-down");
    }
    let verdict_to = question.recv_timeout(DEADLINE).unwrap();
    verdict_to(Ok(None));
    let answers = of_the_next_life.recv_timeout(DEADLINE).unwrap().unwrap();
    assert_eq!(answers[0].as_ref().unwrap().generation, 2);
    assert_eq!(value(&service), "{\"value\":20}");
}

/// A thread of an instance that is told to stop is woken at once, however long it wanted to wait.
#[test]
fn a_wait_ends_when_its_instance_is_told_to_stop() {
    let place = Place::new();
    let service = Arc::new(place.service(Recover::No));
    declare(&service).unwrap();
    let waiting = {
        let service = Arc::clone(&service);
        thread::spawn(move || {
            let open = Arc::new(AtomicBool::new(false));
            let waiter = Waiter {
                instance: "listener",
                closed: &open,
            };
            service.wait("dynamic-config", 1, Duration::from_secs(3600), waiter)
        })
    };
    service.end_waits("listener");
    assert_eq!(
        waiting.join().unwrap().unwrap_err().kind,
        failure_kind::CLOSED
    );
}
