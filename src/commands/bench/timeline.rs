//! Who did what when, of one short run.

use brigade_exec::{Backend, PoolBuilder};
use brigade_proto::{Nanos, Outcome};
use serde_json::{Value, json};

use super::paradigms::{Kind, Work};
use super::work::{self, Life};

/// Orders that a picture has room for.
const ORDERS: usize = 12;

/// One phase of a lane, in nanoseconds from the pool's beginning.
type Phase = (&'static str, Nanos, Nanos, String);

/// Runs a few orders on a pool of their own, from its start to its end.
pub(super) fn draw(
    work: &Work,
    backend: Backend,
    workers: usize,
    builder: PoolBuilder,
) -> Result<Value, String> {
    let jobs = work.jobs_of(work.orders.min(ORDERS));
    let life = work::live(builder, 0, jobs, |number| work.job(number))?;
    let kind = |number: usize| {
        let is_waiting = match work.kind {
            Kind::Waiting => true,
            Kind::Computing => false,
            Kind::Mixed => number.is_multiple_of(2),
        };
        if is_waiting { "wait" } else { "compute" }
    };
    let us = |ns: Nanos| ns as f64 / 1e3;
    let lanes = life.reports.iter().map(|report| {
        // Their numbers are those in which they were submitted.
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
        "lanes": lanes.collect::<Vec<_>>(),
    }))
}

/// The phases of one lane, which leave no gap from the pool's beginning to its end. On an
/// event loop those that wait overlap.
fn phases(
    life: &Life,
    ready: Nanos,
    mut jobs: Vec<(usize, &Outcome)>,
    kind: impl Fn(usize) -> &'static str,
) -> Vec<Phase> {
    let end = life.end - life.begin;
    let at = |instant: Nanos| instant.saturating_sub(life.begin).min(end);
    jobs.sort_by_key(|(_, outcome)| outcome.stamps.called);
    let ready = ready.min(end);
    let mut phases: Vec<Phase> = vec![("startup", 0, ready, String::new())];
    // Everything before is accounted for.
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
        // While others wait it is not the reply that takes the time.
        let from = returned.max(known);
        if published > from {
            phases.push(("communication", from, published, label));
        }
        known = known.max(published);
    }
    // Then the pool is told to end, all lanes at once.
    let collected = life.outcomes.iter().map(|outcome| outcome.stamps.collected);
    let last = at(collected.max().unwrap_or(0)).max(known);
    if last > known {
        phases.push(("idle", known, last, String::new()));
    }
    phases.push(("shutdown", last, end, String::new()));
    phases
}
