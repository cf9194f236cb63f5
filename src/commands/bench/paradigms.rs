//! Measures the examples of the course: which backend is fast for work that waits, work that
//! computes, and work that does both.

use std::time::Duration;

use brigade_exec::Backend;
use brigade_kernels::Registry;
use brigade_measure::experiment::{Metric, Variant};
use brigade_proto::JobSpec;
use serde_json::{Map, Value, json};

use super::pools::Pools;
use super::session::{BenchSession, StartedPool, micros, start, started};
use super::workload::{WorkKind, Workload};
use super::{expectations, timeline, with, work};
use crate::args::ParadigmsArgs;
use crate::exit::Failure;

/// All workloads. An order of the mixed workload is two jobs, one that waits and one that computes.
/// The backend decides which runs first, as a cook chops while a pan is on the fire.
fn works(args: &ParadigmsArgs, registry: &Registry) -> Result<Vec<Workload>, Failure> {
    let job = |kernel: &str| work::job(registry, kernel, &[], None, args.common.plan.seed);
    let waits = || JobSpec::new("wait").param("us", micros(args.wait) as i64);
    let orders = args.orders as usize;
    let mut works = vec![Workload {
        kind: WorkKind::Waiting,
        kernel: "wait".to_owned(),
        jobs: vec![waits()],
        orders,
        wait: args.wait,
    }];
    for kernel in &args.kernels {
        works.push(Workload {
            kind: WorkKind::Computing,
            kernel: kernel.clone(),
            jobs: vec![job(kernel)?],
            orders,
            wait: Duration::ZERO,
        });
    }
    if let Some(kernel) = args.kernels.first() {
        works.push(Workload {
            kind: WorkKind::Mixed,
            kernel: format!("wait+{kernel}"),
            jobs: vec![waits(), job(kernel)?],
            orders,
            wait: args.wait,
        });
    }
    Ok(works)
}

/// Runs the same orders on every backend and number of workers, and derives the lessons.
pub(super) fn paradigms(
    args: &ParadigmsArgs,
    session: &mut BenchSession<'_>,
) -> Result<(), Failure> {
    let asked = session.pools(&args.common.pool)?;
    let works = works(args, &session.registry)?;
    let sync = asked.builder(Backend::Sync, 1).build()?;
    for work in works.iter().filter(|work| work.kind == WorkKind::Computing) {
        work::try_out(&sync, &work.job(0))?;
    }
    // The reference comes first.
    let mut pools = vec![ParadigmCandidate::new(&asked, Backend::Sync, 1, Ok(sync))];
    let others = asked.backends(Backend::ALL).into_iter();
    let others: Vec<Backend> = others.filter(|backend| *backend != Backend::Sync).collect();
    let workers = asked.workers(&[1, 2, 4, 8]);
    for &backend in &others {
        let counts = if work::has_workers(backend) { &workers[..] } else { &[1] };
        for &workers in counts {
            let pool = start(asked.builder(backend, workers));
            pools.push(ParadigmCandidate::new(&asked, backend, workers, pool));
        }
    }
    session.expect(works.len());
    for work in &works {
        let variants = pools.iter().map(|pool| variant(work, pool)).collect();
        let cells = session.measure("paradigms", &[Metric::us("wall")], variants).to_vec();
        expectations::draw(work, &cells, session);
    }
    drop(pools);
    // Draw timelines: one workload per kind of work.
    let mut seen = Vec::new();
    for work in works {
        if seen.contains(&work.kind) {
            continue;
        }
        seen.push(work.kind);
        for &backend in [Backend::Sync].iter().chain(&others) {
            if session.is_interrupted() || session.is_over() {
                return Ok(());
            }
            let workers =
                if work::has_workers(backend) { most_without_sharing(&workers) } else { 1 };
            match timeline::draw(&work, backend, workers, asked.builder(backend, workers)) {
                Ok(timeline) => session.timelines.push(timeline),
                Err(error) => session.find(format!(
                    "no timeline of {} work on {}: {error}",
                    work.kind.name(),
                    backend.name()
                )),
            }
        }
    }
    Ok(())
}

/// The largest requested number of workers that does not exceed the number of cores.
fn most_without_sharing(counts: &[usize]) -> usize {
    let fitting = counts.iter().filter(|&&workers| workers <= work::usable());
    fitting.max().or(counts.first()).copied().unwrap_or(1)
}

/// A pool to measure, and its parameters.
struct ParadigmCandidate {
    pool: StartedPool,
    name: Map<String, Value>,
}

impl ParadigmCandidate {
    fn new(asked: &Pools, backend: Backend, workers: usize, pool: StartedPool) -> Self {
        Self { pool, name: with(asked.case(backend), json!({"workers": workers})) }
    }
}

/// Runs all orders on a running pool that has been warmed up.
fn variant<'a>(work: &'a Workload, candidate: &'a ParadigmCandidate) -> Variant<'a> {
    let name = with(work.case(), Value::Object(candidate.name.clone()));
    let mut is_warm = false;
    Variant::new(name, move || {
        let pool = started(&candidate.pool)?;
        if !is_warm {
            // The first orders find memory that is not mapped yet.
            work::run(pool, work.jobs_of(work.orders), |number| work.job(number))?;
            is_warm = true;
        }
        let outcomes = work::run(pool, work.jobs_of(work.orders), |number| work.job(number))?;
        Ok(vec![work::wall(&outcomes) as f64 / 1e3])
    })
}
