//! Measures how large a job must be for a pool to be worth its overhead.

use std::time::Duration;

use brigade_exec::{Backend, Pool};
use brigade_measure::experiment::{Metric, Variant};
use brigade_proto::{Buffer, Bytes, JobSpec};
use serde_json::{Map, Value, json};

use super::pools::Pools;
use super::session::{BenchSession, StartedPool, micros, start, started};
use super::{break_even_answers, cheapest, startup, with, work};
use crate::args::BreakEvenArgs;
use crate::exit::Failure;

/// Approximate duration of one turn of a variant.
const TURN_US: f64 = 20_000.0;

/// Measures the time per job, by payload and compute time, on the calling thread, on threads and on
/// worker processes.
pub(super) fn break_even(
    args: &BreakEvenArgs,
    session: &mut BenchSession<'_>,
) -> Result<(), Failure> {
    let asked = &session.pools(&args.common.pool)?;
    let sync = asked.builder(Backend::Sync, 1).build()?;
    let steps_per_us = calibrate(&sync).map_err(Failure::usage)?;
    // The calling thread is the reference.
    let mut pools = vec![BreakEvenCandidate::new(asked, Backend::Sync, 1, Ok(sync))];
    let others = asked.backends(&[Backend::Threads, Backend::Processes]).into_iter();
    for backend in others.filter(|backend| *backend != Backend::Sync) {
        let counts = asked.workers(&[1, 2]);
        let counts = if work::has_workers(backend) { &counts[..] } else { &[1] };
        for &workers in counts {
            let pool = start(asked.builder(backend, workers));
            pools.push(BreakEvenCandidate::new(asked, backend, workers, pool));
        }
    }
    let mut variants = Vec::new();
    for &bytes in &args.bytes {
        let payload = payload(bytes);
        for &compute in &args.compute {
            for candidate in &pools {
                let about = json!({"bytes": bytes, "compute_us": micros(compute)});
                // Rough time of a job: handing it over, copying at 5 GB/s, computing.
                let us = micros(compute) + 5.0 + bytes as f64 / 5e3;
                let workers = candidate.workers as f64;
                let count = (TURN_US * workers / us).clamp(4.0 * workers, 2000.0);
                let job = payload.as_ref().map(|payload| job(compute, steps_per_us, payload));
                let job = job.map_err(Clone::clone);
                let run = move || {
                    let job = job.as_ref().map_err(Clone::clone)?;
                    Ok(vec![per_job(started(&candidate.pool)?, count as usize, job)?])
                };
                variants.push(Variant::new(with(candidate.name.clone(), about), run));
            }
        }
    }
    let method = asked.of_processes().start_method;
    let known = |workers: &usize| break_even_answers::startup(session, method, *workers).is_some();
    let mut unknown = asked.workers(&[1, 2]);
    unknown.retain(|workers| asked.wants(Backend::Processes) && !known(workers));
    // The start-up measurement needs only a small share: starts are few and short.
    let share = if unknown.is_empty() { 1.0 } else { 0.9 };
    let cells = session.with_share(share, |session| {
        session.measure("break-even", &[Metric::us("per_job")], variants).to_vec()
    });
    drop(pools);
    // Measure the start-up of as many workers, if it has not been measured yet.
    let mut variants = Vec::new();
    for workers in unknown {
        let about = json!({"start_method": method.name(), "workers": workers});
        let name = with(asked.case(Backend::Processes), about);
        let builder = move || Ok(asked.builder(Backend::Processes, workers));
        variants.push(startup::start_variant(name, builder, startup::Until::Ready));
    }
    if !variants.is_empty() {
        session.measure("startup", &[Metric::us("ready")], variants);
    }
    break_even_answers::conclude(args, asked, &cells, session);
    for workers in asked.workers(&[1, 2]) {
        cheapest::conclude(workers, &cells, session);
    }
    Ok(())
}

/// A pool to measure, and its parameters.
struct BreakEvenCandidate {
    pool: StartedPool,
    workers: usize,
    name: Map<String, Value>,
}

impl BreakEvenCandidate {
    fn new(asked: &Pools, backend: Backend, workers: usize, pool: StartedPool) -> Self {
        let name = with(asked.case(backend), json!({"workers": workers}));
        Self { pool, workers, name }
    }
}

fn payload(bytes: u64) -> Result<Bytes, String> {
    let buffer = usize::try_from(bytes).ok().and_then(Buffer::try_zeroed);
    let mut buffer =
        buffer.ok_or_else(|| format!("no memory for {bytes} bytes; leave them out of --bytes"))?;
    // All pages that were never written are the same zero page.
    buffer.fill(1);
    Ok(buffer.into())
}

/// Steps of `spin` that this machine does per microsecond when undisturbed. A job is defined as a
/// number of steps, not as a duration. If two workers share a core, a job that only waits for a
/// duration to pass would end as early as on a core of its own.
fn calibrate(sync: &Pool) -> Result<f64, String> {
    const STEPS: i64 = 50_000;
    const TIMES: usize = 20;
    let job = JobSpec::new("spin").param("steps", STEPS);
    let outcomes = work::run(sync, TIMES, |_| job.clone())?;
    let fastest = outcomes
        .iter()
        .map(|outcome| outcome.stamps.returned.saturating_sub(outcome.stamps.called));
    Ok(STEPS as f64 * 1e3 / fastest.min().unwrap_or(1).max(1) as f64)
}

fn job(compute: Duration, steps_per_us: f64, payload: &Bytes) -> JobSpec {
    let steps = (micros(compute) * steps_per_us).round() as i64;
    let job = JobSpec::new("spin").param("us", 0).param("steps", steps);
    if payload.is_empty() { job } else { job.input(payload.clone()) }
}

/// Time per job in microseconds, on a pool that has been woken up.
fn per_job(pool: &Pool, count: usize, job: &JobSpec) -> Result<f64, String> {
    work::run(pool, pool.config().slots(), |_| job.clone())?;
    let outcomes = work::run(pool, count, |_| job.clone())?;
    Ok(work::wall(&outcomes) as f64 / 1e3 / count as f64)
}
