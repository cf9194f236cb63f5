//! A run as JSON: one object (`run --format json`), or one line per job (`batch`,
//! `run --format jsonl`).

use std::collections::BTreeMap;
use std::io::{self, Write};

use brigade_exec::WorkerReport;
use brigade_measure::summary::{Counts, Summary};
use brigade_measure::worker_times::WorkerTimes;
use brigade_proto::Nanos;
use serde::Serialize;
use serde_json::Value;

use crate::clean;
use crate::run::{JobRow, Micros, RUN_SCHEMA, RunConfig, RunEnd, RunReport};

/// One JSON object, written when the run is over.
#[derive(Debug, Default)]
pub struct RunJson {
    jobs: Vec<JobRow>,
}

impl RunReport for RunJson {
    fn job(&mut self, _: &mut dyn Write, row: JobRow) -> io::Result<()> {
        self.jobs.push(row);
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write, end: &RunEnd<'_>) -> io::Result<()> {
        line(out, &RunDocument::new(end, Some(&self.jobs)))
    }
}

/// One line per job as it ends, and a last line with everything but the jobs.
#[derive(Debug)]
pub struct RunJsonl {
    /// Whether the last line is written.
    pub summary: bool,
}

impl RunReport for RunJsonl {
    fn job(&mut self, out: &mut dyn Write, row: JobRow) -> io::Result<()> {
        line(out, &row)
    }

    fn end(&mut self, out: &mut dyn Write, end: &RunEnd<'_>) -> io::Result<()> {
        if self.summary { line(out, &RunDocument::new(end, None)) } else { Ok(()) }
    }
}

/// Writes `value` as one line.
fn line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    clean::json(out, value)?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct RunDocument<'a> {
    schema: &'static str,
    host: &'a Value,
    config: &'a RunConfig,
    startup_us: Micros,
    wall_us: Micros,
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs: Option<&'a [JobRow]>,
    workers: Vec<WorkerRow>,
    summary: SummaryRow<'a>,
}

impl<'a> RunDocument<'a> {
    fn new(end: &'a RunEnd<'_>, jobs: Option<&'a [JobRow]>) -> Self {
        Self {
            schema: RUN_SCHEMA,
            host: &end.host,
            config: end.config,
            startup_us: Micros(end.startup),
            wall_us: Micros(end.summary.wall),
            jobs,
            workers: rows(end),
            summary: SummaryRow::new(end.summary, end.cpu, end.ended_early.as_deref()),
        }
    }
}

#[derive(Serialize)]
struct WorkerRow {
    worker: u32,
    pid: u32,
    jobs: u64,
    ready_us: Micros,
    busy_us: Micros,
    cpu_us: Option<Micros>,
    peak_rss_bytes: Option<u64>,
    startup_us: Micros,
    compute_us: Micros,
    communication_us: Micros,
    idle_us: Micros,
    shutdown_us: Micros,
    /// The sum of the five before it.
    wall_us: Micros,
}

fn rows(end: &RunEnd<'_>) -> Vec<WorkerRow> {
    let times = &end.summary.worker_times;
    end.workers.iter().zip(times).map(|(report, times)| WorkerRow::new(report, times)).collect()
}

impl WorkerRow {
    fn new(report: &WorkerReport, times: &WorkerTimes) -> Self {
        Self {
            worker: report.worker.0,
            pid: report.pid,
            jobs: report.jobs,
            ready_us: Micros(report.ready_ns),
            busy_us: Micros(report.busy_ns),
            cpu_us: report.cpu_ns.map(Micros),
            peak_rss_bytes: report.peak_rss_bytes,
            startup_us: Micros(times.startup),
            compute_us: Micros(times.compute),
            communication_us: Micros(times.communication),
            idle_us: Micros(times.idle),
            shutdown_us: Micros(times.shutdown),
            wall_us: Micros(times.wall()),
        }
    }
}

#[derive(Serialize)]
struct SummaryRow<'a> {
    jobs: u64,
    ok: u64,
    /// Failed, crashed and timed out: all that had a result to give and did not.
    failed: u64,
    /// Never begun, or ended by a signal.
    cancelled: u64,
    by_status: ByStatus,
    jobs_per_s: f64,
    compute_us: Micros,
    /// All but queue and compute, with `behind_us` in it.
    overhead_us: Micros,
    /// Waiting for the job that a worker had before, which is in the spans `deliver`.
    behind_us: Micros,
    /// The overhead without that: handing jobs over, and their results back.
    handover_us: Micros,
    /// Processor time of the program and its workers.
    cpu_us: Micros,
    /// How many jobs were in a kernel at a time, on average.
    jobs_in_kernel: f64,
    /// The same, under the name that scripts know; it is compared with nothing.
    speedup: f64,
    /// [`jobs_in_kernel`](Self::jobs_in_kernel) over workers, as before.
    efficiency: f64,
    workers_us: Shares,
    bytes_in: u64,
    bytes_out: u64,
    retries: u64,
    /// Of those that are ok: done in an earlier run (`--resume`).
    #[serde(skip_serializing_if = "is_zero")]
    resumed: u64,
    restarts: u64,
    /// How many jobs had each remark.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    notes: BTreeMap<&'static str, u64>,
    peak_rss_bytes: Option<u64>,
    ended_early: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ByStatus {
    ok: u64,
    failed: u64,
    crashed: u64,
    timed_out: u64,
    cancelled: u64,
}

/// The time of all workers, workers times wall, without remainder.
#[derive(Serialize)]
struct Shares {
    startup: Micros,
    compute: Micros,
    communication: Micros,
    idle: Micros,
}

impl<'a> SummaryRow<'a> {
    fn new(summary: &Summary, cpu: Nanos, ended_early: Option<&'a str>) -> Self {
        let Counts { ok, failed, crashed, timed_out, cancelled } = summary.counts;
        Self {
            jobs: summary.counts.total(),
            ok,
            failed: failed + crashed + timed_out,
            cancelled,
            by_status: ByStatus { ok, failed, crashed, timed_out, cancelled },
            jobs_per_s: rounded(summary.jobs_per_s()),
            compute_us: Micros(summary.compute_sum()),
            overhead_us: Micros(summary.overhead_sum()),
            behind_us: Micros(summary.behind),
            handover_us: Micros(summary.handover_sum()),
            cpu_us: Micros(cpu),
            jobs_in_kernel: rounded(summary.jobs_in_kernel()),
            speedup: rounded(summary.jobs_in_kernel()),
            efficiency: rounded(summary.kernel_share()),
            workers_us: Shares {
                startup: Micros(summary.startup),
                compute: Micros(summary.compute),
                communication: Micros(summary.communication),
                idle: Micros(summary.idle),
            },
            bytes_in: summary.bytes_in,
            bytes_out: summary.bytes_out,
            retries: summary.retries,
            resumed: summary.resumed,
            restarts: summary.restarts,
            notes: summary.notes.iter().map(|(note, &jobs)| (note.name(), jobs)).collect(),
            peak_rss_bytes: summary.peak_rss_bytes,
            ended_early,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Six decimals are more than a timing is good for.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
