//! The ABI only ever grows (DESIGN §3, Evolution): what is frozen stays, old and new meet, and what breaks is refused by name.

mod changes;
mod frozen;
mod listing;
mod workshop;
