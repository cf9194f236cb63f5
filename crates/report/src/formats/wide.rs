//! A row for each variant and a column for each thing that is known of it: comma-separated values
//! (RFC 4180) for spreadsheets, without JSON in any of them.

use std::io;

use brigade_measure::comparison::Comparison;
use brigade_measure::experiment::Cell;
use serde_json::{Map, Value};

use super::Document;
use super::csv::{number, text};
use crate::bench::Bench;
use crate::bench::scaling::{Worth, worth};

/// Speedups, which are in models and not in cells.
const WORTH: [&str; 4] = ["speedup", "speedup_low", "speedup_high", "efficiency"];

pub(super) fn write(out: &mut dyn io::Write, document: Document<'_>) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    match document {
        Document::Bench(bench) => of_bench(&mut csv, bench)?,
        Document::Comparison(comparison) => of_comparison(&mut csv, comparison)?,
    }
    csv.flush()
}

type Csv<'a> = csv::Writer<&'a mut dyn io::Write>;

fn of_bench(csv: &mut Csv<'_>, bench: &Bench) -> io::Result<()> {
    let cells = &bench.experiments;
    let keys = distinct(cells.iter().flat_map(|cell| cell.case.keys().map(String::as_str)));
    let metrics = distinct(cells.iter().map(|cell| (cell.metric, cell.unit)));
    let has_worth = cells.iter().any(|cell| cell.experiment == "scaling");
    let mut head = vec!["experiment".to_owned()];
    head.extend(keys.iter().map(|key| text(key)));
    for (metric, unit) in &metrics {
        let name = column(metric, unit);
        head.extend([name.clone(), format!("{name}_low"), format!("{name}_high")]);
    }
    if has_worth {
        head.extend(WORTH.map(str::to_owned));
    }
    head.extend(["blocks", "error"].map(str::to_owned));
    csv.write_record(head)?;
    for variant in variants(cells) {
        let first = variant[0];
        let mut row = vec![text(&first.experiment)];
        row.extend(keys.iter().map(|key| plain(first.case.get(*key))));
        for wanted in &metrics {
            let cell = variant.iter().find(|cell| (cell.metric, cell.unit) == *wanted);
            let of =
                |figure: fn(&Cell) -> f64| cell.map_or(String::new(), |cell| number(figure(cell)));
            row.extend([of(|cell| cell.p50), of(|cell| cell.ci95[0]), of(|cell| cell.ci95[1])]);
        }
        if has_worth {
            row.extend(worth_of(&variant, bench));
        }
        let blocks = variant.iter().map(|cell| cell.per_block.len()).max().unwrap_or(0);
        let error = variant.iter().find_map(|cell| cell.error.as_deref());
        row.extend([blocks.to_string(), text(error.unwrap_or_default())]);
        csv.write_record(row)?;
    }
    Ok(())
}

fn worth_of(variant: &[&Cell], bench: &Bench) -> [String; 4] {
    let all: Vec<&Cell> = bench.experiments.iter().collect();
    let is_wall =
        |cell: &&&Cell| cell.experiment == "scaling" && cell.metric == "wall" && cell.n > 0;
    let Some(Worth { times, interval, efficiency }) =
        variant.iter().find(is_wall).and_then(|wall| worth(wall, &all, &bench.models))
    else {
        return WORTH.map(|_| String::new());
    };
    let [low, high] = interval.unwrap_or([f64::NAN; 2]);
    [times, low, high, efficiency].map(number)
}

fn of_comparison(csv: &mut Csv<'_>, comparison: &Comparison) -> io::Result<()> {
    let cells = &comparison.cells;
    let keys = distinct(cells.iter().flat_map(|cell| cell.case.keys().map(String::as_str)));
    let mut head: Vec<String> = ["experiment", "metric", "unit"].map(str::to_owned).to_vec();
    head.extend(keys.iter().map(|key| text(key)));
    let figures = [
        "verdict",
        "why",
        "base",
        "head",
        "ratio",
        "ratio_low",
        "ratio_high",
        "detectable",
        "blocks",
    ];
    head.extend(figures.map(str::to_owned));
    csv.write_record(head)?;
    for cell in cells {
        let mut row = vec![text(&cell.experiment), text(&cell.metric), text(&cell.unit)];
        row.extend(keys.iter().map(|key| plain(cell.case.get(*key))));
        row.extend([cell.verdict.to_string(), text(&cell.why)]);
        let [low, high] = cell.ratio.interval;
        let numbers = [cell.base, cell.head, cell.ratio.estimate, low, high, cell.detectable];
        row.extend(numbers.map(number));
        row.push(cell.blocks.to_string());
        csv.write_record(row)?;
    }
    Ok(())
}

/// `wall_us`; a ratio has no unit.
fn column(metric: &str, unit: &str) -> String {
    match unit {
        "" | "ratio" => text(metric),
        unit => text(&format!("{metric}_{unit}")),
    }
}

/// A value of a case without quotes; the parts of a list with spaces between them.
fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(value)) => text(value),
        Some(Value::Array(list)) => {
            let parts: Vec<String> = list.iter().map(|part| plain(Some(part))).collect();
            parts.join(" ")
        }
        Some(Value::Object(map)) => pairs(map),
        Some(other) => other.to_string(),
    }
}

fn pairs(map: &Map<String, Value>) -> String {
    let parts = map.iter().map(|(key, value)| format!("{}={}", text(key), plain(Some(value))));
    parts.collect::<Vec<_>>().join(" ")
}

/// The cells of each variant, in the order of their first cells.
fn variants(cells: &[Cell]) -> Vec<Vec<&Cell>> {
    let mut variants: Vec<Vec<&Cell>> = Vec::new();
    for cell in cells {
        // A variant has a cell for each metric: one more of the same metric is another variant.
        let same = |of: &&mut Vec<&Cell>| {
            (&of[0].experiment, &of[0].case) == (&cell.experiment, &cell.case)
                && of.iter().all(|other| other.metric != cell.metric)
        };
        match variants.iter_mut().find(same) {
            Some(variant) => variant.push(cell),
            None => variants.push(vec![cell]),
        }
    }
    variants
}

fn distinct<T: PartialEq>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen: Vec<T> = Vec::new();
    for item in all {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_measure::host::Host;
    use serde_json::json;

    fn rows(bench: &Bench) -> Vec<Vec<String>> {
        let mut out: Vec<u8> = Vec::new();
        write(&mut out, Document::Bench(bench)).unwrap();
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&out[..]);
        let row = |row: Result<csv::StringRecord, csv::Error>| {
            row.unwrap().iter().map(str::to_owned).collect()
        };
        reader.records().map(row).collect()
    }

    fn scaling(backend: &str, workers: u64, metric: &'static str, us: f64) -> Cell {
        let case = json!({"backend": backend, "workers": workers, "mode": "strong"});
        Cell {
            experiment: "scaling".to_owned(),
            case: case.as_object().cloned().unwrap(),
            metric,
            unit: "us",
            n: 2,
            min: us,
            p50: us,
            p95: us,
            p99: us,
            mean: us,
            ci95: [f64::NAN; 2],
            samples: vec![us; 2],
            per_block: vec![1; 2],
            error: None,
        }
    }

    #[test]
    fn a_variant_is_a_row_and_everything_has_a_column_of_its_own() {
        let cells = vec![
            scaling("sync", 1, "wall", 800.0),
            scaling("sync", 1, "cpu", 790.0),
            scaling("processes", 2, "wall", 500.0),
            scaling("processes", 2, "cpu", 900.0),
        ];
        let bench = Bench::new(&Host::read(), 1, cells);
        let head = [
            "experiment",
            "backend",
            "mode",
            "workers",
            "wall_us",
            "wall_us_low",
            "wall_us_high",
            "cpu_us",
            "cpu_us_low",
            "cpu_us_high",
            "speedup",
            "speedup_low",
            "speedup_high",
            "efficiency",
            "blocks",
            "error",
        ];
        let two = [
            "scaling",
            "processes",
            "strong",
            "2",
            "500",
            "",
            "",
            "900",
            "",
            "",
            "1.6",
            "",
            "",
            "0.8",
            "2",
            "",
        ];
        let rows = rows(&bench);
        assert_eq!(rows.len(), 3);
        assert_eq!(
            (&rows[0][..], &rows[2][..]),
            (&head.map(str::to_owned)[..], &two.map(str::to_owned)[..])
        );
    }

    #[test]
    fn a_value_is_no_json_and_no_formula() {
        assert_eq!(plain(Some(&json!("=1+1"))), "'=1+1");
        assert_eq!(plain(Some(&json!([1, "a"]))), "1 a");
        assert_eq!(plain(Some(&json!({"a": 1, "b": true}))), "a=1 b=true");
        assert_eq!((plain(None), plain(Some(&json!(true)))), (String::new(), "true".to_owned()));
    }
}
