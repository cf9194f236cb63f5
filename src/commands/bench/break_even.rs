//! How large a job must be for what carries it to pay.

use std::sync::Arc;
use std::time::Duration;

use brigade_exec::{Backend, Pool, StartMethod};
use brigade_measure::experiment::{Metric, Variant};
use brigade_proto::{Buffer, Bytes, JobSpec};
use serde_json::json;

use super::session::{Session, micros};
use super::{break_even_answers, case, startup, work};
use crate::args::BreakEvenArgs;
use crate::exit::Failure;

/// For about so long each variant works when it is its turn.
const TURN_US: f64 = 20_000.0;

/// Time per job, by payload and compute time, in one thread, in threads and in processes.
pub(super) fn break_even(args: &BreakEvenArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let registry = &Arc::clone(&session.registry);
    let builder = || Pool::builder().registry(Arc::clone(registry));
    for &workers in &args.workers {
        work::check(workers)?;
    }
    let sync = builder().backend(Backend::Sync).workers(1).build()?;
    let steps_per_us = calibrate(&sync).map_err(Failure::usage)?;
    let mut pools = vec![sync];
    for &workers in &args.workers {
        for backend in [Backend::Threads, Backend::Processes] {
            pools.push(builder().backend(backend).workers(workers).build()?);
        }
    }
    let mut variants = Vec::new();
    for &bytes in &args.bytes {
        let no_memory = || Failure::usage(format!("no memory for --bytes {bytes}"));
        let len = usize::try_from(bytes).map_err(|_| no_memory())?;
        let mut payload = Buffer::try_zeroed(len).ok_or_else(no_memory)?;
        // Pages that nobody has written are all the same page of zeros.
        payload.fill(1);
        let payload = Bytes::from(payload);
        for &compute in &args.compute {
            let job = job(compute, steps_per_us, &payload);
            for pool in &pools {
                let config = pool.config();
                let name = json!({
                    "backend": config.backend.name(),
                    "workers": config.lanes(),
                    "bytes": bytes,
                    "compute_us": micros(compute),
                });
                // About what a job takes: handing it over, copying at 5 GB/s, computing.
                let us = micros(compute) + 5.0 + bytes as f64 / 5e3;
                let lanes = config.lanes();
                let count = (TURN_US * lanes as f64 / us).clamp(4.0 * lanes as f64, 2000.0);
                let job = job.clone();
                let run = move || Ok(vec![per_job(pool, count as usize, &job)?]);
                variants.push(Variant::new(case(name), run));
            }
        }
    }
    let known = |workers: &&usize| break_even_answers::startup(session, **workers).is_some();
    let unknown: Vec<usize> =
        args.workers.iter().filter(|workers| !known(workers)).copied().collect();
    // Starts are few and short.
    let share = if unknown.is_empty() { 1.0 } else { 0.9 };
    let cells = session.with_share(share, |session| {
        session.measure("break-even", &[Metric::us("per_job")], variants).to_vec()
    });
    drop(pools);
    // Starting as many workers, if that has not been measured yet.
    let mut variants = Vec::new();
    for workers in unknown {
        let name = json!({"backend": "processes", "start_method": "spawn", "workers": workers});
        let start = move || builder().workers(workers).start_method(StartMethod::Spawn);
        variants.push(startup::start_variant(case(name), start, startup::Until::Ready));
    }
    if !variants.is_empty() {
        session.measure("startup", &[Metric::us("ready")], variants);
    }
    break_even_answers::conclude(args, &cells, session);
    Ok(())
}

/// How many steps of `spin` this machine does in a microsecond, undisturbed. Jobs are so
/// many steps, not so long: with a worker that shares its core with another a job that
/// only lets time pass would be done as soon as on one of its own.
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

/// Microseconds per job of a pool that has been woken up.
fn per_job(pool: &Pool, count: usize, job: &JobSpec) -> Result<f64, String> {
    work::run(pool, pool.config().lanes(), |_| job.clone())?;
    let outcomes = work::run(pool, count, |_| job.clone())?;
    Ok(work::wall(&outcomes) as f64 / 1e3 / count as f64)
}
