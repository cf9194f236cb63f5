//! The life of a worker process: the states and transitions of README.md, and nothing else. This
//! module touches no process, so tests can try every order of events.

use std::time::Duration;

use brigade_ipc::Refusal;
use brigade_proto::Nanos;

use super::worker_exit::KillReason;

/// The state of a worker process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LifecyclePhase {
    /// It was started, and must complete the handshake by `until`.
    Starting {
        /// On the pool's clock.
        until: Nanos,
    },
    /// It takes jobs.
    Working,
    /// It was told to leave, or has closed its control channel. It must have exited by `until`.
    Leaving {
        /// On the pool's clock.
        until: Nanos,
    },
    /// SIGKILL is on its way to its process group.
    Killed,
    /// It is reaped. Its last messages may still be in the control channel; the supervisor waits
    /// for them until `until`.
    Dead {
        /// On the pool's clock.
        until: Nanos,
    },
}

/// Why a worker was killed. The first cause counts, because a worker that is being killed may do
/// anything.
#[derive(Debug)]
pub(super) enum Cause {
    /// It had not completed the handshake in time.
    Late,
    /// The supervisor refused its handshake.
    Refused(Refusal),
    /// It broke the protocol: how, in words that fit after "worker". `None` until that is known,
    /// which may be a little later.
    Violation(Option<String>),
    /// It was stopped by a signal, or did not take up the jobs that it was given, for this long.
    Hung(Duration),
    /// It had to leave, for no fault of its own.
    Deliberate(KillReason),
    /// It was told to leave, or had closed its control channel, and did not exit in time.
    Lingered,
}

/// A worker's life, from its start until it is reaped and its control channel is drained.
#[derive(Debug)]
pub(super) struct Lifecycle {
    phase: LifecyclePhase,
    cause: Option<Cause>,
    /// The control channel is drained.
    is_drained: bool,
}

impl Lifecycle {
    /// The worker was started, and must complete the handshake by `until`.
    pub(super) fn begin(until: Nanos) -> Self {
        Self { phase: LifecyclePhase::Starting { until }, cause: None, is_drained: false }
    }

    pub(super) fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// Whether the worker takes jobs, as far as the supervisor knows.
    pub(super) fn is_working(&self) -> bool {
        self.phase == LifecyclePhase::Working
    }

    /// Whether the worker is not admitted yet.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.phase, LifecyclePhase::Starting { .. })
    }

    /// Whether the worker was killed, or has ended.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.phase, LifecyclePhase::Killed | LifecyclePhase::Dead { .. })
    }

    /// The handshake is complete. This has no effect on a worker that must leave already.
    pub(super) fn admit(&mut self) {
        if matches!(self.phase, LifecyclePhase::Starting { .. }) {
            self.phase = LifecyclePhase::Working;
        }
    }

    /// The worker must have exited by `until`.
    pub(super) fn leave_by(&mut self, until: Nanos) {
        match &mut self.phase {
            LifecyclePhase::Starting { .. } | LifecyclePhase::Working => {
                self.phase = LifecyclePhase::Leaving { until }
            }
            LifecyclePhase::Leaving { until: known } => *known = until.min(*known),
            LifecyclePhase::Killed | LifecyclePhase::Dead { .. } => {}
        }
    }

    /// Moves the deadline by time in which this whole process was stopped: that counts against no
    /// worker.
    pub(super) fn put_off(&mut self, by: Nanos) {
        match &mut self.phase {
            LifecyclePhase::Starting { until } | LifecyclePhase::Leaving { until } => {
                *until = until.saturating_add(by);
            }
            // Draining a dead worker's channel has its own deadline; a stop does not extend it.
            LifecyclePhase::Working | LifecyclePhase::Killed | LifecyclePhase::Dead { .. } => {}
        }
    }

    /// The worker must be killed. The caller sends the signal.
    pub(super) fn kill(&mut self, cause: Cause) {
        if self.is_ending() {
            self.learn(cause);
            return;
        }
        self.cause.get_or_insert(cause);
        self.phase = LifecyclePhase::Killed;
    }

    /// Records what the worker did wrong. The supervisor often learns that when the worker is
    /// already ending, or learns the details only later. The finding counts if no other cause is
    /// known.
    pub(super) fn learn(&mut self, finding: Cause) {
        match (&mut self.cause, finding) {
            (cause @ None, finding @ (Cause::Refused(_) | Cause::Violation(_))) => {
                *cause = Some(finding);
            }
            (Some(Cause::Violation(what @ None)), Cause::Violation(known)) => *what = known,
            _ => {}
        }
    }

    /// The control channel is closed: no more messages come from the worker.
    pub(super) fn channel_drained(&mut self) {
        self.is_drained = true;
    }

    /// The process is reaped. The supervisor waits until `until` for its last messages.
    pub(super) fn reaped(&mut self, until: Nanos) {
        if !matches!(self.phase, LifecyclePhase::Dead { .. }) {
            self.phase = LifecyclePhase::Dead { until };
        }
    }

    /// Checks the deadline. Returns true if the worker must be killed now; the caller sends the
    /// signal.
    pub(super) fn look(&mut self, now: Nanos) -> bool {
        let cause = match self.phase {
            LifecyclePhase::Starting { until } if until <= now => Cause::Late,
            LifecyclePhase::Leaving { until } if until <= now => Cause::Lingered,
            _ => return false,
        };
        self.kill(cause);
        true
    }

    /// When to call [`Lifecycle::look`] or [`Lifecycle::is_over`] again.
    pub(super) fn due(&self) -> Option<Nanos> {
        match self.phase {
            LifecyclePhase::Starting { until }
            | LifecyclePhase::Leaving { until }
            | LifecyclePhase::Dead { until } => Some(until),
            LifecyclePhase::Working | LifecyclePhase::Killed => None,
        }
    }

    /// Whether the worker is dead, and its control channel is drained or the drain deadline has
    /// passed.
    pub(super) fn is_over(&self, now: Nanos) -> bool {
        matches!(self.phase, LifecyclePhase::Dead { until } if self.is_drained || until <= now)
    }

    /// Whether the control channel was drained in time.
    pub(super) fn was_drained(&self) -> bool {
        self.is_drained
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum LifecycleEvent {
        Admit,
        LeaveBy(Nanos),
        Kill,
        Violate(bool),
        Learn,
        ChannelDrained,
        Exit(Nanos),
        Look(Nanos),
        PutOff(Nanos),
    }

    fn event() -> impl Strategy<Value = LifecycleEvent> {
        let soon = 0..200_u64;
        prop_oneof![
            Just(LifecycleEvent::Admit),
            soon.clone().prop_map(LifecycleEvent::LeaveBy),
            Just(LifecycleEvent::Kill),
            any::<bool>().prop_map(LifecycleEvent::Violate),
            Just(LifecycleEvent::Learn),
            Just(LifecycleEvent::ChannelDrained),
            soon.clone().prop_map(LifecycleEvent::Exit),
            soon.clone().prop_map(LifecycleEvent::Look),
            soon.prop_map(LifecycleEvent::PutOff),
        ]
    }

    fn apply(life: &mut Lifecycle, event: LifecycleEvent, now: &mut Nanos) -> bool {
        match event {
            LifecycleEvent::Admit => life.admit(),
            LifecycleEvent::LeaveBy(later) => life.leave_by(*now + later),
            LifecycleEvent::Kill => life.kill(Cause::Deliberate(KillReason::Leaving)),
            LifecycleEvent::Violate(known) => {
                life.kill(Cause::Violation(known.then(|| "it lied".to_owned())))
            }
            LifecycleEvent::Learn => life.learn(Cause::Violation(Some("it lied".to_owned()))),
            LifecycleEvent::ChannelDrained => life.channel_drained(),
            LifecycleEvent::Exit(later) => life.reaped(*now + later),
            LifecycleEvent::PutOff(by) => life.put_off(by),
            LifecycleEvent::Look(later) => {
                *now += later;
                return life.look(*now);
            }
        }
        false
    }

    fn rank(phase: LifecyclePhase) -> u32 {
        match phase {
            LifecyclePhase::Starting { .. } => 0,
            LifecyclePhase::Working => 1,
            LifecyclePhase::Leaving { .. } => 2,
            LifecyclePhase::Killed => 3,
            LifecyclePhase::Dead { .. } => 4,
        }
    }

    proptest! {
        #[test]
        fn a_life_goes_one_way_and_the_first_cause_counts(
            events in prop::collection::vec(event(), 0..40),
        ) {
            let (mut life, mut now) = (Lifecycle::begin(100), 0);
            let mut kills = 0;
            for event in events {
                let (before, was_over) = (life.phase, life.is_over(now));
                let cause = life.cause.as_ref().map(std::mem::discriminant);
                kills += u32::from(apply(&mut life, event, &mut now));
                prop_assert!(rank(life.phase) >= rank(before));
                prop_assert!(!was_over || life.is_over(now), "the dead stay dead");
                prop_assert!(
                    cause.is_none() || cause == life.cause.as_ref().map(std::mem::discriminant)
                );
                prop_assert!(life.phase != LifecyclePhase::Killed || life.cause.is_some());
            }
            prop_assert!(kills <= 1, "the clock kills once");
        }

        #[test]
        fn whoever_does_not_work_comes_to_an_end(events in prop::collection::vec(event(), 0..40)) {
            let (mut life, mut now) = (Lifecycle::begin(100), 0);
            for event in events {
                apply(&mut life, event, &mut now);
            }
            // From here on only time passes, and a worker that was killed exits.
            for _ in 0..4 {
                if life.is_working() || life.is_over(now) {
                    return Ok(());
                }
                match life.due() {
                    Some(due) => {
                        now = now.max(due);
                        life.look(now);
                    }
                    None => life.reaped(now),
                }
            }
            prop_assert!(life.is_over(now), "{life:?} goes on for ever");
        }
    }

    #[test]
    fn what_a_worker_did_wrong_may_be_learned_after_its_end_began() {
        let mut life = Lifecycle::begin(100);
        life.admit();
        life.kill(Cause::Violation(None));
        life.kill(Cause::Violation(Some("it lied".to_owned())));
        life.kill(Cause::Violation(Some("it lied again".to_owned())));
        assert!(matches!(life.cause(), Some(Cause::Violation(Some(what))) if what == "it lied"));
    }
}
