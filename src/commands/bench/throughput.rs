//! Measures the time per job when many jobs are in flight.

use std::collections::VecDeque;
use std::time::Instant;

use brigade_exec::{Backend, Pool};
use brigade_measure::experiment::{Metric, Variant};
use brigade_proto::{JobSpec, Outcome, Source, Status};
use serde_json::json;

use super::pools::Pools;
use super::session::{BenchSession, start};
use super::{with, work};
use crate::args::ThroughputArgs;
use crate::exit::Failure;

/// How jobs are submitted.
#[derive(Clone, Copy)]
enum Mode {
    OneByOne,
    Map,
}

/// Measures the time per job in microseconds, by backend, number of workers and depth.
pub(super) fn throughput(
    args: &ThroughputArgs,
    session: &mut BenchSession<'_>,
) -> Result<(), Failure> {
    let pools = session.pools(&args.common.pool)?;
    let registry = &session.registry;
    let job = work::job(registry, &args.kernel, &args.params, args.size, args.common.plan.seed)?;
    // Reject a job that fails before anything is measured.
    work::try_out(&pools.builder(Backend::Sync, 1).build()?, &job)?;
    let wanted = args.time.as_secs_f64() * 1e6;
    let mut variants = Vec::new();
    for (mode, mode_name) in [(Mode::OneByOne, "one by one"), (Mode::Map, "map")] {
        for (backend, workers, depth) in configurations(&pools) {
            let mut builder = pools.builder(backend, workers);
            let mut name = with(pools.case(backend), json!({"workers": workers}));
            if let Some(depth) = depth {
                builder = builder.depth(depth);
                name.insert("depth".to_owned(), depth.into());
            }
            let about = json!({"kernel": args.kernel, "mode": mode_name});
            let ready = start(builder).and_then(|pool| Ok((in_place(&job, &pool)?, pool)));
            let run = move || {
                let (job, pool) = ready.as_ref().map_err(Clone::clone)?;
                // Run as many jobs as fill the requested time. A few jobs cannot predict that
                // number, because jobs are faster when there are many.
                let mut count = 8;
                loop {
                    let us = batch(pool, job, count, mode)?;
                    let enough = ((wanted / us.max(0.01)) as usize).max(8);
                    if enough <= 4 * count {
                        break Ok(vec![batch(pool, job, enough, mode)?]);
                    }
                    count *= 4;
                }
            };
            variants.push(Variant::new(with(name, about), run));
        }
    }
    session.measure("throughput", &[Metric::us("per_job")], variants);
    Ok(())
}

/// Combinations of backend and number of workers, and for worker processes also the depth.
fn configurations(pools: &Pools) -> Vec<(Backend, usize, Option<usize>)> {
    let backends = pools.backends(&[Backend::Sync, Backend::Threads, Backend::Processes]);
    let (many, alone): (Vec<_>, Vec<_>) =
        backends.into_iter().partition(|backend| work::has_workers(*backend));
    let mut configurations: Vec<_> = alone.into_iter().map(|backend| (backend, 1, None)).collect();
    for workers in pools.workers(&[1, 2]) {
        for &backend in &many {
            match backend {
                Backend::Processes => {
                    let depths = pools.depths(&[1, 2, 8]).into_iter();
                    configurations.extend(depths.map(|depth| (backend, workers, Some(depth))));
                }
                _ => configurations.push((backend, workers, None)),
            }
        }
    }
    configurations
}

/// The job with its inputs in memory that the pool's workers can read directly, as threads can.
fn in_place(job: &JobSpec, pool: &Pool) -> Result<JobSpec, String> {
    let mut placed = job.clone();
    for source in &mut placed.inputs {
        if let Source::Bytes(bytes) = source {
            let no_memory = || "no memory for the input; give a smaller --size".to_owned();
            let mut slab = pool.alloc(bytes.len()).ok_or_else(no_memory)?;
            slab.copy_from_slice(bytes);
            *source = slab.into();
        }
    }
    Ok(placed)
}

/// Time per job in microseconds of `count` jobs.
fn batch(pool: &Pool, job: &JobSpec, count: usize, mode: Mode) -> Result<f64, String> {
    let is_good = |outcome: &Outcome| outcome.status() == Status::Ok;
    let begin = Instant::now();
    let all_good = match mode {
        Mode::Map => {
            let good = pool.map((0..count).map(|_| job.clone())).filter(is_good).count();
            good == count
        }
        Mode::OneByOne => {
            let most = work::window(pool);
            let mut window = VecDeque::with_capacity(most);
            let mut good = true;
            for _ in 0..count {
                window.push_back(pool.submit(job.clone()).map_err(|error| error.to_string())?);
                if window.len() >= most
                    && let Some(oldest) = window.pop_front()
                {
                    good &= is_good(&oldest.wait());
                }
            }
            window.into_iter().fold(good, |good, handle| good & is_good(&handle.wait()))
        }
    };
    let us = begin.elapsed().as_secs_f64() * 1e6 / count as f64;
    if all_good { Ok(us) } else { Err("a job failed".to_owned()) }
}
