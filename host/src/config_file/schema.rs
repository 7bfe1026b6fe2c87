//! `hotshoe schema`: the JSON Schema of hotshoe.toml, for editors and generators of configurations.
//!
//! It comes from the very types that the reader fills; nothing is described twice.

use serde_json::Value;

use super::raw::FileTable;

/// The JSON Schema (2020-12) of hotshoe.toml. A drop-in is one with `plugin` alone.
#[must_use]
pub fn schema() -> Value {
    schemars::SchemaGenerator::default()
        .into_root_schema_for::<FileTable>()
        .to_value()
}
