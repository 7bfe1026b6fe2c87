//! The fronts: what parses an operator's words and prints the library's answers. The only place that owns descriptors 0 to
//! 2, signals, locks and the process's end.

mod admin;
pub(crate) mod cli;
mod dirs;
mod log;
mod notify;
mod replace;
mod report;
mod stderr;
