//! The acceptance cases of Spark's plugin framework, each under its number.

mod bad_input;
mod context;
mod executors;
mod init;
mod loading;
mod messages;
mod metrics;
mod samples;
mod seed;
mod shutdown;
mod tasks;
