//! `brigade compare`: compares two saved results.

use std::path::Path;
use std::time::Instant;

use brigade_measure::comparison::{COMPARE_SCHEMA, Comparison, Side};
use brigade_measure::saved::{self, Saved};
use brigade_report::formats::Document;
use brigade_report::name_bytes;

use super::verdict;
use crate::args::CompareArgs;
use crate::console;
use crate::exit::{Exit, Failure};
use crate::exports;

pub(crate) fn run(args: &CompareArgs) -> Result<Exit, Failure> {
    let begin = Instant::now();
    let (base, head) = (read(&args.base)?, read(&args.head)?);
    let inputs = [args.base.clone(), args.head.clone()];
    let mut results = verdict::open(&args.verdict, &inputs)?;
    let differing = saved::host_differences(&base, &head);
    let mut warnings = Vec::new();
    if !differing.is_empty() {
        warnings.push(format!(
            "the results are from different machines ({}): ratios within each file are compared",
            differing.join(", ")
        ));
    }
    for warning in &warnings {
        console::say(format_args!("note: {warning}"));
    }
    let tolerance = args.verdict.tolerance();
    let relative = args.relative || !differing.is_empty();
    let cells = saved::compare(&base, &head, tolerance, relative);
    if cells.is_empty() {
        return Err(Failure::usage(format!(
            "{} and {} have nothing in common that can be compared",
            args.base.display(),
            args.head.display()
        )));
    }
    let comparison = Comparison {
        schema: COMPARE_SCHEMA.to_owned(),
        kind: "compare".to_owned(),
        base: side(&base, &args.base),
        head: side(&head, &args.head),
        tolerance,
        seed: saved::SEED,
        took_s: begin.elapsed().as_secs_f64(),
        warnings,
        interrupted: false,
        verdict: verdict::worst(&cells),
        cells,
        blocks: Vec::new(),
    };
    exports::check_document(&args.verdict.exports.export, Document::Comparison(&comparison))?;
    let exit = verdict::exit(comparison.verdict, args.verdict.fail_on);
    verdict::write(&comparison, &args.verdict, Some(&exit), &mut results)?;
    Ok(exit)
}

fn side(saved: &Saved, path: &Path) -> Side {
    Side { name_bytes: name_bytes(path), ..saved.side(&path.to_string_lossy()) }
}

fn read(path: &Path) -> Result<Saved, Failure> {
    let wrong = |error: String| Failure::usage(format!("{}: {error}", path.display()));
    let value = crate::saved::read(path, wrong)?;
    Saved::read(&value).map_err(wrong)
}
