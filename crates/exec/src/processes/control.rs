//! The two threads that serve one worker. The control reader blocks while it receives from the
//! worker's control channel. The staging thread reads inputs and blocks while it sends. A worker
//! that stalls or floods delays only these two threads, and its death unblocks both. A job whose
//! inputs are already in the arena goes through the worker's rings and needs neither thread.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use brigade_ipc::wire::{ControlMessage, Instants, MessageRequest, MessageResponse};
use brigade_ipc::{Arena, Bounds, Carriage, HardenedReceiver, Outputs, RecvError, SendError};
use brigade_proto::JobError;
use brigade_sys::{clock, shortage};

use super::dispatcher::{ControlSender, Dispatcher, JobStaging, StagingTask, WorkerResponse};
use super::supervisor_handle::{SupervisorEvent, SupervisorHandle};
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
    /// The worker's resource limits.
    pub(super) bounds: Bounds,
    /// Where the worker's inputs are.
    pub(super) inputs: Arc<Arena>,
}

/// The channels of an admitted worker.
pub(super) struct Served {
    pub(super) control: Arc<ControlSender>,
    pub(super) responses: HardenedReceiver,
    pub(super) outputs: Arc<Outputs>,
}

impl ControlReader {
    /// Starts the control reader, which serves the worker to its end. Last, it tells the supervisor
    /// that the control channel is closed.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(self, served: Served) -> io::Result<JoinHandle<()>> {
        let name = format!("control-{}", self.slot);
        thread::Builder::new().name(name).spawn(move || self.serve(served))
    }

    fn serve(self, served: Served) {
        let (slot, generation) = (self.slot, self.generation);
        let (supervisor, dispatcher) = (self.supervisor.clone(), Arc::clone(&self.dispatcher));
        let work = || {
            supervisor.tell(SupervisorEvent::ControlClosed {
                slot,
                generation,
                violation: self.run(served),
            })
        };
        panic_guard::guard("control", work, |what| {
            // The staging thread is not needed any more either.
            dispatcher.unready(slot, generation);
            supervisor.protocol_violation(slot, generation, Some(given_up(&what)));
            supervisor.tell(SupervisorEvent::ControlClosed { slot, generation, violation: None });
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

    /// Returns how the worker violated the protocol, if it did.
    fn run(self, mut served: Served) -> Option<String> {
        let reader = Arc::new(self);
        let monitor = Arc::new(StagingMonitor::default());
        let stager = {
            let (reader, control) = (Arc::clone(&reader), Arc::clone(&served.control));
            let monitor = Arc::clone(&monitor);
            thread::Builder::new().name(format!("stager-{}", reader.slot)).spawn(move || {
                let on_panic = |what: String| {
                    reader.supervisor.protocol_violation(
                        reader.slot,
                        reader.generation,
                        Some(given_up(&what)),
                    );
                };
                panic_guard::guard("stager", || reader.run_staging(&control, &monitor), on_panic);
                monitor.set(StagingState::Over);
            })
        };
        let violation = match stager {
            Ok(stager) => {
                let violation = reader.receive(&mut served);
                reader.dispatcher.unready(reader.slot, reader.generation);
                if violation.is_some() {
                    // The worker lives and perhaps does not read. Only its death unblocks a staging
                    // thread that is sending, so have the supervisor kill it before the wait below.
                    reader.supervisor.protocol_violation(reader.slot, reader.generation, None);
                }
                // From here on sends fail, so the staging thread ends. But reading an input may
                // block it for ever.
                if monitor.wait_for_end() {
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
            let (message, payloads) = match served.responses.recv_or_pass_over::<MessageResponse>()
            {
                Ok(received) => received,
                Err(RecvError::Disconnected) => return None,
                Err(RecvError::Io(error)) => return Some(format!("cannot be heard: {error}")),
                Err(error) => return Some(format!("broke the protocol in a message: {error}")),
            };
            match message {
                MessageResponse::Log(record) => {
                    if limiter.allows(clock::now(), self.slot) {
                        log_forward::emit(&record, self.slot, self.pid);
                    }
                }
                MessageResponse::Outgrown => {
                    tracing::debug!(worker = self.slot, pid = self.pid, "worker has outgrown");
                    self.dispatcher.outgrown(self.slot, self.generation);
                    self.supervisor.tell(SupervisorEvent::Outgrown {
                        slot: self.slot,
                        generation: self.generation,
                    });
                }
                MessageResponse::NeedRegion { .. } if !self.has_rings() => {
                    return Some(validate::breach("asked for memory that it has no use for"));
                }
                MessageResponse::NeedRegion { bytes } => {
                    let region = served.outputs.grow(bytes);
                    if region.is_none() && limiter.allows(clock::now(), self.slot) {
                        tracing::warn!(
                            worker = self.slot,
                            bytes,
                            "the arena is full: outputs go by shm; --arena-limit allows more"
                        );
                    }
                    // If the send fails, the worker is dead, and the next receive reports that.
                    served.control.with(|control| match &region {
                        Some(memory) => control.share(ControlMessage::Outputs, memory),
                        None => control.send(ControlMessage::Outputs, Vec::new(), Carriage::Shared),
                    });
                }
                MessageResponse::Done {
                    job,
                    error,
                    notes,
                    in_hand,
                    called,
                    returned,
                    published,
                } => {
                    let result = match (error, payloads) {
                        (Some(error), _) => Err(error),
                        (None, Ok(payloads)) => Ok(payloads.into_iter().map(Into::into).collect()),
                        // The worker did its part: the coordinator has no memory for the payloads.
                        (None, Err(message)) => Err(JobError::Shortage { bytes: 0, message }),
                    };
                    let instants = Instants { in_hand, called, returned, published };
                    let response = WorkerResponse { job, result, notes, instants };
                    if let Err(what) =
                        self.dispatcher.complete(self.slot, self.generation, response)
                    {
                        return Some(validate::breach(&what));
                    }
                }
            }
        }
    }

    fn run_staging(&self, control: &ControlSender, monitor: &StagingMonitor) {
        while let Some(task) = self.dispatcher.next_staging_task(self.slot, self.generation) {
            let staging = match task {
                StagingTask::Job(staging) => staging,
                StagingTask::Region(region) if self.send_region(control, region) => continue,
                StagingTask::Region(_) => return,
            };
            let job = staging.job;
            match self.deliver(control, staging, monitor) {
                Ok(()) => {}
                // The worker's jobs are retried once its death is known.
                Err(Undelivered::WorkerGone) => return,
                Err(Undelivered::Job(error)) => {
                    self.dispatcher.undeliverable(self.slot, self.generation, job, error);
                }
            }
        }
        if !self.has_rings() {
            // This tells the worker to leave.
            control.close();
        }
    }

    /// Sends a region of the arena. Returns false if the worker cannot be reached: it cannot go on
    /// without the region.
    fn send_region(&self, control: &ControlSender, region: u32) -> bool {
        let send = |memory: &OwnedFd| {
            control.with(|control| control.share(ControlMessage::Inputs { region }, memory))
        };
        // If the region no longer exists, the jobs that needed it have ended.
        self.inputs.share(region, send).is_none_or(|sent| matches!(sent, Some(Ok(()))))
    }

    fn deliver(
        &self,
        control: &ControlSender,
        task: JobStaging,
        monitor: &StagingMonitor,
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
                match monitor.while_reading(read).map_err(Undelivered::Job)? {
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
        // The files are read again below, and digested again.
        digests.take();
        let carriage = self.carriage();
        let mut bytes_in = 0;
        let mut payloads = Vec::with_capacity(task.inputs.len());
        for source in &task.inputs {
            let read = || load::payload(source, carriage, &limit);
            let (payload, bytes) = monitor.while_reading(read).map_err(Undelivered::Job)?;
            payloads.push(payload.place(carriage).map_err(|error| failed(&error))?);
            bytes_in += bytes;
        }
        if carriage == Carriage::Inline {
            self.check_memory(bytes_in).map_err(Undelivered::Job)?;
        }
        if !self.dispatcher.encoded(self.slot, self.generation, task.job, bytes_in, digests.take())
        {
            // The job or its worker has ended meanwhile.
            return Ok(());
        }
        let request = MessageRequest {
            job: task.job,
            kernel: task.kernel,
            params: task.params,
            timeout: task.timeout,
            shared: carriage == Carriage::Shared,
        };
        control
            .with(|control| control.send(ControlMessage::Job(request), payloads, carriage))
            .unwrap_or(Err(SendError::Disconnected))
            .map_err(|error| failed(&error))?;
        self.dispatcher.posted(self.slot, self.generation);
        Ok(())
    }

    /// Payloads inside messages become private memory of the worker, so they must fit its memory
    /// limit before it learns of the job.
    fn check_memory(&self, bytes: u64) -> Result<(), JobError> {
        match self.bounds.memory {
            Some(limit) if bytes > limit - LEAST_MEMORY / 2 => Err(JobError::MemoryLimit { limit }),
            _ => Ok(()),
        }
    }
}

/// What a staging thread is doing, for the control reader that waits for its end.
#[derive(Default)]
struct StagingMonitor {
    state: Mutex<StagingState>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum StagingState {
    /// A step that the death of the worker ends.
    #[default]
    Working,
    /// Reading an input, which may take for ever: a file system that does not answer blocks the
    /// reading thread, and this process cannot end that.
    Reading,
    Over,
}

impl StagingMonitor {
    fn lock(&self) -> MutexGuard<'_, StagingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: StagingState) {
        *self.lock() = state;
        self.changed.notify_all();
    }

    fn while_reading<T>(&self, read: impl FnOnce() -> T) -> T {
        self.set(StagingState::Reading);
        let read = read();
        self.set(StagingState::Working);
        read
    }

    /// Waits until the staging thread ends or reads an input; returns whether it has ended. A
    /// thread that is reading ends by itself after the read, because its worker is gone by then and
    /// the dispatcher has no task for it.
    fn wait_for_end(&self) -> bool {
        let wait = self.changed.wait_while(self.lock(), |state| *state == StagingState::Working);
        *wait.unwrap_or_else(PoisonError::into_inner) == StagingState::Over
    }
}

/// The reason reported for a worker whose thread in this process has panicked.
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
        let monitor = StagingMonitor::default();
        monitor.while_reading(|| assert!(!monitor.wait_for_end(), "it may read for ever"));
        thread::scope(|scope| {
            let waits = scope.spawn(|| monitor.wait_for_end());
            while !waits.is_finished() {
                // The state is `Working` until here.
                monitor.set(StagingState::Over);
            }
            assert!(waits.join().unwrap());
        });
    }
}
