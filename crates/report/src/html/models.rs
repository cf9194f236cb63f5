//! Fitted models of a result, as far as the figures draw them.

use serde_json::{Map, Value};

use super::input::{CellInput, in_brackets, interval, list, number, text, with_interval};

/// A parameter with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EstimateInput {
    /// The best guess.
    pub(crate) estimate: f64,
    /// From here to there, if that is known.
    pub(crate) interval: Option<[f64; 2]>,
}

impl EstimateInput {
    /// Reads `{"estimate": …, "interval": […, …]}`.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let estimate = number(value, "estimate")?;
        Some(Self { estimate, interval: interval(value, "interval") })
    }
}

/// A fitted curve of throughput against workers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Curve {
    /// Universal Scalability Law (Gunther 2007): contention and coherence.
    Usl { sigma: EstimateInput, kappa: EstimateInput },
    /// Amdahl's law (1967): the share of the work that is serial.
    Amdahl { serial: EstimateInput },
}

impl Curve {
    fn read(model: &Value) -> Option<Self> {
        let parameters = model.get("parameters")?;
        let estimate = |names: &[&str]| {
            names.iter().find_map(|name| EstimateInput::read(parameters.get(*name)?))
        };
        match text(model, "model")? {
            "usl" => Some(Self::Usl { sigma: estimate(&["sigma"])?, kappa: estimate(&["kappa"])? }),
            "amdahl" => {
                Some(Self::Amdahl { serial: estimate(&["serial", "serial_fraction", "sigma"])? })
            }
            _ => None,
        }
    }

    /// Throughput with `n` workers, of that of one.
    pub(crate) fn at(&self, n: f64) -> f64 {
        let (sigma, kappa) = match self {
            Self::Usl { sigma, kappa } => (sigma.estimate, kappa.estimate),
            Self::Amdahl { serial } => (serial.estimate, 0.0),
        };
        n / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0))
    }

    /// With its parameters, as in a legend.
    pub(crate) fn said(&self) -> String {
        let said = |name: &str, of: &EstimateInput| {
            let interval = in_brackets(of.interval, |end| format!("{end:.3}"));
            format!("{name} {:.3}{interval}", of.estimate)
        };
        match self {
            Self::Usl { sigma, kappa } => {
                let interval = in_brackets(kappa.interval, |end| format!("{end:.4}"));
                format!("USL, {}, κ {:.4}{interval}", said("σ", sigma), kappa.estimate)
            }
            Self::Amdahl { serial } => format!("Amdahl, {}", said("serial share", serial)),
        }
    }
}

/// Whether a model is about this cell: all that its case says is so in the cell's.
fn is_about(model: &Value, cell: &CellInput<'_>) -> bool {
    let empty = Map::new();
    let case = model.get("case").and_then(Value::as_object).unwrap_or(&empty);
    let said = case.iter().filter(|(key, _)| cell.case.contains_key(*key));
    let same = |(key, value): (&String, &Value)| cell.case.get(key) == Some(value);
    case.contains_key("backend") && said.into_iter().all(same)
}

/// Curves that were fitted to this cell and its like.
pub(crate) fn curves(result: &Value, cell: &CellInput<'_>) -> Vec<Curve> {
    let about = list(result, "models").iter().filter(|model| is_about(model, cell));
    about.filter_map(Curve::read).collect()
}

/// Why a curve was not fitted to this cell and its like: `usl`, and the reason.
pub(crate) fn refused<'a>(result: &'a Value, cell: &CellInput<'_>) -> Vec<(&'a str, &'a str)> {
    let refused = |model: &&Value| text(model, "model") == Some("refused");
    let about = list(result, "models").iter().filter(refused);
    about
        .filter(|model| is_about(model, cell))
        .filter_map(|model| Some((text(model, "of")?, text(model, "reason")?)))
        .collect()
}

/// How many times as fast as the reference so many workers are, as the measurement has it from
/// ratios within blocks: of the same work `speedup`, of work that grows `scaled-speedup`.
pub(crate) fn speedup(result: &Value, cell: &CellInput<'_>, weak: bool) -> Option<EstimateInput> {
    let (kind, key) =
        if weak { ("scaled-speedup", "scaled_speedup") } else { ("speedup", "speedup") };
    let about = |model: &&Value| text(model, "model") == Some(kind) && is_about(model, cell);
    let model = list(result, "models").iter().find(about)?;
    let workers = cell.number("workers")?;
    let mut points = list(model, "points").iter();
    let point = points.find(|point| number(point, "workers") == Some(workers))?;
    EstimateInput::read(point.get(key)?)
}

/// From which compute time on a rival costs at most so much more than a reference.
#[derive(Debug)]
pub(crate) struct BreakEvenInput<'a> {
    /// "processes".
    pub(crate) rival: &'a str,
    /// "threads".
    pub(crate) reference: &'a str,
    /// At most so many percent more.
    pub(crate) percent: Option<f64>,
    /// For so many workers, if it is about one number of them.
    pub(crate) workers: Option<f64>,
    /// Payload in bytes, and the compute time in microseconds.
    pub(crate) points: Vec<(f64, ThresholdInput)>,
}

/// Where a line lies at one payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ThresholdInput {
    /// Here.
    At(EstimateInput),
    /// Beyond all compute times that were tried.
    Never,
    /// Below all of them.
    Always,
}

impl ThresholdInput {
    /// In words.
    pub(crate) fn said(&self) -> String {
        match self {
            Self::At(at) => with_interval("us", at.estimate, at.interval),
            Self::Never => "not within what was measured".into(),
            Self::Always => "always".into(),
        }
    }
}

/// Every break-even line of a result.
pub(crate) fn break_even(result: &Value) -> Vec<BreakEvenInput<'_>> {
    let of_kind = |model: &&Value| text(model, "model") == Some("break-even");
    list(result, "models").iter().filter(of_kind).filter_map(read_break_even).collect()
}

fn read_break_even(model: &Value) -> Option<BreakEvenInput<'_>> {
    let case = model.get("case")?;
    let point = |point: &Value| {
        let answer = match text(point, "answer")? {
            "at" => ThresholdInput::At(EstimateInput::read(point.get("compute_us")?)?),
            "never" => ThresholdInput::Never,
            "always" => ThresholdInput::Always,
            _ => return None,
        };
        Some((number(point, "bytes")?, answer))
    };
    let mut points: Vec<_> = list(model, "points").iter().filter_map(point).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    Some(BreakEvenInput {
        rival: text(case, "rival")?,
        reference: text(case, "reference")?,
        percent: number(case, "percent"),
        workers: number(case, "workers"),
        points,
    })
}

/// Which backend is cheapest at a place of the break-even grid, as the measurement judged it.
#[derive(Clone, Debug)]
pub(crate) struct CheapestInput<'a> {
    /// For so many workers.
    pub(crate) workers: Option<f64>,
    /// Payload in bytes and compute time in microseconds.
    pub(crate) at: (f64, f64),
    /// "threads".
    pub(crate) backend: &'a str,
    /// Whether every other takes more, as far as intervals tell.
    pub(crate) decided: bool,
    /// The others, and how many times as long they take.
    pub(crate) others: Vec<(&'a str, EstimateInput)>,
}

/// Every place that was judged.
pub(crate) fn cheapest(result: &Value) -> Vec<CheapestInput<'_>> {
    let of_kind = |model: &&Value| text(model, "model") == Some("cheapest");
    let models = list(result, "models").iter().filter(of_kind);
    models
        .flat_map(|model| {
            let workers = model.get("case").and_then(|case| number(case, "workers"));
            let place = move |point| read_cheapest(point, workers);
            list(model, "points").iter().filter_map(place)
        })
        .collect()
}

fn read_cheapest(point: &Value, workers: Option<f64>) -> Option<CheapestInput<'_>> {
    let other = |other| Some((text(other, "backend")?, EstimateInput::read(other.get("ratio")?)?));
    Some(CheapestInput {
        workers,
        at: (number(point, "bytes")?, number(point, "compute_us")?),
        backend: text(point, "cheapest")?,
        decided: point.get("decided")?.as_bool()?,
        others: list(point, "others").iter().filter_map(other).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn curves_go_through_one_at_one_worker() {
        let exact = |estimate: f64| EstimateInput { estimate, interval: None };
        let usl = Curve::Usl { sigma: exact(0.05), kappa: exact(0.01) };
        assert_eq!(usl.at(1.0), 1.0);
        // 4 / (1 + 0.05 * 3 + 0.01 * 4 * 3)
        assert!((usl.at(4.0) - 4.0 / 1.27).abs() < 1e-12);
        assert!((Curve::Amdahl { serial: exact(0.5) }.at(1e12) - 2.0).abs() < 1e-6);
    }

    #[test]
    fn what_has_no_interval_is_told_without_one() {
        let of = |interval: Value| {
            let serial = json!({"estimate": 0.25, "interval": interval});
            let model = json!({"model": "amdahl", "parameters": {"serial": serial}});
            Curve::read(&model).unwrap().said()
        };
        assert_eq!(of(json!([0.125, 0.5])), "Amdahl, serial share 0.250 (0.125 to 0.500)");
        assert_eq!(of(json!([0.125, null])), "Amdahl, serial share 0.250");
        assert_eq!(of(Value::Null), "Amdahl, serial share 0.250");
    }

    #[test]
    fn a_model_is_about_cells_that_agree_with_its_case() {
        let cell = json!({"experiments": [{"experiment": "scaling", "p50": 1.0,
            "case": {"backend": "threads", "workers": 2, "mode": "strong"}}]});
        let (cells, _) = crate::html::input::cells(&cell);
        let model = |case: Value| {
            json!({"models": [{"model": "amdahl", "case": case,
                               "parameters": {"serial": {"estimate": 0.1}}}]})
        };
        assert_eq!(curves(&model(json!({"backend": "threads"})), &cells[0]).len(), 1);
        assert_eq!(curves(&model(json!({"backend": "processes"})), &cells[0]).len(), 0);
        assert_eq!(
            curves(&model(json!({"backend": "threads", "mode": "weak"})), &cells[0]).len(),
            0
        );
        assert_eq!(curves(&json!({"models": [3, {"model": "usl"}]}), &cells[0]).len(), 0);
    }
}
