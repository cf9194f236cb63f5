//! What a process costs, by payload and compute time.

use std::io::{self, Write};

use brigade_measure::experiment::Cell;
use serde_json::Value;

use super::{estimate, groups, is_backend, number, said, time};
use crate::units::digits;

/// For each number of workers, time per job in processes over that in threads, and over
/// that of sync: a row for each payload, a column for each compute time.
pub(super) fn tables(out: &mut dyn Write, cells: &[&Cell], fits: &[Value]) -> io::Result<()> {
    let sync: Vec<&Cell> = cells.iter().copied().filter(|cell| is_backend(cell, "sync")).collect();
    let many: Vec<&Cell> = cells.iter().copied().filter(|cell| !is_backend(cell, "sync")).collect();
    for group in groups(&many, &["workers"]) {
        let of = |name: &str| {
            let cells = group.iter().copied().filter(|cell| is_backend(cell, name));
            cells.collect::<Vec<_>>()
        };
        let (processes, threads) = (of("processes"), of("threads"));
        let workers = group[0].case.get("workers").unwrap_or(&Value::Null);
        for (name, reference) in [("threads", &threads), ("sync", &sync)] {
            let fit = fits.iter().find(|fit| {
                let case = &fit["case"];
                fit["model"] == "break-even"
                    && case["reference"] == name
                    && case["workers"] == *workers
            });
            grid(out, &said("workers", workers), (&processes, name, reference), fit)?;
        }
    }
    Ok(())
}

fn grid(
    out: &mut dyn Write,
    workers: &str,
    (rivals, name, references): (&[&Cell], &str, &[&Cell]),
    fit: Option<&Value>,
) -> io::Result<()> {
    writeln!(out, "break-even: time per job, processes / {name}, {workers}")?;
    let mut columns: Vec<f64> =
        rivals.iter().filter_map(|cell| number(cell, "compute_us")).collect();
    columns.sort_by(f64::total_cmp);
    columns.dedup();
    write!(out, "  {:>10}", "")?;
    for &us in &columns {
        write!(out, " {:>8}", time(us))?;
    }
    let percent = fit.and_then(|fit| fit["case"]["percent"].as_f64()).unwrap_or(0.0);
    match fit {
        Some(_) if percent > 0.0 => writeln!(out, "   at most {percent} % more")?,
        Some(_) => writeln!(out, "   no slower")?,
        None => writeln!(out)?,
    }
    for row in groups(rivals, &["bytes"]) {
        let bytes = row[0].case.get("bytes").unwrap_or(&Value::Null);
        write!(out, "  {:>10}", said("bytes", bytes))?;
        for &us in &columns {
            let at = |cells: &[&Cell]| {
                let here = |cell: &&&Cell| {
                    number(cell, "compute_us") == Some(us) && cell.case.get("bytes") == Some(bytes)
                };
                cells.iter().find(here).map_or(f64::NAN, |cell| cell.p50)
            };
            let ratio = at(&row) / at(references);
            let ratio = if ratio.is_finite() { digits(ratio) } else { "-".to_owned() };
            write!(out, " {ratio:>8}")?;
        }
        let point = fit.and_then(|fit| {
            fit["points"].as_array()?.iter().find(|point| point["bytes"] == *bytes)
        });
        writeln!(out, "   {}", point.map_or(String::new(), answer))?;
    }
    writeln!(out)
}

fn answer(point: &Value) -> String {
    match (point["answer"].as_str(), estimate(point.get("compute_us"))) {
        (Some("at"), Some([from, low, high])) => {
            let end = if high.is_finite() { time(high) } else { "never".to_owned() };
            format!("from {} ({} .. {end})", time(from), time(low))
        }
        (answer, _) => answer.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_ratio_for_each_payload_and_time_and_the_answer() {
        let mut cells = Vec::new();
        for (compute, us) in [(0, [1.0, 2.0, 6.0]), (100, [101.0, 52.0, 54.6])] {
            for ((backend, workers), us) in
                [("sync", 1), ("threads", 2), ("processes", 2)].into_iter().zip(us)
            {
                let case = json!({
                    "backend": backend, "workers": workers, "bytes": 0, "compute_us": compute,
                });
                cells.push(cell("break-even", "per_job", case, us));
            }
        }
        let case = json!({"reference": "threads", "percent": 5.0, "workers": 2});
        let from = json!({"estimate": 90.0, "interval": [80.0, null]});
        let point = json!({"bytes": 0, "answer": "at", "compute_us": from});
        let fits = [json!({"model": "break-even", "case": case, "points": [point]})];
        let mut out = Vec::new();
        tables(&mut out, &cells.iter().collect::<Vec<_>>(), &fits).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(lines[0], "break-even: time per job, processes / threads, 2 workers");
        assert_eq!(lines[1], "0 ns 100 µs at most 5 % more");
        assert_eq!(lines[2], "0 B 3.00 1.05 from 90.0 µs (80.0 µs .. never)");
        assert_eq!(lines[4], "break-even: time per job, processes / sync, 2 workers");
        assert_eq!(lines[6], "0 B 6.00 0.54");
    }
}
