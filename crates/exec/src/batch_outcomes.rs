//! How the jobs of a batch ended: a worker's response to the batch, and the outcomes made of it.

use std::iter::Peekable;
use std::vec;

use brigade_proto::{Bytes, JobError, JobId, Nanos, Notes, Outcome, Stamps, WorkerId};

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
pub(crate) type BatchJobResult = (u32, Notes, Result<Vec<Bytes>, JobError>);

/// The outcomes of a batch's jobs, each built when the caller asks for it. Writing all outcomes to
/// memory first and reading them back takes longer than building them.
#[derive(Debug)]
pub(crate) struct BatchOutcomes {
    pub(crate) first: JobId,
    pub(crate) next: usize,
    pub(crate) count: usize,
    pub(crate) result: Result<(), JobError>,
    /// Stamps of the batch as a whole.
    pub(crate) stamps: Stamps,
    /// When the kernel of the next job was called: when the kernel before it had returned.
    pub(crate) called: Nanos,
    pub(crate) returned: Bytes,
    /// How many jobs were run, counted from the first.
    pub(crate) run: usize,
    pub(crate) others: Peekable<vec::IntoIter<BatchJobResult>>,
    pub(crate) bytes_in: Vec<u64>,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) pid: u32,
    pub(crate) attempts: u32,
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
