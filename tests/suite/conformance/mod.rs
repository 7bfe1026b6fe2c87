//! What is promised of a plugin that breaks its word, whichever backend runs it (STYLE R23).

mod commit;
mod crimes;
mod log;
mod record;
mod task;
