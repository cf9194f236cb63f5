//! As much of JSON Schema (draft 2020-12) as docs/schemas uses. Whatever a schema says beyond that
//! is an error, so that nothing is passed over. Crates for all of it bring forty others with them.

use serde_json::Value;

/// What is wrong with `value`, each with its place.
pub(crate) fn check(schema: &Value, value: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    at(schema, schema, value, "", &mut wrong);
    wrong
}

fn at(root: &Value, schema: &Value, value: &Value, place: &str, wrong: &mut Vec<String>) {
    let keywords = schema.as_object().unwrap_or_else(|| panic!("no schema: {schema}"));
    for (keyword, says) in keywords {
        let fits = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let path = says.as_str().and_then(|text| text.strip_prefix('#')).unwrap();
                let found = root.pointer(path).unwrap_or_else(|| panic!("no {says}"));
                at(root, found, value, place, wrong);
                true
            }
            "type" => one_or_several(says).any(|name| has_type(name.as_str().unwrap(), value)),
            "const" => value == says,
            "enum" => list(says).contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= says.as_f64().unwrap()),
            "minItems" => value.as_array().is_none_or(|list| list.len() >= count(says)),
            "maxItems" => value.as_array().is_none_or(|list| list.len() <= count(says)),
            "pattern" => value.as_str().is_none_or(|text| matches(says.as_str().unwrap(), text)),
            "required" => value.as_object().is_none_or(|map| {
                let missing =
                    list(says).iter().find(|key| !map.contains_key(key.as_str().unwrap()));
                wrong.extend(missing.map(|key| format!("{place}: no {key}")));
                true
            }),
            "properties" => {
                for (key, schema) in says.as_object().unwrap() {
                    if let Some(value) = value.get(key) {
                        at(root, schema, value, &format!("{place}/{key}"), wrong);
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = keywords.get("properties").and_then(Value::as_object);
                let others = value.as_object().into_iter().flatten();
                let mut others =
                    others.filter(|(key, _)| known.is_none_or(|known| !known.contains_key(*key)));
                match says {
                    Value::Bool(false) => others.next().is_none(),
                    schema => {
                        others.for_each(|(key, value)| {
                            at(root, schema, value, &format!("{place}/{key}"), wrong);
                        });
                        true
                    }
                }
            }
            "items" | "prefixItems" => {
                let parts = value.as_array().into_iter().flatten().enumerate();
                for (index, part) in parts {
                    let schema =
                        if keyword == "items" { Some(says) } else { list(says).get(index) };
                    if let Some(schema) = schema {
                        at(root, schema, part, &format!("{place}/{index}"), wrong);
                    }
                }
                true
            }
            "allOf" => {
                list(says).iter().for_each(|schema| at(root, schema, value, place, wrong));
                true
            }
            "oneOf" => {
                let fits = |schema: &&Value| is_valid(root, schema, value);
                list(says).iter().filter(fits).count() == 1
            }
            "if" => {
                if is_valid(root, says, value) {
                    at(root, &keywords["then"], value, place, wrong);
                }
                true
            }
            "then" => true,
            other => panic!("`{other}` is a keyword that this does not know"),
        };
        if !fits {
            wrong.push(format!("{place}: {value} is not {keyword} {says}"));
        }
    }
}

fn is_valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let mut wrong = Vec::new();
    at(root, schema, value, "", &mut wrong);
    wrong.is_empty()
}

fn has_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("`{other}` is no type"),
    }
}

/// A pattern such as `^[0-9a-f]{32}$`, the only kind there is.
fn matches(pattern: &str, text: &str) -> bool {
    let digits = pattern.strip_prefix("^[0-9a-f]{").and_then(|rest| rest.strip_suffix("}$"));
    let digits: usize = digits.and_then(|digits| digits.parse().ok()).unwrap();
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn one_or_several(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

fn count(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// Every keyword refuses what it is to refuse.
#[test]
fn what_is_wrong_is_found() {
    use serde_json::json;
    let schema = json!({
        "$defs": {"part": {"type": ["integer", "null"], "minimum": 0}},
        "type": "object", "required": ["a"],
        "properties": {
            "a": {"enum": ["x", "y"]},
            "b": {"type": "array", "items": {"$ref": "#/$defs/part"}, "minItems": 1, "maxItems": 2},
            "c": {"type": "string", "pattern": "^[0-9a-f]{4}$"},
            "d": {"oneOf": [{"const": 1}, {"type": "integer"}]},
            "e": {"type": "object", "additionalProperties": false, "properties": {"k": {"type": "boolean"}}},
            "f": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]},
            "g": {"type": "object", "additionalProperties": {"type": "number"}}
        },
        "allOf": [{"if": {"properties": {"a": {"const": "y"}}}, "then": {"required": ["b"]}}]
    });
    for good in [
        json!({"a": "x", "new": 1}),
        json!({"a": "y", "b": [1, null], "c": "09af", "d": 2, "e": {"k": true}, "f": ["s", 1.5, 0]}),
        json!({"a": "x", "g": {"n": 1.5}}),
    ] {
        assert_eq!(check(&schema, &good), [""; 0], "{good}");
    }
    for bad in [
        json!([]),
        json!({}),
        json!({"a": "z"}),
        json!({"a": "y"}),
        json!({"a": "x", "b": []}),
        json!({"a": "x", "b": [1, 2, 3]}),
        json!({"a": "x", "b": [-1]}),
        json!({"a": "x", "b": [0.5]}),
        json!({"a": "x", "c": "09ag"}),
        json!({"a": "x", "c": "09af0"}),
        json!({"a": "x", "d": 1}),
        json!({"a": "x", "e": {"l": true}}),
        json!({"a": "x", "e": {"k": 1}}),
        json!({"a": "x", "f": [1, 1]}),
        json!({"a": "x", "g": {"n": "1"}}),
    ] {
        assert_ne!(check(&schema, &bad), [""; 0], "{bad}");
    }
}
