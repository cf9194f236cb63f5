//! A saved result, read leniently: unknown keys are ignored, what is missing or of an
//! unexpected type is as if it were not there.

use serde_json::{Map, Value};

use crate::units;

/// A measured figure, as in `experiments` of `brigade.bench.v1`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellInput<'a> {
    /// "latency".
    pub(crate) experiment: &'a str,
    /// What varies.
    pub(crate) case: &'a Map<String, Value>,
    /// "round_trip".
    pub(crate) metric: &'a str,
    /// "us".
    pub(crate) unit: &'a str,
    /// The median.
    pub(crate) p50: f64,
    /// Its interval. None where there were too few blocks for one.
    pub(crate) ci95: Option<[f64; 2]>,
    /// Measurements.
    pub(crate) n: Option<u64>,
}

impl<'a> CellInput<'a> {
    fn read(value: &'a Value) -> Option<Self> {
        let p50 = number(value, "p50")?;
        Some(Self {
            experiment: text(value, "experiment")?,
            case: value.get("case")?.as_object()?,
            metric: text(value, "metric").unwrap_or("value"),
            unit: text(value, "unit").unwrap_or(""),
            p50,
            ci95: interval(value, "ci95"),
            n: value.get("n").and_then(Value::as_u64),
        })
    }

    /// A text of the case.
    pub(crate) fn text(&self, key: &str) -> Option<&'a str> {
        self.case.get(key)?.as_str()
    }

    /// A number of the case.
    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        plausible(self.case.get(key)?)
    }

    /// The median, and the ends of its interval.
    pub(crate) fn ends(&self) -> impl Iterator<Item = f64> + use<> {
        std::iter::once(self.p50).chain(self.ci95.into_iter().flatten())
    }

    /// Some keys of the case as one text, as in `threads, 2 workers`.
    pub(crate) fn said(&self, wanted: impl Fn(&str) -> bool) -> String {
        said(self.case, wanted)
    }
}

/// Every cell that has a median, and how many have none.
pub(crate) fn cells(result: &Value) -> (Vec<CellInput<'_>>, usize) {
    let all = list(result, "experiments");
    let cells: Vec<_> = all.iter().filter_map(CellInput::read).collect();
    let unreadable = all.len() - cells.len();
    (cells, unreadable)
}

/// Some keys of a case as one text: who did it first, then how.
pub(crate) fn said(case: &Map<String, Value>, wanted: impl Fn(&str) -> bool) -> String {
    let mut parts: Vec<(&String, String)> =
        case.iter().filter(|(key, _)| wanted(key)).filter_map(part).collect();
    let order = ["backend", "transport", "start_method", "placement"];
    parts.sort_by_key(|(key, _)| order.iter().position(|name| name == key).unwrap_or(order.len()));
    parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(", ")
}

fn part<'a>((key, value): (&'a String, &Value)) -> Option<(&'a String, String)> {
    let said = match (key.as_str(), value) {
        (_, Value::Null) | (_, Value::Bool(false)) => return None,
        (key, Value::Bool(true)) => key.to_owned(),
        ("workers", _) => units::count(value.as_u64()?, "worker"),
        ("bytes", _) => tick("bytes", plausible(value)?),
        ("floor", _) => format!("floor: {}", plain(value)),
        ("backend" | "transport" | "start_method", Value::String(name)) => name.clone(),
        (_, Value::String(text)) => text.clone(),
        (key, _) => format!("{key} {}", plain(value)),
    };
    Some((key, said))
}

/// A value without quotes.
pub(crate) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A text.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

/// A number that something measurable can have: with 10^300 of anything, there is no
/// axis on which anything else can be told apart.
pub(crate) fn plausible(value: &Value) -> Option<f64> {
    let measurable = |number: &f64| *number == 0.0 || (1e-15..=1e15).contains(&number.abs());
    value.as_f64().filter(measurable)
}

/// A plausible number.
pub(crate) fn number(value: &Value, key: &str) -> Option<f64> {
    plausible(value.get(key)?)
}

/// Two numbers in order.
pub(crate) fn interval(value: &Value, key: &str) -> Option<[f64; 2]> {
    match value.get(key)?.as_array()?.as_slice() {
        [from, to] => Some([plausible(from)?, plausible(to)?]).filter(|[from, to]| from <= to),
        _ => None,
    }
}

/// A list; empty if it is missing.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Every text of a list.
pub(crate) fn texts<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    list(value, key).iter().filter_map(Value::as_str).collect()
}

/// What these have in common, in order of first appearance, with all that have it.
pub(crate) fn grouped<T: Copy, K: PartialEq>(all: &[T], key: impl Fn(&T) -> K) -> Vec<(K, Vec<T>)> {
    let mut groups: Vec<(K, Vec<T>)> = Vec::new();
    for item in all {
        let key = key(item);
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, group)) => group.push(*item),
            None => groups.push((key, vec![*item])),
        }
    }
    groups
}

/// Distinct values in ascending order.
pub(crate) fn distinct(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

/// A quantity with its unit, three significant digits.
pub(crate) fn quantity(unit: &str, value: f64) -> String {
    match unit {
        "us" if value >= 0.0 => units::time((value * 1e3).round() as u64),
        "bytes" if value >= 0.0 => units::bytes(value.round() as u64),
        "ratio" | "" => units::digits(value),
        _ => format!("{} {unit}", units::digits(value)),
    }
}

/// A median with its interval, if it has one.
pub(crate) fn with_interval(unit: &str, value: f64, interval: Option<[f64; 2]>) -> String {
    format!("{}{}", quantity(unit, value), in_brackets(interval, |end| quantity(unit, end)))
}

/// ` (1.60 to 1.66)`, and nothing where there is no interval: the median itself would look like
/// one that is exact.
pub(crate) fn in_brackets(interval: Option<[f64; 2]>, say: impl Fn(f64) -> String) -> String {
    interval.map_or(String::new(), |[from, to]| format!(" ({} to {})", say(from), say(to)))
}

/// What a figure says below its picture if some of its cells have no interval.
pub(crate) fn without_intervals(cells: &[CellInput<'_>]) -> Option<String> {
    let without = cells.iter().filter(|cell| cell.ci95.is_none()).count();
    let which = if without == cells.len() { "There are no" } else { "Some have no" };
    (without > 0).then(|| format!("{which} intervals: {TOO_FEW}."))
}

/// Why there is no interval.
pub(crate) const TOO_FEW: &str = "too few blocks were measured for them";

/// A name of a file as the first words of a sentence: `round_trip` is "Round trip".
pub(crate) fn words(name: &str) -> String {
    let mut letters: Vec<char> = name.replace('_', " ").chars().collect();
    if let Some(first) = letters.first_mut() {
        first.make_ascii_uppercase();
    }
    letters.into_iter().collect()
}

/// A round value as it stands at an axis: without `.00`.
pub(crate) fn tick(unit: &str, value: f64) -> String {
    if unit == "us" && value == 0.0 {
        return "0".into();
    }
    let text = quantity(unit, value);
    let (digits, rest) = match text.split_once(' ') {
        Some((digits, rest)) => (digits, format!(" {rest}")),
        None => (text.as_str(), String::new()),
    };
    let digits = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    };
    format!("{digits}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_as_expected_is_as_if_it_were_not_there() {
        let result = json!({"experiments": [
            {"experiment": "e", "case": {"backend": "sync", "odd": [1]}, "p50": 1.5, "new": {}},
            {"experiment": "e", "case": {}, "p50": null},
            {"case": {}, "p50": 1},
            7,
        ]});
        let (cells, unreadable) = cells(&result);
        assert_eq!((cells.len(), unreadable), (1, 3));
        assert_eq!(cells[0].ci95, None);
        assert_eq!(with_interval("ratio", 1.5, cells[0].ci95), "1.50");
        assert_eq!(with_interval("ratio", 1.5, Some([1.25, 2.0])), "1.50 (1.25 to 2.00)");
        assert_eq!(interval(&json!({"i": [2, 1]}), "i"), None);
        assert_eq!(number(&json!({"x": 1e300}), "x"), None);
        assert!(texts(&json!({"warnings": "no list"}), "warnings").is_empty());
    }

    #[test]
    fn a_case_is_said_with_its_backend_first() {
        let case = json!({"a": "x", "backend": "threads", "depth": 2, "workers": 1,
                          "oversubscribed": true, "pin": false});
        let said = said(case.as_object().unwrap(), |_| true);
        assert_eq!(said, "threads, x, depth 2, oversubscribed, 1 worker");
    }

    #[test]
    fn ticks_are_short() {
        assert_eq!(tick("us", 1.0), "1 µs");
        assert_eq!(tick("us", 100_000.0), "100 ms");
        assert_eq!((tick("us", 0.0), tick("bytes", 0.0)), ("0".into(), "0 B".into()));
        assert_eq!(tick("ratio", 0.5), "0.5");
        assert_eq!(tick("bytes", 65536.0), "64 KiB");
    }
}
