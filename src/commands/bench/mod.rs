//! `brigade bench`: one file per experiment.

mod isolation;
mod latency;
mod startup;
mod throughput;

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use brigade_exec::Pool;
use brigade_kernels::Registry;
use brigade_measure::experiment::{self, Cell, Variant};
use brigade_measure::host::Host;
use brigade_proto::{JobSpec, Status};
use brigade_report::bench::{self, Bench};
use serde_json::{Map, Value};

use crate::args::{BenchArgs, CommonArgs, Experiment, ListFormat};
use crate::console::{Progress, Results};
use crate::exit::{Exit, Failure};

pub(crate) fn run(args: &BenchArgs, registry: Registry) -> Result<Exit, Failure> {
    let registry = Arc::new(registry);
    let common = match &args.experiment {
        Experiment::Latency(args) => &args.common,
        Experiment::Bandwidth(args) => &args.common,
        Experiment::Throughput(args) => &args.common,
        Experiment::Startup(args) => &args.common,
        Experiment::Isolation(args) => &args.common,
    };
    let mut results = Results::open(common.output.output.as_deref(), &[])?;
    // The load of the machine is read before the measurement adds to it.
    let host = Host::read();
    let cells = match &args.experiment {
        Experiment::Latency(args) => latency::latency(&args.sizes, &args.common, &registry)?,
        Experiment::Bandwidth(args) => latency::bandwidth(&args.sizes, &args.common, &registry)?,
        Experiment::Throughput(args) => throughput::throughput(args, &registry)?,
        Experiment::Startup(args) => startup::startup(args, &registry)?,
        Experiment::Isolation(args) => isolation::isolation(args, &registry)?,
    };
    let bench = Bench::new(&host, common.seed, cells);
    match common.format {
        ListFormat::Human => bench::human(&mut results, &bench)?,
        ListFormat::Json => bench::json(&mut results, &bench)?,
    }
    results.flush()?;
    Ok(Exit::Ok)
}

fn case(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn measure(
    experiment: &str,
    metric: &'static str,
    mut variants: Vec<Variant<'_>>,
    common: &CommonArgs,
) -> Vec<Cell> {
    let blocks = common.blocks as usize;
    let mut progress = Progress::start(Some((blocks * variants.len()) as u64), true);
    experiment::run(experiment, metric, &mut variants, blocks, common.seed, |_| progress.job(true))
}

fn round_trip(pool: &Pool, job: JobSpec) -> f64 {
    let begin = Instant::now();
    let status = pool.submit(job).map(|handle| handle.wait().status());
    let us = begin.elapsed().as_secs_f64() * 1e6;
    // A time of a job that failed is no time.
    if matches!(status, Ok(Status::Ok)) { us } else { f64::NAN }
}

fn with(mut name: Map<String, Value>, more: Value) -> Map<String, Value> {
    name.extend(case(more));
    name
}
