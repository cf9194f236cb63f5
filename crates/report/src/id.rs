//! What a job is called in results.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// What a job is called: its number, or the JSON that a batch's line gives it, with every digit
/// and letter as it was written. A number that went through an `f64` would come back as another.
#[derive(Clone, Debug)]
pub struct Id(IdValue);

#[derive(Clone, Debug)]
enum IdValue {
    Number(u64),
    Json(Box<RawValue>),
}

/// Lists and objects in each other, as deep as `serde_json` and most other readers go.
const MAX_DEPTH: usize = 127;

impl Id {
    /// The JSON of a line.
    ///
    /// # Errors
    /// When a reader of the results could not read it: half of a surrogate pair, or lists in
    /// lists without end.
    pub fn read(json: &RawValue) -> Result<Self, String> {
        for token in tokens(json.get()) {
            match token {
                // Its quotes and escapes are known to be right, but not what they stand for.
                JsonToken::Text(text) => drop(
                    serde_json::from_str::<String>(text)
                        .map_err(|_| format!("{text} has half of a surrogate pair"))?,
                ),
                JsonToken::Depth(depth) if depth > MAX_DEPTH => {
                    return Err(format!("more than {MAX_DEPTH} lists or objects in each other"));
                }
                _ => {}
            }
        }
        // Some readers take a carriage return for the end of a line. It cannot be in a text.
        if !json.get().contains('\r') {
            return Ok(Self(IdValue::Json(json.to_owned())));
        }
        let text = json.get().replace('\r', " ");
        RawValue::from_string(text).map(|json| Self(IdValue::Json(json))).map_err(|e| e.to_string())
    }

    /// Without space between its tokens: two ids that differ in nothing else are the same.
    pub fn compact(&self) -> String {
        let IdValue::Json(json) = &self.0 else { return self.to_string() };
        let text_of = |token| match token {
            JsonToken::Text(text) | JsonToken::Other(text) => text,
            JsonToken::Depth(_) => "",
        };
        tokens(json.get()).map(text_of).collect()
    }
}

/// A token of JSON that is known to be well-formed.
#[derive(Clone, Copy)]
enum JsonToken<'a> {
    /// A text with its quotes.
    Text(&'a str),
    /// What is neither text nor space.
    Other(&'a str),
    /// How many lists and objects are open.
    Depth(usize),
}

fn tokens(json: &str) -> impl Iterator<Item = JsonToken<'_>> {
    let (mut rest, mut depth, mut told) = (json, 0_usize, 0);
    std::iter::from_fn(move || {
        if depth != told {
            told = depth;
            return Some(JsonToken::Depth(depth));
        }
        rest = rest.trim_ascii_start();
        let len = match *rest.as_bytes().first()? {
            b'"' => end_of_text(rest),
            other => {
                match other {
                    b'[' | b'{' => depth += 1,
                    b']' | b'}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                1
            }
        };
        let (token, after) = rest.split_at(len);
        rest = after;
        Some(if len > 1 { JsonToken::Text(token) } else { JsonToken::Other(token) })
    })
}

/// Bytes of the text at the beginning, with its quotes.
fn end_of_text(json: &str) -> usize {
    let mut is_escaped = true;
    for (place, byte) in json.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return place + 1,
            _ => {}
        }
    }
    json.len()
}

impl Default for Id {
    fn default() -> Self {
        Self(IdValue::Json(RawValue::NULL.to_owned()))
    }
}

impl From<u64> for Id {
    fn from(number: u64) -> Self {
        Self(IdValue::Number(number))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            IdValue::Number(number) => number.fmt(f),
            IdValue::Json(json) => f.write_str(json.get()),
        }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            IdValue::Number(number) => number.serialize(serializer),
            IdValue::Json(json) => json.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        Self::read(&json).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Id, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn it_comes_back_as_it_was_written() {
        for text in [
            "117.63331139400017",
            "9007199254740991.0",
            "340282366920938463463374607431768211455",
            "123456789012345678901234567890123456789012345678901234567890",
            "-0",
            "-0.0",
            "1.0",
            "1e400",
            "1E+2",
            "0.10000000000000000000000000000000000000000001",
            r#""\u00e9\/\ud83d\ude00""#,
            r#""1.0""#,
            r#"{"b": [1.50, {"a":  "x y\" ]"}], "a":2, "b":3}"#,
            "null",
            "[]",
        ] {
            let id = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(serde_json::to_string(&id).unwrap(), text);
            assert_eq!(id.to_string(), text);
        }
        assert_eq!(serde_json::to_string(&Id::from(u64::MAX)).unwrap(), u64::MAX.to_string());
        assert_eq!(Id::default().to_string(), "null");
    }

    #[test]
    fn space_makes_no_difference_and_ends_no_line() {
        let id = read("{\"a\": [1,\r 2.0 ],\t\"b c\": \"d \\\" e\"}").unwrap();
        assert_eq!(id.compact(), r#"{"a":[1,2.0],"b c":"d \" e"}"#);
        assert_eq!(id.to_string(), "{\"a\": [1,  2.0 ],\t\"b c\": \"d \\\" e\"}");
        assert_eq!(
            (read("\"\"").unwrap().compact(), Id::from(7).compact()),
            ("\"\"".into(), "7".into())
        );
    }

    #[test]
    fn what_readers_of_the_results_cannot_read_is_refused() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&deep(MAX_DEPTH)).is_ok());
        assert!(serde_json::from_str::<serde_json::Value>(&deep(MAX_DEPTH)).is_ok());
        assert!(read(&deep(MAX_DEPTH + 1)).unwrap_err().contains("in each other"));
        assert!(read(r#"["\ud800"]"#).unwrap_err().contains("surrogate"));
    }
}
