use std::collections::{BTreeMap, HashMap};
use std::iter::FusedIterator;
use std::sync::Arc;

use brigade_proto::{JobError, JobId, JobSpec, Outcome, Stamps};
use brigade_sys::clock;

use crate::ticket::Basket;
use crate::{Pool, SubmitError};

/// Outcomes of many jobs as they are ready; see [`Pool::map_unordered`].
///
/// Each item is the place of the job in the iterator, counted from 0, and its
/// outcome. A job that the pool refuses ends as failed, the others run.
#[derive(Debug)]
pub struct MapUnordered<'p, I> {
    pool: &'p Pool,
    jobs: Option<I>,
    taken: usize,
    /// Place of each job in flight.
    places: HashMap<JobId, usize>,
    window: usize,
    basket: Arc<Basket>,
    /// Outcomes that are there, the latest first.
    ready: Vec<Outcome>,
    /// Refused jobs, not yet handed out.
    refused: Vec<(usize, Outcome)>,
}

impl<'p, I: Iterator<Item = JobSpec>> MapUnordered<'p, I> {
    pub(crate) fn new(pool: &'p Pool, jobs: I) -> Self {
        Self {
            pool,
            jobs: Some(jobs),
            taken: 0,
            places: HashMap::new(),
            window: pool.config().queue,
            basket: Arc::default(),
            ready: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Hands over jobs until the window is full. At least one if none is in
    /// flight.
    fn fill(&mut self) {
        while self.places.len() < self.window && self.refused.is_empty() {
            let Some(job) = self.jobs.as_mut().and_then(Iterator::next) else {
                self.jobs = None;
                return;
            };
            let place = self.taken;
            self.taken += 1;
            match self.pool.submit_into(job, &self.basket) {
                Ok(id) => drop(self.places.insert(id, place)),
                Err(error) => self.refused.push((place, refusal(&error))),
            }
        }
    }
}

fn refusal(error: &SubmitError) -> Outcome {
    let now = clock::now();
    let error = match error {
        SubmitError::Closed => JobError::Cancelled,
        other => JobError::Kernel { message: other.to_string() },
    };
    Outcome {
        id: JobId(u64::MAX),
        result: Err(error),
        stamps: Stamps { submitted: now, collected: now, ..Stamps::default() },
        worker: None,
        pid: 0,
        attempts: 0,
        bytes_in: 0,
    }
}

impl<I: Iterator<Item = JobSpec>> Iterator for MapUnordered<'_, I> {
    type Item = (usize, Outcome);

    fn next(&mut self) -> Option<Self::Item> {
        self.fill();
        if let Some(refused) = self.refused.pop() {
            return Some(refused);
        }
        if self.places.is_empty() {
            return None;
        }
        let outcome = loop {
            if let Some(outcome) = self.ready.pop() {
                break outcome;
            }
            self.pool.executor().wait(&*self.basket, None);
            self.basket.empty_into(&mut self.ready);
            self.ready.reverse();
        };
        let place = self.places.remove(&outcome.id)?;
        Some((place, outcome))
    }
}

impl<I: Iterator<Item = JobSpec>> FusedIterator for MapUnordered<'_, I> {}

/// Outcomes of many jobs in the order of the jobs; see [`Pool::map`].
///
/// An outcome that is ready before its turn is kept until then, and counts as in
/// flight: memory stays bounded even behind one slow job.
#[derive(Debug)]
pub struct Map<'p, I> {
    inner: MapUnordered<'p, I>,
    window: usize,
    early: BTreeMap<usize, Outcome>,
    next: usize,
}

impl<'p, I: Iterator<Item = JobSpec>> Map<'p, I> {
    pub(crate) fn new(pool: &'p Pool, jobs: I) -> Self {
        let inner = MapUnordered::new(pool, jobs);
        Self { window: inner.window, inner, early: BTreeMap::new(), next: 0 }
    }
}

impl<I: Iterator<Item = JobSpec>> Iterator for Map<'_, I> {
    type Item = Outcome;

    fn next(&mut self) -> Option<Outcome> {
        loop {
            if let Some(outcome) = self.early.remove(&self.next) {
                self.next += 1;
                return Some(outcome);
            }
            self.inner.window = self.window.saturating_sub(self.early.len()).max(1);
            let (place, outcome) = self.inner.next()?;
            self.early.insert(place, outcome);
        }
    }
}

impl<I: Iterator<Item = JobSpec>> FusedIterator for Map<'_, I> {}
