//! JSON Patch (RFC 6902), evaluated by the store itself: `test` compares numbers by value, and size and depth are
//! checked between two operations (config-api §5.6). All operations are read before the first is applied.

use hotshoe_json::echo;
use serde_json::Value;

use super::{
    change::ChangeError,
    edit::{Edit, Put},
    json::{echo_value, equal_by_value},
    pointer::Pointer,
};

/// Operations that one patch may have (config-api §12).
pub const OPERATIONS_MAX: usize = 1_000;

/// One operation; its pointers start at the root of the document, not at the addressed value.
#[derive(Debug)]
struct Step {
    path: Pointer,
    /// The path is the addressed value itself: what is added there replaces it, even where that is an array's element.
    whole: bool,
    verb: Verb,
}

impl Step {
    fn put(&self) -> Put {
        if self.whole { Put::Replace } else { Put::Add }
    }
}

#[derive(Debug)]
enum Verb {
    Add(Value),
    Remove,
    Replace(Value),
    Move(Pointer),
    Copy(Pointer),
    Test(Value),
}

/// A patch that is one, not applied yet.
#[derive(Debug)]
pub(super) struct Patch(Vec<Step>);

impl Patch {
    /// Reads `ops`, whose pointers are relative to `base`.
    ///
    /// Errors: `bad-patch`, with the operation at fault.
    pub(super) fn read(ops: &Value, base: &Pointer) -> Result<Self, ChangeError> {
        let Value::Array(ops) = ops else {
            return Err(bad("a JSON Patch is an array of operations"));
        };
        if ops.len() > OPERATIONS_MAX {
            return Err(bad(format!(
                "{} operations, at most {OPERATIONS_MAX} are taken",
                ops.len()
            )));
        }
        let read = |(i, op)| read_step(op, base).map_err(|e: ChangeError| e.operation(i));
        ops.iter()
            .enumerate()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Applies every operation to `edit`, in order.
    ///
    /// Errors: the first refusal, with its operation; `edit` is then good for nothing.
    pub(super) fn apply(&self, edit: &mut Edit) -> Result<(), ChangeError> {
        for (i, step) in self.0.iter().enumerate() {
            apply(step, edit).map_err(|e| e.operation(i))?;
        }
        Ok(())
    }

    /// The last operation that wrote at, above or below `pointer`: the one to blame for what is wrong there.
    pub(super) fn writer_of(&self, pointer: &str) -> Option<usize> {
        let last = self.0.len().checked_sub(1)?;
        let Ok(fault) = Pointer::parse(pointer) else {
            return Some(last);
        };
        let touches = |place: &Pointer| place.covers(&fault) || fault.covers(place);
        let writer = self.0.iter().rposition(|step| match &step.verb {
            Verb::Test(_) => false,
            Verb::Move(from) => touches(from) || touches(&step.path),
            _ => touches(&step.path),
        });
        Some(writer.unwrap_or(last))
    }
}

fn bad(detail: impl Into<String>) -> ChangeError {
    ChangeError::new("bad-patch", detail)
}

fn read_step(op: &Value, base: &Pointer) -> Result<Step, ChangeError> {
    let Value::Object(members) = op else {
        return Err(bad("an operation is an object"));
    };
    let text = |name: &str| match members.get(name) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(bad(format!("\"{name}\" is not a string"))),
        None => Err(bad(format!("an operation without \"{name}\""))),
    };
    let pointer = |name: &str| {
        Pointer::parse(text(name)?)
            .map(|pointer| base.join(&pointer))
            .map_err(|why| bad(format!("\"{name}\": {why}")))
    };
    let value = || {
        members
            .get("value")
            .cloned()
            .ok_or_else(|| bad("an operation without \"value\""))
    };
    let verb = match text("op")? {
        "add" => Verb::Add(value()?),
        "remove" => Verb::Remove,
        "replace" => Verb::Replace(value()?),
        "move" => Verb::Move(pointer("from")?),
        "copy" => Verb::Copy(pointer("from")?),
        "test" => Verb::Test(value()?),
        other => {
            return Err(bad(format!(
                "\"{}\" is not an operation of JSON Patch",
                echo(other)
            )));
        }
    };
    let path = pointer("path")?;
    Ok(Step {
        whole: path == *base,
        path,
        verb,
    })
}

fn apply(step: &Step, edit: &mut Edit) -> Result<(), ChangeError> {
    const MISSING: &str = "patch-path-missing";
    let path = &step.path;
    match &step.verb {
        Verb::Add(value) => edit
            .put(path, value.clone(), step.put())
            .map_err(|fault| fault.error(MISSING, path)),
        Verb::Replace(value) => edit
            .put(path, value.clone(), Put::Replace)
            .map_err(|fault| fault.error(MISSING, path)),
        Verb::Remove if step.whole => Err(ChangeError::new(
            MISSING,
            "a patch cannot remove the value that it is applied to",
        )
        .at(path)),
        Verb::Remove => edit
            .take(path)
            .map(drop)
            .map_err(|fault| fault.error(MISSING, path)),
        Verb::Copy(from) => {
            let gone = from.find(edit.root()).is_none();
            let place = if gone { from } else { path };
            edit.copy(from, path, step.put())
                .map_err(|fault| fault.error(MISSING, place))
        }
        Verb::Move(from) => relocate(edit, from, path, step.put()),
        Verb::Test(expected) => match path.find(edit.root()) {
            None => Err(super::edit::EditFault::Missing.error(MISSING, path)),
            Some(found) if equal_by_value(found, expected) => Ok(()),
            Some(found) => Err(ChangeError::new(
                "patch-test-failed",
                format!(
                    "the value is not the expected one but {}",
                    echo_value(found)
                ),
            )
            .at(path)),
        },
    }
}

fn relocate(edit: &mut Edit, from: &Pointer, path: &Pointer, put: Put) -> Result<(), ChangeError> {
    const MISSING: &str = "patch-path-missing";
    if from.find(edit.root()).is_none() {
        return Err(super::edit::EditFault::Missing.error(MISSING, from));
    }
    if from == path {
        return Ok(());
    }
    if from.covers(path) {
        return Err(ChangeError::new(MISSING, "a value cannot move into itself").at(path));
    }
    let moved = edit
        .take(from)
        .map_err(|fault| fault.error(MISSING, from))?;
    edit.put(path, moved, put)
        .map_err(|fault| fault.error(MISSING, path))
}
