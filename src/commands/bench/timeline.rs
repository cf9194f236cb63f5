//! Draws the timeline of one short run: what each worker did at which time.

use brigade_exec::{Backend, PoolBuilder};
use brigade_measure::{clock, memory};
use brigade_proto::{Nanos, Outcome};
use serde_json::{Value, json};

use super::work::{self, Life};
use super::workload::{WorkKind, Workload};
use crate::tracer::MemorySample;

/// Maximum number of orders in a picture.
const ORDERS: usize = 12;

/// One phase of a worker: name, start, end and label. Times are in nanoseconds from the creation of
/// the pool.
type WorkerPhase = (&'static str, Nanos, Nanos, String);

/// Runs a few orders on a pool of their own, from its start to its end.
pub(super) fn draw(
    work: &Workload,
    backend: Backend,
    workers: usize,
    builder: PoolBuilder,
) -> Result<Value, String> {
    let jobs = work.jobs_of(work.orders.min(ORDERS));
    let mut memory: Vec<MemorySample> = Vec::new();
    let mut look = |outcome: &Outcome| memory.extend(memory_after(outcome));
    let life = work::live(builder, 0, jobs, |number| work.job(number), &mut look)?;
    let kind = |number: usize| {
        let is_waiting = match work.kind {
            WorkKind::Waiting => true,
            WorkKind::Computing => false,
            WorkKind::Mixed => number.is_multiple_of(2),
        };
        if is_waiting { "wait" } else { "compute" }
    };
    let us = |ns: Nanos| ns as f64 / 1e3;
    let worker_spans = life.reports.iter().map(|report| {
        // Jobs are numbered in the order of submission.
        let own = life.outcomes.iter().enumerate();
        let own = own.filter(|(_, outcome)| outcome.worker == Some(report.worker));
        let own: Vec<(usize, &Outcome)> = own.collect();
        let spans = phases(&life, report.ready_ns, own, kind)
            .into_iter()
            .map(|(name, from, to, label)| json!([name, us(from), us(to), label]));
        json!({"worker": report.worker, "spans": spans.collect::<Vec<_>>()})
    });
    let mut name = work.case();
    name.insert("backend".to_owned(), backend.name().into());
    name.insert("workers".to_owned(), workers.into());
    Ok(json!({
        "case": name,
        "wall_us": us(life.end - life.begin),
        "lanes": worker_spans.collect::<Vec<_>>(),
        "counters": counters(&life, &memory),
    }))
}

/// The resident memory of the process that ran a job, read when the job had been collected.
/// Without a worker, it is this process, which does the computing on all backends except
/// `processes`.
fn memory_after(outcome: &Outcome) -> Option<MemorySample> {
    let pid = outcome.pid;
    let worker = outcome.worker.filter(|_| pid != std::process::id()).map(|worker| worker.0);
    Some(MemorySample { at: clock::now(), worker, bytes: memory::resident_bytes(pid)? })
}

/// Counters over time: jobs in the queue, jobs in flight, and memory. Job counters have a point
/// wherever they change.
fn counters(life: &Life, memory: &[MemorySample]) -> Vec<Value> {
    let us = |at: Nanos| at.saturating_sub(life.begin) as f64 / 1e3;
    let stamps = || life.outcomes.iter().map(|outcome| &outcome.stamps);
    let waiting = stamps().flat_map(|of| [(of.submitted, 1), (of.assigned, -1)]);
    let in_flight = stamps().flat_map(|of| [(of.assigned, 1), (of.collected, -1)]);
    let mut counters: Vec<Value> =
        [("queue depth", steps(waiting.collect())), ("jobs in flight", steps(in_flight.collect()))]
            .into_iter()
            .map(|(name, steps)| {
                let points: Vec<_> =
                    steps.into_iter().map(|(at, jobs)| json!([us(at), jobs])).collect();
                json!({"name": name, "unit": "jobs", "points": points})
            })
            .collect();
    let mut workers: Vec<Option<u32>> = memory.iter().map(|sample| sample.worker).collect();
    workers.sort_unstable();
    workers.dedup();
    counters.extend(workers.into_iter().map(|worker| {
        let own = memory.iter().filter(|sample| sample.worker == worker);
        let points: Vec<_> = own.map(|sample| json!([us(sample.at), sample.bytes])).collect();
        let name = match worker {
            Some(worker) => format!("memory of worker {worker}"),
            None => "memory".to_owned(),
        };
        json!({"name": name, "unit": "bytes", "points": points})
    }));
    counters
}

/// The value of a counter after each instant at which it changed.
fn steps(mut changes: Vec<(Nanos, i64)>) -> Vec<(Nanos, i64)> {
    changes.sort_unstable();
    let mut steps: Vec<(Nanos, i64)> = Vec::new();
    let mut count = 0;
    for (at, by) in changes {
        count += by;
        match steps.last_mut() {
            Some((last, value)) if *last == at => *value = count,
            _ => steps.push((at, count)),
        }
    }
    steps
}

/// The phases of one worker. They leave no gap from the creation of the pool to its end. On an
/// event loop, phases of waiting jobs overlap.
fn phases(
    life: &Life,
    ready: Nanos,
    mut jobs: Vec<(usize, &Outcome)>,
    kind: impl Fn(usize) -> &'static str,
) -> Vec<WorkerPhase> {
    let end = life.end - life.begin;
    let at = |instant: Nanos| instant.saturating_sub(life.begin).min(end);
    jobs.sort_by_key(|(_, outcome)| outcome.stamps.called);
    let ready = ready.min(end);
    let mut phases: Vec<WorkerPhase> = vec![("startup", 0, ready, String::new())];
    // The time before this instant is accounted for.
    let mut known = ready;
    for (number, outcome) in jobs {
        let stamps = &outcome.stamps;
        let label = format!("job {number}");
        let assigned = at(stamps.assigned).max(known);
        let called = at(stamps.called).max(ready);
        let returned = at(stamps.returned).max(called);
        let published = at(stamps.published).max(returned);
        if assigned > known && called > known {
            phases.push(("idle", known, assigned.min(called), String::new()));
        }
        if called > assigned {
            phases.push(("communication", assigned, called, label.clone()));
        }
        phases.push((kind(number), called, returned, label.clone()));
        // Time in which other jobs were in progress is not attributed to the reply.
        let from = returned.max(known);
        if published > from {
            phases.push(("communication", from, published, label));
        }
        known = known.max(published);
    }
    // Then the pool is closed, for all workers at once.
    let collected = life.outcomes.iter().map(|outcome| outcome.stamps.collected);
    let last = at(collected.max().unwrap_or(0)).max(known);
    if last > known {
        phases.push(("idle", known, last, String::new()));
    }
    phases.push(("shutdown", last, end, String::new()));
    phases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_told_where_it_changes() {
        let changes = vec![(10, 1), (30, -1), (20, 1), (30, 1), (40, -1), (50, -1)];
        assert_eq!(steps(changes), [(10, 1), (20, 2), (30, 2), (40, 1), (50, 0)]);
    }
}
