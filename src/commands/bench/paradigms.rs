//! The course measured: who is fast when work waits, when it computes, and when it does both.

use std::sync::Arc;
use std::time::Duration;

use brigade_exec::{Backend, Pool};
use brigade_kernels::Registry;
use brigade_measure::experiment::{Metric, Variant};
use brigade_proto::JobSpec;
use serde_json::{Map, Value, json};

use super::session::{Session, micros};
use super::{case, lessons, timeline, work};
use crate::args::ParadigmsArgs;
use crate::exit::Failure;

/// What the jobs of a work do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// "Concurrent burgers": many orders that mostly wait, few cooks.
    Waiting,
    /// "Cleaning a big house": there is always something to do.
    Computing,
    /// "Parallel burgers": the cashier is the cook, who waits and computes for each order.
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

/// Jobs that every backend does.
pub(super) struct Work {
    pub(super) kind: Kind,
    /// "wait", "blur", "wait+blur".
    pub(super) kernel: String,
    /// They take turns: the jobs of one order.
    pub(super) jobs: Vec<JobSpec>,
    /// How many orders.
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

    /// Jobs of so many orders.
    pub(super) fn jobs_of(&self, orders: usize) -> usize {
        orders * self.jobs.len()
    }
}

/// All works. An order of the mixed work is two jobs, one that waits and one that computes;
/// which of them comes first is left to the backend, as with a pan on the fire while the
/// cook chops.
fn works(args: &ParadigmsArgs, registry: &Registry) -> Result<Vec<Work>, Failure> {
    let job = |kernel: &str| work::job(registry, kernel, &[], None, args.common.seed);
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

/// The same orders under every backend and number of workers, and what that teaches.
pub(super) fn paradigms(args: &ParadigmsArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let registry = &Arc::clone(&session.registry);
    let works = works(args, registry)?;
    let builder = |backend, workers| {
        Pool::builder().backend(backend).workers(workers).registry(Arc::clone(registry))
    };
    let mut pools = Vec::new();
    for backend in Backend::ALL {
        let counts = if work::has_workers(*backend) { &args.workers[..] } else { &[1] };
        for &workers in counts {
            pools.push(builder(*backend, workers).build()?);
        }
    }
    for work in works.iter().filter(|work| work.kind == Kind::Computing) {
        work::try_out(&pools[0], &work.job(0))?;
    }
    session.expect(works.len());
    for work in &works {
        let variants = pools.iter().map(|pool| variant(work, pool)).collect();
        let cells = session.measure("paradigms", &[Metric::us("wall")], variants).to_vec();
        lessons::draw(work, &cells, session);
    }
    drop(pools);
    // Pictures: not more of one kind of work than of another.
    let mut seen = Vec::new();
    for work in works {
        if seen.contains(&work.kind) {
            continue;
        }
        seen.push(work.kind);
        for &backend in Backend::ALL {
            if session.is_interrupted() {
                return Ok(());
            }
            let workers = if work::has_workers(backend) { lanes(args) } else { 1 };
            match timeline::draw(&work, backend, workers, builder(backend, workers)) {
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

/// As many workers as there are cores, of the numbers that were asked for.
fn lanes(args: &ParadigmsArgs) -> usize {
    let fitting = args.workers.iter().filter(|&&workers| workers <= work::usable());
    fitting.max().or(args.workers.first()).copied().unwrap_or(1)
}

/// All orders on a pool that is there, and awake.
fn variant<'a>(work: &'a Work, pool: &'a Pool) -> Variant<'a> {
    let config = pool.config();
    let mut name = work.case();
    name.insert("backend".to_owned(), config.backend.name().into());
    name.insert("workers".to_owned(), config.lanes().into());
    let mut is_warm = false;
    Variant::new(name, move || {
        if !is_warm {
            // The first orders find memory that is not there yet.
            work::run(pool, work.jobs_of(work.orders), |number| work.job(number))?;
            is_warm = true;
        }
        let outcomes = work::run(pool, work.jobs_of(work.orders), |number| work.job(number))?;
        Ok(vec![work::wall(&outcomes) as f64 / 1e3])
    })
}
