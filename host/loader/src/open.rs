//! The system's loader: opens a staged copy and answers its header. The only place that calls it.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::open;
#[cfg(windows)]
pub(crate) use windows::open;

/// What the system's loader objected to, in its own words.
#[derive(Debug)]
pub(crate) enum OpenFault {
    /// The library was not opened, and nothing of it is left in the process.
    NotOpened(String),
    /// It was opened and stays; it has no such symbol.
    NoSymbol(String),
}
