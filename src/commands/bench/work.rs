//! Runs groups of jobs on a pool, and the figures derived from them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use brigade_exec::{Backend, Pool, PoolBuilder, PoolConfig, WorkerReport};
use brigade_kernels::{Registry, Size};
use brigade_measure::clock;
use brigade_measure::summary::{RunFacts, Summary, Tally};
use brigade_proto::{JobSpec, Nanos, Outcome, Params, Status};
use brigade_sys::usage;

use crate::exit::Failure;

/// Maximum number of jobs in flight: enough for every worker, and few enough for the memory of
/// their results.
const WINDOW: usize = 64;

/// Maximum number of jobs of a pool that are in flight before the oldest result is collected and
/// dropped.
///
/// With the sync backend, a job has finished when `submit` returns, and a plain loop drops its
/// result before the next job. If the results were kept until all jobs have finished, as is
/// necessary where other workers compute meanwhile, each job of this baseline would get memory of
/// its own: cold in the cache, and at first not even mapped.
pub(super) fn window(pool: &Pool) -> usize {
    if pool.config().backend == Backend::Sync { 1 } else { WINDOW }
}

/// Creates a job of a kernel on synthetic inputs. The inputs lie on the heap, like those of a
/// caller that does not use an arena, so the cost of handing them over is part of the measurement.
pub(super) fn job(
    registry: &Registry,
    kernel: &str,
    params: &[(String, String)],
    size: Option<Size>,
    seed: u64,
) -> Result<JobSpec, Failure> {
    let entry = registry.find(kernel).map_err(Failure::usage)?;
    let mut job = JobSpec::new(kernel.to_owned());
    job.params = Params::new();
    for (name, text) in params {
        let value = entry.parse_param(name, text).map_err(Failure::usage)?;
        job.params.set(name, value);
    }
    let size =
        match size {
            Some(size) => size,
            None => entry.spec.default_size.parse().map_err(|error| {
                Failure::usage(format!("the default size of `{kernel}`: {error}"))
            })?,
        };
    if entry.spec.inputs.max > 0 {
        let inputs = entry.kernel.synthesize(size, seed).map_err(|error| {
            Failure::usage(format!("no input of --size {size} for `{kernel}`: {error}"))
        })?;
        job.inputs = inputs.into_iter().map(|input| Arc::new(input).into()).collect();
    }
    Ok(job)
}

/// Number of cores that this process may use.
pub(super) fn usable() -> usize {
    PoolConfig::default().workers
}

/// Whether the number of workers of a backend is configurable.
pub(super) fn has_workers(backend: Backend) -> bool {
    !matches!(backend, Backend::Sync | Backend::Async)
}

/// Rejects a job that fails, before anything is measured.
pub(super) fn try_out(pool: &Pool, job: &JobSpec) -> Result<(), Failure> {
    let outcome = pool.submit(job.clone()).map_err(Failure::usage)?.wait();
    let refused = |error| Failure::usage(format!("`{}` fails: {error}", job.kernel));
    outcome.result.map(drop).map_err(refused)
}

/// Runs `count` jobs and returns their outcomes without the results. `job` creates each job from
/// its number.
pub(super) fn run(
    pool: &Pool,
    count: usize,
    job: impl Fn(usize) -> JobSpec,
) -> Result<Vec<Outcome>, String> {
    run_watched(pool, count, job, &mut |_| {})
}

/// Like [`run`]; `watch` receives each outcome as soon as it is collected.
fn run_watched(
    pool: &Pool,
    count: usize,
    job: impl Fn(usize) -> JobSpec,
    watch: &mut dyn FnMut(&Outcome),
) -> Result<Vec<Outcome>, String> {
    let most = window(pool);
    let mut window = VecDeque::with_capacity(most);
    let mut outcomes = Vec::with_capacity(count);
    let mut collect = |mut outcome: Outcome| {
        watch(&outcome);
        if outcome.status() == Status::Ok {
            outcome.result = Ok(Vec::new());
        }
        outcomes.push(outcome);
    };
    for number in 0..count {
        window.push_back(pool.submit(job(number)).map_err(|error| error.to_string())?);
        if window.len() >= most
            && let Some(oldest) = window.pop_front()
        {
            collect(oldest.wait());
        }
    }
    for handle in window {
        collect(handle.wait());
    }
    // The time of a failed job is meaningless.
    match outcomes.iter().find_map(|outcome| outcome.result.as_ref().err()) {
        Some(error) => Err(format!("a job failed: {error}")),
        None => Ok(outcomes),
    }
}

/// Nanoseconds from the first submission until the last outcome was collected.
pub(super) fn wall(outcomes: &[Outcome]) -> Nanos {
    let first = outcomes.iter().map(|outcome| outcome.stamps.submitted).min();
    let last = outcomes.iter().map(|outcome| outcome.stamps.collected).max();
    last.unwrap_or(0).saturating_sub(first.unwrap_or(0))
}

/// The life of one pool: start, warm-up, measured jobs, end.
pub(super) struct Life {
    /// When the pool was requested, on the clock of the stamps.
    pub(super) begin: Nanos,
    /// When its workers had ended.
    pub(super) end: Nanos,
    pub(super) startup: Duration,
    /// Outcomes of the measured jobs.
    pub(super) outcomes: Vec<Outcome>,
    pub(super) reports: Vec<WorkerReport>,
    /// Processor time of this process and its workers during the measured jobs.
    pub(super) cpu: Nanos,
}

/// Starts a pool, runs `warm_up` jobs that are not measured and `count` jobs that are, and closes
/// the pool. `watch` receives each outcome of a measured job.
pub(super) fn live(
    builder: PoolBuilder,
    warm_up: usize,
    count: usize,
    job: impl Fn(usize) -> JobSpec,
    watch: &mut dyn FnMut(&Outcome),
) -> Result<Life, String> {
    let begin = clock::now();
    let pool = builder.build().map_err(|error| error.to_string())?;
    let startup = pool.status().startup;
    let warm = run(&pool, warm_up, &job)?;
    let before = cpu(&warm);
    let outcomes = run_watched(&pool, count, &job, watch)?;
    let cpu = cpu(&outcomes).saturating_sub(before);
    let reports = pool.close();
    Ok(Life { begin, end: clock::now(), startup, outcomes, reports, cpu })
}

/// Processor time so far of this process and of the worker processes that did these jobs. A worker
/// process that got its first job only during the measured jobs also contributes the processor time
/// of its start.
fn cpu(outcomes: &[Outcome]) -> Nanos {
    let own = usage::with_children();
    let mut workers: Vec<u32> = outcomes.iter().map(|outcome| outcome.pid).collect();
    workers.sort_unstable();
    workers.dedup();
    let others = workers.into_iter().filter(|&pid| pid != 0 && pid != std::process::id());
    own.user_ns + own.system_ns + others.filter_map(usage::process_cpu_ns).sum::<Nanos>()
}

impl Life {
    /// How the workers' time was spent from the first submission on.
    pub(super) fn summary(&self) -> Summary {
        // [`Tally`] expects the jobs of a worker in the order in which they ended.
        let mut outcomes: Vec<&Outcome> = self.outcomes.iter().collect();
        outcomes.sort_by_key(|outcome| outcome.stamps.returned);
        let mut tally = Tally::default();
        for outcome in outcomes {
            tally.add(outcome, outcome.status());
        }
        let (wall, ready) = (wall(&self.outcomes), vec![0; self.reports.len()]);
        tally.summary(&RunFacts { wall, ready, ..RunFacts::default() })
    }

    /// Kernel time of the busiest worker over that of the average worker: 1 is perfect.
    pub(super) fn imbalance(&self) -> f64 {
        let of = |report: &WorkerReport| {
            let own = self.outcomes.iter().filter(|outcome| outcome.worker == Some(report.worker));
            own.map(|outcome| {
                let stamps = &outcome.stamps;
                stamps.returned.saturating_sub(stamps.called) as f64
            })
            .sum::<f64>()
        };
        let busy: Vec<f64> = self.reports.iter().map(of).collect();
        let mean = busy.iter().sum::<f64>() / busy.len() as f64;
        if mean > 0.0 { busy.iter().copied().fold(0.0, f64::max) / mean } else { 1.0 }
    }

    /// Largest resident set of any worker process in bytes; 0 if there is none.
    pub(super) fn peak_memory(&self) -> u64 {
        self.reports.iter().filter_map(|report| report.peak_rss_bytes).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Regression: the baseline kept the results of up to 64 jobs, so each had memory of its own.
    #[test]
    fn plain_code_drops_a_result_before_it_computes_the_next() {
        let registry = Arc::new(Registry::builtin());
        let of = |backend, workers| {
            let pool = Pool::builder().backend(backend).workers(workers);
            let pool = pool.registry(Arc::clone(&registry)).build().unwrap();
            let order = RefCell::new(String::new());
            let job = |_| {
                order.borrow_mut().push('>');
                JobSpec::new("noop")
            };
            let taken = &mut |_: &Outcome| order.borrow_mut().push('<');
            run_watched(&pool, 3, job, taken).unwrap();
            order.into_inner()
        };
        assert_eq!(of(Backend::Sync, 1), "><><><");
        assert_eq!(of(Backend::Threads, 1), ">>><<<");
    }
}
