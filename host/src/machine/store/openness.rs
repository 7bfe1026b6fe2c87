//! What a schema must be before it may guard a topic: closed objects, no reference but into itself, no reference that
//! comes back to itself without going deeper (config-api §5.4). Walks only what the root reaches, with lists, never by
//! recursion. It validates no document.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{change::DeclareError, pointer::Pointer};

/// Keywords that only say something about objects.
const OBJECT_KEYWORDS: [&str; 8] = [
    "properties",
    "patternProperties",
    "propertyNames",
    "required",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
];

/// The schema named by this keyword applies to the same value.
const IN_PLACE: [&str; 2] = ["then", "else"];
/// So does each schema of this keyword's array.
const IN_PLACE_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
/// The same value too, but only as a test: it admits nothing by itself.
const TESTS: [&str; 2] = ["if", "not"];
/// The schema named by this keyword applies to members or elements.
const BELOW: [&str; 5] = [
    "additionalProperties",
    "unevaluatedProperties",
    "items",
    "unevaluatedItems",
    "contains",
];
/// So does each schema of this keyword's object.
const BELOW_MAPS: [&str; 2] = ["properties", "patternProperties"];

/// What is known about the value that a schema applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    /// An object may still have members that nobody looks at.
    Open,
    /// A schema around this one says what becomes of other members.
    Closed,
    /// This schema is a condition, and so is all below it.
    Test,
}

/// Checks `schema` as the module's head says.
///
/// Errors: `config-schema-open`, else `config-bad-setting`; with the pointer of the schema at fault.
pub(super) fn check(schema: &Value) -> Result<(), DeclareError> {
    let dialect = schema.get("$schema").and_then(Value::as_str);
    if dialect.is_some_and(|uri| uri.trim_end_matches('#') != DIALECT) {
        return Err(bad("its $schema is not JSON Schema 2020-12").at("/$schema"));
    }
    let mut walk = Walk {
        root: schema,
        anchors: anchors(schema),
        done: HashSet::new(),
        below: vec![(Pointer::default(), Role::Open)],
    };
    while let Some((pointer, role)) = walk.below.pop() {
        walk.place(pointer, role)?;
    }
    Ok(())
}

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

fn bad(why: impl std::fmt::Display) -> DeclareError {
    DeclareError::setting(
        "schema",
        why,
        "a JSON Schema 2020-12 with closed objects and no reference but #…",
    )
}

/// Where each `$anchor` and `$dynamicAnchor` of the document is.
fn anchors(schema: &Value) -> HashMap<&str, Pointer> {
    let mut found = HashMap::new();
    let mut open = vec![(Pointer::default(), schema)];
    while let Some((pointer, value)) = open.pop() {
        let below = |segment: String| Pointer([pointer.0.clone(), vec![segment]].concat());
        match value {
            Value::Object(map) => {
                for keyword in ["$anchor", "$dynamicAnchor"] {
                    if let Some(Value::String(name)) = map.get(keyword) {
                        found.insert(name.as_str(), pointer.clone());
                    }
                }
                open.extend(map.iter().map(|(name, v)| (below(name.clone()), v)));
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                open.extend(items.map(|(i, v)| (below(i.to_string()), v)));
            }
            _ => {}
        }
    }
    found
}

struct Walk<'s> {
    root: &'s Value,
    anchors: HashMap<&'s str, Pointer>,
    done: HashSet<(String, Role)>,
    /// Places whose schemas apply to members or elements.
    below: Vec<(Pointer, Role)>,
}

enum Step {
    Enter(Pointer, Role),
    Leave(String),
}

impl Walk<'_> {
    /// All schemas that apply to the same value as the one at `start`.
    fn place(&mut self, start: Pointer, role: Role) -> Result<(), DeclareError> {
        let mut trail = HashSet::new();
        let mut steps = vec![Step::Enter(start, role)];
        while let Some(step) = steps.pop() {
            let (pointer, role) = match step {
                Step::Enter(pointer, role) => (pointer, role),
                Step::Leave(place) => {
                    trail.remove(&place);
                    continue;
                }
            };
            let place = pointer.to_string();
            if trail.contains(&place) {
                return Err(bad("a schema refers to itself without going deeper").at(pointer));
            }
            if !self.done.insert((place.clone(), role)) {
                continue;
            }
            let Some(Value::Object(map)) = pointer.find(self.root) else {
                continue;
            };
            if map.contains_key("$id") && !pointer.0.is_empty() {
                return Err(bad("a schema inside it has an $id of its own").at(pointer));
            }
            let role = close(map, role);
            if role == Role::Open && is_object_schema(map) {
                return Err(open(&pointer));
            }
            trail.insert(place.clone());
            steps.push(Step::Leave(place));
            self.same_value(map, &pointer, role, &mut steps)?;
            self.members(map, &pointer, role);
        }
        Ok(())
    }

    fn same_value(
        &self,
        map: &Map<String, Value>,
        at: &Pointer,
        role: Role,
        steps: &mut Vec<Step>,
    ) -> Result<(), DeclareError> {
        let there = |keyword: &str| map.contains_key(keyword).then(|| below(at, &[keyword]));
        let plain = IN_PLACE.into_iter().filter_map(there);
        steps.extend(plain.map(|place| Step::Enter(place, role)));
        let tests = TESTS.into_iter().filter_map(there);
        steps.extend(tests.map(|place| Step::Enter(place, Role::Test)));
        for keyword in IN_PLACE_LISTS {
            let count = map
                .get(keyword)
                .and_then(Value::as_array)
                .map_or(0, Vec::len);
            for i in 0..count {
                steps.push(Step::Enter(below(at, &[keyword, &i.to_string()]), role));
            }
        }
        if let Some(Value::Object(schemas)) = map.get("dependentSchemas") {
            for name in schemas.keys() {
                steps.push(Step::Enter(below(at, &["dependentSchemas", name]), role));
            }
        }
        for keyword in ["$ref", "$dynamicRef"] {
            if let Some(Value::String(reference)) = map.get(keyword) {
                steps.push(Step::Enter(self.resolve(reference, at)?, role));
            }
        }
        Ok(())
    }

    fn members(&mut self, map: &Map<String, Value>, at: &Pointer, role: Role) {
        let role = match role {
            Role::Test => Role::Test,
            Role::Open | Role::Closed => Role::Open,
        };
        let mut add = |path: &[&str]| self.below.push((below(at, path), role));
        for keyword in BELOW {
            if map.contains_key(keyword) {
                add(&[keyword]);
            }
        }
        for keyword in BELOW_MAPS {
            if let Some(Value::Object(schemas)) = map.get(keyword) {
                for name in schemas.keys() {
                    add(&[keyword, name]);
                }
            }
        }
        let count = map
            .get("prefixItems")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        for i in 0..count {
            add(&["prefixItems", &i.to_string()]);
        }
    }

    fn resolve(&self, reference: &str, at: &Pointer) -> Result<Pointer, DeclareError> {
        let shown = hotshoe_json::echo(reference);
        let Some(fragment) = reference.strip_prefix('#') else {
            return Err(bad(format!(
                "the reference {shown} leaves it; nothing is fetched"
            ))
            .at(at));
        };
        let dangling = || bad(format!("the reference {shown} leads nowhere")).at(at);
        let fragment = percent_decode(fragment).ok_or_else(dangling)?;
        let target = if fragment.is_empty() || fragment.starts_with('/') {
            Pointer::parse(&fragment).map_err(|_| dangling())?
        } else {
            self.anchors
                .get(fragment.as_str())
                .cloned()
                .ok_or_else(dangling)?
        };
        match target.find(self.root) {
            Some(Value::Object(_) | Value::Bool(_)) => Ok(target),
            _ => Err(dangling()),
        }
    }
}

fn below(at: &Pointer, path: &[&str]) -> Pointer {
    at.join(&Pointer(path.iter().map(|s| (*s).to_owned()).collect()))
}

fn close(map: &Map<String, Value>, role: Role) -> Role {
    let says =
        map.contains_key("additionalProperties") || map.contains_key("unevaluatedProperties");
    if role == Role::Open && says {
        Role::Closed
    } else {
        role
    }
}

fn is_object_schema(map: &Map<String, Value>) -> bool {
    let object = |value: &Value| value.as_str() == Some("object");
    let typed = match map.get("type") {
        Some(Value::Array(types)) => types.iter().any(object),
        Some(name) => object(name),
        None => OBJECT_KEYWORDS
            .iter()
            .any(|keyword| map.contains_key(*keyword)),
    };
    typed && !only_fixed_values(map)
}

/// `const` and `enum` spell out whole objects, so no member of theirs is unknown.
fn only_fixed_values(map: &Map<String, Value>) -> bool {
    map.contains_key("const") || map.contains_key("enum")
}

fn open(pointer: &Pointer) -> DeclareError {
    DeclareError::new(
        "config-schema-open",
        format!(
            "schema: the object schema at \"{pointer}\" says neither additionalProperties nor unevaluatedProperties, so \
             unknown members would be ignored; allowed: objects that say it, most often \"additionalProperties\": false"
        ),
    )
    .at(pointer)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn verdict(schema: Value) -> Option<(&'static str, String)> {
        check(&schema)
            .err()
            .map(|e| (e.code, e.pointer.unwrap_or_default()))
    }

    #[test]
    fn every_object_schema_says_what_becomes_of_other_members() {
        let closed = |schema| assert_eq!(verdict(schema), None);
        let open = |schema, pointer: &str| {
            assert_eq!(
                verdict(schema),
                Some(("config-schema-open", pointer.into()))
            );
        };
        closed(json!({"type": "integer"}));
        closed(json!(true));
        closed(json!({"type": "object", "additionalProperties": false}));
        closed(json!({"type": "object", "additionalProperties": {"type": "string"}}));
        closed(json!({"type": "object", "unevaluatedProperties": true}));
        open(json!({"type": "object"}), "");
        open(json!({"type": ["object", "null"]}), "");
        open(json!({"properties": {"a": true}}), "");
        open(json!({"required": ["a"]}), "");
        open(
            json!({"additionalProperties": false, "properties": {"a": {"type": "object"}}}),
            "/properties/a",
        );
        open(
            json!({"type": "array", "items": {"type": "object"}}),
            "/items",
        );
        open(
            json!({"prefixItems": [true, {"type": "object"}]}),
            "/prefixItems/1",
        );
        open(
            json!({"type": "object", "additionalProperties": {"type": "object"}}),
            "/additionalProperties",
        );
        open(
            json!({"$ref": "#/$defs/x", "$defs": {"x": {"type": "object"}}}),
            "/$defs/x",
        );
        open(
            json!({"$ref": "#x", "$defs": {"y": {"$anchor": "x", "type": "object"}}}),
            "/$defs/y",
        );
        open(
            json!({"oneOf": [{"type": "null"}, {"type": "object"}]}),
            "/oneOf/1",
        );
    }

    #[test]
    fn a_closing_schema_closes_what_applies_to_the_same_value() {
        let base = json!({"type": "object", "properties": {"a": true}});
        assert_eq!(
            verdict(
                json!({"allOf": [{"$ref": "#/$defs/base"}], "properties": {"b": true},
                "unevaluatedProperties": false, "$defs": {"base": base}})
            ),
            None
        );
        // The same definition, reached from a place that nobody closes.
        assert_eq!(
            verdict(
                json!({"allOf": [{"$ref": "#/$defs/base"}], "unevaluatedProperties": false,
                "properties": {"b": {"$ref": "#/$defs/base"}}, "$defs": {"base": base}})
            ),
            Some(("config-schema-open", "/$defs/base".into()))
        );
        assert_eq!(
            verdict(
                json!({"additionalProperties": false, "properties": {"m": true},
                "if": {"properties": {"m": {"const": 1}}}, "then": {"required": ["m"]}})
            ),
            None
        );
        assert_eq!(
            verdict(json!({"not": {"required": ["a"]}, "type": "integer"})),
            None
        );
    }

    #[test]
    fn references_stay_inside_and_go_deeper() {
        let refused = |schema, pointer: &str| {
            assert_eq!(
                verdict(schema),
                Some(("config-bad-setting", pointer.into()))
            );
        };
        refused(json!({"$ref": "https://example.com/x.json"}), "");
        refused(json!({"items": {"$ref": "other.json#/x"}}), "/items");
        refused(json!({"$ref": "#/$defs/nowhere"}), "");
        refused(json!({"$ref": "#nowhere"}), "");
        refused(json!({"$ref": "#"}), "");
        refused(
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#"}]}}}),
            "",
        );
        refused(json!({"items": {"$id": "x", "type": "null"}}), "/items");
        refused(
            json!({"$schema": "http://json-schema.org/draft-07/schema#"}),
            "/$schema",
        );
        let tree = json!({"$schema": DIALECT, "type": "object", "additionalProperties": false,
            "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}});
        assert_eq!(verdict(tree), None);
        let escaped = json!({"$ref": "#/$defs/a%20b~1c", "$defs": {"a b/c": true}});
        assert_eq!(verdict(escaped), None);
    }
}
