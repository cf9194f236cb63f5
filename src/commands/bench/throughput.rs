//! Many jobs at once: what one takes when the next is there already.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use brigade_exec::{Backend, Pool};
use brigade_measure::experiment::{Metric, Variant};
use brigade_proto::{JobSpec, Outcome, Source, Status};
use serde_json::json;

use super::session::Session;
use super::{case, with, work};
use crate::args::ThroughputArgs;
use crate::exit::Failure;

/// Jobs that are in flight at most when they are submitted one by one.
const WINDOW: usize = 64;

/// How jobs are handed over.
#[derive(Clone, Copy)]
enum Mode {
    OneByOne,
    Map,
}

/// Microseconds per job, for each backend, number of workers and depth.
pub(super) fn throughput(args: &ThroughputArgs, session: &mut Session<'_>) -> Result<(), Failure> {
    let registry = &Arc::clone(&session.registry);
    let job = work::job(registry, &args.kernel, &args.params, args.size, args.common.seed)?;
    let mut variants = Vec::new();
    for (mode, name) in [(Mode::OneByOne, "one by one"), (Mode::Map, "map")] {
        let about = json!({"kernel": args.kernel, "mode": name});
        let mut add = |backend: Backend, workers: usize, depth: Option<usize>| {
            let builder = Pool::builder().backend(backend).registry(Arc::clone(registry));
            let builder = builder.workers(workers);
            let pool = match depth {
                Some(depth) => builder.depth(depth).build()?,
                None => builder.build()?,
            };
            let job = in_place(&job, &pool)?;
            work::try_out(&pool, &job)?;
            let more = match depth {
                Some(depth) => json!({"workers": workers, "depth": depth}),
                None => json!({"workers": workers}),
            };
            let name = with(case(json!({"backend": backend.name()})), more);
            let wanted = args.time.as_secs_f64() * 1e6;
            let run = move || {
                // As many as take the time that was asked for, which a few do not tell:
                // jobs are faster when there are many.
                let mut count = 8;
                loop {
                    let us = batch(&pool, &job, count, mode)?;
                    let enough = ((wanted / us.max(0.01)) as usize).max(8);
                    if enough <= 4 * count {
                        break Ok(vec![batch(&pool, &job, enough, mode)?]);
                    }
                    count *= 4;
                }
            };
            variants.push(Variant::new(with(name, about.clone()), run));
            Ok::<_, Failure>(())
        };
        add(Backend::Sync, 1, None)?;
        for &workers in &args.workers {
            add(Backend::Threads, workers, None)?;
            for &depth in &args.depths {
                add(Backend::Processes, workers, Some(depth))?;
            }
        }
    }
    session.measure("throughput", &[Metric::us("per_job")], variants);
    Ok(())
}

/// The job with its inputs where a worker of the pool reads them: as a thread does.
fn in_place(job: &JobSpec, pool: &Pool) -> Result<JobSpec, Failure> {
    let mut placed = job.clone();
    for source in &mut placed.inputs {
        if let Source::Bytes(bytes) = source {
            let no_memory = || Failure::usage("no memory for the input; give a smaller --size");
            let mut slab = pool.alloc(bytes.len()).ok_or_else(no_memory)?;
            slab.copy_from_slice(bytes);
            *source = slab.into();
        }
    }
    Ok(placed)
}

/// Microseconds per job, of so many.
fn batch(pool: &Pool, job: &JobSpec, count: usize, mode: Mode) -> Result<f64, String> {
    let is_good = |outcome: &Outcome| outcome.status() == Status::Ok;
    let begin = Instant::now();
    let all_good = match mode {
        Mode::Map => {
            let good = pool.map((0..count).map(|_| job.clone())).filter(is_good).count();
            good == count
        }
        Mode::OneByOne => {
            let mut window = VecDeque::with_capacity(WINDOW);
            let mut good = true;
            for _ in 0..count {
                window.push_back(pool.submit(job.clone()).map_err(|error| error.to_string())?);
                if window.len() >= WINDOW
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
