//! A timeline of a run in the Trace Event Format, as a JSON object, which Perfetto
//! (<https://ui.perfetto.dev>), `chrome://tracing` and speedscope open.
//!
//! Format: <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>.
//!
//! One process, `brigade`, has a track for the coordinator and one for each worker. On
//! a worker's track lie its start-up, what it did for each job (`encode`, `deliver`,
//! `decode`, the kernel by name, `reply`) and its shut-down; what is left is idle. Jobs
//! that were in kernels at the same time, as on an event loop, lie on further tracks of
//! their worker. Counters tell how many jobs waited and how many were with workers.
//! What cost a job more than its kernel is an instant: `retried`, `crashed`, `replaced`.

mod bench;
mod count_series;
mod event;
mod tracks;

use std::io::{self, Write};

use brigade_exec::WorkerReport;
use brigade_measure::summary::Summary;
use brigade_measure::worker_times::Visit;
use brigade_proto::{Nanos, Span, Stamps, Status};
use serde::Serialize;
use serde_json::json;

pub use self::bench::bench;
use self::count_series::CountSeries;
use self::event::Events;
use self::tracks::Tracks;
use crate::id::Id;
use crate::run::{JobRow, Micros};

/// The track of the coordinator; those of workers follow.
const COORDINATOR: u64 = 1;

/// What is told of a job with each of its slices but the kernel's.
#[derive(Serialize)]
struct OfJob<'a> {
    job: &'a Id,
}

/// What is told of a kernel's call.
#[derive(Serialize)]
struct Call<'a> {
    job: &'a Id,
    status: Status,
    attempts: u32,
    digest: Option<&'a str>,
    queue_us: Micros,
    overhead_us: Micros,
    behind_us: Micros,
}

/// What is told of a job that was given to several workers.
#[derive(Serialize)]
struct Retried<'a> {
    job: &'a Id,
    attempts: u32,
}

/// What is told of a job that has no result.
#[derive(Serialize)]
struct Unsuccessful<'a> {
    job: &'a Id,
    error: Option<&'a str>,
}

/// A timeline that is written while the run goes on, in bounded memory and about 750
/// bytes of file a job.
#[derive(Debug)]
pub struct Trace<W> {
    events: Events<W>,
    tracks: Vec<Tracks>,
    waiting: CountSeries,
    in_flight: CountSeries,
}

impl<W: Write> Trace<W> {
    /// A timeline for this many workers. It begins at `begin` on `CLOCK_MONOTONIC`,
    /// when the pool was asked for; `title` says what is run.
    ///
    /// # Errors
    /// When `out` cannot be written, as for all that follow.
    pub fn start(out: W, begin: Nanos, workers: usize, title: &str) -> io::Result<Self> {
        let mut events = Events::start(out, begin)?;
        for (what, key, value) in
            [("process_name", "name", "brigade"), ("process_labels", "labels", title)]
        {
            events.metadata(COORDINATOR, what, &json!({ key: value }))?;
        }
        Ok(Self {
            events,
            tracks: (0..workers).map(|_| Tracks::default()).collect(),
            waiting: CountSeries::default(),
            in_flight: CountSeries::default(),
        })
    }

    /// A job has ended; the coordinator digested and wrote its result from the first
    /// to the second instant of `settled`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn job(
        &mut self,
        row: &JobRow,
        stamps: &Stamps,
        settled: (Nanos, Nanos),
    ) -> io::Result<()> {
        let visit = Visit::of(stamps);
        let left_queue = visit.map_or(stamps.collected, |visit| visit.assigned);
        self.waiting.rise(self.events.since_begin(stamps.submitted));
        self.waiting.fall(self.events.since_begin(left_queue));
        self.in_flight.rise(self.events.since_begin(left_queue));
        self.in_flight.fall(self.events.since_begin(stamps.collected));
        let of_job = OfJob { job: &row.id };
        self.events.slice(COORDINATOR, "coordinator", "settle", settled, &of_job)?;
        match (row.worker, visit) {
            (Some(worker), Some(visit)) => self.visit(worker, row, stamps, &visit),
            _ => Ok(()),
        }
    }

    fn visit(
        &mut self,
        worker: u32,
        row: &JobRow,
        stamps: &Stamps,
        visit: &Visit,
    ) -> io::Result<()> {
        let workers = self.tracks.len();
        let Some(tracks) = self.tracks.get_mut(worker as usize) else {
            return Ok(());
        };
        let (track, free) = tracks.take(visit.called, visit.published);
        let tid = tid(workers, worker, track);
        let was =
            row.pid.and_then(|pid| tracks.pid.replace(pid)).filter(|&was| Some(was) != row.pid);

        // Before `free` the worker had another job in hand: what is drawn as `deliver` is without
        // the wait for that.
        let from = visit.assigned.max(free);
        let reached = |instant, earlier| match instant {
            0 => visit.called,
            instant => Nanos::clamp(instant, earlier, visit.called),
        };
        let encoded = reached(stamps.encoded, from);
        let in_hand = reached(stamps.in_hand, encoded);
        let of_job = OfJob { job: &row.id };
        for (name, from, to) in [
            ("encode", from, encoded),
            ("deliver", encoded, in_hand),
            ("decode", in_hand, visit.called),
            ("reply", visit.returned, visit.published),
        ] {
            self.events.slice(tid, "communication", name, (from, to), &of_job)?;
        }
        let spans = &row.spans_us.0;
        let call = Call {
            job: &row.id,
            status: row.status,
            attempts: row.attempts,
            digest: row.digest.as_deref(),
            queue_us: Micros(spans.get(Span::Queue)),
            overhead_us: Micros(spans.overhead()),
            behind_us: row.behind_us,
        };
        let name = [std::slice::from_ref(&row.kernel), &row.input.0[..]].concat().join(" ");
        self.events.slice(tid, "compute", &name, (visit.called, visit.returned), &call)?;

        if let Some(was) = was {
            let pids = json!({ "was": was, "is": row.pid });
            self.events.instant(tid, "replaced", visit.assigned, &pids)?;
        }
        if row.attempts > 1 {
            let about = Retried { job: &row.id, attempts: row.attempts };
            self.events.instant(tid, "retried", visit.assigned, &about)?;
        }
        match row.status {
            Status::Ok | Status::Cancelled => Ok(()),
            status => {
                let about = Unsuccessful { job: &row.id, error: row.error.as_deref() };
                self.events.instant(tid, status.name(), stamps.collected, &about)
            }
        }
    }

    /// Resident memory at some instant: of a worker process, or of the coordinator.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn memory(&mut self, at: Nanos, worker: Option<u32>, bytes: u64) -> io::Result<()> {
        let name = match worker {
            Some(worker) => format!("memory of worker {worker}"),
            None => "memory".to_owned(),
        };
        let at = self.events.since_begin(at);
        self.events.counter(&name, at, &json!({ "bytes": bytes }))
    }

    /// The run is over and its workers are gone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(mut self, summary: &Summary, workers: &[WorkerReport]) -> io::Result<W> {
        for (name, count) in [("queue depth", &self.waiting), ("jobs in flight", &self.in_flight)] {
            for (at, jobs) in count.steps() {
                self.events.counter(name, at, &json!({ "jobs": jobs }))?;
            }
        }
        let begin = self.events.begin();
        let last = begin + summary.wall;
        let whole = |startup, shutdown| {
            [("start-up", begin, begin + startup), ("shut-down", last, last + shutdown)]
        };
        let startup = summary.worker_times.iter().map(|times| times.startup).max().unwrap_or(0);
        let shutdown = summary.worker_times.iter().map(|times| times.shutdown).max().unwrap_or(0);
        for (name, from, to) in whole(startup, shutdown) {
            self.events.slice(COORDINATOR, "coordinator", name, (from, to), &json!({}))?;
        }
        for (worker, times) in (0..).zip(&summary.worker_times) {
            let tid = tid(self.tracks.len(), worker, 0);
            for (name, from, to) in whole(times.startup, times.shutdown) {
                self.events.slice(tid, name, name, (from, to), &json!({}))?;
            }
        }
        self.names(workers)?;
        self.events.end()
    }

    fn names(&mut self, workers: &[WorkerReport]) -> io::Result<()> {
        self.events.metadata(COORDINATOR, "thread_name", &json!({ "name": "coordinator" }))?;
        self.events.metadata(COORDINATOR, "thread_sort_index", &json!({ "sort_index": 0 }))?;
        for report in workers {
            let worker = report.worker.0;
            let tracks = self.tracks.get(worker as usize).map_or(1, Tracks::count);
            for track in 0..tracks {
                let mut name = format!("worker {worker} (pid {})", report.pid);
                if track > 0 {
                    name = format!("{name}, overlapping {track}");
                }
                let tid = tid(self.tracks.len(), worker, track);
                self.events.metadata(tid, "thread_name", &json!({ "name": name }))?;
                let sort_index = 1 + (u64::from(worker) << 16) + track as u64;
                let sort_index = json!({ "sort_index": sort_index });
                self.events.metadata(tid, "thread_sort_index", &sort_index)?;
            }
        }
        Ok(())
    }
}

/// The n-th track of a worker.
fn tid(workers: usize, worker: u32, track: usize) -> u64 {
    COORDINATOR + 1 + u64::from(worker) + (track * workers) as u64
}

#[cfg(test)]
mod tests;
