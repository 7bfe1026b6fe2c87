//! As much of the next host as it takes to see what a plugin has: loads one with the next loader, and calls what is new.

mod bare;

use hotshoe_abi::{BatchRef, OutBatch, capability, abi_stable::std_types::RResult};
use hotshoe_loader::{Policy, load, verify};
use std::{env, path::Path};

fn main() {
    let mut arguments = env::args().skip(1);
    let (file, settings) = (arguments.next().unwrap(), arguments.next().unwrap());
    let verified = verify(Path::new(&file), &Policy::default()).unwrap_or_else(|no| panic!("{no:?}"));
    let library = load(verified, "x").unwrap_or_else(|no| panic!("{no:?}"));
    let has = library.has(capability::PROCESSOR_FLUSH);
    println!("abi {}, has flush: {has}", library.manifest.abi_text());
    let described = library.module.describe().map(|describe| describe().into_string());
    println!("describe {}", described.as_deref().unwrap_or("is missing"));

    let log = bare::Log::default();
    let create = library.module.create();
    let created = create(settings.as_str().into(), bare::host("", &log));
    let mut instance = created.into_result().unwrap().instance;
    let processor = instance.processor().into_result().unwrap();
    let mut processor = processor.into_option().unwrap();
    processor.init(bare::host("processor", &log)).into_result().unwrap();
    let offsets = [0_u32, 3];
    let batch = BatchRef {
        epoch: 1,
        task: 1,
        attempt: 1,
        offsets: offsets[..].into(),
        bytes: b"one"[..].into(),
    };
    let mut out = OutBatch::default();
    processor.process(batch, &mut out).into_result().unwrap();
    println!("process {}", String::from_utf8_lossy(&out.bytes));
    match processor.flush(&mut out) {
        RResult::ROk(count) => println!("flush {count}"),
        RResult::RErr(failure) => println!("flush fails with kind {}", failure.kind),
    }
}
