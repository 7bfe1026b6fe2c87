//! The part that may veto changes of topics: lives once, on a thread of its own, so that a driver that publishes never
//! waits for its own check.

use crate::{
    Context, Result,
    lifecycle::{Home, Part},
};
use hotshoe_abi::{
    Checker, Checker_TO, CheckerBox, Failure, HostBox, Proposal,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{ROption, RResult},
    },
};
use std::sync::Arc;

/// The checker part. The host asks it about the topics that its entry's `checks` names.
///
/// ```
/// # use hotshoe_plugin_api::*;
/// struct NoThirteen;
/// impl CheckerPart for NoThirteen {
///     fn check(&mut self, _topic: &str, candidate: &[u8], _current: &[u8]) -> Result<Verdict> {
///         let value: serde_json::Value = serde_json::from_slice(candidate)?;
///         Ok(match value["value"].as_i64() {
///             Some(13) => Verdict::veto("/value", "13 is unlucky"),
///             _ => Verdict::Ok,
///         })
///     }
/// }
/// ```
pub trait CheckerPart: Send {
    /// Starts the part.
    ///
    /// - Errors: fail the instance.
    /// - Called: [checker thread & after its own driver's init]; deadline `init`, 10 s; again on a new part after a panic.
    fn init(&mut self, ctx: Context) -> Result<()> {
        let _ = ctx;
        Ok(())
    }

    /// Answers whether the change may happen. Must be pure: it is asked for dry runs too, and a change that it allows may
    /// still fail. Both documents are canonical JSON and satisfy the topic's schema.
    ///
    /// - Errors, panics and a late answer refuse the change; `apply` in here fails with `reentrant`.
    /// - Called: [checker thread & after init]; deadline `check`, 1 s; once per change.
    fn check(&mut self, topic: &str, candidate: &[u8], current: &[u8]) -> Result<Verdict>;
}

/// What a checker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No objection.
    Ok,
    /// The change must not happen.
    Veto {
        /// RFC 6901, of the value that is objected to.
        pointer: String,
        /// A sentence for whoever asked for the change.
        reason: String,
    },
}

impl Verdict {
    /// A veto.
    pub fn veto(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Veto {
            pointer: pointer.into(),
            reason: reason.into(),
        }
    }
}

pub(crate) struct CheckerGlue(Part<Box<dyn CheckerPart>>);

impl CheckerGlue {
    pub(crate) fn boxed(author: Box<dyn CheckerPart>, home: Arc<Home>) -> CheckerBox {
        Checker_TO::from_value(Self(Part::new("checker", author, home)), TD_Opaque)
    }
}

impl Checker for CheckerGlue {
    fn init(&mut self, host: HostBox) -> RResult<(), Failure> {
        self.0.init(host, |author, ctx| author.init(ctx))
    }

    fn check(&mut self, proposal: Proposal<'_>) -> RResult<ROption<hotshoe_abi::Veto>, Failure> {
        self.0.call(|author, _| {
            let verdict = author.check(
                proposal.topic.as_str(),
                proposal.candidate.as_slice(),
                proposal.current.as_slice(),
            )?;
            Ok(match verdict {
                Verdict::Ok => ROption::RNone,
                Verdict::Veto { pointer, reason } => ROption::RSome(hotshoe_abi::Veto {
                    pointer: pointer.into(),
                    reason: reason.into(),
                }),
            })
        })
    }
}
