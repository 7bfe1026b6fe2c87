//! What came after ABI 1.0, so that either side can ask for it before it relies on it.
//!
//! A minor is a promise: who was built with 1.N has everything up to N, so one comparison of two numbers answers. A host says
//! its minor once ([`Host::abi_minor`](crate::Host::abi_minor)), a plugin in its manifest, which the handshake holds to the header.
//! Nothing here crosses the boundary, and nothing here decides what to do without.
//!
//! To add one: append the method with a default body that answers `unsupported` (or the field, which reads as `None`), bump the
//! minor, append a constant here that names trait and method, and let the plugin side document it as
//! "since ABI 1.N, else `unsupported`". The test `frozen` says what was forgotten, `pairs` shows old and new together.

/// What a minor appended: a method of a trait, or a field of the root module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    /// The minor that it came with.
    pub since_minor: u32,
}

/// All that ABI 1.0 has: there on every side. What is appended stands below it, named `TRAIT_METHOD`, and stays.
pub const BASE: Capability = Capability { since_minor: 0 };
