//! The heartbeat: checks whether a worker takes up the jobs that it was given, or could take up
//! one.

use std::time::Duration;

use brigade_proto::{JobId, Nanos};

/// Signs of life of a worker: its status page, and the number of its responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeartbeatSample {
    /// The job in hand, and when its kernel was called.
    pub(super) current: Option<(JobId, Option<Nanos>)>,
    /// Responses so far.
    pub(super) responses: u64,
    /// Whether a signal has stopped the process.
    pub(super) stopped: bool,
}

impl HeartbeatSample {
    /// Whether a kernel runs. It may run as long as `--timeout` allows.
    fn is_computing(&self) -> bool {
        !self.stopped && matches!(self.current, Some((_, Some(_))))
    }
}

/// Counts the checks in a row in which a worker has not changed, although it had something to do or
/// was stopped.
///
/// This counts checks, not time. If this whole process was stopped for a while, every worker seems
/// to have been idle, and none must be killed for that.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    last: Option<HeartbeatSample>,
    missed: u32,
    looked: Nanos,
}

/// Checks per `--heartbeat`. A worker that has not changed in this many is given up.
const LOOKS: u32 = 4;

/// The time between two checks.
pub(super) fn interval(limit: Duration) -> Duration {
    limit / LOOKS
}

impl Heartbeat {
    /// For a worker that is alive at `now`.
    pub(super) fn begin(now: Nanos) -> Self {
        Self { looked: now, ..Self::default() }
    }

    /// Does a check if one is due. Returns whether the worker must be given up. `beat` returns
    /// `None` if the worker was told of no job and is not stopped.
    pub(super) fn check(
        &mut self,
        beat: impl FnOnce() -> Option<HeartbeatSample>,
        now: Nanos,
        limit: Duration,
    ) -> bool {
        if now < self.looked + interval(limit).as_nanos() as u64 {
            return false;
        }
        self.looked = now;
        let idle = beat().filter(|beat| !beat.is_computing());
        self.missed = if idle.is_some() && idle == self.last { self.missed + 1 } else { 0 };
        self.last = idle;
        self.missed >= LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_nanos(400);

    fn waiting(responses: u64) -> Option<HeartbeatSample> {
        Some(HeartbeatSample { current: None, responses, stopped: false })
    }

    /// How many checks, 100 ns apart, until the worker is given up.
    fn looks_until_given_up(beats: impl Iterator<Item = Option<HeartbeatSample>>) -> Option<usize> {
        let mut heartbeat = Heartbeat::begin(0);
        beats.enumerate().find_map(|(i, beat)| {
            heartbeat.check(|| beat, 100 * (i as u64 + 1), LIMIT).then_some(i + 1)
        })
    }

    #[test]
    fn a_worker_that_does_not_take_up_a_job_is_given_up() {
        assert_eq!(looks_until_given_up((0..100).map(|_| waiting(7))), Some(5));
        let in_hand =
            HeartbeatSample { current: Some((JobId(3), None)), responses: 0, stopped: false };
        assert_eq!(looks_until_given_up((0..100).map(|_| Some(in_hand))), Some(5));
        let stopped =
            HeartbeatSample { current: Some((JobId(3), Some(1))), stopped: true, ..in_hand };
        assert_eq!(looks_until_given_up((0..100).map(|_| Some(stopped))), Some(5));
        // A stopped worker without a job is given up too.
        let idle = HeartbeatSample { current: None, ..stopped };
        assert_eq!(looks_until_given_up((0..100).map(|_| Some(idle))), Some(5));
    }

    #[test]
    fn one_that_answers_computes_or_has_nothing_to_do_is_not() {
        assert_eq!(looks_until_given_up((0..100).map(waiting)), None);
        let computing = Some(HeartbeatSample {
            current: Some((JobId(3), Some(1))),
            responses: 0,
            stopped: false,
        });
        assert_eq!(looks_until_given_up((0..100).map(|_| computing)), None);
        assert_eq!(looks_until_given_up((0..100).map(|_| None)), None);
        let now_and_then = (0..100).map(|i| if i % 4 == 0 { None } else { waiting(7) });
        assert_eq!(looks_until_given_up(now_and_then), None);
    }

    #[test]
    fn one_that_has_just_begun_is_not_looked_at() {
        let mut heartbeat = Heartbeat::begin(1000);
        assert!(!heartbeat.check(|| panic!("a look into /proc"), 1099, LIMIT));
    }

    #[test]
    fn looks_that_follow_each_other_at_once_count_as_one() {
        let mut heartbeat = Heartbeat::default();
        assert!((0..100).all(|_| !heartbeat.check(|| waiting(7), 1000, LIMIT)));
        // This process was stopped for a long time: that is one check.
        assert!(!heartbeat.check(|| waiting(7), 1_000_000, LIMIT));
    }
}
