//! How long until workers are there.

use std::sync::Arc;
use std::time::Instant;

use brigade_exec::{Backend, ForkServer, Pool, PoolBuilder, StartMethod};
use brigade_kernels::Registry;
use brigade_measure::experiment::{Metric, Variant};
use brigade_measure::floors;
use brigade_proto::JobSpec;
use serde_json::{Map, Value, json};

use super::session::{Session, micros, round_trip};
use super::{case, with};
use crate::args::StartupArgs;
use crate::exit::Failure;

/// What is measured of a start.
#[derive(Clone, Copy)]
pub(super) enum Until {
    Ready,
    FirstResult,
}

/// Ready, first result, and what a worker costs that takes the place of another.
pub(super) fn startup(args: &StartupArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let registry = &Arc::clone(&session.registry);
    let server = &ForkServer::start()?;
    session.expect(3);
    for (until, metric) in [(Until::Ready, "ready"), (Until::FirstResult, "first_result")] {
        let mut variants = Vec::new();
        for &workers in &args.workers {
            let about = json!({"workers": workers});
            let builder = move || Pool::builder().workers(workers).registry(Arc::clone(registry));
            // So that a wrong count is refused before anything is measured.
            builder().backend(Backend::Threads).build()?;
            let threads = move || builder().backend(Backend::Threads);
            let name = case(json!({"backend": "threads"}));
            variants.push(start_variant(with(name, about.clone()), threads, until));
            for method in [StartMethod::Spawn, StartMethod::Forkserver] {
                let name = json!({"backend": "processes", "start_method": method.name()});
                let start = move || builder().start_method(method);
                variants.push(start_variant(with(case(name), about.clone()), start, until));
            }
            let name = json!({"backend": "processes", "start_method": "forkserver"});
            let name = with(case(name), json!({"template": "already running"}));
            let start = move || builder().fork_server(server);
            variants.push(start_variant(with(name, about.clone()), start, until));
            let floor = with(case(json!({"floor": "as many empty programs"})), about);
            variants.push(Variant::new(floor, move || empty_programs(workers)));
        }
        session.measure("startup", &[Metric::us(metric)], variants);
    }
    session.measure("startup", &[Metric::us("replacement")], replacements(registry)?);
    Ok(())
}

fn empty_programs(count: usize) -> Result<Vec<f64>, String> {
    let us = floors::empty_program_us(count).map_err(|error| format!("/bin/true: {error}"))?;
    Ok(vec![us])
}

/// A pool whose worker serves one job: the round trip of a job is then what a worker
/// costs from its start, in a pool that runs, to its end.
fn replacements<'a>(registry: &'a Arc<Registry>) -> Result<Vec<Variant<'a>>, Failure> {
    const JOBS: usize = 10;
    let mut variants = Vec::new();
    for method in [StartMethod::Spawn, StartMethod::Forkserver] {
        let about = json!({"start_method": method.name(), "workers": 1});
        // A pool of its own: one that stayed would start its next worker while the next
        // variant is measured.
        let run = move || {
            let builder = Pool::builder().workers(1).registry(Arc::clone(registry));
            let pool = builder.start_method(method).max_jobs_per_worker(Some(1)).build();
            let pool = pool.map_err(|error| error.to_string())?;
            round_trip(&pool, JobSpec::new("noop"))?;
            (0..JOBS).map(|_| round_trip(&pool, JobSpec::new("noop"))).collect()
        };
        let name = with(case(json!({"backend": "processes"})), about);
        variants.push(Variant::new(name, run));
    }
    let floor = case(json!({"floor": "an empty program", "workers": 1}));
    variants.push(Variant::new(floor, || empty_programs(1)));
    Ok(variants)
}

pub(super) fn start_variant<'a>(
    case: Map<String, Value>,
    builder: impl Fn() -> PoolBuilder + 'a,
    until: Until,
) -> Variant<'a> {
    let run = move || {
        let begin = Instant::now();
        let pool = builder().start().map_err(|error| error.to_string())?;
        match until {
            Until::Ready => pool.ready().map_err(|error| error.to_string())?,
            Until::FirstResult => drop(round_trip(&pool, JobSpec::new("noop"))?),
        }
        Ok(vec![micros(begin.elapsed())])
    };
    Variant::new(case, run)
}
