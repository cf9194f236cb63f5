//! Conclusions from the cells of `bench break-even`.

use brigade_exec::{Backend, StartMethod};
use brigade_measure::experiment::Cell;
use brigade_measure::models::{
    self, BreakEven, BreakEvenCell, BreakEvenPoint, Model, ThresholdKind,
};
use brigade_report::units;
use serde_json::{Value, json};

use super::figures::{interval, is, of_blocks, of_groups, time, times, whole_blocks};
use super::pools::Pools;
use super::session::BenchSession;
use crate::args::BreakEvenArgs;

/// Two backends to compare.
struct BreakEvenPair<'a> {
    rival: &'a str,
    reference: &'a str,
    /// Number of workers of the reference. The rival has the number that the user asked for.
    reference_workers: usize,
    tolerance: f64,
}

/// The cell with the start-up time of this many worker processes, if it has been measured.
pub(super) fn startup<'a>(
    session: &'a BenchSession<'_>,
    method: StartMethod,
    workers: usize,
) -> Option<&'a Cell> {
    let method = method.name();
    let wanted = json!({"backend": "processes", "start_method": method, "workers": workers});
    session
        .cells
        .iter()
        .find(|cell| cell.experiment == "startup" && cell.metric == "ready" && is(cell, &wanted))
}

/// Fits the models and states their results in words.
pub(super) fn conclude(
    args: &BreakEvenArgs,
    asked: &Pools,
    cells: &[Cell],
    session: &mut BenchSession<'_>,
) {
    if !asked.wants(Backend::Processes) {
        return;
    }
    let method = asked.of_processes().start_method;
    for workers in asked.workers(&[1, 2]) {
        let against_threads = BreakEvenPair {
            rival: "processes",
            reference: "threads",
            reference_workers: workers,
            tolerance: args.percent,
        };
        // With a tolerance of 0: from here on, worker processes are worth using.
        let against_sync = BreakEvenPair {
            rival: "processes",
            reference: "sync",
            reference_workers: 1,
            tolerance: 0.0,
        };
        let against_threads = asked.wants(Backend::Threads).then_some(against_threads);
        for pair in against_threads.into_iter().chain([against_sync]) {
            let model = pair.model(cells, workers, args.common.plan.seed);
            let percent = rounded_percent(pair.tolerance);
            let name = json!({
                "rival": pair.rival, "reference": pair.reference, "percent": percent,
                "workers": workers,
            });
            if let Some(found) = session.conclude(model, Model::BreakEven, name) {
                for point in &found.points {
                    session.find(pair.said(workers, point));
                }
            }
        }
        pays_back(args, method, workers, cells, session);
    }
}

/// Converts a share to percent: 7, not 7.000000000000001.
fn rounded_percent(share: f64) -> f64 {
    (share * 1e6).round() / 1e4
}

impl BreakEvenPair<'_> {
    fn model(
        &self,
        cells: &[Cell],
        workers: usize,
        seed: u64,
    ) -> Result<BreakEven, models::Refused> {
        let of = |backend: &str, workers: usize| {
            let wanted = json!({"backend": backend, "workers": workers});
            let good = cells.iter().filter(|cell| cell.error.is_none());
            good.filter(move |cell| is(cell, &wanted)).collect::<Vec<_>>()
        };
        let (rivals, references) =
            (of(self.rival, workers), of(self.reference, self.reference_workers));
        let blocks = whole_blocks(rivals.iter().chain(&references).copied());
        let pair = |rival: &&Cell| {
            let same = |key: &str, other: &Cell| other.case.get(key) == rival.case.get(key);
            let reference = references
                .iter()
                .find(|other| same("bytes", other) && same("compute_us", other))?;
            Some(BreakEvenCell {
                bytes: rival.case.get("bytes")?.as_u64()?,
                compute_us: rival.case.get("compute_us")?.as_f64()?,
                rival: of_blocks(rival, blocks),
                reference: of_blocks(reference, blocks),
            })
        };
        let pairs: Vec<BreakEvenCell> = rivals.iter().filter_map(pair).collect();
        models::break_even(&pairs, self.tolerance, seed)
    }

    /// States a break-even point in words: "with 64 KiB of payload a process costs at most 5 % more
    /// than a thread from 310 us (250 us .. 390 us) of computation on".
    fn said(&self, workers: usize, point: &BreakEvenPoint) -> String {
        let bytes = match point.bytes {
            0 => "without payload".to_owned(),
            bytes => format!("with {} of payload", units::bytes(bytes)),
        };
        let (who, costs) = match self.reference {
            "sync" => {
                let processes = match workers {
                    1 => "a worker process is".to_owned(),
                    _ => format!("{workers} worker processes are"),
                };
                (processes, "at least as fast as sync".to_owned())
            }
            _ => {
                let of = match workers {
                    1 => String::new(),
                    _ => format!(" (one of {workers})"),
                };
                let more = rounded_percent(self.tolerance);
                (format!("a process{of} costs"), format!("at most {more} % more than a thread"))
            }
        };
        let Some(from) = &point.compute_us else {
            let [low, high] = point.interval_us;
            return match point.answer {
                ThresholdKind::Always if high > 0.0 => {
                    let from = match high.is_finite() {
                        true => format!("only from {} on", time(high)),
                        false => "never".to_owned(),
                    };
                    format!("{bytes} {who} {costs} whatever the computation, or perhaps {from}")
                }
                ThresholdKind::Never => {
                    let said = format!("{bytes} {who} {costs} in no job that was measured");
                    match low {
                        0.0 => format!("{said}, but too uncertain to rule any out"),
                        low if low.is_finite() => {
                            format!("{said}, or perhaps from {} of computation on", time(low))
                        }
                        _ => said,
                    }
                }
                ThresholdKind::Always | ThresholdKind::At => {
                    format!("{bytes} {who} {costs} always, whatever the computation")
                }
            };
        };
        let beyond = if point.extrapolated { ", beyond what was measured" } else { "" };
        format!("{bytes} {who} {costs} from {} of computation on{beyond}", times(from))
    }
}

/// Computes after how many jobs the workers' start-up has paid for itself.
fn pays_back(
    args: &BreakEvenArgs,
    method: StartMethod,
    workers: usize,
    cells: &[Cell],
    session: &mut BenchSession<'_>,
) {
    for &bytes in &args.bytes {
        for &compute in &args.compute {
            let compute_us = super::session::micros(compute);
            let of = |backend: &str, workers: usize| {
                let wanted = json!({
                    "backend": backend, "workers": workers, "bytes": bytes,
                    "compute_us": compute_us,
                });
                cells.iter().find(|cell| cell.error.is_none() && is(cell, &wanted))
            };
            // A start that failed, or that the budget left no turn, says nothing.
            let startup = startup(session, method, workers);
            let startup = startup.filter(|cell| cell.n > 0 && cell.error.is_none());
            let parts = (startup, of("sync", 1), of("processes", workers));
            let (Some(startup), Some(sync), Some(processes)) = parts else {
                continue;
            };
            // The start-up was measured in separate blocks.
            let blocks = whole_blocks([startup, sync, processes]);
            let (sync, processes) = (of_blocks(sync, blocks), of_blocks(processes, blocks));
            let startup = of_groups(startup, blocks);
            let model = models::pays_back_after(&startup, &sync, &processes, args.common.plan.seed);
            let name: Value = json!({
                "rival": "processes", "reference": "sync", "workers": workers, "bytes": bytes,
                "compute_us": compute_us,
            });
            let found = session.conclude(model, Model::PaysBack, name);
            // Only one payload gets a sentence; the others are in the models.
            if let Some(found) = found.filter(|_| args.bytes.first() == Some(&bytes)) {
                let what = format!("jobs of {} and {}", time(compute_us), units::bytes(bytes));
                let started = match workers {
                    1 => "starting a worker process".to_owned(),
                    _ => format!("starting {workers} worker processes"),
                };
                session.find(match &found.jobs {
                    Some(jobs) if jobs.interval[1] <= 1.0 => {
                        format!("{what}: {started} pays for itself with the first of them")
                    }
                    Some(jobs) => format!(
                        "{what}: {started} has paid for itself against sync after {} of them",
                        interval(jobs)
                    ),
                    None => format!("{what}: {started} never pays for itself against sync"),
                });
            }
        }
    }
}
