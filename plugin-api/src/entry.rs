//! How a plugin becomes a library: `export_plugin!`, `entry!`, and the barrier that no panic passes.
//!
//! Every call of the host goes through [`Site::call`]: it notes for whom this thread works, catches what unwinds, and says
//! the failure's kind. This file holds the crate's only unsafe code; it never runs an author's code outside the barrier.
#![expect(
    unsafe_code,
    reason = "the library header is made by an unsafe constructor; the call in hand is a plain pointer in a thread-local"
)]

use crate::{
    Error, Result,
    context::Context,
    error::Kind,
    lifecycle::{Home, Plugin},
    log,
};
use hotshoe_abi::{
    Created, Entry, Failure, HostBox, PluginModule, PluginModuleRef,
    abi_stable::{
        library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult},
        prefix_type::PrefixTypeTrait as _,
        std_types::{RResult, RStr, RString},
    },
    failure_kind,
};
use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

pub use hotshoe_abi::Entry as PluginEntry;

/// A plugin that went through [`export_plugin!`](crate::export_plugin).
pub trait Exported: Plugin {
    /// The plugin as a value. Use [`entry!`](crate::entry).
    fn entry() -> Entry;
}

/// For whom a component's calls work: lives as long as the component.
pub(crate) struct Site {
    pub(crate) component: &'static str,
    pub(crate) context: Context,
}

thread_local! {
    /// The site of the call that this thread is inside, or null. Set by [`Site::enter`] for exactly that long.
    static CURRENT: Cell<*const Site> = const { Cell::new(ptr::null()) };
    /// This thread is behind the barrier: what unwinds is reported by whoever called.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    /// What the panic hook saw last on this thread: message and place.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Whether this copy of the code was loaded as a library: then its hooks and subscribers are its own to install.
static LOADED: AtomicBool = AtomicBool::new(false);

/// Restores the thread's former site, also when the call unwinds.
struct Restore(*const Site);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

impl Site {
    pub(crate) fn new(component: &'static str, host: HostBox, home: &Arc<Home>) -> Self {
        Self {
            component,
            context: Context::new(host, Arc::clone(home)),
        }
    }

    /// Runs `work` with this thread attributed to the site.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _restore = Restore(CURRENT.replace(self));
        work()
    }

    /// Runs an author's code behind the barrier.
    #[inline]
    pub(crate) fn call<T>(&self, work: impl FnOnce() -> Result<T>) -> RResult<T, Failure> {
        self.enter(|| barrier(work))
    }

    /// Drops a component behind the barrier; a panic in its Drop is logged and goes no further.
    pub(crate) fn discard<T>(&self, component: Option<T>) {
        let outcome = self.call(|| {
            drop(component);
            Ok(())
        });
        if let RResult::RErr(failure) = outcome {
            let message = format!("panicked while it was dropped: {}", failure.message);
            self.context.log_error("hotshoe", &message);
        }
    }
}

/// Runs `use_site` with the site of the call that this thread is inside, if any.
pub(crate) fn with_current<T>(use_site: impl FnOnce(Option<&Site>) -> T) -> T {
    let current = CURRENT.get();
    // SAFETY: null, or set by `Site::enter` from a reference that outlives the call this thread is inside; `Restore` takes
    // it back before that borrow ends, and no other thread reads this thread's cell.
    let site = unsafe { current.as_ref() };
    use_site(site)
}

/// The component whose call this thread is inside, or "".
pub(crate) fn current_component() -> &'static str {
    with_current(|site| site.map_or("", |site| site.component))
}

/// Catches what unwinds, and says the failure's kind: what an author returns is `error`, whatever it was made from.
pub(crate) fn barrier<T>(work: impl FnOnce() -> Result<T>) -> RResult<T, Failure> {
    let outer = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    match outcome {
        Ok(Ok(value)) => RResult::ROk(value),
        Ok(Err(error)) => RResult::RErr(error.into_failure(failure_kind::ERROR)),
        Err(payload) => RResult::RErr(panic_failure(payload)),
    }
}

#[cold]
fn panic_failure(payload: Box<dyn Any + Send>) -> Failure {
    let seen = LAST_PANIC.with(RefCell::take);
    let message = seen.unwrap_or_else(|| payload_text(payload.as_ref()).to_owned());
    // The payload is the author's and its Drop may panic as well; what is left of it then is forgotten.
    if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        std::mem::forget(second);
    }
    Failure {
        kind: failure_kind::PANIC,
        code: RString::new(),
        message: message.into(),
        fix: RString::new(),
    }
}

fn payload_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a payload that is no text")
}

/// Forwards panics: one behind the barrier is kept for the failure that the host reports, any other is logged here.
fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map_or_else(String::new, |place| format!(" at {place}"));
        let text = format!("panicked{place}: {}", payload_text(info.payload()));
        if GUARDED.get() {
            LAST_PANIC.with(|last| last.replace(Some(text)));
        } else {
            let thread = std::thread::current();
            log::forward_bare_panic(&format!(
                "thread `{}` {text}",
                thread.name().unwrap_or("unnamed")
            ));
        }
    }));
}

extern "C" fn settings_schema<P: Plugin>() -> RResult<RString, Failure> {
    barrier(|| {
        let schema = schemars::SchemaGenerator::default().into_root_schema_for::<P::Settings>();
        Ok(serde_json::to_string(&schema)?.into())
    })
}

extern "C" fn create<P: Plugin>(settings: RStr<'_>, host: HostBox) -> RResult<Created, Failure> {
    let home = Arc::new(Home::default());
    let site = Site::new("", host, &home);
    if LOADED.load(Ordering::Acquire) {
        install_panic_hook();
        log::install(&site.context);
    }
    let mut declined = false;
    let made = site.call(|| {
        let settings = serde_json::from_str::<P::Settings>(settings.as_str())
            .map_err(|error| Error::new(error).with_code("settings-invalid"))?;
        P::new(settings).inspect_err(|error| declined = error.kind() == Kind::Declined)
    });
    match made {
        RResult::ROk(plugin) => RResult::ROk(home.created(plugin, site)),
        RResult::RErr(failure) if declined => RResult::RErr(Failure {
            kind: failure_kind::DECLINED,
            ..failure
        }),
        RResult::RErr(failure) => RResult::RErr(failure),
    }
}

/// The root module of `P`, for mounting: installs nothing.
pub(crate) fn module<P: Plugin>() -> PluginModuleRef {
    PluginModule {
        settings_schema: settings_schema::<P>,
        create: create::<P>,
    }
    .leak_into_prefix()
}

/// The root module of `P`, as only a library's header makes it: this copy belongs to one instance.
fn loaded_module<P: Plugin>() -> PluginModuleRef {
    LOADED.store(true, Ordering::Release);
    module::<P>()
}

extern "C" fn root<P: Plugin>() -> RootModuleResult {
    __call_root_module_loader(loaded_module::<P>)
}

/// What [`export_plugin!`](crate::export_plugin) puts behind the library's symbol.
#[doc(hidden)]
pub const fn header<P: Plugin>() -> LibHeader {
    // SAFETY: `root` answers a module of exactly the type named here, and layouts are checked by the host.
    unsafe { LibHeader::from_constructor::<PluginModuleRef>(root::<P>, CheckTypeLayout::Yes) }
}

/// What [`export_plugin!`](crate::export_plugin) answers for [`Exported::entry`].
#[doc(hidden)]
pub const fn entry_of<P: Plugin>(manifest: &'static [u8]) -> Entry {
    Entry {
        manifest,
        module: module::<P>,
    }
}

/// Turns a type into a plugin library: names its components and stamps the manifest into the file.
///
/// The components are any of `driver`, `checker`, `executor`, `processor`; only those are ever asked for. The plugin's name
/// is the crate's, or what follows `as`. One per crate, which is a `cdylib` (and an `rlib`, to be mounted).
///
/// ```
/// # use hotshoe_plugin_api::*;
/// struct Upper;
/// impl Plugin for Upper {
///     type Settings = NoSettings;
///     fn new(_: NoSettings) -> Result<Self> { Ok(Self) }
///     fn processor(&mut self) -> Option<Box<dyn Processor>> { Some(Box::new(Self)) }
/// }
/// impl Processor for Upper {
///     fn process(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<()> {
///         for record in batch { out.push(&record.to_ascii_uppercase()); }
///         Ok(())
///     }
/// }
/// export_plugin!(Upper as "upper": processor);
/// # fn main() {
/// let entry = entry!(Upper);
/// assert!(std::str::from_utf8(entry.manifest).unwrap().contains("components=processor\n"));
/// # }
/// ```
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty) => {
        $crate::__export_plugin!($plugin, env!("CARGO_PKG_NAME"), []);
    };
    ($plugin:ty : $($component:ident),* $(,)?) => {
        $crate::__export_plugin!($plugin, env!("CARGO_PKG_NAME"), [$($component),*]);
    };
    ($plugin:ty as $name:literal) => {
        $crate::__export_plugin!($plugin, $name, []);
    };
    ($plugin:ty as $name:literal : $($component:ident),* $(,)?) => {
        $crate::__export_plugin!($plugin, $name, [$($component),*]);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_plugin {
    ($plugin:ty, $name:expr, [$($component:ident),*]) => {
        const _: () = {
            const MANIFEST: $crate::__private::Manifest = $crate::__private::Manifest {
                name: $name,
                version: env!("CARGO_PKG_VERSION"),
                symbol: concat!("hotshoe_root_module_", env!("CARGO_PKG_NAME")),
                components: &[$($crate::__component!($component)),*],
                panic: if cfg!(panic = "abort") { "abort" } else { "unwind" },
                profile: if cfg!(debug_assertions) { "debug" } else { "release" },
            };
            const LEN: usize = MANIFEST.stamp_len();

            // Exported, or a linker may drop its section: rustc 1.85's did, whatever `used` says.
            #[used]
            #[unsafe(export_name = concat!("hotshoe_manifest_", env!("CARGO_PKG_NAME")))]
            #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".hotshoe"))]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__hotshoe"))]
            static STAMP: [u8; LEN] = MANIFEST.stamp();

            #[unsafe(export_name = concat!("hotshoe_root_module_", env!("CARGO_PKG_NAME")))]
            static HEADER: $crate::__private::LibHeader = $crate::__private::header::<$plugin>();

            impl $crate::Exported for $plugin {
                fn entry() -> $crate::PluginEntry {
                    $crate::__private::entry_of::<$plugin>(&STAMP)
                }
            }
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __component {
    (driver) => {
        "driver"
    };
    (checker) => {
        "checker"
    };
    (executor) => {
        "executor"
    };
    (processor) => {
        "processor"
    };
    ($other:ident) => {
        compile_error!(concat!(
            "`",
            stringify!($other),
            "` is no component; wanted driver, checker, executor or processor"
        ))
    };
}

/// An exported plugin as a value: `Host::builder().plugin("name", entry!(MyPlugin), settings)` mounts it without a library.
#[macro_export]
macro_rules! entry {
    ($plugin:ty) => {
        <$plugin as $crate::Exported>::entry()
    };
}
