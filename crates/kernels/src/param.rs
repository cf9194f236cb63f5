use std::fmt;
use std::ops::RangeInclusive;

use brigade_proto::{Value, limits};

/// One parameter of a kernel: its name, type, range, default and meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// The name on the command line. Times carry their unit: `us`, `ms`.
    pub name: &'static str,
    /// Type and range.
    pub kind: ParamKind,
    /// The value when none is given; `None`: one must be given.
    pub default: Option<Value>,
    /// What the default stands for, where it is no value like the others, and a value to show
    /// in examples in its place.
    pub default_means: Option<(&'static str, Value)>,
    /// What it means, with its unit.
    pub doc: &'static str,
    /// Whether it bounds the memory that a job takes: a job that is not trusted may not have more
    /// than the default.
    pub bounds_memory: bool,
}

/// The type of a parameter and what it may be.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamKind {
    /// A whole number within bounds, both included.
    Int(RangeInclusive<i64>),
    /// A finite real number within bounds, both included.
    Float(RangeInclusive<f64>),
    /// `true` or `false`.
    Bool,
    /// One of these names.
    Choice(&'static [&'static str]),
}

impl ParamSpec {
    /// How large a result may become that is not bounded by the size of the inputs:
    /// [`Context::check_growth`](crate::Context::check_growth) looks at it.
    pub fn max_bytes() -> Self {
        let doc = "Larger results are refused, in bytes, unless the inputs have a 16th of that";
        Self::int("max_bytes", 1 << 20..=limits::MAX_BUFFER_BYTES.cast_signed(), doc)
            .default(1_i64 << 30)
            .bounds_memory()
    }

    fn new(name: &'static str, kind: ParamKind, doc: &'static str) -> Self {
        Self { name, kind, default: None, default_means: None, doc, bounds_memory: false }
    }

    /// A whole number within `range`.
    pub fn int(name: &'static str, range: RangeInclusive<i64>, doc: &'static str) -> Self {
        Self::new(name, ParamKind::Int(range), doc)
    }

    /// A finite real number within `range`.
    pub fn float(name: &'static str, range: RangeInclusive<f64>, doc: &'static str) -> Self {
        Self::new(name, ParamKind::Float(range), doc)
    }

    /// `true` or `false`.
    pub fn flag(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, ParamKind::Bool, doc)
    }

    /// One of `names`.
    pub fn choice(name: &'static str, names: &'static [&'static str], doc: &'static str) -> Self {
        Self::new(name, ParamKind::Choice(names), doc)
    }

    /// Sets the value when none is given.
    ///
    /// # Panics
    /// When the parameter itself does not allow that value.
    pub fn default(mut self, value: impl Into<Value>) -> Self {
        let value = value.into();
        let checked = self.kind.check(&value);
        assert!(checked.is_some(), "default {value} of `{}` is not allowed", self.name);
        self.default = checked;
        self
    }

    /// Says what the default stands for, as in 0 for "as the height asks", and what an example
    /// shows in its place.
    pub fn default_means(mut self, meaning: &'static str, example: impl Into<Value>) -> Self {
        self.default_means = Some((meaning, example.into()));
        self
    }

    /// Says that it bounds the memory that a job takes.
    pub fn bounds_memory(mut self) -> Self {
        self.bounds_memory = true;
        self
    }

    /// Reads a value as written on a command line. `None` if it is not allowed.
    pub fn parse(&self, text: &str) -> Option<Value> {
        let value = match &self.kind {
            ParamKind::Int(_) => Value::Int(text.parse().ok()?),
            ParamKind::Float(_) => Value::Float(text.parse().ok()?),
            ParamKind::Bool => Value::Bool(text.parse().ok()?),
            ParamKind::Choice(_) => Value::Text(text.to_owned()),
        };
        self.kind.check(&value)
    }

    /// Type, range and default in words: "a real number from 0.1 to 100 (default 2)".
    pub fn allowed(&self) -> String {
        match (&self.default, &self.default_means) {
            (Some(default), Some((meaning, _))) => {
                format!("{} (default {default}: {meaning})", self.kind)
            }
            (Some(default), None) => format!("{} (default {default})", self.kind),
            (None, _) => self.kind.to_string(),
        }
    }
}

impl ParamKind {
    /// The value, converted to this type where nothing is lost by it, if it is
    /// allowed.
    pub fn check(&self, value: &Value) -> Option<Value> {
        match (self, value) {
            (Self::Int(range), Value::Int(v)) => range.contains(v).then_some(Value::Int(*v)),
            // JSON writers do not tell 2 from 2.0.
            (Self::Int(range), Value::Float(v)) => {
                // 2^63 would be cut to one less, and compare equal to it as an f64.
                let whole = *v as i64;
                let is_same = whole as f64 == *v && whole != i64::MAX;
                (is_same && range.contains(&whole)).then_some(Value::Int(whole))
            }
            (Self::Float(range), Value::Float(v)) => range.contains(v).then_some(Value::Float(*v)),
            (Self::Float(range), Value::Int(v)) => {
                let real = *v as f64;
                let is_same = real as i128 == i128::from(*v);
                (is_same && range.contains(&real)).then_some(Value::Float(real))
            }
            (Self::Bool, Value::Bool(v)) => Some(Value::Bool(*v)),
            (Self::Choice(names), Value::Text(v)) => {
                names.contains(&v.as_str()).then(|| Value::Text(v.clone()))
            }
            _ => None,
        }
    }

    /// Whether a value is of this type, in its range or not.
    pub(crate) fn is_type_of(&self, value: &Value) -> bool {
        match self {
            Self::Int(_) | Self::Float(_) => matches!(value, Value::Int(_) | Value::Float(_)),
            Self::Bool => matches!(value, Value::Bool(_)),
            Self::Choice(_) => matches!(value, Value::Text(_)),
        }
    }

    /// The type in words.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Bool => "true or false",
            Self::Choice(_) => "a string",
        }
    }
}

impl fmt::Display for ParamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(range) => {
                write!(f, "a whole number from {} to {}", range.start(), range.end())
            }
            Self::Float(range) => {
                write!(f, "a real number from {} to {}", range.start(), range.end())
            }
            Self::Bool => f.write_str("true or false"),
            Self::Choice(names) => write!(f, "one of {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_both_ends_and_exclude_nan() {
        let sigma = ParamSpec::float("sigma", 0.5..=10.0, "");
        assert_eq!(sigma.parse("0.5"), Some(Value::Float(0.5)));
        assert_eq!(sigma.parse("10"), Some(Value::Float(10.0)));
        for wrong in ["0.49", "10.1", "NaN", "inf", "-inf", "", "two", "2,0"] {
            assert_eq!(sigma.parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_convert_only_where_nothing_is_lost() {
        let radius = ParamKind::Int(1..=9);
        assert_eq!(radius.check(&Value::Float(3.0)), Some(Value::Int(3)));
        assert_eq!(radius.check(&Value::Float(3.5)), None);
        assert_eq!(radius.check(&Value::Text("3".into())), None);
        assert_eq!(ParamKind::Float(0.0..=9.0).check(&Value::Int(3)), Some(Value::Float(3.0)));
        let any = ParamKind::Int(0..=i64::MAX);
        assert_eq!(any.check(&Value::Float(9_007_199_254_740_992.0)), Some(Value::Int(1 << 53)));
        assert_eq!(any.check(&Value::Float(9_223_372_036_854_775_808.0)), None);
        let large = ParamKind::Float(0.0..=1e300);
        assert_eq!(large.check(&Value::Int((1 << 53) + 1)), None);
        assert_eq!(large.check(&Value::Int(1 << 53)), Some(Value::Float(9_007_199_254_740_992.0)));
        assert_eq!(large.check(&Value::Int(i64::MAX)), None);
    }

    #[test]
    #[should_panic(expected = "default 20 of `radius` is not allowed")]
    fn a_default_out_of_range_is_a_bug() {
        let _ = ParamSpec::int("radius", 1..=9, "").default(20);
    }
}
