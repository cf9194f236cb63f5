//! Derives the lesson of each row of `paradigms`: compares the measured speedup with what the
//! course says.

use brigade_measure::experiment::{Cell, median};
use brigade_measure::models::{self, AtWorkers};
use brigade_report::units;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::figures::{is, of_blocks, time, whole_blocks};
use super::session::BenchSession;
use super::workload::{WorkKind, Workload};
use super::{case, work};

/// The lesson of one row: one backend on one workload. An entry of `models` in the result.
#[derive(Serialize)]
struct Lesson {
    /// Always "lesson".
    model: &'static str,
    /// Workload, kernel and backend.
    case: Map<String, Value>,
    /// Whether the measurement agrees with the course; `None` if the intervals do not decide.
    holds: Option<bool>,
    sentence: String,
}

/// Speedup over sync, with its interval if there are enough blocks for one.
#[derive(Clone, Copy)]
struct MeasuredSpeedup {
    workers: usize,
    estimate: f64,
    interval: Option<[f64; 2]>,
}

/// What the course says about the speedup with the fastest number of workers.
#[derive(Clone, Copy)]
enum Claim {
    AtLeast(f64),
    AtMost(f64),
}

impl Claim {
    fn holds(self, of: &MeasuredSpeedup) -> Option<bool> {
        let [low, high] = of.interval?;
        let (yes, no) = match self {
            Self::AtLeast(bound) => (low >= bound, high < bound),
            Self::AtMost(bound) => (high <= bound, low > bound),
        };
        if yes || no { Some(yes) } else { None }
    }
}

/// A speedup of at least this share of the ideal counts as near it. The rest is the cost of handing
/// jobs over and of sharing the machine.
const NEAR: f64 = 0.7;
/// A speedup up to this counts as "no faster"; the difference is noise.
const NO_FASTER: f64 = 1.15;

/// Adds a lesson for each backend. A lesson that contradicts the course is also a finding.
pub(super) fn draw(work: &Workload, cells: &[Cell], session: &mut BenchSession<'_>) {
    let good: Vec<&Cell> = cells.iter().filter(|cell| cell.error.is_none()).collect();
    let blocks = whole_blocks(good.iter().copied());
    let sync = good.iter().find(|cell| is(cell, &json!({"backend": "sync"})));
    let (Some(sync), true) = (sync, blocks > 0) else {
        return;
    };
    let reference = of_blocks(sync, blocks);
    for backend in ["sync", "async", "threads", "threads-gil", "processes"] {
        let rows: Vec<&Cell> =
            good.iter().copied().filter(|cell| is(cell, &json!({"backend": backend}))).collect();
        let speedups = rows.iter().map(|cell| speedup(&reference, cell, blocks, session));
        let best = speedups.max_by(|a, b| a.estimate.total_cmp(&b.estimate));
        let Some(best) = best else {
            continue;
        };
        let most = rows.iter().map(|cell| workers(cell)).max().unwrap_or(1);
        let (holds, sentence) = match backend {
            "sync" => (Some(true), of_sync(work, sync)),
            _ => lesson(work, backend, sync.p50, most, &best),
        };
        let mut name = work.case();
        name.extend(case(json!({"backend": backend})));
        if holds == Some(false) {
            session.find_first(format!(
                "against the course: {} work ({}), {backend}: {sentence}",
                work.kind.name(),
                work.kernel
            ));
        }
        let lesson = Lesson { model: "lesson", case: name, holds, sentence };
        session.models.push(serde_json::to_value(lesson).unwrap_or_default());
    }
}

fn workers(cell: &Cell) -> usize {
    cell.case.get("workers").and_then(Value::as_u64).unwrap_or(1) as usize
}

fn speedup(
    reference: &[f64],
    cell: &Cell,
    blocks: usize,
    session: &BenchSession<'_>,
) -> MeasuredSpeedup {
    let times = AtWorkers { workers: workers(cell), blocks: of_blocks(cell, blocks) };
    let ratios: Vec<f64> =
        reference.iter().zip(&times.blocks).map(|(reference, time)| reference / time).collect();
    let workers = times.workers;
    let model = models::speedup(reference, &[times], session.common.plan.seed);
    match model.ok().and_then(|model| model.points.first().map(|point| point.speedup)) {
        Some(of) => MeasuredSpeedup { workers, estimate: of.estimate, interval: Some(of.interval) },
        None => MeasuredSpeedup { workers, estimate: median(&ratios), interval: None },
    }
}

fn of_sync(work: &Workload, sync: &Cell) -> String {
    let all = time(sync.p50);
    let waited = super::session::micros(work.wait) * work.orders as f64;
    match work.kind {
        WorkKind::Waiting => format!(
            "one after another takes {all}, of which {:.0} % is standing by while an order waits",
            (waited / sync.p50 * 100.0).min(100.0)
        ),
        WorkKind::Computing => format!("one after another takes {all}, one core busy all the time"),
        WorkKind::Mixed => format!(
            "one after another takes {all}: {:.0} % waiting, the rest computing",
            (waited / sync.p50 * 100.0).min(100.0)
        ),
    }
}

/// The lesson for this row, and whether the measurement confirms it.
fn lesson(
    work: &Workload,
    backend: &str,
    sync_us: f64,
    most_workers: usize,
    best: &MeasuredSpeedup,
) -> (Option<bool>, String) {
    let cores = work::usable();
    let waits = work.orders as f64 * super::session::micros(work.wait);
    // Time that remains if the waits of all orders overlap.
    let computes = (sync_us - waits).max(super::session::micros(work.wait).max(1.0));
    let workers = most_workers as f64;
    let busy = most_workers.min(cores) as f64;
    let parallel = matches!(backend, "threads" | "processes");
    let overlapped = sync_us / computes;
    let (claim, lesson, otherwise) = match (work.kind, backend) {
        (_, backend) if backend != "async" && most_workers == 1 => (
            Claim::AtMost(NO_FASTER),
            "one worker does one thing at a time, as sync does",
            "one worker does one thing at a time, as sync does, and yet it is faster",
        ),
        (WorkKind::Waiting, "async") => (
            Claim::AtLeast(NEAR * work.orders as f64),
            "one worker is enough when work waits: the waits of all orders overlap",
            "the waits should overlap, and do so only in part",
        ),
        (WorkKind::Waiting, _) => (
            Claim::AtLeast(NEAR * workers.min(work.orders as f64)),
            "as many orders wait at once as there are workers, and no core is needed for it",
            "as many orders as there are workers should wait at once, and do not",
        ),
        (WorkKind::Computing, _) if parallel => (
            Claim::AtLeast(NEAR * busy),
            "computing work goes as fast as there are cores for it",
            "it should be near the number of cores, and is not",
        ),
        (WorkKind::Computing, "async") => (
            Claim::AtMost(NO_FASTER),
            "where nothing waits an event loop has nothing to overlap",
            "an event loop has nothing to overlap here, and is faster all the same",
        ),
        (WorkKind::Computing, _) => (
            Claim::AtMost(NO_FASTER),
            "under the lock one thread computes at a time, however many there are",
            "under the lock one thread should compute at a time, and it is faster all the same",
        ),
        (WorkKind::Mixed, _) if parallel => (
            // Overlapping alone is never faster than one core's time for all the computing.
            Claim::AtLeast((overlapped * if busy > 1.0 { 1.0 } else { NEAR }).min(NEAR * workers)),
            "waits overlap and the computing is shared among the cores: faster than any way to \
             overlap only",
            "sharing the computing among the cores should beat overlapping the waits, and does not",
        ),
        (WorkKind::Mixed, "async") => (
            Claim::AtLeast(NEAR * overlapped),
            "the waits are hidden behind the computing, which one core still does alone",
            "the waits should be hidden behind the computing, and are only in part",
        ),
        (WorkKind::Mixed, _) => (
            Claim::AtLeast(NEAR * overlapped.min(workers)),
            "the lock is free while an order waits, so the waits are hidden; the computing is not \
             shared",
            "the lock is free while an order waits, and yet the waits are hidden only in part",
        ),
    };
    let holds = claim.holds(best);
    let workers = units::count(best.workers as u64, "worker");
    let figure = format!("{} times as fast as sync with {workers}", units::digits(best.estimate));
    let figure = match best.interval.map(|ends| ends.map(units::digits)) {
        Some([low, high]) => format!("{figure} ({low} .. {high})"),
        None => figure,
    };
    let sentence = match holds {
        Some(true) => format!("{figure}: {lesson}"),
        Some(false) => format!("{figure}: {otherwise}"),
        None if best.interval.is_none() => {
            format!("{figure}, of too few blocks to tell whether {lesson}")
        }
        None => format!("{figure}, too uncertain to tell whether {lesson}"),
    };
    (holds, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_holds_or_not_only_if_the_whole_interval_says_so() {
        let of =
            |low, high| MeasuredSpeedup { workers: 2, estimate: low, interval: Some([low, high]) };
        assert_eq!(Claim::AtLeast(1.4).holds(&of(1.5, 1.9)), Some(true));
        assert_eq!(Claim::AtLeast(1.4).holds(&of(1.0, 1.3)), Some(false));
        assert_eq!(Claim::AtLeast(1.4).holds(&of(1.3, 1.5)), None);
        assert_eq!(Claim::AtMost(1.1).holds(&of(0.9, 1.0)), Some(true));
        assert_eq!(Claim::AtMost(1.1).holds(&of(1.2, 1.3)), Some(false));
        let unknown = MeasuredSpeedup { interval: None, ..of(9.0, 9.0) };
        assert_eq!(Claim::AtLeast(1.1).holds(&unknown), None);
    }

    #[test]
    fn a_lesson_follows_the_figures_not_the_course() {
        let work = |kind| Workload {
            kind,
            kernel: "blur".to_owned(),
            jobs: Vec::new(),
            orders: 20,
            wait: std::time::Duration::from_millis(if kind == WorkKind::Computing { 0 } else { 5 }),
        };
        let best = |workers, estimate: f64| MeasuredSpeedup {
            workers,
            estimate,
            interval: Some([estimate * 0.99, estimate * 1.01]),
        };
        let holds = |kind, backend, most, best| lesson(&work(kind), backend, 200e3, most, &best).0;
        // 20 waits of 5 ms overlap completely or not at all.
        let waiting = |backend, best| holds(WorkKind::Waiting, backend, 4, best);
        assert_eq!(waiting("async", best(1, 19.0)), Some(true));
        assert_eq!(waiting("async", best(1, 1.0)), Some(false));
        assert_eq!(waiting("threads-gil", best(4, 3.9)), Some(true));
        assert_eq!(waiting("processes", best(1, 1.0)), Some(false));
        let computing = |backend, best| holds(WorkKind::Computing, backend, 2, best);
        assert_eq!(computing("async", best(1, 1.0)), Some(true));
        assert_eq!(computing("threads-gil", best(2, 1.9)), Some(false));
        assert_eq!(computing("processes", best(2, 0.5)), Some(false));
        // Of the 200 ms, the orders wait for 100 ms. If the waits are hidden behind the rest, half
        // of the time remains.
        assert_eq!(holds(WorkKind::Mixed, "async", 1, best(1, 1.9)), Some(true));
        assert_eq!(holds(WorkKind::Mixed, "async", 1, best(1, 1.0)), Some(false));
        // One worker cannot hide any wait.
        assert_eq!(holds(WorkKind::Mixed, "threads", 1, best(1, 1.0)), Some(true));
        let (_, said) = lesson(&work(WorkKind::Waiting), "async", 200e3, 1, &best(1, 1.0));
        assert!(said.starts_with("1.00 times") && said.ends_with("only in part"), "{said}");
    }
}
