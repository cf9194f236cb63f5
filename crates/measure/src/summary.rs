//! Summary of a run: how many jobs had which outcome, and how the workers' time was spent.
//!
//! The time of all workers, `workers x wall`, is split into four shares without remainder:
//!
//! | share | a worker's time |
//! | --- | --- |
//! | start-up | from the request to create the pool until the worker was ready |
//! | compute | inside the kernel |
//! | communication | with a job assigned, but outside the kernel: inputs or result in transit |
//! | idle | with no job assigned: nothing to do, or its process died and was replaced |
//!
//! For each single worker ([`Summary::worker_times`]) there is a fifth share, after that wall time:
//! shut-down, until the worker was reaped.

use std::collections::BTreeMap;

use brigade_proto::{Nanos, Note, Outcome, Span, Spans, Status, WorkerId};

use crate::worker_times::{Visit, WorkerActivity, WorkerTimes};

/// Number of jobs by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The kernel succeeded, and the result is in its destination.
    pub ok: u64,
    /// The kernel returned an error or panicked, or a file could not be read or written.
    pub failed: u64,
    /// Every worker process that the job was given to died.
    pub crashed: u64,
    /// The job exceeded its timeout.
    pub timed_out: u64,
    /// The job was cancelled or never submitted to the pool.
    pub cancelled: u64,
}

impl Counts {
    /// Number of all jobs.
    pub fn total(&self) -> u64 {
        self.ok + self.not_ok()
    }

    /// Number of jobs without a result.
    pub fn not_ok(&self) -> u64 {
        self.failed + self.crashed + self.timed_out + self.cancelled
    }

    fn add(&mut self, status: Status) {
        *match status {
            Status::Ok => &mut self.ok,
            Status::Failed => &mut self.failed,
            Status::Crashed => &mut self.crashed,
            Status::TimedOut => &mut self.timed_out,
            Status::Cancelled => &mut self.cancelled,
        } += 1;
    }
}

/// Accumulates outcomes one by one into a summary, in constant memory.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: Counts,
    spans: Spans,
    behind: Nanos,
    bytes_in: u64,
    bytes_out: u64,
    retries: u64,
    resumed: u64,
    notes: BTreeMap<Note, u64>,
    activities: BTreeMap<WorkerId, WorkerActivity>,
}

impl Tally {
    /// Adds a job that ended with `status`. This is the outcome's status, unless handling the
    /// result failed afterwards.
    pub fn add(&mut self, outcome: &Outcome, status: Status) {
        self.counts.add(status);
        self.spans = self.spans + outcome.stamps.spans();
        self.behind += outcome.stamps.behind();
        self.bytes_in += outcome.bytes_in;
        self.bytes_out += outcome.bytes_out();
        for note in outcome.notes.iter() {
            *self.notes.entry(note).or_default() += 1;
        }
        self.retries += u64::from(outcome.attempts.saturating_sub(1));
        if let Some(worker) = outcome.worker
            && let Some(visit) = Visit::of(&outcome.stamps)
        {
            self.activities.entry(worker).or_default().add(&visit);
        }
    }

    /// Turns one job that was added as ok into a failed one, because its result could not be
    /// written to its destination.
    pub fn was_not_written(&mut self) {
        self.counts.ok = self.counts.ok.saturating_sub(1);
        self.counts.failed += 1;
    }

    /// Adds a job that was never submitted to the pool.
    pub fn add_unrun(&mut self, status: Status) {
        self.counts.add(status);
    }

    /// Adds a job whose result exists from an earlier run.
    pub fn add_resumed(&mut self) {
        self.counts.add(Status::Ok);
        self.resumed += 1;
    }

    /// Number of jobs by outcome so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The summary of all jobs that were added.
    pub fn summary(&self, run: &RunFacts) -> Summary {
        let unused = WorkerActivity::default();
        let times_of = |(worker, &ready)| {
            let activity = self.activities.get(&WorkerId(worker)).unwrap_or(&unused);
            activity.times(ready, run.wall, run.shutdown)
        };
        let worker_times: Vec<WorkerTimes> = (0..).zip(&run.ready).map(times_of).collect();
        let sum = |share: fn(&WorkerTimes) -> Nanos| worker_times.iter().map(share).sum();
        Summary {
            counts: self.counts,
            spans: self.spans,
            behind: self.behind,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            retries: self.retries,
            resumed: self.resumed,
            notes: self.notes.clone(),
            wall: run.wall,
            workers: run.ready.len(),
            restarts: run.restarts,
            peak_rss_bytes: run.peak_rss_bytes,
            startup: sum(|times| times.startup),
            communication: sum(|times| times.communication),
            compute: sum(|times| times.compute),
            idle: sum(|times| times.idle),
            worker_times,
        }
    }
}

/// Facts about the run as a whole that a summary needs.
#[derive(Clone, Debug, Default)]
pub struct RunFacts {
    /// From the request to create the pool until the last result was in its destination.
    pub wall: Nanos,
    /// For each worker, the time from the request to create the pool until the worker was ready.
    pub ready: Vec<Nanos>,
    /// From the last result's arrival in its destination until all workers had ended and were
    /// reaped.
    pub shutdown: Nanos,
    /// Number of worker processes started after the first ones.
    pub restarts: u64,
    /// Largest resident set of any worker process, in bytes.
    pub peak_rss_bytes: Option<u64>,
}

/// Summary of a run. Times are in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Number of jobs by outcome.
    pub counts: Counts,
    /// Sum of the spans of all jobs.
    pub spans: Spans,
    /// The part of the delivery spans in which a job waited for the previous job of its worker.
    pub behind: Nanos,
    /// Bytes of all inputs.
    pub bytes_in: u64,
    /// Bytes of all outputs.
    pub bytes_out: u64,
    /// How often a job was given to another worker because a worker had died.
    pub retries: u64,
    /// Number of ok jobs whose result exists from an earlier run.
    pub resumed: u64,
    /// Number of jobs with each note.
    pub notes: BTreeMap<Note, u64>,
    /// From the request to create the pool until the last result was in its destination.
    pub wall: Nanos,
    /// Number of workers.
    pub workers: usize,
    /// Number of worker processes started after the first ones.
    pub restarts: u64,
    /// Largest resident set of any worker process, in bytes.
    pub peak_rss_bytes: Option<u64>,
    /// Workers' time until they were ready.
    pub startup: Nanos,
    /// Workers' time with a job assigned, but outside the kernel.
    pub communication: Nanos,
    /// Workers' time in kernels.
    pub compute: Nanos,
    /// Workers' time with no job assigned.
    pub idle: Nanos,
    /// The same times for each worker, and its shut-down time.
    pub worker_times: Vec<WorkerTimes>,
}

impl Summary {
    /// Sum of the compute spans of all jobs.
    pub fn compute_sum(&self) -> Nanos {
        self.spans.get(Span::Compute)
    }

    /// Sum of the overhead of all jobs: total less queue less compute.
    pub fn overhead_sum(&self) -> Nanos {
        self.spans.overhead()
    }

    /// Time spent on handing over jobs and results: the overhead without the time in which a job
    /// waited for the previous job of its worker.
    pub fn handover_sum(&self) -> Nanos {
        self.overhead_sum().saturating_sub(self.behind)
    }

    /// Summed compute time over wall time: the average number of jobs in a kernel at a time. It is
    /// not a speedup: where workers share a core, each job stays in its kernel for longer.
    pub fn jobs_in_kernel(&self) -> f64 {
        ratio(self.compute_sum(), self.wall)
    }

    /// [`Self::jobs_in_kernel`] over the number of workers: the share of the workers' time spent in
    /// kernels.
    pub fn kernel_share(&self) -> f64 {
        ratio(self.compute_sum(), self.wall * self.workers as u64)
    }

    /// Jobs that this run completed successfully, per second of wall time.
    pub fn jobs_per_s(&self) -> f64 {
        ratio(self.counts.ok - self.resumed, self.wall) * 1e9
    }

    /// `time` as a share of the time of all workers, from 0 to 1.
    pub fn share(&self, time: Nanos) -> f64 {
        ratio(time, self.wall * self.workers as u64)
    }
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

#[cfg(test)]
mod tests {
    use brigade_proto::{Buffer, JobError, JobId, Notes, Stamps};

    use super::*;

    /// A job of worker `worker`; instants are in the order of [`Stamps`].
    fn job(worker: u32, at: [Nanos; 8]) -> Outcome {
        Outcome {
            id: JobId(0),
            result: Ok(vec![Buffer::zeroed(3).into()]),
            stamps: Stamps {
                submitted: at[0],
                assigned: at[1],
                encoded: at[2],
                in_hand: at[3],
                called: at[4],
                returned: at[5],
                published: at[6],
                collected: at[7],
                worker_free: 0,
            },
            input_digests: None,
            worker: Some(WorkerId(worker)),
            pid: 1,
            attempts: 1,
            bytes_in: 5,
            notes: Notes::default(),
        }
    }

    fn tally(jobs: &[Outcome]) -> Tally {
        let mut tally = Tally::default();
        for job in jobs {
            tally.add(job, job.status());
        }
        tally
    }

    #[test]
    fn the_time_of_all_workers_is_shared_out_without_remainder() {
        // The second job of worker 0 is assigned while its first job computes.
        let tally = tally(&[
            job(0, [10, 20, 21, 22, 25, 65, 67, 70]),
            job(1, [10, 30, 31, 32, 35, 85, 86, 88]),
            job(0, [10, 40, 41, 68, 70, 90, 95, 99]),
        ]);
        let run = RunFacts { wall: 100, ready: vec![8, 12], shutdown: 7, ..RunFacts::default() };
        let summary = tally.summary(&run);
        assert_eq!(summary.startup, 8 + 12);
        assert_eq!(summary.compute, 40 + 50 + 20);
        assert_eq!(summary.communication, (5 + 2) + (5 + 1) + (3 + 5));
        let shared = summary.startup + summary.compute + summary.communication + summary.idle;
        assert_eq!(shared, 200);
        let first =
            WorkerTimes { startup: 8, compute: 60, communication: 15, idle: 17, shutdown: 7 };
        assert_eq!(summary.worker_times[0], first);
        assert_eq!(
            summary.worker_times.iter().map(WorkerTimes::wall).collect::<Vec<_>>(),
            [107, 107]
        );
        assert_eq!(summary.compute_sum(), 110);
        assert!((summary.jobs_in_kernel() - 1.1).abs() < 1e-12);
        assert!((summary.kernel_share() - 0.55).abs() < 1e-12);
        assert_eq!((summary.bytes_in, summary.bytes_out), (15, 9));
        assert!((summary.jobs_per_s() - 3e7).abs() < 1e-3);
    }

    #[test]
    fn waiting_behind_another_job_is_no_handing_over() {
        let mut second = job(0, [10, 40, 41, 68, 70, 90, 95, 99]);
        second.stamps.worker_free = 67;
        let tally = tally(&[job(0, [10, 20, 21, 22, 25, 65, 67, 70]), second]);
        let summary = tally.summary(&RunFacts { wall: 100, ready: vec![8], ..RunFacts::default() });
        assert_eq!((summary.overhead_sum(), summary.behind), ((50 - 40) + (59 - 20), 67 - 41));
        assert_eq!(summary.handover_sum(), 49 - 26);
    }

    #[test]
    fn overlapping_waits_are_counted_once() {
        let tally =
            tally(&[job(0, [0, 1, 1, 1, 1, 91, 91, 91]), job(0, [0, 2, 2, 2, 2, 92, 92, 92])]);
        let summary = tally.summary(&RunFacts { wall: 100, ready: vec![1], ..RunFacts::default() });
        assert_eq!((summary.compute, summary.communication), (91, 0));
        assert_eq!(summary.idle, 8);
        assert!(summary.jobs_in_kernel() > 1.7);
    }

    #[test]
    fn no_more_time_is_shared_out_than_there_is() {
        let tally = tally(&[job(0, [0, 1, 1, 1, 5, 500, 600, 900])]);
        let summary = tally.summary(&RunFacts { wall: 100, ready: vec![1], ..RunFacts::default() });
        assert_eq!((summary.compute, summary.communication, summary.idle), (99, 0, 0));
    }

    #[test]
    fn jobs_are_counted_by_how_they_ended() {
        let mut failed = job(0, [0, 1, 2, 3, 4, 5, 6, 7]);
        failed.result = Err(JobError::Cancelled);
        failed.worker = None;
        let mut crashed = job(0, [0, 1, 2, 3, 4, 0, 0, 7]);
        crashed.result =
            Err(JobError::Crashed { death: "died".into(), attempts: 3, last_words: String::new() });
        crashed.attempts = 3;
        let mut tally = tally(&[failed, crashed]);
        tally.add(&job(0, [7, 8, 8, 8, 8, 9, 9, 9]), Status::Failed);
        tally.add_unrun(Status::Cancelled);
        tally.add_resumed();
        let counts = Counts { ok: 1, failed: 1, crashed: 1, timed_out: 0, cancelled: 2 };
        assert_eq!(tally.counts(), counts);
        assert_eq!(counts.total(), 5);
        let summary = tally.summary(&RunFacts { wall: 20, ready: vec![0], ..RunFacts::default() });
        assert_eq!((summary.resumed, summary.jobs_per_s()), (1, 0.0), "it was not run here");
        assert_eq!(summary.retries, 2);
        assert_eq!(summary.compute, 3 + 1);
    }

    #[test]
    fn nothing_run_divides_by_nothing() {
        let summary = Tally::default().summary(&RunFacts::default());
        assert_eq!(
            (summary.jobs_in_kernel(), summary.kernel_share(), summary.share(0)),
            (0.0, 0.0, 0.0)
        );
    }
}
