//! How a slot gets a worker, and what happens after a worker's death.

use std::sync::Arc;
use std::time::Duration;

use brigade_proto::{JobId, Nanos};
use brigade_sys::{clock, random, usage};

use super::run_loop::{Slot, Supervisor};
use super::shortage;
use super::spawner::{self, SpawnResult};
use crate::PoolError;
use crate::processes::dispatcher::{self, RestartDecision};
use crate::processes::lifecycle::Cause;
use crate::processes::spawn::{StartFailure, StartedProcess};
use crate::processes::worker_exit::{KillReason, WorkerExit};
use crate::processes::worker_process::{ProcessExit, WorkerProcess};

impl Supervisor {
    /// Whether a worker is one of those that the pool started with.
    fn is_first(&self, generation: u64) -> bool {
        generation <= self.slots.len() as u64
    }

    /// Whether a first worker in another slot is still starting.
    fn is_another_first_one_starting(&self, slot: usize) -> bool {
        let mut others = self.slots.iter().enumerate().filter(|(other, _)| *other != slot);
        others.any(|(_, occupant)| match occupant {
            Slot::Forking(generation, _) => self.is_first(*generation),
            Slot::Occupied(worker) => self.is_first(worker.generation) && worker.life.is_starting(),
            Slot::Backoff(_) | Slot::Vacant => false,
        })
    }

    pub(super) fn spawn_worker(&mut self, slot: usize) {
        self.generations += 1;
        let generation = self.generations;
        match self.spawner.spawn_worker(
            &self.context,
            slot,
            generation,
            self.unable[slot].fork_server,
        ) {
            Ok(SpawnResult::Started(worker)) => self.occupy(slot, worker),
            Ok(SpawnResult::Requested(token)) => {
                self.slots[slot] = Slot::Forking(generation, token)
            }
            Err(error) => self.go_without(slot, generation, error.into()),
        }
    }

    /// Handles the fork server's response. If the slot no longer waits for this worker, dropping
    /// `started` kills the process.
    pub(super) fn on_forked(
        &mut self,
        slot: usize,
        generation: u64,
        started: Result<Box<StartedProcess>, StartFailure>,
    ) {
        let asked = std::mem::replace(&mut self.slots[slot], Slot::Vacant);
        let token = match asked {
            Slot::Forking(asked, token) if asked == generation => token,
            other => {
                self.slots[slot] = other;
                return;
            }
        };
        match started {
            Ok(started) => {
                self.occupy(
                    slot,
                    spawner::started_worker(&self.context, generation, token, *started),
                );
                // The worker may have connected before this event arrived.
                self.match_pending();
            }
            Err(failure) => self.go_without(slot, generation, failure),
        }
    }

    fn occupy(&mut self, slot: usize, worker: Box<WorkerProcess>) {
        if !self.is_first(worker.generation) {
            self.control_block().record().restarts += 1;
        }
        tracing::debug!(worker = slot, pid = worker.pid, "worker started");
        self.slots[slot] = Slot::Occupied(worker);
    }

    /// Handles a worker start that failed.
    fn go_without(&mut self, slot: usize, generation: u64, failure: StartFailure) {
        let StartFailure { error, from_outside } = failure;
        self.slots[slot] = Slot::Vacant;
        if !self.has_served && !from_outside && self.ends_the_start(slot, generation, &error) {
            self.give_up(error);
            return;
        }
        let how = format!("could not be started: {error}");
        let is_short = shortage::is_short(&error);
        let exit = WorkerExit { how, generation, is_short, ..WorkerExit::default() };
        self.unable[slot].times += u32::from(!from_outside);
        self.replace(slot, exit, Some(error));
    }

    /// Whether a failed start ends a pool in which no worker has been ready yet. A process that
    /// died is started once more, because the cause may have been temporary. A program that cannot
    /// be started, is late or is refused would fail again.
    fn ends_the_start(&self, slot: usize, generation: u64, error: &PoolError) -> bool {
        let may_pass =
            matches!(error, PoolError::DiedEarly { .. } | PoolError::ForkServerDied { .. });
        self.unable[slot].times > 0 || (self.is_first(generation) && !may_pass)
    }

    /// Does nothing until the slot's worker is reaped and its control channel is drained (or the
    /// drain deadline has passed). Then finds out why the worker ended, and has it replaced.
    pub(super) fn settle(&mut self, slot: usize) {
        let may_start = self.has_served || self.is_another_first_one_starting(slot);
        let Slot::Occupied(worker) = &mut self.slots[slot] else {
            return;
        };
        let now = clock::now();
        if worker.has_ended(now)
            && let Some(violation) = self.context.dispatcher.violation(slot, worker.generation)
        {
            // The event that reports this violation may still be in the inbox. It would find the
            // slot empty.
            worker.life.learn(Cause::Violation(Some(violation)));
        }
        let Some(ended) = worker.ended(now) else {
            return;
        };
        let ProcessExit { mut how, reaped, early } = ended;
        let was_oom_killed = worker.was_killed_by_nobody()
            && self.oom_kills.as_mut().is_some_and(|kills| kills.account_for(now));
        if was_oom_killed {
            how = OOM_KILLED.to_owned();
        }
        let is_short = was_oom_killed || worker.was_refused_for_shortage();
        let left = self.context.dispatcher.is_leaving(slot) && reaped.status.success();
        let why = worker.why().cloned().or_else(|| left.then_some(KillReason::Leaving));
        let why = why.or_else(|| worker.limit(&self.context.config));
        // A worker that never had a control reader was killed for that: its job is not to blame.
        let current: Option<(JobId, Option<Nanos>)> =
            worker.current().filter(|_| worker.was_admitted());
        let is_stillborn = early && why.is_none();
        let start_error =
            is_stillborn.then(|| worker.start_error(&how, self.context.config.start_deadline));
        let was_struck_down = worker.was_struck_down();
        let may_be_doomed = !was_struck_down && !may_start;
        let is_unable = !worker.was_admitted() && why.is_none() && !was_struck_down;
        let last_words = worker.output.tail();
        let (pid, generation) = (worker.pid, worker.generation);
        let fork_server = worker.fork_server;
        self.slots[slot] = Slot::Vacant;
        if matches!(why, None | Some(KillReason::Limit(..))) {
            tracing::warn!(worker = slot, pid, "worker {how}");
        } else {
            tracing::debug!(worker = slot, pid, "worker {how}");
        }
        let start_error = match start_error {
            Some(error) if may_be_doomed && self.ends_the_start(slot, generation, &error) => {
                self.give_up(error);
                return;
            }
            start_error => start_error,
        };
        // Also count a worker that ended for lack of memory without a job. No job ended that gave
        // memory back, so the slot must not start a worker again at once.
        let unable = &mut self.unable[slot];
        unable.times += u32::from(is_unable || (is_short && current.is_none()));
        // No job is the cause. The fork server that the worker was forked from may be.
        let ended_by_itself = current.is_none() && why.is_none() && !was_struck_down;
        unable.fork_server = fork_server.filter(|_| ended_by_itself);
        let exit = WorkerExit {
            generation,
            is_short,
            newest: 0,
            how,
            why,
            current,
            last_words,
            cpu_ns: reaped.cpu_ns(),
            peak_rss_bytes: own_peak(reaped.usage.peak_rss_bytes),
        };
        self.replace(slot, exit, start_error);
    }

    /// Reports a worker's death to the dispatcher and carries out its decision. `start_error` says
    /// why the worker was never ready, if it never was.
    fn replace(&mut self, slot: usize, mut exit: WorkerExit, start_error: Option<PoolError>) {
        exit.newest = self.generations;
        match self.context.dispatcher.on_worker_exit(slot, &exit) {
            RestartDecision::Restart(pause) if !self.leaving => {
                // While other slots get work done, a slot in which no worker starts keeps trying,
                // with a back-off of its own.
                let pause = pause.max(dispatcher::pause(self.unable[slot].times));
                self.slots[slot] = Slot::Backoff(clock::after(jitter(pause)));
                // The loop handles the new deadline before its next sleep.
                self.control_block().event_fd.notify();
            }
            RestartDecision::Restart(_) | RestartDecision::Leave => {}
            RestartDecision::GiveUp { deaths } => {
                let death = exit.how;
                tracing::error!(deaths, "no progress: the pool gives up; the last worker {death}");
                let no_progress = PoolError::NoProgress { deaths, death };
                // The thread that waits for the pool's start gets the error of the start.
                let start_error = start_error.filter(|_| self.starting.is_some());
                self.give_up(start_error.unwrap_or(no_progress));
            }
        }
    }

    pub(super) fn give_up(&mut self, error: PoolError) {
        let error = Arc::new(error);
        // Record the reason first, so that a thread that learns that its job was given up finds it.
        // Keep only the first reason: the workers that are killed now end for a different one.
        self.control_block().record().gave_up.get_or_insert(Arc::clone(&error));
        self.starting = None;
        self.context.dispatcher.give_up(&error);
        self.kill_all();
    }
}

/// How a worker ended that the OOM killer chose.
const OOM_KILLED: &str = "killed by SIGKILL: by the kernel, as there was no memory left; fewer \
                          --workers or smaller jobs need less";

/// A random time between half of `pause` and all of it, so that workers that died together do not
/// start again together.
fn jitter(pause: Duration) -> Duration {
    let random_bits = random::nonce().unwrap_or(u128::MAX) as u32;
    pause.mul_f64(0.5 + 0.5 * f64::from(random_bits) / f64::from(u32::MAX))
}

/// A dead worker's peak resident set in bytes; 0 if it is unknown. For a dead child the kernel
/// reports this process's own peak, unless the child's was larger.
fn own_peak(told: u64) -> u64 {
    if told > usage::peak_rss_bytes() { told } else { 0 }
}
