//! `brigade bench`: one file per experiment.

mod all;
mod break_even;
mod break_even_answers;
mod figures;
mod hockney;
mod isolation;
mod latency;
mod lessons;
mod paradigms;
mod scaling;
mod session;
mod startup;
mod throughput;
mod timeline;
mod work;

use std::io::Write;

use brigade_kernels::Registry;
use brigade_measure::host::Host;
use brigade_report::bench::{self, Bench};
use brigade_report::formats::Document;
use brigade_report::trace;
use serde_json::{Map, Value};

use self::session::Session;
use super::verdict;
use crate::args::{BenchArgs, CommonArgs, Experiment, ListFormat};
use crate::console::{self, Results};
use crate::exit::{Exit, Failure};
use crate::signals::Flag;
use crate::{exports, write};

pub(crate) fn run(args: &BenchArgs, registry: Registry) -> Result<Exit, Failure> {
    let common = args.experiment.common();
    exports::check_bench(&common.exports.export)?;
    exports::check(&common.exports.export, common.output.output.iter().chain(&common.trace))?;
    if let Some(path) = &common.trace {
        write::try_to_replace(path).map_err(|error| {
            Failure::usage(format!("cannot write --trace {}: {error}", path.display()))
        })?;
    }
    let mut results = Results::open(common.output.output.as_deref(), common.trace.as_slice())?;
    // The load of the machine is read before the measurement adds to it.
    let host = Host::read();
    let warnings = verdict::warnings();
    for warning in &warnings {
        console::say(format_args!("note: {warning}"));
    }
    let mut budget = common.budget;
    if matches!(args.experiment, Experiment::All(_)) {
        budget = budget.or(Some(all::BUDGET));
    }
    let mut session = Session::new(common, budget, registry, Flag::watch()?);
    match &args.experiment {
        Experiment::Latency(args) => latency::latency(&args.sizes, &mut session)?,
        Experiment::Bandwidth(args) => latency::bandwidth(&args.sizes, &mut session)?,
        Experiment::Throughput(args) => throughput::throughput(args, &mut session)?,
        Experiment::Startup(args) => startup::startup(args, &mut session)?,
        Experiment::Isolation(_) => isolation::isolation(&mut session)?,
        Experiment::Scaling(args) => scaling::scaling(args, &mut session)?,
        Experiment::BreakEven(args) => break_even::break_even(args, &mut session)?,
        Experiment::Paradigms(args) => paradigms::paradigms(args, &mut session)?,
        Experiment::All(args) => all::all(args, &mut session),
    }
    if matches!(args.experiment, Experiment::Latency(_) | Experiment::Bandwidth(_)) {
        hockney::conclude(&mut session);
    }
    finish(&host, warnings, session, common, &mut results)
}

/// Writes what there is, also after an interrupt.
fn finish(
    host: &Host,
    warnings: Vec<String>,
    session: Session<'_>,
    common: &CommonArgs,
    results: &mut Results,
) -> Result<Exit, Failure> {
    let interrupted = session.signal.exit();
    let failed = session.failed || session.cells.iter().any(|cell| cell.error.is_some());
    let bench = Bench {
        warnings,
        interrupted: interrupted.is_some(),
        blocks: session.blocks,
        models: session.models,
        findings: session.findings,
        timelines: session.timelines,
        ..Bench::new(host, session.common.seed, session.cells)
    };
    match common.format {
        ListFormat::Human => bench::human(results, &bench)?,
        ListFormat::Json => bench::json(results, &bench)?,
    }
    results.flush()?;
    exports::write(&common.exports.export, Document::Bench(&bench), results)?;
    if let Some(path) = &common.trace {
        let mut timeline = Vec::new();
        trace::bench(&mut timeline, &bench)?;
        write::atomically(path, &timeline, true).map_err(|error| Failure {
            exit: Exit::JobFailed,
            message: format!("cannot write --trace {}: {error}", path.display()),
        })?;
    }
    let ended = if failed { Exit::JobFailed } else { Exit::Ok };
    Ok(interrupted.unwrap_or(ended))
}

fn case(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn with(mut name: Map<String, Value>, more: Value) -> Map<String, Value> {
    name.extend(case(more));
    name
}
