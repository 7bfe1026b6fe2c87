//! What is promised of a plugin that breaks its word, whichever backend runs it (STYLE R23).

mod both_ways;
mod commit;
mod crimes;
mod deaths;
mod isolated;
mod log;
mod record;
mod task;
