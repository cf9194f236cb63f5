//! Measures how long it takes to start workers.

use std::time::Instant;

use brigade_exec::{Backend, ForkServer, PoolBuilder, StartMethod};
use brigade_measure::experiment::{Metric, Variant};
use brigade_measure::floors;
use brigade_proto::JobSpec;
use serde_json::{Map, Value, json};

use super::pools::Pools;
use super::session::{BenchSession, micros, round_trip, start, started};
use super::{case, with, work};
use crate::args::MeasuredArgs;
use crate::exit::Failure;

const METHODS: [StartMethod; 2] = [StartMethod::Spawn, StartMethod::Forkserver];

/// The event at which the measurement of a start ends.
#[derive(Clone, Copy)]
pub(super) enum Until {
    Ready,
    FirstResult,
    /// A first result, and the pool has ended.
    Ended,
}

/// Measures the time until the pool is ready, until the first result and until its end, and the
/// cost of a replacement worker.
pub(super) fn startup(asked: &MeasuredArgs, session: &mut BenchSession<'_>) -> Result<(), Failure> {
    let pools = &session.pools(asked)?;
    let server = &ForkServer::start_with(&pools.of_processes().environment)
        .map_err(|error| Failure::from(error).message);
    session.expect(4);
    let ways =
        [(Until::Ready, "ready"), (Until::FirstResult, "first_result"), (Until::Ended, "ended")];
    for (until, metric) in ways {
        let mut variants = Vec::new();
        for workers in pools.workers(&[1, 2]) {
            let about = json!({"workers": workers});
            let backends = pools.backends(&[Backend::Threads, Backend::Processes]).into_iter();
            // `bench all` may pass backends that have no start-up to measure.
            for backend in backends.filter(|backend| work::has_workers(*backend)) {
                let name = with(pools.case(backend), about.clone());
                if backend != Backend::Processes {
                    let builder = move || Ok(pools.builder(backend, workers));
                    variants.push(start_variant(name, builder, until));
                    continue;
                }
                for method in pools.start_methods(&METHODS) {
                    let name = with(name.clone(), json!({"start_method": method.name()}));
                    let builder = move || Ok(pools.builder(backend, workers).start_method(method));
                    variants.push(start_variant(name.clone(), builder, until));
                    // The running fork server uses this executable, so it cannot start workers of
                    // another program.
                    let is_own = pools.of_processes().worker_program.is_none();
                    if method == StartMethod::Forkserver && is_own {
                        let name = with(name, json!({"template": "already running"}));
                        let builder = move || {
                            let server = server.as_ref().map_err(Clone::clone)?;
                            Ok(pools.builder(backend, workers).fork_server(server))
                        };
                        variants.push(start_variant(name, builder, until));
                    }
                }
            }
            let floor = with(case(json!({"floor": "as many empty programs"})), about);
            variants.push(Variant::new(floor, move || empty_programs(workers)));
        }
        session.measure("startup", &[Metric::us(metric)], variants);
    }
    if pools.wants(Backend::Processes) {
        session.measure("startup", &[Metric::us("replacement")], replacements(pools));
    }
    Ok(())
}

fn empty_programs(count: usize) -> Result<Vec<f64>, String> {
    let us = floors::empty_program_us(count).map_err(|error| format!("/bin/true: {error}"))?;
    Ok(vec![us])
}

/// Measures a pool in which each worker serves one job. The round trip of a job is then the cost of
/// a worker, from its start in a running pool to its end.
fn replacements(pools: &Pools) -> Vec<Variant<'_>> {
    const JOBS: usize = 10;
    let mut variants = Vec::new();
    for method in pools.start_methods(&METHODS) {
        let about = json!({"start_method": method.name(), "workers": 1});
        // Each turn uses a pool of its own. A pool that stayed alive would start its next worker
        // while the next variant is measured.
        let run = move || {
            let builder = pools.builder(Backend::Processes, 1).start_method(method);
            let pool = start(builder.max_jobs_per_worker(Some(1)));
            let pool = started(&pool)?;
            round_trip(pool, JobSpec::new("noop"))?;
            (0..JOBS).map(|_| round_trip(pool, JobSpec::new("noop"))).collect()
        };
        variants.push(Variant::new(with(pools.case(Backend::Processes), about), run));
    }
    let floor = case(json!({"floor": "an empty program", "workers": 1}));
    variants.push(Variant::new(floor, || empty_programs(1)));
    variants
}

pub(super) fn start_variant<'a>(
    case: Map<String, Value>,
    builder: impl Fn() -> Result<PoolBuilder, String> + 'a,
    until: Until,
) -> Variant<'a> {
    let run = move || {
        let builder = builder()?;
        let begin = Instant::now();
        let pool = builder.start().map_err(|error| error.to_string())?;
        match until {
            Until::Ready => pool.ready().map_err(|error| error.to_string())?,
            Until::FirstResult | Until::Ended => drop(round_trip(&pool, JobSpec::new("noop"))?),
        }
        if matches!(until, Until::Ended) {
            drop(pool);
        }
        Ok(vec![micros(begin.elapsed())])
    };
    Variant::new(case, run)
}
