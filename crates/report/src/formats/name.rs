//! The name of a figure, by which other programs know it again in the next run.

use serde_json::{Map, Value};

/// `latency round_trip backend=threads bytes=0`: the same for the same experiment, metric
/// and case, whatever the order of the keys; different for different ones; one line.
pub fn cell(experiment: &str, metric: &str, case: &Map<String, Value>) -> String {
    let mut parts = vec![word(experiment), word(metric)];
    let mut case: Vec<_> = case.iter().collect();
    case.sort_by_key(|(key, _)| *key);
    parts.extend(case.into_iter().map(|(key, value)| format!("{}={}", word(key), said(value))));
    parts.join(" ")
}

/// The same names, in which what is there a second time has ` #2` after it.
pub(crate) fn unique(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = std::collections::HashMap::new();
    let numbered = names.into_iter().map(|name| {
        let times = seen.entry(name.clone()).or_insert(0u32);
        *times += 1;
        if *times == 1 { name } else { format!("{name} #{times}") }
    });
    numbered.collect()
}

fn said(value: &Value) -> String {
    match value {
        // "0" is not 0: the first is quoted.
        Value::String(text) if serde_json::from_str::<Value>(text).is_err() => word(text),
        _ => value.to_string(),
    }
}

/// Quoted as in JSON unless it is one plain word: a name has no line feeds, and its
/// parts can be told from one another.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-+./:%".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn named(case: &Value) -> String {
        cell("latency", "round_trip", case.as_object().unwrap())
    }

    #[test]
    fn a_name_says_everything_in_order_of_the_keys() {
        let name = named(&json!({"bytes": 0, "backend": "threads", "pinned": true}));
        assert_eq!(name, "latency round_trip backend=threads bytes=0 pinned=true");
        assert_eq!(named(&json!({})), "latency round_trip");
    }

    #[test]
    fn different_cases_have_different_names_of_one_line() {
        let cases = [
            json!({"a": "0"}),
            json!({"a": 0}),
            json!({"a": null}),
            json!({"a": "null"}),
            json!({"a": ""}),
            json!({"a": "1 b=2"}),
            json!({"a": 1, "b": 2}),
            json!({"a=1 b": 2}),
            json!({"a": "x\ny"}),
            json!({"a": "x\\ny"}),
            json!({"a": ["x"]}),
            json!({"a": "[\"x\"]"}),
        ];
        let names: std::collections::HashSet<String> = cases.iter().map(named).collect();
        assert_eq!(names.len(), cases.len(), "{names:#?}");
        assert!(names.iter().all(|name| !name.contains('\n')));
    }

    #[test]
    fn what_is_there_twice_is_numbered() {
        let names = ["a", "b", "a", "a"].map(str::to_owned);
        assert_eq!(unique(names), ["a", "b", "a #2", "a #3"]);
    }
}
