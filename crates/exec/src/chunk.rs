//! Many small jobs that go to a worker together, and how many are best.

use std::sync::Arc;

use brigade_kernels::KernelId;
use brigade_proto::{Bytes, JobError, JobId, Nanos, Outcome, Params, Source, Stamps};

use crate::load::TINY;
use crate::ticket::{Basket, End, Listener, Task, Ticket};

/// Jobs of [`Pool::map`](crate::Pool::map) that travel together. Each keeps its own
/// outcome and spans; when their worker dies they go on one by one.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) runs: Vec<Run>,
    pub(crate) count: usize,
    pub(crate) basket: Arc<Basket>,
}

/// Jobs that follow each other in a chunk and have kernel and parameters in common.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) kernel: KernelId,
    pub(crate) params: Arc<Params>,
    pub(crate) count: usize,
    /// The inputs of each; none if none of them has any.
    pub(crate) inputs: Vec<Vec<Source>>,
}

/// What a worker says of a chunk.
#[derive(Debug)]
pub(crate) struct ChunkEnd {
    /// When each kernel call returned: eight bytes each, little-endian.
    pub(crate) returned: Bytes,
    /// How many of its jobs were run: the first ones. The worker had no room for the outputs
    /// of the next one.
    pub(crate) run: usize,
    /// Jobs that failed or have outputs, in order.
    pub(crate) others: Vec<(u32, Result<Vec<Bytes>, JobError>)>,
}

/// Whether a job may go in a chunk: nothing large to carry, and no clock of its own.
pub(crate) fn is_chunkable(inputs: &[Source], has_timeout: bool) -> bool {
    let is_tiny = |source: &Source| matches!(source, Source::Bytes(bytes) if bytes.len() <= TINY);
    !has_timeout && inputs.iter().all(is_tiny)
}

impl Chunk {
    pub(crate) fn new(basket: &Arc<Basket>) -> Self {
        Self { runs: Vec::new(), count: 0, basket: Arc::clone(basket) }
    }

    /// Appends a job.
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
        self.runs.push(Run { kernel, params: Arc::clone(params), count: 1, inputs });
    }

    /// Takes away all jobs but the first `count`.
    #[cold]
    pub(crate) fn split_off(&mut self, count: usize) -> Self {
        let mut rest = Self::new(&self.basket);
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
            self.runs.push(Run { kernel, params, count: left, inputs });
        }
        rest
    }

    /// Its jobs one by one, all given to a worker already. The first has this number.
    pub(crate) fn dissolve(self, first: JobId, whole: &Task) -> Vec<Task> {
        let mut tasks = Vec::with_capacity(self.count);
        for run in self.runs {
            let mut inputs = run.inputs.into_iter();
            for _ in 0..run.count {
                let id = JobId(first.0 + tasks.len() as u64);
                let listener = Listener::Basket(Arc::clone(&self.basket));
                let ticket = Ticket::new(id, whole.stamps.submitted, listener);
                ticket.take();
                tasks.push(Task {
                    ticket,
                    kernel: run.kernel,
                    params: Arc::clone(&run.params),
                    inputs: inputs.next().unwrap_or_default(),
                    timeout: None,
                    stamps: whole.stamps,
                    attempts: whole.attempts,
                    chunk: None,
                });
            }
        }
        tasks
    }

    fn bytes_in(&self) -> Vec<u64> {
        let len = |source: &Source| match source {
            Source::Bytes(bytes) => bytes.len() as u64,
            Source::File(_) => 0,
        };
        let of = |run: &Run, i: usize| {
            run.inputs.get(i).map_or(0, |inputs| inputs.iter().map(len).sum())
        };
        if self.runs.iter().all(|run| run.inputs.is_empty()) {
            return Vec::new();
        }
        self.runs.iter().flat_map(|run| (0..run.count).map(move |i| of(run, i))).collect()
    }

    /// The outcome of each of its jobs. A job is in hand when the one before it has
    /// returned.
    #[inline(never)]
    pub(crate) fn outcomes(&self, whole: &Task, end: End) -> Vec<Outcome> {
        let End { result, worker, pid, chunk, .. } = end;
        let Task { stamps, attempts, .. } = *whole;
        let first = whole.ticket.id;
        let bytes_in = self.bytes_in();
        let (returned, run, others) = match chunk {
            Some(end) => (end.returned, end.run, end.others),
            None => (Bytes::default(), self.count, Vec::new()),
        };
        let (returned, _) = returned.as_chunks();
        let returned = &returned[..run.min(returned.len())];
        let mut others = others.into_iter().peekable();
        let mut called = stamps.called;
        let mut outcomes = Vec::with_capacity(self.count);
        for i in 0..self.count {
            let (result, stamps) = match (&result, returned.get(i)) {
                (Ok(_), Some(instant)) => {
                    // After the one before it, and not after the answer.
                    let returned: Nanos =
                        u64::from_le_bytes(*instant).min(stamps.published).max(called);
                    let stamps = Stamps { in_hand: called, called, returned, ..stamps };
                    called = returned;
                    let other = others.next_if(|(place, _)| *place as usize == i);
                    (other.map_or(Ok(Vec::new()), |(_, result)| result), stamps)
                }
                // They would go on elsewhere, if the pool did.
                (Ok(_), None) if i >= run => (Err(JobError::Cancelled), stamps),
                (Ok(_), None) => {
                    let message = "its worker did not say what became of it".to_owned();
                    (Err(JobError::Transport { message }), stamps)
                }
                (Err(error), _) => (Err(error.clone()), stamps),
            };
            outcomes.push(Outcome {
                id: JobId(first.0 + i as u64),
                result,
                stamps,
                worker,
                pid,
                attempts,
                bytes_in: bytes_in.get(i).copied().unwrap_or(0),
            });
        }
        outcomes
    }
}

/// How many jobs the next chunk should have.
///
/// Long enough that handing it over costs little beside computing it; not longer,
/// because a long chunk at the end leaves the other workers idle; and shrinking
/// towards the end if that is known (guided self-scheduling: Polychronopoulos and
/// Kuck, IEEE Transactions on Computers C-36(12), 1987).
#[derive(Debug)]
pub(crate) struct Pace {
    lanes: usize,
    /// Jobs of the longest chunk: two for each worker are in flight.
    most: usize,
    /// Nanoseconds of a job, smoothed; zero: not known yet.
    per_job: f64,
}

/// Handing over a chunk costs about 2 us, of which this is at least 50 times.
const CHUNK_NS: f64 = 200_000.0;

impl Pace {
    /// For so many workers, and so many jobs in flight.
    pub(crate) fn new(lanes: usize, window: usize) -> Self {
        Self { lanes, most: (window / (2 * lanes)).max(1), per_job: 0.0 }
    }

    /// Learns from `count` jobs that took a worker `ns` nanoseconds together.
    pub(crate) fn learn(&mut self, count: usize, ns: Nanos) {
        let measured = (ns as f64 / count.max(1) as f64).max(1.0);
        self.per_job = match self.per_job {
            0.0 => measured,
            // Longer at once, shorter by and by: a chunk that is too long hurts
            // more than one that is too short.
            known if measured > known => measured,
            known => 0.5 * (known + measured),
        };
    }

    /// Jobs in the next chunk, if `left` are known to be left.
    pub(crate) fn size(&self, left: Option<usize>) -> usize {
        let best = match self.per_job {
            0.0 => 1,
            ns => (CHUNK_NS / ns) as usize,
        };
        let fair = left.map_or(self.most, |left| left / (2 * self.lanes));
        best.min(fair).clamp(1, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_with_short_jobs_and_shrink_towards_the_end() {
        let mut pace = Pace::new(2, 8000);
        assert_eq!(pace.size(None), 1);
        pace.learn(1, 1_000_000);
        assert_eq!(pace.size(None), 1);
        (0..20).for_each(|_| pace.learn(1, 100));
        assert!((1000..=2000).contains(&pace.size(None)));
        assert_eq!(pace.size(Some(400)), 100);
        assert_eq!(pace.size(Some(0)), 1);
        pace.learn(10, 10_000_000);
        assert_eq!(pace.size(None), 1);
    }

    #[test]
    fn a_chunk_is_cut_anywhere_and_no_job_gets_lost() {
        let basket = Arc::default();
        let params = Arc::default();
        for cut in 0..=9 {
            let mut chunk = Chunk::new(&basket);
            for i in 0..9_u8 {
                let inputs = if i < 3 { Vec::new() } else { vec![Source::from(&[i][..])] };
                chunk.push(KernelId(u32::from(i) / 5), &params, inputs);
            }
            let rest = chunk.split_off(cut);
            assert_eq!((chunk.count, rest.count), (cut, 9 - cut));
            let mut seen = Vec::new();
            for run in chunk.runs.iter().chain(&rest.runs) {
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
        let basket = Arc::default();
        let mut chunk = Chunk::new(&basket);
        let (one, other) = (Arc::default(), Arc::new([("us", 5_i64)].into_iter().collect()));
        for params in [&one, &one, &other, &one] {
            chunk.push(KernelId(3), params, Vec::new());
        }
        chunk.push(KernelId(3), &one, vec![Source::from(&b"x"[..])]);
        let counts: Vec<usize> = chunk.runs.iter().map(|run| run.count).collect();
        assert_eq!((chunk.count, counts), (5, vec![2, 1, 1, 1]));
        assert_eq!(chunk.bytes_in(), [0, 0, 0, 0, 1]);
    }
}
