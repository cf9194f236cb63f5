//! Batches of small jobs, and how many jobs a batch should have.

use std::sync::Arc;

use brigade_kernels::KernelId;
use brigade_proto::{Nanos, Params, Source};

use crate::completions::CompletionQueue;
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

    /// Bytes of the inputs of each job; empty if no job has inputs.
    pub(crate) fn bytes_in(&self) -> Vec<u64> {
        let of = |run: &KernelRun, i: usize| {
            run.inputs.get(i).map_or(0, |inputs| inputs.iter().map(bytes_of).sum::<usize>() as u64)
        };
        if self.runs.iter().all(|run| run.inputs.is_empty()) {
            return Vec::new();
        }
        self.runs.iter().flat_map(|run| (0..run.count).map(move |i| of(run, i))).collect()
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
