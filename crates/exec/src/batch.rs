//! Batches of small jobs, and how many jobs a batch should have.

use std::iter::Peekable;
use std::sync::Arc;
use std::vec;

use brigade_kernels::KernelId;
use brigade_proto::{
    Bytes, JobError, JobId, Nanos, Notes, Outcome, Params, Source, Stamps, WorkerId,
};

use crate::job_state::{CompletionQueue, CompletionSink, JobResult, JobState, Task};
use crate::load::TINY;

/// Small jobs of [`Pool::map`](crate::Pool::map) that go to one worker as one request. Each job
/// keeps its own outcome and spans. If the worker dies in the middle of the batch, its jobs go on
/// one by one.
#[derive(Debug)]
pub(crate) struct JobBatch {
    pub(crate) runs: Vec<KernelRun>,
    pub(crate) count: usize,
    pub(crate) completions: Arc<CompletionQueue>,
}

/// Consecutive jobs of a batch with the same kernel and parameters.
#[derive(Debug)]
pub(crate) struct KernelRun {
    pub(crate) kernel: KernelId,
    pub(crate) params: Arc<Params>,
    pub(crate) count: usize,
    /// The inputs of each job; empty if the jobs have no inputs.
    pub(crate) inputs: Vec<Vec<Source>>,
}

/// A worker's response to a batch.
#[derive(Debug)]
pub(crate) struct BatchResponse {
    /// Begins with one little-endian `u64` for each job: when its kernel returned, in nanoseconds.
    pub(crate) returned: Bytes,
    /// How many jobs were run, counted from the first. The worker had no memory for the next one,
    /// or no slab for its outputs.
    pub(crate) run: usize,
    /// Jobs that failed, or that have outputs or notes; in the order of the batch.
    pub(crate) others: Vec<BatchJobResult>,
}

/// A job's index in its batch, its notes, and its result.
type BatchJobResult = (u32, Notes, Result<Vec<Bytes>, JobError>);

/// Whether a job may join a batch: its inputs are tiny and in memory, and it has no timeout.
pub(crate) fn is_batchable(inputs: &[Source], has_timeout: bool) -> bool {
    let is_tiny = |source: &Source| matches!(source, Source::Bytes(bytes) if bytes.len() <= TINY);
    !has_timeout && inputs.iter().all(is_tiny)
}

/// Size of an input in bytes; 0 for a file, which is not in memory yet.
pub(crate) fn bytes_of(source: &Source) -> usize {
    match source {
        Source::Bytes(bytes) => bytes.len(),
        Source::File(_) => 0,
    }
}

impl JobBatch {
    pub(crate) fn new(completions: &Arc<CompletionQueue>) -> Self {
        Self { runs: Vec::new(), count: 0, completions: Arc::clone(completions) }
    }

    /// Appends a job. It joins the last run if kernel and parameters are the same and both have
    /// inputs or neither has.
    pub(crate) fn push(&mut self, kernel: KernelId, params: &Arc<Params>, inputs: Vec<Source>) {
        self.count += 1;
        let bare = inputs.is_empty();
        if let Some(run) = self.runs.last_mut()
            && run.kernel == kernel
            && (Arc::ptr_eq(&run.params, params) || run.params == *params)
            && run.inputs.is_empty() == bare
        {
            run.count += 1;
            if !bare {
                run.inputs.push(inputs);
            }
            return;
        }
        let inputs = if bare { Vec::new() } else { vec![inputs] };
        self.runs.push(KernelRun { kernel, params: Arc::clone(params), count: 1, inputs });
    }

    /// Keeps the first `count` jobs and returns the others.
    #[cold]
    pub(crate) fn split_off(&mut self, count: usize) -> Self {
        let mut rest = Self::new(&self.completions);
        rest.count = self.count - count;
        self.count = count;
        let mut left = count;
        let place = self.runs.iter().position(|run| {
            let is_cut = run.count > left;
            left -= if is_cut { 0 } else { run.count };
            is_cut
        });
        let Some(place) = place else { return rest };
        rest.runs = self.runs.split_off(place);
        if left > 0 {
            let cut = &mut rest.runs[0];
            let inputs = match cut.inputs.is_empty() {
                true => Vec::new(),
                false => cut.inputs.drain(..left).collect(),
            };
            cut.count -= left;
            let (kernel, params) = (cut.kernel, Arc::clone(&cut.params));
            self.runs.push(KernelRun { kernel, params, count: left, inputs });
        }
        rest
    }

    /// Splits the batch into single tasks, each marked as taken by a worker. The first task has the
    /// id `first`; the others follow.
    pub(crate) fn dissolve(self, first: JobId, whole: &Task) -> Vec<Task> {
        let mut tasks = Vec::with_capacity(self.count);
        for run in self.runs {
            let mut inputs = run.inputs.into_iter();
            for _ in 0..run.count {
                let id = JobId(first.0 + tasks.len() as u64);
                let sink = CompletionSink::Queue(Arc::clone(&self.completions));
                let job_state = JobState::new(id, whole.stamps.submitted, sink);
                job_state.take();
                tasks.push(Task {
                    job_state,
                    kernel: run.kernel,
                    params: Arc::clone(&run.params),
                    inputs: inputs.next().unwrap_or_default(),
                    timeout: None,
                    stamps: whole.stamps,
                    attempts: whole.attempts,
                    undelivered: whole.undelivered,
                    is_alone: false,
                    shortages: 0,
                    digests: None,
                    batch: None,
                });
            }
        }
        tasks
    }

    fn bytes_in(&self) -> Vec<u64> {
        let of = |run: &KernelRun, i: usize| {
            run.inputs.get(i).map_or(0, |inputs| inputs.iter().map(bytes_of).sum::<usize>() as u64)
        };
        if self.runs.iter().all(|run| run.inputs.is_empty()) {
            return Vec::new();
        }
        self.runs.iter().flat_map(|run| (0..run.count).map(move |i| of(run, i))).collect()
    }

    /// The outcomes of the jobs, given how the batch ended.
    pub(crate) fn outcomes(&self, whole: &Task, job_result: JobResult) -> BatchOutcomes {
        let JobResult { result, worker, pid, batch, .. } = job_result;
        let (returned, run, others) = match batch {
            Some(response) => (response.returned, response.run, response.others),
            None => (Bytes::default(), self.count, Vec::new()),
        };
        BatchOutcomes {
            first: whole.job_state.id,
            next: 0,
            count: self.count,
            result: result.map(drop),
            stamps: whole.stamps,
            called: whole.stamps.called,
            returned,
            run,
            others: others.into_iter().peekable(),
            bytes_in: self.bytes_in(),
            worker,
            pid,
            attempts: whole.attempts,
        }
    }
}

/// The outcomes of a batch's jobs, each built when the caller asks for it. Writing all outcomes to
/// memory first and reading them back takes longer than building them.
#[derive(Debug)]
pub(crate) struct BatchOutcomes {
    first: JobId,
    next: usize,
    count: usize,
    result: Result<(), JobError>,
    /// Stamps of the batch as a whole.
    stamps: Stamps,
    /// When the kernel of the next job was called: when the kernel before it had returned.
    called: Nanos,
    returned: Bytes,
    /// How many jobs were run, counted from the first.
    run: usize,
    others: Peekable<vec::IntoIter<BatchJobResult>>,
    bytes_in: Vec<u64>,
    worker: Option<WorkerId>,
    pid: u32,
    attempts: u32,
}

impl Iterator for BatchOutcomes {
    type Item = Outcome;

    #[inline]
    fn next(&mut self) -> Option<Outcome> {
        if self.next >= self.count {
            return None;
        }
        let place = self.next;
        self.next += 1;
        let mut stamps = self.stamps;
        let instant = self.returned.as_chunks().0.get(place).filter(|_| place < self.run);
        let mut notes = Notes::default();
        let result = match (&self.result, instant) {
            (Ok(()), Some(instant)) => {
                // Clamp what the worker claims: not before the previous job returned, and not after
                // the response was published.
                let returned: Nanos =
                    u64::from_le_bytes(*instant).min(stamps.published).max(self.called);
                // Until then the worker was busy with the earlier jobs of the batch.
                if place > 0 {
                    stamps.worker_free = self.called;
                }
                stamps.in_hand = self.called;
                stamps.called = self.called;
                stamps.returned = returned;
                self.called = returned;
                match self.others.next_if(|(other, ..)| *other as usize == place) {
                    Some((_, own, result)) => {
                        notes = own;
                        result
                    }
                    None => Ok(Vec::new()),
                }
            }
            // The dispatcher puts jobs that were not run back into the queue, unless the run is
            // being stopped.
            (Ok(()), None) if place >= self.run => Err(JobError::Cancelled),
            (Ok(()), None) => {
                let message = "its worker did not say what became of it".to_owned();
                Err(JobError::Transport { message })
            }
            (Err(error), _) => Err(error.clone()),
        };
        Some(Outcome {
            id: JobId(self.first.0 + place as u64),
            result,
            stamps,
            worker: self.worker,
            pid: self.pid,
            attempts: self.attempts,
            bytes_in: self.bytes_in.get(place).copied().unwrap_or(0),
            input_digests: None,
            notes,
        })
    }
}

/// Outcomes of jobs with consecutive ids.
#[derive(Debug)]
pub(crate) enum Outcomes {
    /// One job's outcome, until the caller takes it.
    One(Option<Box<Outcome>>),
    Batch(Box<BatchOutcomes>),
}

impl Outcomes {
    pub(crate) fn one(outcome: Outcome) -> Self {
        Self::One(Some(Box::new(outcome)))
    }

    /// The id of the next job.
    pub(crate) fn first(&self) -> Option<JobId> {
        match self {
            Self::One(outcome) => outcome.as_ref().map(|outcome| outcome.id),
            Self::Batch(batch) => {
                (batch.next < batch.count).then(|| JobId(batch.first.0 + batch.next as u64))
            }
        }
    }

    /// How many outcomes the caller has not taken yet.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(outcome) => usize::from(outcome.is_some()),
            Self::Batch(batch) => batch.count - batch.next,
        }
    }

    /// How long the jobs occupied their worker, in nanoseconds.
    pub(crate) fn occupied(&self) -> Nanos {
        let stamps = match self {
            Self::One(outcome) => outcome.as_ref().map(|outcome| &outcome.stamps),
            Self::Batch(batch) => Some(&batch.stamps),
        };
        stamps.map_or(0, |stamps| stamps.published.saturating_sub(stamps.in_hand))
    }
}

impl Iterator for Outcomes {
    type Item = Outcome;

    #[inline]
    fn next(&mut self) -> Option<Outcome> {
        match self {
            Self::Batch(batch) => batch.next(),
            Self::One(outcome) => outcome.take().map(|outcome| *outcome),
        }
    }
}

/// Decides how many jobs the next batch has.
///
/// A batch is long enough that its hand-over costs little compared with its computation. It is no
/// longer than that, because a long batch at the end leaves the other workers idle. If the number
/// of remaining jobs is known, batches shrink towards the end (guided self-scheduling:
/// Polychronopoulos and Kuck, IEEE Transactions on Computers C-36(12), 1987).
#[derive(Debug)]
pub(crate) struct BatchSizer {
    slots: usize,
    /// Largest number of jobs in a batch.
    most: usize,
    /// Smoothed time per job, in nanoseconds; 0 before the first measurement.
    per_job: f64,
}

/// Target duration of a batch, in nanoseconds: about 50 times the 2 us that its hand-over costs.
const BATCH_NS: f64 = 100_000.0;

/// Batches in flight for each worker. While the caller goes through the outcomes of one batch and
/// builds the next, the worker computes a third, and a fourth is ready for it.
const IN_FLIGHT: usize = 4;

impl BatchSizer {
    /// For `slots` workers and at most `window` jobs in flight.
    pub(crate) fn new(slots: usize, window: usize) -> Self {
        Self { slots, most: (window / (IN_FLIGHT * slots)).max(1), per_job: 0.0 }
    }

    /// Records that `count` jobs together occupied a worker for `ns` nanoseconds.
    pub(crate) fn learn(&mut self, count: usize, ns: Nanos) {
        let measured = (ns as f64 / count.max(1) as f64).max(1.0);
        self.per_job = match self.per_job {
            0.0 => measured,
            // Follow a longer time at once and a shorter time gradually: a batch that is too long
            // costs more than one that is too short.
            known if measured > known => measured,
            known => 0.5 * (known + measured),
        };
    }

    /// Number of jobs in the next batch. `left` is the number of remaining jobs, if it is known.
    pub(crate) fn size(&self, left: Option<usize>) -> usize {
        let best = match self.per_job {
            0.0 => 1,
            ns => (BATCH_NS / ns) as usize,
        };
        let fair = left.map_or(self.most, |left| left / (2 * self.slots));
        best.min(fair).clamp(1, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_with_short_jobs_and_shrink_towards_the_end() {
        let mut sizer = BatchSizer::new(2, 8000);
        assert_eq!(sizer.size(None), 1);
        sizer.learn(1, 1_000_000);
        assert_eq!(sizer.size(None), 1);
        (0..20).for_each(|_| sizer.learn(1, 100));
        assert!((900..=1000).contains(&sizer.size(None)));
        assert_eq!(sizer.size(Some(400)), 100);
        assert_eq!(sizer.size(Some(0)), 1);
        sizer.learn(10, 10_000_000);
        assert_eq!(sizer.size(None), 1);
    }

    #[test]
    fn a_batch_is_cut_anywhere_and_no_job_gets_lost() {
        let completions = Arc::default();
        let params = Arc::default();
        for cut in 0..=9 {
            let mut batch = JobBatch::new(&completions);
            for i in 0..9_u8 {
                let inputs = if i < 3 { Vec::new() } else { vec![Source::from(&[i][..])] };
                batch.push(KernelId(u32::from(i) / 5), &params, inputs);
            }
            let rest = batch.split_off(cut);
            assert_eq!((batch.count, rest.count), (cut, 9 - cut));
            let mut seen = Vec::new();
            for run in batch.runs.iter().chain(&rest.runs) {
                assert!(run.count > 0 && [0, run.count].contains(&run.inputs.len()));
                for i in 0..run.count {
                    let input = run.inputs.get(i).map(|inputs| match &inputs[..] {
                        [Source::Bytes(bytes)] => bytes[0],
                        other => panic!("{other:?}"),
                    });
                    seen.push((run.kernel.0, input));
                }
            }
            let all = (0..9_u8).map(|i| (u32::from(i) / 5, (i >= 3).then_some(i)));
            assert_eq!(seen, all.collect::<Vec<_>>(), "cut at {cut}");
        }
    }

    #[test]
    fn a_job_of_a_batch_waits_behind_those_before_it() {
        let instants: Vec<u8> = [50_u64, 90].iter().flat_map(|at| at.to_le_bytes()).collect();
        let stamps = Stamps {
            submitted: 1,
            assigned: 2,
            encoded: 10,
            in_hand: 15,
            called: 20,
            returned: 90,
            published: 95,
            collected: 99,
            worker_free: 12,
        };
        let outcomes = BatchOutcomes {
            first: JobId(0),
            next: 0,
            count: 2,
            result: Ok(()),
            stamps,
            called: stamps.called,
            returned: Bytes::from(&instants[..]),
            run: 2,
            others: Vec::new().into_iter().peekable(),
            bytes_in: Vec::new(),
            worker: Some(WorkerId(0)),
            pid: 1,
            attempts: 1,
        };
        let behind: Vec<Nanos> = outcomes.map(|outcome| outcome.stamps.behind()).collect();
        // The first job waited for the job before the batch, until 12; the second waited for the
        // first.
        assert_eq!(behind, [2, 40]);
    }

    #[test]
    fn alike_jobs_make_one_run() {
        let completions = Arc::default();
        let mut batch = JobBatch::new(&completions);
        let (one, other) = (Arc::default(), Arc::new([("us", 5_i64)].into_iter().collect()));
        for params in [&one, &one, &other, &one] {
            batch.push(KernelId(3), params, Vec::new());
        }
        batch.push(KernelId(3), &one, vec![Source::from(&b"x"[..])]);
        let counts: Vec<usize> = batch.runs.iter().map(|run| run.count).collect();
        assert_eq!((batch.count, counts), (5, vec![2, 1, 1, 1]));
        assert_eq!(batch.bytes_in(), [0, 0, 0, 0, 1]);
    }
}
