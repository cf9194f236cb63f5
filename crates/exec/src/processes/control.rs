//! The two threads that serve one worker: one blocks in receiving its control channel, the
//! staging thread fetches inputs and blocks in sending. A worker that stalls or floods holds
//! up nobody but them, and its death frees both. A job whose inputs are in the arena
//! already goes through the worker's rings and touches neither.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use brigade_ipc::wire::{ControlMessage, Instants, Reply, Request};
use brigade_ipc::{Arena, Bounds, Carriage, HardenedReceiver, Outputs, RecvError, SendError};
use brigade_proto::JobError;
use brigade_sys::{clock, shortage};

use super::dispatcher::{ControlSender, Dispatcher, Done, JobStaging, StagingTask};
use super::supervisor::{Event, SupervisorHandle};
use super::{log_forward, panic_guard, validate};
use crate::Transport;
use crate::config::LEAST_MEMORY;
use crate::load::{self, Limit};

/// What the two threads of a worker need.
pub(super) struct ControlReader {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) supervisor: SupervisorHandle,
    pub(super) slot: usize,
    pub(super) generation: u64,
    pub(super) pid: u32,
    pub(super) transport: Transport,
    /// What binds the worker.
    pub(super) bounds: Bounds,
    /// Where its inputs lie.
    pub(super) inputs: Arc<Arena>,
}

/// The channels of a worker that was admitted.
pub(super) struct Served {
    pub(super) mail: Arc<ControlSender>,
    pub(super) replies: HardenedReceiver,
    pub(super) outputs: Arc<Outputs>,
}

impl ControlReader {
    /// Starts the thread that serves the worker to its end; its last act is to tell the supervisor.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start(self, served: Served) -> io::Result<JoinHandle<()>> {
        let name = format!("control-{}", self.slot);
        thread::Builder::new().name(name).spawn(move || self.serve(served))
    }

    fn serve(self, served: Served) {
        let (slot, generation) = (self.slot, self.generation);
        let (supervisor, dispatcher) = (self.supervisor.clone(), Arc::clone(&self.dispatcher));
        let work = || {
            supervisor.tell(Event::ControlClosed { slot, generation, violation: self.run(served) })
        };
        panic_guard::guard("control", work, |what| {
            // Its staging thread, too, is not needed any more.
            dispatcher.unready(slot, generation);
            supervisor.protocol_violation(slot, generation, Some(given_up(&what)));
            supervisor.tell(Event::ControlClosed { slot, generation, violation: None });
        });
    }

    fn carriage(&self) -> Carriage {
        match self.transport {
            Transport::Inline => Carriage::Inline,
            Transport::Shm | Transport::Arena => Carriage::Shared,
        }
    }

    fn has_rings(&self) -> bool {
        self.transport == Transport::Arena
    }

    /// Returns what the worker did wrong, if it did.
    fn run(self, mut served: Served) -> Option<String> {
        let reader = Arc::new(self);
        let stage = Arc::new(Stage::default());
        let stager = {
            let (reader, mail) = (Arc::clone(&reader), Arc::clone(&served.mail));
            let stage = Arc::clone(&stage);
            thread::Builder::new().name(format!("stager-{}", reader.slot)).spawn(move || {
                let on_panic = |what: String| {
                    reader.supervisor.protocol_violation(
                        reader.slot,
                        reader.generation,
                        Some(given_up(&what)),
                    );
                };
                panic_guard::guard("stager", || reader.run_staging(&mail, &stage), on_panic);
                stage.set(Step::Over);
            })
        };
        let violation = match stager {
            Ok(stager) => {
                let violation = reader.receive(&mut served);
                reader.dispatcher.unready(reader.slot, reader.generation);
                if violation.is_some() {
                    // The worker lives and may not read: only its death frees a
                    // staging thread that is blocked, so it is not waited for here.
                    reader.supervisor.protocol_violation(reader.slot, reader.generation, None);
                }
                // Sends fail from here on, so it ends; but what it reads may keep it for ever.
                if stage.wait_for_end() {
                    let _ = stager.join();
                }
                violation
            }
            Err(error) => {
                let remedy = shortage::remedy(&error);
                Some(format!("got no thread of its own: {error}{remedy}"))
            }
        };
        reader.dispatcher.unready(reader.slot, reader.generation);
        violation
    }

    fn receive(&self, served: &mut Served) -> Option<String> {
        let mut limiter = log_forward::LogRateLimiter::default();
        loop {
            let (reply, payloads) = match served.replies.recv_or_pass_over::<Reply>() {
                Ok(received) => received,
                Err(RecvError::Disconnected) => return None,
                Err(RecvError::Io(error)) => return Some(format!("cannot be heard: {error}")),
                Err(error) => return Some(format!("broke the protocol in a message: {error}")),
            };
            match reply {
                Reply::Log(record) => {
                    if limiter.allows(clock::now(), self.slot) {
                        log_forward::emit(&record, self.slot, self.pid);
                    }
                }
                Reply::Outgrown => {
                    tracing::debug!(worker = self.slot, pid = self.pid, "worker has outgrown");
                    self.dispatcher.outgrown(self.slot, self.generation);
                    self.supervisor
                        .tell(Event::Outgrown { slot: self.slot, generation: self.generation });
                }
                Reply::NeedRegion { .. } if !self.has_rings() => {
                    return Some(validate::breach("asked for memory that it has no use for"));
                }
                Reply::NeedRegion { bytes } => {
                    let region = served.outputs.grow(bytes);
                    if region.is_none() && limiter.allows(clock::now(), self.slot) {
                        tracing::warn!(
                            worker = self.slot,
                            bytes,
                            "the arena is full: outputs go by shm; --arena-limit allows more"
                        );
                    }
                    // If it fails, the worker is dead, and that is heard next.
                    served.mail.with(|mail| match &region {
                        Some(memory) => mail.share(ControlMessage::Outputs, memory),
                        None => mail.send(ControlMessage::Outputs, Vec::new(), Carriage::Shared),
                    });
                }
                Reply::Done { job, error, notes, in_hand, called, returned, published } => {
                    let result = match (error, payloads) {
                        (Some(error), _) => Err(error),
                        (None, Ok(payloads)) => Ok(payloads.into_iter().map(Into::into).collect()),
                        // It has done its part.
                        (None, Err(message)) => Err(JobError::Shortage { bytes: 0, message }),
                    };
                    let instants = Instants { in_hand, called, returned, published };
                    let done = Done { job, result, notes, instants };
                    if let Err(what) = self.dispatcher.complete(self.slot, self.generation, done) {
                        return Some(validate::breach(&what));
                    }
                }
            }
        }
    }

    fn run_staging(&self, mail: &ControlSender, stage: &Stage) {
        while let Some(task) = self.dispatcher.next_staging_task(self.slot, self.generation) {
            let delivery = match task {
                StagingTask::Job(delivery) => delivery,
                StagingTask::Region(region) if self.send_region(mail, region) => continue,
                StagingTask::Region(_) => return,
            };
            let job = delivery.job;
            match self.deliver(mail, delivery, stage) {
                Ok(()) => {}
                // Its jobs are retried when its death is known.
                Err(Undelivered::WorkerGone) => return,
                Err(Undelivered::Job(error)) => {
                    self.dispatcher.undeliverable(self.slot, self.generation, job, error);
                }
            }
        }
        if !self.has_rings() {
            // That tells the worker to leave.
            mail.close();
        }
    }

    /// Sends a region of the arena. False if the worker cannot be reached, and cannot go
    /// on without it.
    fn send_region(&self, mail: &ControlSender, region: u32) -> bool {
        let send = |memory: &OwnedFd| {
            mail.with(|mail| mail.share(ControlMessage::Inputs { region }, memory))
        };
        // If there is no such region any more, the jobs that it was for have ended.
        self.inputs.share(region, send).is_none_or(|sent| matches!(sent, Some(Ok(()))))
    }

    fn deliver(
        &self,
        mail: &ControlSender,
        task: JobStaging,
        stage: &Stage,
    ) -> Result<(), Undelivered> {
        let is_stopped = || !self.dispatcher.is_awaited(self.slot, self.generation, task.job);
        let frozen = |now| self.dispatcher.stalls.frozen(now);
        let digests = RefCell::new(Vec::new());
        let mut limit = Limit::begin(task.timeout, &is_stopped, &frozen, &self.dispatcher.readable);
        if task.digests {
            limit = limit.digesting(&digests);
        }
        if self.has_rings() {
            let mut placed = Vec::with_capacity(task.inputs.len());
            for source in &task.inputs {
                let read = || load::place(source, &self.inputs, &limit);
                match stage.while_reading(read).map_err(Undelivered::Job)? {
                    Some(bytes) => placed.push(bytes),
                    None => break,
                }
            }
            if placed.len() == task.inputs.len()
                && self.dispatcher.placed(
                    self.slot,
                    self.generation,
                    task.job,
                    placed,
                    digests.take(),
                )
            {
                return Ok(());
            }
            tracing::debug!(
                job = task.job.0,
                worker = self.slot,
                "job does not fit the arena, so it goes by shm; --arena-limit allows more"
            );
        }
        // They are read once more.
        digests.take();
        let carriage = self.carriage();
        let mut bytes_in = 0;
        let mut payloads = Vec::with_capacity(task.inputs.len());
        for source in &task.inputs {
            let read = || load::payload(source, carriage, &limit);
            let (payload, bytes) = stage.while_reading(read).map_err(Undelivered::Job)?;
            payloads.push(payload.place(carriage).map_err(|error| failed(&error))?);
            bytes_in += bytes;
        }
        if carriage == Carriage::Inline {
            self.check_memory(bytes_in).map_err(Undelivered::Job)?;
        }
        if !self.dispatcher.encoded(self.slot, self.generation, task.job, bytes_in, digests.take())
        {
            // The job has ended meanwhile, or its worker has.
            return Ok(());
        }
        let request = Request {
            job: task.job,
            kernel: task.kernel,
            params: task.params,
            timeout: task.timeout,
            shared: carriage == Carriage::Shared,
        };
        mail.with(|mail| mail.send(ControlMessage::Job(request), payloads, carriage))
            .unwrap_or(Err(SendError::Disconnected))
            .map_err(|error| failed(&error))?;
        self.dispatcher.posted(self.slot, self.generation);
        Ok(())
    }

    /// What comes inside messages is private memory of the worker, and has to fit before
    /// it knows of the job.
    fn check_memory(&self, bytes: u64) -> Result<(), JobError> {
        match self.bounds.memory {
            Some(limit) if bytes > limit - LEAST_MEMORY / 2 => Err(JobError::MemoryLimit { limit }),
            _ => Ok(()),
        }
    }
}

/// What a staging thread is doing, for the control reader that waits for its end.
#[derive(Default)]
struct Stage {
    step: Mutex<Step>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Step {
    /// Something that the end of its worker puts an end to.
    #[default]
    Working,
    /// Reading an input, which may take for ever: a file system that does not answer holds whoever
    /// reads there, and nothing can be done about it.
    Reading,
    Over,
}

impl Stage {
    fn lock(&self) -> MutexGuard<'_, Step> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, step: Step) {
        *self.lock() = step;
        self.changed.notify_all();
    }

    fn while_reading<T>(&self, read: impl FnOnce() -> T) -> T {
        self.set(Step::Reading);
        let read = read();
        self.set(Step::Working);
        read
    }

    /// Waits until the staging thread is over or reads; whether it is over. One that reads ends by itself
    /// when it has read: its worker is no more then, and the dispatcher has nothing for it.
    fn wait_for_end(&self) -> bool {
        let wait = self.changed.wait_while(self.lock(), |step| *step == Step::Working);
        *wait.unwrap_or_else(PoisonError::into_inner) == Step::Over
    }
}

/// What is told of a worker whose thread in this process has panicked.
fn given_up(what: &str) -> String {
    format!("was given up: the pool's {what}")
}

enum Undelivered {
    WorkerGone,
    Job(JobError),
}

fn failed(error: &SendError) -> Undelivered {
    match error {
        SendError::Disconnected => Undelivered::WorkerGone,
        SendError::Memory { bytes, .. } => Undelivered::Job(JobError::Shortage {
            bytes: *bytes as u64,
            message: error.to_string(),
        }),
        other => Undelivered::Job(JobError::Transport { message: other.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stager_that_reads_is_not_waited_for_and_one_that_sends_is() {
        let stage = Stage::default();
        stage.while_reading(|| assert!(!stage.wait_for_end(), "it may read for ever"));
        thread::scope(|scope| {
            let waits = scope.spawn(|| stage.wait_for_end());
            while !waits.is_finished() {
                // Working until here.
                stage.set(Step::Over);
            }
            assert!(waits.join().unwrap());
        });
    }
}
