//! Checks what a worker says about its jobs before the coordinator believes it. An error says what
//! the worker did wrong, phrased to follow "it"; the supervisor kills the worker for it.

use brigade_ipc::wire::{self, PayloadLocation};
use brigade_proto::{Bytes, JobError, JobId, Nanos, Notes, limits};

use crate::batch_outcomes::BatchResponse;

/// How a worker that violated the protocol ended, phrased to follow "worker".
pub(super) fn breach(what: &str) -> String {
    format!("broke the protocol: it {what}")
}

/// A response to a job that the worker was not given or has already answered.
pub(super) fn out_of_turn(job: JobId) -> String {
    format!("answered job {job}, which it does not have")
}

/// Checks that a worker can know why the job failed: it cannot know of its own death or of the end
/// of the pool. Shortens long messages.
pub(super) fn error(error: JobError) -> Result<JobError, String> {
    let cut = |text: String| match text.len() {
        0..=limits::MAX_ERROR_BYTES => text,
        _ => limits::cut(&text, limits::MAX_ERROR_BYTES).to_owned(),
    };
    Ok(match error {
        JobError::Kernel { message } => JobError::Kernel { message: cut(message) },
        JobError::Panic { message, location } => {
            JobError::Panic { message: cut(message), location: cut(location) }
        }
        JobError::Transport { message } => JobError::Transport { message: cut(message) },
        JobError::Shortage { bytes, message } => {
            JobError::Shortage { bytes, message: cut(message) }
        }
        JobError::TimedOut { .. } | JobError::MemoryLimit { .. } | JobError::CpuLimit { .. } => {
            error
        }
        JobError::Read { .. }
        | JobError::InputTimedOut { .. }
        | JobError::Crashed { .. }
        | JobError::Cancelled
        | JobError::PoolGaveUp { .. } => {
            return Err(format!("said of its job what it cannot know: {error}"));
        }
    })
}

/// Finds the outputs of a job.
pub(super) fn outputs(
    locations: Vec<PayloadLocation>,
    find: impl Fn(PayloadLocation) -> Option<Bytes>,
) -> Result<Vec<Bytes>, String> {
    if locations.len() > limits::MAX_OUTPUTS {
        return Err(format!("gave {} outputs for a job", locations.len()));
    }
    let found: Option<_> = locations.into_iter().map(find).collect();
    found.ok_or_else(|| "gave an output that is in no slab of its own".to_owned())
}

/// Checks the response to a batch of `count` jobs.
#[inline(never)]
pub(super) fn batch(
    count: usize,
    response: Vec<Bytes>,
    find: impl Fn(PayloadLocation) -> Option<Bytes>,
) -> Result<BatchResponse, String> {
    let nonsense = || format!("answered {} with nonsense", brigade_proto::count(count, "job"));
    let [said] = <[Bytes; 1]>::try_from(response).map_err(|_| nonsense())?;
    if said.len() > count * (size_of::<Nanos>() + limits::MAX_HEAD_BYTES) {
        return Err(nonsense());
    }
    // The worker can still write to this memory, so copy it: it must not change once it is checked.
    let said = Bytes::from(&said[..]);
    let (instants, rest) =
        said.split_at_checked(count * size_of::<Nanos>()).ok_or_else(nonsense)?;
    let run = wire::jobs_run(instants);
    let others = match rest {
        [] => Vec::new(),
        rest => wire::decode_others(rest, count).map_err(|_| nonsense())?,
    };
    if !others.is_sorted_by_key(|(place, ..)| *place)
        || others.windows(2).any(|pair| pair[0].0 == pair[1].0)
        || others.last().is_some_and(|(place, ..)| *place as usize >= run)
    {
        return Err(nonsense());
    }
    let others = others
        .into_iter()
        .map(|(place, notes, result)| {
            Ok((
                place,
                Notes::from_bits(notes.bits()),
                match result {
                    Ok(locations) => Ok(outputs(locations, &find)?),
                    Err(what) => Err(error(what)?),
                },
            ))
        })
        .collect::<Result<_, String>>()?;
    Ok(BatchResponse { returned: said, run, others })
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_ipc::wire::{BatchOthers, encode_bulk};

    fn find(location: PayloadLocation) -> Option<Bytes> {
        match location {
            PayloadLocation::Here(bytes) => Some(Bytes::from(&bytes[..])),
            PayloadLocation::Slab { .. } => None,
        }
    }

    fn here() -> PayloadLocation {
        PayloadLocation::Here(b"x".to_vec().into())
    }

    fn ends(others: &BatchOthers) -> Result<BatchResponse, String> {
        let said = [vec![0; 3 * 8], encode_bulk(others).unwrap()].concat();
        batch(3, vec![Bytes::from(&said[..])], find)
    }

    #[test]
    fn a_batch_says_of_each_job_at_most_once_and_in_order() {
        let of = |places: &[u32]| {
            places.iter().map(|&i| (i, Notes::default(), Ok(vec![here()]))).collect()
        };
        assert_eq!(ends(&of(&[0, 2])).unwrap().others.len(), 2);
        for wrong in [&[2, 0][..], &[1, 1], &[3], &[u32::MAX], &[0, 1, 2, 3]] {
            assert!(ends(&of(wrong)).is_err(), "{wrong:?}");
        }
        let nowhere = PayloadLocation::Slab { region: 0, offset: 0, len: 1, slab: 0 };
        assert!(
            ends(&vec![(0, Notes::default(), Ok(vec![nowhere]))]).unwrap_err().contains("slab")
        );
        assert!(
            ends(&vec![(0, Notes::default(), Ok(vec![here(); 17]))])
                .unwrap_err()
                .contains("17 outputs")
        );
    }

    #[test]
    fn a_batch_says_nothing_of_jobs_that_were_not_run() {
        let ends = |run: usize, place: u32| {
            let instants = [vec![0; 8 * run], vec![0xff; 8 * (3 - run)]].concat();
            let others: BatchOthers = vec![(place, Notes::default(), Ok(vec![here()]))];
            let said = [instants, encode_bulk(&others).unwrap()].concat();
            batch(3, vec![Bytes::from(&said[..])], find)
        };
        for run in 0..=3 {
            for place in 0..4 {
                match ends(run, place) {
                    Ok(response) => assert_eq!((response.run, (place as usize) < run), (run, true)),
                    Err(_) => assert!(place as usize >= run),
                }
            }
        }
    }

    #[test]
    fn a_batch_says_when_each_job_returned() {
        let said = |len: usize| vec![Bytes::from(&vec![0; len][..])];
        assert!(batch(3, said(24), find).unwrap().others.is_empty());
        assert!(batch(3, said(23), find).is_err());
        assert!(batch(3, said(26), find).is_err());
        assert!(batch(3, Vec::new(), find).is_err());
        assert!(batch(1, said(1 << 20), find).is_err());
    }

    #[test]
    fn a_worker_cannot_say_what_it_does_not_know() {
        let kernel = |message: String| JobError::Kernel { message };
        assert_eq!(error(kernel("no".to_owned())), Ok(kernel("no".to_owned())));
        let Ok(JobError::Kernel { message }) = error(kernel("ä".repeat(100_000))) else {
            panic!("it is cut, not refused")
        };
        assert_eq!(message.len(), limits::MAX_ERROR_BYTES);
        let reason = "so".to_owned();
        for unknown in [JobError::Cancelled, JobError::PoolGaveUp { reason }] {
            assert!(error(unknown).unwrap_err().contains("cannot know"));
        }
    }
}
