//! A counter that the executor part registers and the processor raises: adds one to every number, and counts the even ones.
//!
//! It shows how two parts of one instance share something. It refuses a record that is no whole number: the task fails, and
//! nothing of the attempt was counted.
#![forbid(unsafe_code)]

use hotshoe_plugin_api::{
    Batch, Context, Counter, Error, ExecutorPlugin, ExtraConf, NoSettings, Output, Plugin,
    Processor, Result, export_plugin,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The plugin. What its parts share is an `Arc` that it hands to each of them.
#[derive(Debug, Default)]
pub struct CustomMetrics {
    counters: Counters,
}

impl Plugin for CustomMetrics {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self> {
        Ok(Self::default())
    }

    fn executor(&mut self) -> Option<Box<dyn ExecutorPlugin>> {
        Some(Box::new(Registrar {
            counters: self.counters.clone(),
        }))
    }

    fn processor(&mut self) -> Option<Box<dyn Processor>> {
        Some(Box::new(AddOne {
            counters: self.counters.clone(),
            even: None,
        }))
    }
}

/// Each executor's counter, by the executor's id: what was counted on one is told apart from the others.
#[derive(Clone, Default)]
struct Counters(Arc<Mutex<BTreeMap<String, Counter>>>);

impl Counters {
    fn insert(&self, executor: &str, counter: Counter) {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counters.insert(executor.to_owned(), counter);
    }

    fn get(&self, executor: &str) -> Option<Counter> {
        let counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counters.get(executor).copied()
    }
}

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counters")
    }
}

/// The executor part: registers the counter. It starts before the processor of its executor does.
struct Registrar {
    counters: Counters,
}

impl ExecutorPlugin for Registrar {
    fn init(&mut self, ctx: Context, _extra: ExtraConf) -> Result<()> {
        let counter = ctx.metrics().counter("evenMetrics")?;
        self.counters.insert(ctx.executor_id(), counter);
        Ok(())
    }
}

/// The processor part: one more for every record.
struct AddOne {
    counters: Counters,
    /// There from `init` on.
    even: Option<Counter>,
}

impl Processor for AddOne {
    fn init(&mut self, ctx: Context) -> Result<()> {
        self.even = self.counters.get(ctx.executor_id());
        Ok(())
    }

    fn process(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) -> Result<()> {
        let even = self
            .even
            .ok_or_else(|| Error::new("no counter: the executor part did not start"))?;
        let mut evens = 0;
        for (index, record) in batch.iter().enumerate() {
            let number = number_in(record).map_err(|error| {
                error.context(format!("record {index} of task {}", batch.task()))
            })?;
            let next = number
                .checked_add(1)
                .ok_or_else(|| Error::new(format!("{number} has no successor")))?;
            evens += u64::from(number % 2 == 0);
            out.push(next.to_string().as_bytes());
        }
        // Added at the end, so that a failed attempt counts nothing and the batch costs one atomic instruction.
        even.add(evens);
        Ok(())
    }
}

fn number_in(record: &[u8]) -> Result<i64> {
    Ok(std::str::from_utf8(record)?.parse()?)
}

export_plugin!(CustomMetrics as "custom-metrics": executor, processor);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_whole_number_or_refused() {
        let check = |record: &[u8], expected: Option<i64>| {
            assert_eq!(number_in(record).ok(), expected, "{record:?}");
        };
        check(b"0", Some(0));
        check(b"-12", Some(-12));
        check(b"9223372036854775807", Some(i64::MAX));
        for bad in [
            &b""[..],
            b"x",
            b"1.5",
            b" 1",
            b"\xff",
            b"9223372036854775808",
        ] {
            check(bad, None);
        }
    }
}
