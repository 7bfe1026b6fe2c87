//! The evil zoo: crimes against the host, in which calls, and what is promised of each where the plugin runs in the host's own
//! process and where it runs in one of its own. `table.rs` is the promise, `drive.rs` holds hosts to it, and `page.rs` is what
//! users read of it. What a call's *answers* cost is the matrix in `conformance/`; this is about everything else.

mod drive;
mod expect;
mod page;
mod table;
