use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

use brigade_kernels::KernelId;
use brigade_proto::{JobError, JobId, JobSpec, Outcome, Params, Stamps};
use brigade_sys::clock;

use crate::batch::{BatchSizer, JobBatch, bytes_of, is_batchable};
use crate::batch_outcomes::Outcomes;
use crate::completions::CompletionQueue;
use crate::job_state::{self, JobState};
use crate::{Pool, SubmitError};

/// Once this many bytes of inputs are in flight, a map keeps no more jobs in flight than the
/// workers can have assigned. A queue of large inputs would fill the memory.
const BYTES_AHEAD: usize = 256 << 20;

/// What [`Map`] and [`MapUnordered`] have in common. It takes jobs from the iterator, submits them
/// alone or in batches, and collects their outcomes.
struct MapDriver<'p, I> {
    pool: &'p Pool,
    jobs: Option<I>,
    taken: usize,
    /// Submissions with outstanding outcomes, by the id of their first job.
    flights: BTreeMap<u64, Flight>,
    in_flight: usize,
    /// Bytes of inputs in memory of the jobs in flight. The tiny inputs of batches do not count.
    bytes: usize,
    completions: Arc<CompletionQueue>,
    /// Outcomes that have arrived, the latest first.
    ready: Vec<Outcomes>,
    /// The index of a job that the pool refused, and the outcome to return for it.
    refused: Option<(usize, Outcome)>,
    sizer: BatchSizer,
    resolved: Option<Resolved>,
}

struct Flight {
    place: usize,
    left: usize,
    bytes: usize,
    /// The job's, or the batch's; `None` for a job that the pool refused.
    job_state: Option<Arc<JobState>>,
}

/// Cancels the jobs whose outcomes have not been collected; see [`Pool::map`].
impl<I> Drop for MapDriver<'_, I> {
    fn drop(&mut self) {
        self.completions.abandon();
        let is_in_process = self.pool.config().backend.is_in_process();
        // The last first: a worker whose job is asked to stop would begin the next one.
        let flights = self.flights.values().rev();
        for job_state in flights.filter_map(|flight| flight.job_state.as_ref()) {
            // Worker processes are not killed for jobs that end by themselves.
            if !job_state.cancel() && is_in_process {
                self.pool.executor().cancel_running(job_state);
            }
        }
    }
}

/// Kernel and parameters of the last job. The next job often has the same.
struct Resolved {
    name: Cow<'static, str>,
    given: Params,
    inputs: usize,
    kernel: KernelId,
    params: Arc<Params>,
}

impl<'p, I: Iterator<Item = JobSpec>> MapDriver<'p, I> {
    fn new(pool: &'p Pool, jobs: I) -> Self {
        Self {
            pool,
            jobs: Some(jobs),
            taken: 0,
            flights: BTreeMap::new(),
            in_flight: 0,
            bytes: 0,
            completions: Arc::default(),
            ready: Vec::new(),
            refused: None,
            sizer: BatchSizer::new(pool.config().slots(), pool.config().queue),
            resolved: None,
        }
    }

    fn batch_size(&self) -> usize {
        if !self.pool.executor().takes_batches() {
            return 1;
        }
        let left = self.jobs.as_ref().and_then(|jobs| match jobs.size_hint() {
            (least, Some(most)) if least == most => Some(most),
            _ => None,
        });
        self.sizer.size(left)
    }

    /// Submits jobs until enough are in flight. `kept` outcomes have arrived but wait for their
    /// turn; they count as in flight. Submits at least one job if none is in flight.
    fn fill(&mut self, kept: usize) {
        while self.jobs.is_some() && self.refused.is_none() {
            let config = self.pool.config();
            let window = config.queue.saturating_sub(kept).max(1);
            if self.bytes >= BYTES_AHEAD && self.in_flight >= config.slots() * config.depth {
                return;
            }
            // Half of the window: the workers have the other half while the caller builds a batch.
            let size = self.batch_size().min(window.div_ceil(2));
            // Wait until there is room for a whole batch. A window that was filled with single jobs
            // would stay that way otherwise: one comes back, one goes out.
            if self.in_flight + size > window {
                return;
            }
            self.hand_over(size);
        }
    }

    /// Submits a batch of up to `size` jobs. A job that cannot join it ends the batch and is
    /// submitted alone.
    fn hand_over(&mut self, size: usize) {
        let place = self.taken;
        let mut batch = JobBatch::new(&self.completions);
        let mut single = None;
        while batch.count < size {
            let Some(job) = self.jobs.as_mut().and_then(Iterator::next) else {
                self.jobs = None;
                break;
            };
            self.taken += 1;
            let has_timeout = job.timeout.is_some() || self.pool.config().timeout.is_some();
            if size == 1 || !is_batchable(&job.inputs, has_timeout) {
                single = Some(job);
                break;
            }
            match self.resolve(&job) {
                Ok((kernel, params)) => batch.push(kernel, &params, job.inputs),
                Err(error) => {
                    self.refused = Some((self.taken - 1, refusal(&error)));
                    break;
                }
            }
        }
        let count = batch.count;
        if count > 0 {
            match self.pool.submit_batch(batch) {
                Ok(job_state) => self.took_off(
                    job_state.id,
                    Flight { place, left: count, bytes: 0, job_state: Some(job_state) },
                ),
                // The pool is closed, so it will refuse the next job too.
                Err(error) => {
                    for i in 0..count {
                        let id = self.pool.refused_id();
                        let place = place + i;
                        self.took_off(id, Flight { place, left: 1, bytes: 0, job_state: None });
                        self.ready.push(Outcomes::one(Outcome { id, ..refusal(&error) }));
                    }
                }
            }
        }
        if let Some(job) = single {
            let bytes = job.inputs.iter().map(bytes_of).sum();
            match self.pool.submit_into(job, &self.completions) {
                Ok(job_state) => self.took_off(
                    job_state.id,
                    Flight { place: self.taken - 1, left: 1, bytes, job_state: Some(job_state) },
                ),
                Err(error) => self.refused = Some((self.taken - 1, refusal(&error))),
            }
        }
    }

    fn took_off(&mut self, first: JobId, flight: Flight) {
        self.in_flight += flight.left;
        self.bytes += flight.bytes;
        self.flights.insert(first.0, flight);
    }

    fn resolve(&mut self, job: &JobSpec) -> Result<(KernelId, Arc<Params>), SubmitError> {
        if let Some(known) = &self.resolved
            && known.name == job.kernel
            && known.given == job.params
            && known.inputs == job.inputs.len()
        {
            return Ok((known.kernel, Arc::clone(&known.params)));
        }
        let (kernel, params) = self.pool.resolve(job)?;
        self.resolved = Some(Resolved {
            name: job.kernel.clone(),
            given: job.params.clone(),
            inputs: job.inputs.len(),
            kernel,
            params: Arc::clone(&params),
        });
        Ok((kernel, params))
    }

    /// The next outcomes, which are of consecutive jobs, and the index of the first of these jobs.
    fn next_outcomes(&mut self, kept: usize) -> Option<(usize, Outcomes)> {
        self.fill(kept);
        if let Some((place, outcome)) = self.refused.take() {
            return Some((place, Outcomes::one(outcome)));
        }
        if self.flights.is_empty() {
            return None;
        }
        loop {
            if let Some(outcomes) = self.ready.pop() {
                return self.landed(outcomes);
            }
            self.pool.executor().wait(&*self.completions, None);
            self.completions.empty_into(&mut self.ready);
            self.ready.reverse();
        }
    }

    fn landed(&mut self, outcomes: Outcomes) -> Option<(usize, Outcomes)> {
        let number = outcomes.first()?;
        let (&first, flight) = self.flights.range_mut(..=number.0).next_back()?;
        let place = flight.place + (number.0 - first) as usize;
        flight.left -= outcomes.len();
        if flight.left == 0 {
            self.bytes -= flight.bytes;
            self.flights.remove(&first);
        }
        self.in_flight -= outcomes.len();
        self.sizer.learn(outcomes.len(), outcomes.occupied());
        Some((place, outcomes))
    }
}

fn refusal(error: &SubmitError) -> Outcome {
    let now = clock::now();
    let error = match error {
        SubmitError::Closed => JobError::Cancelled,
        other => JobError::Kernel { message: other.to_string() },
    };
    let stamps = Stamps { submitted: now, collected: now, ..Stamps::default() };
    job_state::unrun(JobId(u64::MAX), error, stamps)
}

/// Iterator over the outcomes of many jobs as they become ready; see [`Pool::map_unordered`].
///
/// Each item is the index of the job in the input iterator, counted from 0, and its outcome. A job
/// that the pool refuses has a failed outcome, without a valid id, and the other jobs run. If the
/// pool is closed, the outcome is a cancelled one.
pub struct MapUnordered<'p, I> {
    driver: MapDriver<'p, I>,
    place: usize,
    current: Outcomes,
}

impl<I> fmt::Debug for MapUnordered<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapUnordered({} in flight)", self.driver.in_flight)
    }
}

impl<'p, I: Iterator<Item = JobSpec>> MapUnordered<'p, I> {
    pub(crate) fn new(pool: &'p Pool, jobs: I) -> Self {
        Self { driver: MapDriver::new(pool, jobs), place: 0, current: Outcomes::One(None) }
    }

    // Apart from `next`, which is inlined into the caller's loop: an outcome has more than 200
    // bytes, and to return it through a call costs as much as to make it.
    #[inline(never)]
    fn refill(&mut self) -> Option<()> {
        (self.place, self.current) = self.driver.next_outcomes(0)?;
        Some(())
    }
}

impl<I: Iterator<Item = JobSpec>> Iterator for MapUnordered<'_, I> {
    type Item = (usize, Outcome);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(outcome) = self.current.next() {
                self.place += 1;
                return Some((self.place - 1, outcome));
            }
            self.refill()?;
        }
    }
}

impl<I: Iterator<Item = JobSpec>> FusedIterator for MapUnordered<'_, I> {}

/// Iterator over the outcomes of many jobs, in the order of the jobs; see [`Pool::map`].
///
/// An outcome that is ready before its turn is kept until then and counts as in flight. So memory
/// stays bounded even behind one slow job. A job that the pool refuses has a failed outcome,
/// without a valid id, and the other jobs run. If the pool is closed, the outcome is a cancelled
/// one.
pub struct Map<'p, I> {
    driver: MapDriver<'p, I>,
    /// Outcomes that are not due yet, by the index of their first job.
    early: BTreeMap<usize, Outcomes>,
    kept: usize,
    next: usize,
    current: Outcomes,
}

impl<I> fmt::Debug for Map<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({} in flight, {} kept)", self.driver.in_flight, self.kept)
    }
}

impl<'p, I: Iterator<Item = JobSpec>> Map<'p, I> {
    pub(crate) fn new(pool: &'p Pool, jobs: I) -> Self {
        let driver = MapDriver::new(pool, jobs);
        Self { driver, early: BTreeMap::new(), kept: 0, next: 0, current: Outcomes::One(None) }
    }

    /// Makes the outcomes that are due next the current ones. Apart from `next` for the same
    /// reason as in [`MapUnordered`].
    #[inline(never)]
    fn refill(&mut self) -> Option<()> {
        loop {
            if let Some(outcomes) = self.early.remove(&self.next) {
                self.kept -= outcomes.len();
                self.current = outcomes;
                return Some(());
            }
            let (place, outcomes) = self.driver.next_outcomes(self.kept)?;
            self.kept += outcomes.len();
            self.early.insert(place, outcomes);
        }
    }
}

impl<I: Iterator<Item = JobSpec>> Iterator for Map<'_, I> {
    type Item = Outcome;

    #[inline]
    fn next(&mut self) -> Option<Outcome> {
        loop {
            if let Some(outcome) = self.current.next() {
                self.next += 1;
                return Some(outcome);
            }
            self.refill()?;
        }
    }
}

impl<I: Iterator<Item = JobSpec>> FusedIterator for Map<'_, I> {}
