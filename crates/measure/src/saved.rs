//! Saved results of `brigade bench`, and the comparison of two of them.

mod compare;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

pub use compare::{SEED, compare};

use crate::comparison::Side;

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
    /// The samples of each block that has any.
    blocks: Vec<Vec<f64>>,
    /// Why the measurement stopped early, if it failed.
    error: Option<String>,
}

impl Saved {
    /// Parses a result from JSON.
    ///
    /// # Errors
    /// When the JSON does not have this schema.
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

    /// Describes this result as one side of a comparison.
    pub fn side(&self, name: &str) -> Side {
        Side {
            name: name.to_owned(),
            name_bytes: None,
            command: None,
            commit: None,
            host: self.host.clone(),
        }
    }

    /// The cell of the same file that `cell` is measured against: threads that do the same work, or
    /// the floor if there are none.
    fn reference(&self, cell: &SavedCell) -> Option<&SavedCell> {
        let is_alike = |other: &&SavedCell| {
            let same = |key: &str| other.case.get(key) == cell.case.get(key);
            other.experiment == cell.experiment
                && other.metric == cell.metric
                && *other != cell
                && !other.blocks.is_empty()
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
        // Older results do not say which samples belong to one block.
        let counts = if counts.is_empty() { vec![1; samples.len()] } else { counts };
        let mut blocks = Vec::new();
        for count in counts {
            let (block, others) = rest.split_at(count.min(rest.len()));
            blocks.extend((!block.is_empty()).then(|| block.to_vec()));
            rest = others;
        }
        Some(Self {
            experiment: text("experiment")?,
            case: value["case"].as_object().cloned().unwrap_or_default(),
            metric: text("metric")?,
            unit: text("unit")?,
            blocks,
            error: text("error"),
        })
    }

    /// Whether both cells have the same experiment, case and metric.
    fn is_of(&self, other: &Self) -> bool {
        self.experiment == other.experiment
            && self.metric == other.metric
            && self.case == other.case
    }

    /// Whether the cell takes part in a comparison. Floors belong to the machine, and the values
    /// that a ratio is computed from are compared themselves.
    fn is_compared(&self) -> bool {
        !self.case.contains_key("floor") && self.unit != "ratio"
    }
}

/// Differences between the hosts that make times incomparable.
pub fn host_differences(base: &Saved, head: &Saved) -> Vec<String> {
    ["cpu", "cores_usable", "memory_total_bytes", "kernel", "virtual_machine"]
        .into_iter()
        .filter(|key| base.host[key] != head.host[key])
        .map(|key| format!("{key}: {} and {}", base.host[key], head.host[key]))
        .collect()
}
