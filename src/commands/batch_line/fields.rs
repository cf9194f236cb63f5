//! The fields of a JSON object, each as raw text.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of an object in their order.
#[derive(Debug, Default)]
pub(super) struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// Parses one line of a batch.
    pub(super) fn read(line: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(line)
            .map_err(|error| format!("not UTF-8 (column {})", error.valid_up_to() + 1))?;
        serde_json::from_str(text).map_err(|error| {
            if error.is_data() {
                return "not a job: a JSON object with at least \"kernel\" is needed".to_owned();
            }
            format!("not JSON: {} (column {})", without_place(&error), error.column())
        })
    }

    /// Refuses duplicate fields and fields that are not in `known`.
    pub(super) fn check(&self, known: &[&str]) -> Result<(), String> {
        for (name, _) in &self.0 {
            if !known.contains(&&**name) {
                let known = known.join(", ");
                return Err(format!("not a job: unknown field `{name}`, expected one of {known}"));
            }
        }
        self.refuse_twice("not a job: field")
    }

    fn refuse_twice(&self, what: &str) -> Result<(), String> {
        for (place, (name, _)) in self.0.iter().enumerate() {
            if self.0[..place].iter().any(|(earlier, _)| earlier == name) {
                return Err(format!("{what} `{name}` is given twice"));
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(found, _)| found == name).map(|&(_, value)| value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, value)| (&**name, *value))
    }

    /// The value of a field; `None` if it is missing or `null`.
    pub(super) fn take<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        serde_json::from_str(value.get()).map_err(|error| wrong(name, &error))
    }

    /// The fields of a field that is an object; empty if it is missing or `null`.
    pub(super) fn within(&self, name: &str) -> Result<Self, String> {
        let Some(value) = self.get(name) else { return Ok(Self::default()) };
        let inner: Option<Self> =
            serde_json::from_str(value.get()).map_err(|error| wrong(name, &error))?;
        let inner = inner.unwrap_or_default();
        inner.refuse_twice("parameter")?;
        Ok(inner)
    }
}

fn wrong(name: &str, error: &serde_json::Error) -> String {
    format!("not a job: {name}: {}", without_place(error))
}

/// The error's message without its position: the line is always 1, and the column counts within a
/// part of the text.
fn without_place(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    error.to_string().replace(&place, "")
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Fields::default();
                while let Some(field) = map.next_entry()? {
                    fields.0.push(field);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object)
    }
}
