//! The handshake on headers made here: what a library could hold, without a library.

use super::*;
use hotshoe_abi::{
    Failure, HostBox, PluginModule,
    abi_stable::{
        for_examples::{Module, Module_Ref},
        library::{__call_root_module_loader, CheckTypeLayout, RootModuleResult},
        prefix_type::PrefixTypeTrait as _,
        sabi_types::RRef,
        std_types::{ROption, RResult, RStr, RString},
    },
};

extern "C" fn schema() -> RResult<RString, Failure> {
    RResult::ROk("{}".into())
}

extern "C" fn create(_: RStr<'_>, _: HostBox) -> RResult<hotshoe_abi::Created, Failure> {
    RResult::RErr(Failure {
        kind: hotshoe_abi::failure_kind::ERROR,
        code: RString::new(),
        message: "not asked for here".into(),
        fix: RString::new(),
    })
}

extern "C" fn good() -> RootModuleResult {
    __call_root_module_loader(|| {
        PluginModule {
            settings_schema: schema,
            create,
        }
        .leak_into_prefix()
    })
}

/// Another crate's root module, as a library built with some other framework on abi_stable would have it.
extern "C" fn foreign() -> RootModuleResult {
    __call_root_module_loader(|| {
        Module {
            first: ROption::RNone,
            second: RStr::from_str(""),
            third: 0,
        }
        .leak_into_prefix()
    })
}

fn header(check: CheckTypeLayout) -> AbiHeaderRef {
    // SAFETY: `good` answers a module of exactly this type.
    let header = unsafe { LibHeader::from_constructor::<PluginModuleRef>(good, check) };
    header_ref(header)
}

fn header_ref(header: LibHeader) -> AbiHeaderRef {
    let header: &'static LibHeader = Box::leak(Box::new(header));
    let erased: RRef<'static, LibHeader> = RRef::new(header);
    // SAFETY: an `AbiHeaderRef` is a transparent pointer to the header that a `LibHeader` starts with.
    unsafe { std::mem::transmute(erased) }
}

fn manifest(abi: (u32, u32, u32)) -> Manifest {
    let text = format!(
        "HOTSHOE-MANIFEST 1\nname=x\nversion=1.0.0\nabi={}.{}.{}\nsymbol=s\ncomponents=\npanic=unwind\n\
         profile=debug\ntarget=t\nEND\n",
        abi.0, abi.1, abi.2
    );
    crate::parse_manifest(text.as_bytes()).expect("good")
}

fn refused(header: AbiHeaderRef, manifest: &Manifest) -> Refusal {
    match shake(Path::new("libx.so"), header, &manifest.abi_text()) {
        Ok(_) => panic!("accepted"),
        Err(refusal) => refusal,
    }
}

/// The ABI version that this crate's own types are under: the host's.
fn ours() -> (u32, u32, u32) {
    let mut numbers = ABI_VERSION
        .split('.')
        .map(|number| number.parse().expect("a number"));
    let mut next = || numbers.next().expect("three numbers");
    (next(), next(), next())
}

#[test]
fn a_header_of_our_own_abi_gives_its_module() {
    let module = shake(
        Path::new("libx.so"),
        header(CheckTypeLayout::Yes),
        &manifest(ours()).abi_text(),
    )
    .expect("accepted");
    assert_eq!(
        module.settings_schema()()
            .into_result()
            .expect("schema")
            .as_str(),
        "{}"
    );
}

#[test]
fn a_header_without_layout_is_refused() {
    let refusal = refused(header(CheckTypeLayout::No), &manifest(ours()));
    assert_eq!(refusal.code, RefusalCode::LayoutMismatch);
    assert_eq!(
        &*refusal.found,
        "none: it was left out when the library was built"
    );
}

#[test]
fn a_header_that_contradicts_the_manifest_is_refused() {
    let refusal = refused(header(CheckTypeLayout::Yes), &manifest((1, 999, 0)));
    assert_eq!(refusal.code, RefusalCode::ManifestInvalid);
    assert_eq!(&*refusal.wanted, "ABI 1.999.0 twice");
}

#[test]
fn other_types_are_refused_in_one_line_and_with_the_whole_story() {
    // SAFETY: `foreign` answers a module of exactly this type.
    let header =
        unsafe { LibHeader::from_constructor::<Module_Ref>(foreign, CheckTypeLayout::Yes) };
    // abi_stable's example is under abi_stable's own version.
    let header = header_ref(header);
    let refusal = refused(header, &manifest((0, 11, 3)));
    assert_eq!(refusal.code, RefusalCode::LayoutMismatch);
    assert_eq!(
        &*refusal.found,
        "PluginModule: type Module instead of PluginModule"
    );
    assert!(refusal.detail.expect("the whole story").lines().count() > 20);
}

#[test]
fn bytes_that_are_no_header_are_refused_before_they_are_used() {
    let garbage: &'static [u8; size_of::<LibHeader>()] =
        Box::leak(Box::new([0xa5; size_of::<LibHeader>()]));
    // SAFETY: an `AbiHeaderRef` is a transparent pointer; so many bytes are there, and any bytes are a text and two numbers.
    let header: AbiHeaderRef = unsafe { std::mem::transmute(garbage) };
    let refusal = refused(header, &manifest(ours()));
    assert_eq!(refusal.code, RefusalCode::NoEntry);
    assert!(
        refusal
            .headline()
            .starts_with("libx.so has something else than a plugin's header")
    );
}

/// The loader's words, as glibc says them, and the code that an operator sees.
#[test]
fn the_loaders_prose_becomes_a_code() {
    for (words, code) in [
        (
            "/proc/self/fd/9: undefined symbol: foo",
            RefusalCode::MissingDependency,
        ),
        (
            "libx.so.1: cannot open shared object file: No such file or directory",
            RefusalCode::MissingDependency,
        ),
        (
            "/lib/libssl.so: version `OPENSSL_9' not found",
            RefusalCode::MissingDependency,
        ),
        (
            "/lib/libc.so.6: version `GLIBC_2.99' not found (required by /proc/self/fd/9)",
            RefusalCode::GlibcTooNew,
        ),
        (
            "/proc/self/fd/9: cannot allocate memory in static TLS block",
            RefusalCode::TooLarge,
        ),
        (
            "/proc/self/fd/9: ELF load command past end of file",
            RefusalCode::NotALibrary,
        ),
    ] {
        let refusal = not_opened(
            Path::new("plugins/libx.so"),
            Path::new("/proc/self/fd/9"),
            words,
        );
        assert_eq!(refusal.code, code, "{words}");
        assert!(!refusal.found.contains("/proc/self"), "{}", refusal.found);
    }
}

#[test]
fn a_library_may_be_handed_to_another_thread() {
    fn crosses_threads<T: Send + Sync>() {}
    crosses_threads::<Library>();
    crosses_threads::<Verified>();
}
