//! The patch from one document to another. It applies exactly: numbers keep their form, members that differ are named.

use hotshoe_json::sorted;
use serde_json::{Value, json};

use super::{json::same, patch::OPERATIONS_MAX, pointer::escape};

/// An RFC 6902 array that turns `from` into `to`, exactly.
///
/// Where it would take more operations than a patch may have, it is one `replace` of the whole document. Recurses as
/// deep as the documents, which are at most [`super::json::DEPTH_MAX`] deep.
pub(super) fn diff(from: &Value, to: &Value) -> Value {
    let mut ops = Vec::new();
    match walk(from, to, String::new(), &mut ops) {
        Ok(()) => Value::Array(ops),
        Err(TooMany) => json!([{"op": "replace", "path": "", "value": to}]),
    }
}

/// More operations than a patch may have.
struct TooMany;

fn push(ops: &mut Vec<Value>, op: Value) -> Result<(), TooMany> {
    if ops.len() == OPERATIONS_MAX {
        return Err(TooMany);
    }
    ops.push(op);
    Ok(())
}

fn walk(from: &Value, to: &Value, path: String, ops: &mut Vec<Value>) -> Result<(), TooMany> {
    match (from, to) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, _) in sorted(old) {
                if !new.contains_key(name) {
                    push(
                        ops,
                        json!({"op": "remove", "path": format!("{path}/{}", escape(name))}),
                    )?;
                }
            }
            for (name, member) in sorted(new) {
                let path = format!("{path}/{}", escape(name));
                match old.get(name) {
                    Some(old) => walk(old, member, path, ops)?,
                    None => push(ops, json!({"op": "add", "path": path, "value": member}))?,
                }
            }
            Ok(())
        }
        (Value::Array(old), Value::Array(new)) => walk_arrays(old, new, &path, ops),
        _ if same(from, to) => Ok(()),
        _ => push(ops, json!({"op": "replace", "path": path, "value": to})),
    }
}

/// What the two have in common at both ends stays; between, elements are compared in pairs and the rest goes or comes.
fn walk_arrays(
    old: &[Value],
    new: &[Value],
    path: &str,
    ops: &mut Vec<Value>,
) -> Result<(), TooMany> {
    let shorter = old.len().min(new.len());
    let common = |pairs: &mut dyn Iterator<Item = (&Value, &Value)>| {
        pairs.take_while(|(old, new)| same(old, new)).count()
    };
    let head = common(&mut old.iter().zip(new));
    let tail = common(&mut old.iter().rev().zip(new.iter().rev())).min(shorter - head);
    let (old, new) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let pairs = old.len().min(new.len());
    for (i, (old, new)) in old.iter().zip(new).enumerate() {
        walk(old, new, format!("{path}/{}", head + i), ops)?;
    }
    for _ in pairs..old.len() {
        push(
            ops,
            json!({"op": "remove", "path": format!("{path}/{}", head + pairs)}),
        )?;
    }
    for (i, value) in new.iter().enumerate().skip(pairs) {
        push(
            ops,
            json!({"op": "add", "path": format!("{path}/{}", head + i), "value": value}),
        )?;
    }
    Ok(())
}
