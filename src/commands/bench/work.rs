//! Jobs that go together, and what a pool makes of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use brigade_exec::{Backend, Pool, PoolBuilder, PoolConfig, WorkerReport};
use brigade_kernels::{Registry, Size};
use brigade_measure::clock;
use brigade_measure::summary::{Run, Summary, Tally};
use brigade_proto::{JobSpec, Nanos, Outcome, Params, Status};
use brigade_sys::usage;

use crate::exit::Failure;

/// Jobs that are in flight at most: enough for every worker, few enough for the memory
/// that their results take.
const WINDOW: usize = 64;

/// How many jobs of a pool are in flight before the first result is taken and dropped.
///
/// On the thread that submits, a job is over when it has been submitted, and a loop of plain code
/// drops its result before the next one. To keep the results until all jobs are over, as must be
/// done where others compute meanwhile, would give each job of the baseline memory of its own:
/// cold, and at first not there.
pub(super) fn window(pool: &Pool) -> usize {
    if pool.config().backend == Backend::Sync { 1 } else { WINDOW }
}

/// A job of a kernel on synthetic inputs. They lie on the heap, as those of a caller do
/// who knows nothing of arenas: what it takes to hand them over is part of the figure.
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

/// Cores that this process may use.
pub(super) fn usable() -> usize {
    PoolConfig::default().workers
}

/// Whether a backend has as many workers as it is told to.
pub(super) fn has_workers(backend: Backend) -> bool {
    !matches!(backend, Backend::Sync | Backend::Async)
}

/// Refuses a job that fails, before anything is measured.
pub(super) fn try_out(pool: &Pool, job: &JobSpec) -> Result<(), Failure> {
    let outcome = pool.submit(job.clone()).map_err(Failure::usage)?.wait();
    let refused = |error| Failure::usage(format!("`{}` fails: {error}", job.kernel));
    outcome.result.map(drop).map_err(refused)
}

/// Runs `count` jobs, as `job` makes them from their number, and returns their outcomes
/// without their results.
pub(super) fn run(
    pool: &Pool,
    count: usize,
    job: impl Fn(usize) -> JobSpec,
) -> Result<Vec<Outcome>, String> {
    run_watched(pool, count, job, &mut |_| {})
}

/// As [`run`]; `watch` sees each outcome as soon as it is in hand.
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
    // A time of a job that failed is no time.
    match outcomes.iter().find_map(|outcome| outcome.result.as_ref().err()) {
        Some(error) => Err(format!("a job failed: {error}")),
        None => Ok(outcomes),
    }
}

/// Nanoseconds from the first submission to the last outcome in hand.
pub(super) fn wall(outcomes: &[Outcome]) -> Nanos {
    let first = outcomes.iter().map(|outcome| outcome.stamps.submitted).min();
    let last = outcomes.iter().map(|outcome| outcome.stamps.collected).max();
    last.unwrap_or(0).saturating_sub(first.unwrap_or(0))
}

/// The life of one pool: started, warmed up, worked, ended.
pub(super) struct Life {
    /// When it was asked for, on the clock of the stamps.
    pub(super) begin: Nanos,
    /// When its workers had ended.
    pub(super) end: Nanos,
    pub(super) startup: Duration,
    /// Of the jobs that count.
    pub(super) outcomes: Vec<Outcome>,
    pub(super) reports: Vec<WorkerReport>,
    /// Processor time of this process and its workers while those were done.
    pub(super) cpu: Nanos,
}

/// Starts a pool, runs `warm_up` jobs that do not count and `count` that do, and ends it.
/// `watch` sees each outcome that counts.
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

/// Processor time so far of this process and of the worker processes that did these jobs. One that
/// has had no job yet counts with what its start took.
fn cpu(outcomes: &[Outcome]) -> Nanos {
    let own = usage::with_children();
    let mut workers: Vec<u32> = outcomes.iter().map(|outcome| outcome.pid).collect();
    workers.sort_unstable();
    workers.dedup();
    let others = workers.into_iter().filter(|&pid| pid != 0 && pid != std::process::id());
    own.user_ns + own.system_ns + others.filter_map(usage::process_cpu_ns).sum::<Nanos>()
}

impl Life {
    /// Where the workers' time went from the first submission on.
    pub(super) fn summary(&self) -> Summary {
        // Jobs of a lane are added in the order in which they ended.
        let mut outcomes: Vec<&Outcome> = self.outcomes.iter().collect();
        outcomes.sort_by_key(|outcome| outcome.stamps.returned);
        let mut tally = Tally::default();
        for outcome in outcomes {
            tally.add(outcome, outcome.status());
        }
        let (wall, ready) = (wall(&self.outcomes), vec![0; self.reports.len()]);
        tally.summary(&Run { wall, ready, ..Run::default() })
    }

    /// Time in kernels of the busiest worker over that of the average one: 1 is perfect.
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

    /// Largest resident set of any worker process, in bytes; 0 if there is none.
    pub(super) fn peak_memory(&self) -> u64 {
        self.reports.iter().filter_map(|report| report.peak_rss_bytes).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// The baseline kept the results of up to 64 jobs: memory of its own for each.
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
