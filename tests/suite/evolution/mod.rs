//! The ABI only ever grows (DESIGN §3, Evolution): what is frozen stays, old and new meet, and what breaks is refused by name.

mod changes;
mod corpus;
mod frozen;
mod listing;
mod pairs;
mod rustc_1_85;
mod workshop;
