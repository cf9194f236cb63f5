//! Saved results of `brigade bench`, and what differs between two of them.
//!
//! The two were not taken in turns, so there are no pairs of blocks: each side's blocks
//! are resampled by themselves. What the machine did between the two is in no interval.

use serde_json::{Map, Value};

use crate::comparison::{Compared, Estimate, Side, Verdict};
use crate::experiment::{Dice, median};
use crate::stats::{bootstrap, holm, mann_whitney};

/// Of the resampling: a verdict of two files is the same each time.
pub const SEED: u64 = 1;
const CONFIDENCE: f64 = 0.99;

/// A result of schema `brigade.bench.v1`.
#[derive(Clone, Debug)]
pub struct Saved {
    host: Value,
    cells: Vec<SavedCell>,
}

#[derive(Clone, Debug, PartialEq)]
struct SavedCell {
    experiment: String,
    case: Map<String, Value>,
    metric: String,
    unit: String,
    blocks: Vec<Vec<f64>>,
}

impl Saved {
    /// From JSON. Cells without samples are left out.
    ///
    /// # Errors
    /// When it is not of that schema.
    pub fn read(value: &Value) -> Result<Self, String> {
        match value["schema"].as_str() {
            Some("brigade.bench.v1") => {}
            Some(other) => return Err(format!("it is {other}, not brigade.bench.v1")),
            None => return Err("it is not a result of Brigade: it has no schema".to_owned()),
        }
        let cells = value["experiments"].as_array().map(Vec::as_slice).unwrap_or_default();
        let cells = cells.iter().filter_map(SavedCell::read).collect();
        Ok(Self { host: value["host"].clone(), cells })
    }

    /// One side of a comparison.
    pub fn side(&self, name: &str) -> Side {
        Side { name: name.to_owned(), host: self.host.clone() }
    }

    /// What a cell is measured against in its own file: threads that do the same work, else
    /// the floor.
    fn reference(&self, cell: &SavedCell) -> Option<&SavedCell> {
        let is_alike = |other: &&SavedCell| {
            let same = |key: &str| other.case.get(key) == cell.case.get(key);
            other.experiment == cell.experiment
                && other.metric == cell.metric
                && *other != cell
                && ["kernel", "bytes", "state", "workers", "mode", "work", "compute_us"]
                    .into_iter()
                    .all(same)
        };
        let others = || self.cells.iter().filter(is_alike);
        let is_threads = |other: &&SavedCell| other.case.get("backend") == Some(&"threads".into());
        others()
            .find(is_threads)
            .or_else(|| others().find(|other| other.case.contains_key("floor")))
    }
}

impl SavedCell {
    fn read(value: &Value) -> Option<Self> {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let samples: Vec<f64> =
            value["samples"].as_array()?.iter().filter_map(Value::as_f64).collect();
        let counts = value["per_block"].as_array().map(Vec::as_slice).unwrap_or_default();
        let counts: Vec<usize> =
            counts.iter().filter_map(|count| usize::try_from(count.as_u64()?).ok()).collect();
        let mut rest = &samples[..];
        // Older results do not say which samples go together.
        let counts = if counts.is_empty() { vec![1; samples.len()] } else { counts };
        let mut blocks = Vec::new();
        for count in counts {
            let (block, others) = rest.split_at(count.min(rest.len()));
            blocks.extend((!block.is_empty()).then(|| block.to_vec()));
            rest = others;
        }
        (!blocks.is_empty()).then_some(Self {
            experiment: text("experiment")?,
            case: value["case"].as_object().cloned().unwrap_or_default(),
            metric: text("metric")?,
            unit: text("unit")?,
            blocks,
        })
    }

    /// Each block's median over that of the reference in the same block.
    fn over(&self, reference: &Self) -> Self {
        let pairs = self.blocks.iter().zip(&reference.blocks);
        let blocks = pairs.map(|(own, other)| vec![median(own) / median(other)]).collect();
        Self { unit: "ratio".to_owned(), blocks, ..self.clone() }
    }
}

/// What of the hosts differs that makes times incomparable.
pub fn host_differences(base: &Saved, head: &Saved) -> Vec<String> {
    ["cpu", "cores_usable", "memory_total_bytes", "kernel", "virtual_machine"]
        .into_iter()
        .filter(|key| base.host[key] != head.host[key])
        .map(|key| format!("{key}: {} and {}", base.host[key], head.host[key]))
        .collect()
}

/// Compares what both have. `relative`: by each file's ratios to threads or to the floor.
pub fn compare(base: &Saved, head: &Saved, tolerance: f64, relative: bool) -> Vec<Compared> {
    let mut cells: Vec<Compared> = base
        .cells
        .iter()
        .filter(|cell| !cell.case.contains_key("floor") && cell.unit != "ratio")
        .filter_map(|cell| {
            let same = |other: &&SavedCell| {
                other.experiment == cell.experiment
                    && other.metric == cell.metric
                    && other.case == cell.case
            };
            let other = head.cells.iter().find(same)?;
            if relative {
                let (own, others) = (base.reference(cell)?, head.reference(other)?);
                Some(compared(&cell.over(own), &other.over(others), tolerance))
            } else {
                Some(compared(cell, other, tolerance))
            }
        })
        .collect();
    let tests: Vec<f64> = cells.iter().map(|cell| cell.p).collect();
    for (cell, p) in cells.iter_mut().zip(holm(&tests)) {
        cell.p_holm = p;
    }
    cells
}

fn compared(base: &SavedCell, head: &SavedCell, tolerance: f64) -> Compared {
    let medians = |cell: &SavedCell| cell.blocks.iter().map(|block| median(block)).collect();
    let (of_base, of_head): (Vec<f64>, Vec<f64>) = (medians(base), medians(head));
    let ratio = |base: &[f64], head: &[f64]| median(head) / median(base);
    let dice = &mut Dice::new(SEED);
    let interval = bootstrap::of_two(&of_base, &of_head, CONFIDENCE, 2000, dice, ratio);
    let (base_median, head_median) = (median(&base.blocks.concat()), median(&head.blocks.concat()));
    let few = of_base.len().min(of_head.len()) < LEAST_BLOCKS;
    let (verdict, why) = verdict(interval, tolerance, few);
    Compared {
        experiment: base.experiment.clone(),
        case: base.case.clone(),
        metric: base.metric.clone(),
        unit: base.unit.clone(),
        verdict,
        why,
        blocks: of_base.len().min(of_head.len()),
        base: base_median,
        head: head_median,
        ratio: Estimate { estimate: head_median / base_median, interval, confidence: CONFIDENCE },
        aa: None,
        p: mann_whitney(&of_base, &of_head).p,
        p_holm: 1.0,
        detectable: ((interval[1] / interval[0]).ln() / 2.0).exp_m1(),
        confirmed: None,
        second: None,
        base_samples: of_base,
        again_samples: Vec::new(),
        head_samples: of_head,
    }
}

/// With fewer blocks an interval from resampling them is too narrow.
const LEAST_BLOCKS: usize = 8;

fn verdict([low, high]: [f64; 2], tolerance: f64, few: bool) -> (Verdict, String) {
    if few {
        let why = format!("fewer than {LEAST_BLOCKS} blocks: measure with more --blocks");
        return (Verdict::Inconclusive, why);
    }
    let limit = 1.0 + tolerance;
    if low > limit {
        (Verdict::Worse, "not run in turns: `brigade ab` confirms it".to_owned())
    } else if high < 1.0 / limit {
        (Verdict::Better, String::new())
    } else if low >= 1.0 / limit && high <= limit {
        (Verdict::Same, String::new())
    } else {
        let why = "the interval reaches over the tolerance: measure with more --blocks";
        (Verdict::Inconclusive, why.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cell(backend: &str, times: impl Iterator<Item = f64>) -> Value {
        let samples: Vec<f64> = times.collect();
        json!({"experiment": "latency", "case": {"backend": backend, "bytes": 0},
               "metric": "round_trip", "unit": "us", "per_block": vec![1; samples.len()],
               "samples": samples})
    }

    /// A machine that is `slow` times as slow, where processes take `ratio` of threads.
    fn result(cpu: &str, slow: f64, ratio: f64) -> Saved {
        let noise = |i: u32| 1.0 + 0.002 * f64::from(i * 7 % 5);
        let times = |base: f64| (0..20).map(move |i| base * slow * noise(i));
        let cells = [cell("threads", times(10.0)), cell("processes", times(10.0 * ratio))];
        let value =
            json!({"schema": "brigade.bench.v1", "host": {"cpu": cpu}, "experiments": cells});
        Saved::read(&value).unwrap()
    }

    fn verdicts(base: &Saved, head: &Saved, relative: bool) -> Vec<Verdict> {
        compare(base, head, 0.05, relative).into_iter().map(|cell| cell.verdict).collect()
    }

    #[test]
    fn times_of_one_machine_are_compared_as_they_are() {
        let base = result("a", 1.0, 1.2);
        assert!(host_differences(&base, &base).is_empty());
        assert_eq!(verdicts(&base, &base, false), [Verdict::Same, Verdict::Same]);
        let head = result("a", 1.0, 1.4);
        assert_eq!(verdicts(&base, &head, false), [Verdict::Same, Verdict::Worse]);
        assert_eq!(verdicts(&head, &base, false), [Verdict::Same, Verdict::Better]);
    }

    #[test]
    fn another_machine_is_compared_by_its_ratios() {
        let (base, head) = (result("a", 1.0, 1.2), result("b", 3.0, 1.2));
        assert_eq!(host_differences(&base, &head).len(), 1);
        // Threads have no other threads to be compared with.
        let cells = compare(&base, &head, 0.05, true);
        assert_eq!(cells.len(), 1);
        assert_eq!((cells[0].verdict, cells[0].unit.as_str()), (Verdict::Same, "ratio"));
        let head = result("b", 3.0, 1.5);
        assert_eq!(verdicts(&base, &head, true), [Verdict::Worse]);
    }

    #[test]
    fn a_few_blocks_decide_nothing_and_other_files_are_refused() {
        let few = |ratio: f64| {
            let cells = [cell("threads", (0..5).map(move |_| ratio))];
            Saved::read(&json!({"schema": "brigade.bench.v1", "experiments": cells})).unwrap()
        };
        assert_eq!(verdicts(&few(1.0), &few(2.0), false), [Verdict::Inconclusive]);
        let error = Saved::read(&json!({"schema": "brigade.run.v1"})).unwrap_err();
        assert!(error.contains("brigade.run.v1"), "{error}");
        assert!(Saved::read(&json!([1])).is_err());
    }
}
