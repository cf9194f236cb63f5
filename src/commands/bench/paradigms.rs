//! Measures the examples of the course: which backend is fast for work that waits, work that
//! computes, and work that does both.

use std::time::Duration;

use brigade_exec::Backend;
use brigade_kernels::Registry;
use brigade_measure::experiment::{Metric, Variant};
use brigade_proto::JobSpec;
use serde_json::{Map, Value, json};

use super::pools::Pools;
use super::session::{BenchSession, Started, micros, start, started};
use super::{case, expectations, timeline, with, work};
use crate::args::ParadigmsArgs;
use crate::exit::Failure;

/// Kind of work that the jobs do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// "Concurrent burgers": many orders that mostly wait, and few cooks.
    Waiting,
    /// "Cleaning a big house": there is always something to do.
    Computing,
    /// "Parallel burgers": the cashier is also the cook, who waits and computes for each order.
    Mixed,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Computing => "computing",
            Self::Mixed => "mixed",
        }
    }
}

/// A workload that runs on every backend.
pub(super) struct Work {
    pub(super) kind: Kind,
    /// Name of the kernel: "wait", "blur", "wait+blur".
    pub(super) kernel: String,
    /// The jobs of one order, in turn.
    pub(super) jobs: Vec<JobSpec>,
    /// Number of orders.
    pub(super) orders: usize,
    /// How long each order waits.
    pub(super) wait: Duration,
}

impl Work {
    pub(super) fn case(&self) -> Map<String, Value> {
        case(json!({"work": self.kind.name(), "kernel": self.kernel}))
    }

    pub(super) fn job(&self, number: usize) -> JobSpec {
        self.jobs[number % self.jobs.len()].clone()
    }

    /// Number of jobs of this many orders.
    pub(super) fn jobs_of(&self, orders: usize) -> usize {
        orders * self.jobs.len()
    }
}

/// All workloads. An order of the mixed workload is two jobs, one that waits and one that computes.
/// The backend decides which runs first, as a cook chops while a pan is on the fire.
fn works(args: &ParadigmsArgs, registry: &Registry) -> Result<Vec<Work>, Failure> {
    let job = |kernel: &str| work::job(registry, kernel, &[], None, args.common.plan.seed);
    let waits = || JobSpec::new("wait").param("us", micros(args.wait) as i64);
    let orders = args.orders as usize;
    let mut works = vec![Work {
        kind: Kind::Waiting,
        kernel: "wait".to_owned(),
        jobs: vec![waits()],
        orders,
        wait: args.wait,
    }];
    for kernel in &args.kernels {
        works.push(Work {
            kind: Kind::Computing,
            kernel: kernel.clone(),
            jobs: vec![job(kernel)?],
            orders,
            wait: Duration::ZERO,
        });
    }
    if let Some(kernel) = args.kernels.first() {
        works.push(Work {
            kind: Kind::Mixed,
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
    for work in works.iter().filter(|work| work.kind == Kind::Computing) {
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
            if session.is_interrupted() {
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
    pool: Started,
    name: Map<String, Value>,
}

impl ParadigmCandidate {
    fn new(asked: &Pools, backend: Backend, workers: usize, pool: Started) -> Self {
        Self { pool, name: with(asked.case(backend), json!({"workers": workers})) }
    }
}

/// Runs all orders on a running pool that has been warmed up.
fn variant<'a>(work: &'a Work, candidate: &'a ParadigmCandidate) -> Variant<'a> {
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
