//! `brigade bench`: one file per experiment.

mod all;
mod break_even;
mod break_even_answers;
mod cheapest;
mod expectations;
mod figures;
mod hockney;
mod isolation;
mod latency;
mod paradigms;
mod pools;
mod scaling;
mod session;
mod spans;
mod startup;
mod throughput;
mod timeline;
mod work;
mod workload;

use std::io::{self, Write};
use std::sync::Arc;

use brigade_kernels::Registry;
use brigade_measure::host::Host;
use brigade_report::bench::{self, Bench};
use brigade_report::formats::Document;
use brigade_report::trace;
use serde_json::{Map, Value};

use self::pools::Pools;
use self::session::BenchSession;
use super::verdict;
use crate::args::{BenchArgs, Experiment, ListFormat, MeaninglessArgs};
use crate::console::{self, Results};
use crate::exit::{Exit, Failure};
use crate::signals::Flag;
use crate::{exports, write};

pub(crate) fn run(args: &BenchArgs, registry: Registry) -> Result<Exit, Failure> {
    let common = args.experiment.common();
    refuse_meaningless(&common.meaningless)?;
    let report = &common.report;
    exports::check_bench(&report.exports.export)?;
    exports::check(&report.exports.export, report.output.output.iter().chain(&report.trace))?;
    if let Some(path) = &report.trace {
        write::try_to_replace(path).map_err(|error| {
            Failure::usage(format!("cannot write --trace {}: {error}", path.display()))
        })?;
    }
    let mut budget = common.plan.budget;
    if matches!(args.experiment, Experiment::All(_)) {
        budget = budget.or(Some(all::BUDGET));
    }
    let registry = Arc::new(registry);
    let pools = Pools::new(&common.pool, &registry)?;
    pools.check(&args.experiment)?;
    let results = Results::open(report.output.output.as_deref(), report.trace.as_slice())?;
    let mut results = exports::make_room(&report.exports.export, report.format, results)?;
    // Read the load of the machine before the measurement adds to it.
    let host = Host::read();
    let warnings = verdict::warnings();
    for warning in &warnings {
        console::say(format_args!("note: {warning}"));
    }
    let mut session = BenchSession::new(common, budget, registry, Flag::watch()?);
    session.config = pools.config();
    if let Err(failure) = measure(&args.experiment, &mut session) {
        // Results measured before the failure are worth more than a clean exit.
        if session.cells.iter().all(|cell| cell.n == 0) {
            return Err(failure);
        }
        session.find(format!("it ended early: {}", failure.message));
        session.failed = true;
    }
    finish(&host, warnings, session, &mut results)
}

fn measure(experiment: &Experiment, session: &mut BenchSession<'_>) -> Result<(), Failure> {
    match experiment {
        Experiment::Latency(args) => latency::latency(&args.sizes, &args.common.pool, session)?,
        Experiment::Bandwidth(args) => {
            latency::bandwidth(&args.sizes, &args.common.pool, session)?;
        }
        Experiment::Throughput(args) => throughput::throughput(args, session)?,
        Experiment::Startup(args) => startup::startup(&args.common.pool, session)?,
        Experiment::Isolation(args) => {
            isolation::isolation(&args.sizes, &args.common.pool, session)?;
        }
        Experiment::Scaling(args) => scaling::scaling(args, session)?,
        Experiment::BreakEven(args) => break_even::break_even(args, session)?,
        Experiment::Paradigms(args) => paradigms::paradigms(args, session)?,
        Experiment::All(args) => all::all(args, session),
    }
    if matches!(experiment, Experiment::Latency(_) | Experiment::Bandwidth(_)) {
        hockney::conclude(session);
    }
    Ok(())
}

/// Rejects `--journal` and `--resume`, which users may know from `run` and `batch`.
fn refuse_meaningless(args: &MeaninglessArgs) -> Result<(), Failure> {
    let flag = match (&args.journal, args.resume) {
        (Some(_), _) => "--journal",
        (None, true) => "--resume",
        (None, false) => return Ok(()),
    };
    Err(Failure::usage(format!(
        "{flag} does not go with bench: figures of two runs do not belong together, so there is \
         nothing to go on with; what an interrupted bench has measured is in its result (--output)"
    )))
}

/// Writes the results, also after an interrupt.
fn finish(
    host: &Host,
    warnings: Vec<String>,
    mut session: BenchSession<'_>,
    results: &mut Results,
) -> Result<Exit, Failure> {
    session.findings.append(&mut session.refusals);
    session.account_for_budget();
    let report = &session.common.report;
    let interrupted = session.signal.exit();
    let failed = session.failed || session.cells.iter().any(|cell| cell.error.is_some());
    let bench = Bench {
        warnings,
        config: session.config,
        interrupted: interrupted.is_some(),
        blocks: session.blocks,
        models: session.models,
        findings: session.findings,
        timelines: session.timelines,
        ..Bench::new(host, session.common.plan.seed, session.cells)
    };
    let (stdout, file) = report.output.formats(report.format);
    say(&bench, stdout, &mut results.stdout_only())?;
    say(&bench, file, &mut results.file_only())?;
    results.finish()?;
    exports::write(&report.exports.export, Document::Bench(&bench), results)?;
    if let Some(path) = &report.trace {
        let mut timeline = Vec::new();
        trace::bench(&mut timeline, &bench)?;
        write::atomically(path, &timeline).map_err(|error| Failure {
            exit: Exit::JobFailed,
            message: format!("cannot write --trace {}: {error}", path.display()),
        })?;
    }
    let ended = if failed { Exit::JobFailed } else { Exit::Ok };
    Ok(interrupted.unwrap_or(ended))
}

fn say(bench: &Bench, format: ListFormat, out: &mut dyn Write) -> io::Result<()> {
    match format {
        ListFormat::Human => bench::human(out, bench),
        ListFormat::Json => bench::json(out, bench),
    }
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
