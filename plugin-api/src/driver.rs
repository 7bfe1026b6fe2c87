//! The coordinating part: lives once, on a thread of its own.

use crate::{
    Context, Error, ExtraConf, Kind, Result,
    lifecycle::{Home, Part},
};
use hotshoe_abi::{
    Driver, Driver_TO, DriverBox, Failure, HostBox, Pairs,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RResult, RSlice, RVec, Tuple2},
    },
    failure_kind,
};
use std::sync::Arc;

/// The driver part. Every method has a default. Called on the driver's own thread, one call at a time.
///
/// ```
/// # use hotshoe_plugin_api::*;
/// struct Greeter;
/// impl DriverPlugin for Greeter {
///     fn init(&mut self, ctx: Context) -> Result<ExtraConf> {
///         tracing::info!(instance = ctx.instance(), "hello");
///         Ok(ExtraConf::from([("greeting".to_owned(), "hello".to_owned())]))
///     }
///     fn receive(&mut self, message: &[u8]) -> Result<Vec<u8>> {
///         Ok([b"hello ", message].concat())
///     }
/// }
/// ```
pub trait DriverPlugin: Send {
    /// Starts the driver: open sockets, declare the topic, start threads. Answers the extra conf, a private map for this
    /// instance's executor parts. It blocks the start of everything later in order.
    ///
    /// - Errors: undo what was done and return; the host shuts down whoever was initialised before. `shutdown` is **not**
    ///   called then.
    /// - Called: [driver thread & before every executor]; deadline `init`, 10 s; again up to `init_attempts`, on a new part.
    fn init(&mut self, ctx: Context) -> Result<ExtraConf> {
        let _ = ctx;
        Ok(ExtraConf::new())
    }

    /// Registers metrics that need what `init` made; every driver's `init` has returned by then.
    ///
    /// - Errors: fail the instance.
    /// - Called: [driver thread & after every driver's init]; deadline `init`; once per life.
    fn register_metrics(&mut self, ctx: &Context) -> Result<()> {
        let _ = ctx;
        Ok(())
    }

    /// Handles one message; the answer goes to whoever asked, and nowhere for a one-way message.
    ///
    /// - Errors: reach the asker with their text; of a one-way message they are counted and logged.
    /// - Called: [driver thread & after init, before shutdown]; deadline `receive`, 10 s; never again.
    fn receive(&mut self, message: &[u8]) -> Result<Vec<u8>> {
        let _ = message;
        Err(Error::of_kind(
            Kind::Unsupported,
            "this plugin's driver handles no messages".to_owned(),
        ))
    }

    /// Ends what `init` started: close, join, delete. Executors have stopped by then, and their last messages were handled.
    ///
    /// - Errors: are reported; everybody else is shut down all the same, and the host ends with exit code 5.
    /// - Called: [driver thread & after init returned well]; deadline `shutdown`, 5 s; exactly once.
    fn shutdown(&mut self) -> Result<()> {
        Ok(())
    }
}

pub(crate) struct DriverGlue(Part<Box<dyn DriverPlugin>>);

impl DriverGlue {
    pub(crate) fn boxed(author: Box<dyn DriverPlugin>, home: Arc<Home>) -> DriverBox {
        Driver_TO::from_value(Self(Part::new("driver", author, home)), TD_Opaque)
    }
}

impl Driver for DriverGlue {
    fn init(&mut self, host: HostBox) -> RResult<Pairs, Failure> {
        self.0.init(host, |author, ctx| {
            let extra = author.init(ctx)?;
            Ok(extra
                .into_iter()
                .map(|(key, value)| Tuple2(key.into(), value.into()))
                .collect())
        })
    }

    fn register_metrics(&mut self) -> RResult<(), Failure> {
        self.0
            .call(|author, site| author.register_metrics(&site.context))
    }

    fn receive(&mut self, message: RSlice<'_, u8>) -> RResult<RVec<u8>, Failure> {
        received(&mut self.0, |author| author.receive(message.as_slice()))
    }

    fn shutdown(&mut self) -> RResult<(), Failure> {
        self.0.call(|author, _| author.shutdown())
    }
}

/// Calls a `receive`. Only the default body's error keeps its kind: "no handler" is the glue's word, not the author's.
pub(crate) fn received<T>(
    part: &mut Part<T>,
    receive: impl FnOnce(&mut T) -> Result<Vec<u8>>,
) -> RResult<RVec<u8>, Failure> {
    let mut unsupported = false;
    let answer = part.call(|author, _| {
        receive(author)
            .map(RVec::from)
            .inspect_err(|error| unsupported = error.kind() == Kind::Unsupported)
    });
    answer.map_err(|failure| match unsupported {
        true => Failure {
            kind: failure_kind::UNSUPPORTED,
            ..failure
        },
        false => failure,
    })
}
