//! Where a worker process is in its life: the states and transitions of README.md, and
//! nothing else. No process is touched in here, so every order of events can be tried.

use std::time::Duration;

use brigade_ipc::Refusal;
use brigade_proto::Nanos;

use super::dispatcher::KillReason;

/// Where a worker process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It was started, and has to shake hands until then.
    Starting {
        /// On the pool's clock.
        until: Nanos,
    },
    /// It takes jobs.
    Working,
    /// It was told to go, or has closed its channel; it has to be gone by then.
    Leaving {
        /// On the pool's clock.
        until: Nanos,
    },
    /// SIGKILL is on its way to its process group.
    Killed,
    /// It is reaped. What it said last may still be on its way, but not longer than
    /// until then.
    Dead {
        /// On the pool's clock.
        until: Nanos,
    },
}

/// Why a worker was killed. The first cause counts: what is killed may do anything.
#[derive(Debug)]
pub(super) enum Cause {
    /// It had not shaken hands in time.
    Late,
    /// It shook hands wrongly.
    Refused(Refusal),
    /// It broke the protocol: how, in words that fit after "worker". That may become known a
    /// little later.
    Violation(Option<String>),
    /// It did not take up the jobs that it was given, for so long.
    Hung(Duration),
    /// It had to go, for no fault of its own.
    Deliberate(KillReason),
    /// It was told to go, or had closed its channel, and stayed.
    Lingered,
}

/// A worker's life, from its start until it is reaped and has been heard out.
#[derive(Debug)]
pub(super) struct Lifecycle {
    phase: Phase,
    cause: Option<Cause>,
    /// Everything that it said has been heard.
    heard: bool,
}

impl Lifecycle {
    /// It was started, and has until then to shake hands.
    pub(super) fn begin(until: Nanos) -> Self {
        Self { phase: Phase::Starting { until }, cause: None, heard: false }
    }

    pub(super) fn cause(&self) -> Option<&Cause> {
        self.cause.as_ref()
    }

    /// Whether it takes jobs, as far as is known.
    pub(super) fn is_working(&self) -> bool {
        self.phase == Phase::Working
    }

    /// Whether it is still to be admitted.
    pub(super) fn is_starting(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. })
    }

    /// Whether it was killed, or has ended.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Killed | Phase::Dead { .. })
    }

    /// It has shaken hands. Too late if it is to go already.
    pub(super) fn admit(&mut self) {
        if matches!(self.phase, Phase::Starting { .. }) {
            self.phase = Phase::Working;
        }
    }

    /// It has to be gone by then.
    pub(super) fn leave_by(&mut self, until: Nanos) {
        match &mut self.phase {
            Phase::Starting { .. } | Phase::Working => self.phase = Phase::Leaving { until },
            Phase::Leaving { until: known } => *known = until.min(*known),
            Phase::Killed | Phase::Dead { .. } => {}
        }
    }

    /// So much time counts for nobody: this whole process was stopped.
    pub(super) fn put_off(&mut self, by: Nanos) {
        match &mut self.phase {
            Phase::Starting { until } | Phase::Leaving { until } => {
                *until = until.saturating_add(by);
            }
            // Who is dead is not harmed by being heard out no longer.
            Phase::Working | Phase::Killed | Phase::Dead { .. } => {}
        }
    }

    /// It is to be killed, which the caller does.
    pub(super) fn kill(&mut self, cause: Cause) {
        if self.is_ending() {
            self.learn(cause);
            return;
        }
        self.cause.get_or_insert(cause);
        self.phase = Phase::Killed;
    }

    /// What it did wrong is often found when it is ending already, or before it is
    /// understood: that counts if nothing else is known.
    pub(super) fn learn(&mut self, finding: Cause) {
        match (&mut self.cause, finding) {
            (cause @ None, finding @ (Cause::Refused(_) | Cause::Violation(_))) => {
                *cause = Some(finding);
            }
            (Some(Cause::Violation(what @ None)), Cause::Violation(known)) => *what = known,
            _ => {}
        }
    }

    /// Its channel is closed: nothing more will be heard of it.
    pub(super) fn channel_drained(&mut self) {
        self.heard = true;
    }

    /// It is reaped; it is waited for its last words until then.
    pub(super) fn reaped(&mut self, until: Nanos) {
        if !matches!(self.phase, Phase::Dead { .. }) {
            self.phase = Phase::Dead { until };
        }
    }

    /// What the clock says: true if it is to be killed now, which the caller does.
    pub(super) fn look(&mut self, now: Nanos) -> bool {
        let cause = match self.phase {
            Phase::Starting { until } if until <= now => Cause::Late,
            Phase::Leaving { until } if until <= now => Cause::Lingered,
            _ => return false,
        };
        self.kill(cause);
        true
    }

    /// When [`Lifecycle::look`] or [`Lifecycle::is_over`] has to be asked again.
    pub(super) fn due(&self) -> Option<Nanos> {
        match self.phase {
            Phase::Starting { until } | Phase::Leaving { until } | Phase::Dead { until } => {
                Some(until)
            }
            Phase::Working | Phase::Killed => None,
        }
    }

    /// Whether it is dead and heard out, or nobody waits for that any more.
    pub(super) fn is_over(&self, now: Nanos) -> bool {
        matches!(self.phase, Phase::Dead { until } if self.heard || until <= now)
    }

    /// Whether its channel was closed in time.
    pub(super) fn was_drained(&self) -> bool {
        self.heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Event {
        LetIn,
        LeaveBy(Nanos),
        Kill,
        Offend(bool),
        Learn,
        HeardOut,
        Exit(Nanos),
        Look(Nanos),
        PutOff(Nanos),
    }

    fn event() -> impl Strategy<Value = Event> {
        let soon = 0..200_u64;
        prop_oneof![
            Just(Event::LetIn),
            soon.clone().prop_map(Event::LeaveBy),
            Just(Event::Kill),
            any::<bool>().prop_map(Event::Offend),
            Just(Event::Learn),
            Just(Event::HeardOut),
            soon.clone().prop_map(Event::Exit),
            soon.clone().prop_map(Event::Look),
            soon.prop_map(Event::PutOff),
        ]
    }

    fn apply(life: &mut Lifecycle, event: Event, now: &mut Nanos) -> bool {
        match event {
            Event::LetIn => life.admit(),
            Event::LeaveBy(later) => life.leave_by(*now + later),
            Event::Kill => life.kill(Cause::Deliberate(KillReason::Leaving)),
            Event::Offend(known) => {
                life.kill(Cause::Violation(known.then(|| "it lied".to_owned())))
            }
            Event::Learn => life.learn(Cause::Violation(Some("it lied".to_owned()))),
            Event::HeardOut => life.channel_drained(),
            Event::Exit(later) => life.reaped(*now + later),
            Event::PutOff(by) => life.put_off(by),
            Event::Look(later) => {
                *now += later;
                return life.look(*now);
            }
        }
        false
    }

    fn rank(phase: Phase) -> u32 {
        match phase {
            Phase::Starting { .. } => 0,
            Phase::Working => 1,
            Phase::Leaving { .. } => 2,
            Phase::Killed => 3,
            Phase::Dead { .. } => 4,
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
                prop_assert!(life.phase != Phase::Killed || life.cause.is_some());
            }
            prop_assert!(kills <= 1, "the clock kills once");
        }

        #[test]
        fn whoever_does_not_work_comes_to_an_end(events in prop::collection::vec(event(), 0..40)) {
            let (mut life, mut now) = (Lifecycle::begin(100), 0);
            for event in events {
                apply(&mut life, event, &mut now);
            }
            // From here on only the clock speaks, and what is killed exits.
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
