//! The two threads that serve one worker: one blocks in receiving its mail, the
//! runner fetches inputs and blocks in sending. A worker that stalls or floods holds
//! up nobody but them, and its death frees both. A job whose inputs are in the arena
//! already goes through the worker's rings and touches neither.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use brigade_ipc::wire::{Instants, Mail, Reply, Request};
use brigade_ipc::{Arena, Bounds, Carriage, Intake, Outputs, RecvError, SendError};
use brigade_proto::JobError;
use brigade_sys::{clock, shortage};

use super::crew::{Crew, Delivery, Done, Errand, Mailbox};
use super::keeper::{Event, Keeper};
use super::{foreign, forward, net};
use crate::Transport;
use crate::config::LEAST_MEMORY;
use crate::load::{self, Limit};

/// Everything that the threads of a link need.
pub(super) struct Link {
    pub(super) crew: Arc<Crew>,
    pub(super) keeper: Keeper,
    pub(super) lane: usize,
    pub(super) tenure: u64,
    pub(super) pid: u32,
    pub(super) transport: Transport,
    /// What binds the worker.
    pub(super) bounds: Bounds,
    /// Where its inputs lie.
    pub(super) inputs: Arc<Arena>,
}

/// The channels of a worker that was let in.
pub(super) struct Served {
    pub(super) mail: Arc<Mailbox>,
    pub(super) replies: Intake,
    pub(super) outputs: Arc<Outputs>,
}

impl Link {
    /// Starts the thread that serves the worker to its end; its last act is to tell the keeper.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start(self, served: Served) -> io::Result<JoinHandle<()>> {
        let name = format!("link-{}", self.lane);
        thread::Builder::new().name(name).spawn(move || self.serve(served))
    }

    fn serve(self, served: Served) {
        let (lane, tenure) = (self.lane, self.tenure);
        let (keeper, crew) = (self.keeper.clone(), Arc::clone(&self.crew));
        let work = || keeper.tell(Event::LinkClosed { lane, tenure, offence: self.run(served) });
        net::guard("link", work, |what| {
            // Its runner, too, is not needed any more.
            crew.unready(lane, tenure);
            keeper.offend(lane, tenure, Some(given_up(&what)));
            keeper.tell(Event::LinkClosed { lane, tenure, offence: None });
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
        let link = Arc::new(self);
        let stage = Arc::new(Stage::default());
        let runner = {
            let (link, mail) = (Arc::clone(&link), Arc::clone(&served.mail));
            let stage = Arc::clone(&stage);
            thread::Builder::new().name(format!("runner-{}", link.lane)).spawn(move || {
                let fallen = |what: String| {
                    link.keeper.offend(link.lane, link.tenure, Some(given_up(&what)));
                };
                net::guard("runner", || link.run_errands(&mail, &stage), fallen);
                stage.set(Step::Over);
            })
        };
        let offence = match runner {
            Ok(runner) => {
                let offence = link.receive(&mut served);
                link.crew.unready(link.lane, link.tenure);
                if offence.is_some() {
                    // The worker lives and may not read: only its death frees a
                    // runner that is blocked, so it is not waited for here.
                    link.keeper.offend(link.lane, link.tenure, None);
                }
                // Sends fail from here on, so it ends; but what it reads may keep it for ever.
                if stage.wait_for_end() {
                    let _ = runner.join();
                }
                offence
            }
            Err(error) => {
                let remedy = shortage::remedy(&error);
                Some(format!("got no thread of its own: {error}{remedy}"))
            }
        };
        link.crew.unready(link.lane, link.tenure);
        offence
    }

    fn receive(&self, served: &mut Served) -> Option<String> {
        let mut gate = forward::Gate::default();
        loop {
            let (reply, payloads) = match served.replies.recv_or_pass_over::<Reply>() {
                Ok(received) => received,
                Err(RecvError::Disconnected) => return None,
                Err(RecvError::Io(error)) => return Some(format!("cannot be heard: {error}")),
                Err(error) => return Some(format!("broke the protocol by mail: {error}")),
            };
            match reply {
                Reply::Log(record) => {
                    if gate.admits(clock::now(), self.lane) {
                        forward::emit(&record, self.lane, self.pid);
                    }
                }
                Reply::Outgrown => {
                    tracing::debug!(worker = self.lane, pid = self.pid, "worker has outgrown");
                    self.crew.outgrown(self.lane, self.tenure);
                    self.keeper.tell(Event::Outgrown { lane: self.lane, tenure: self.tenure });
                }
                Reply::NeedRegion { .. } if !self.has_rings() => {
                    return Some(foreign::breach("asked for memory that it has no use for"));
                }
                Reply::NeedRegion { bytes } => {
                    let region = served.outputs.grow(bytes);
                    if region.is_none() && gate.admits(clock::now(), self.lane) {
                        tracing::warn!(
                            worker = self.lane,
                            bytes,
                            "the arena is full: outputs go by shm; --arena-limit allows more"
                        );
                    }
                    // If it fails, the worker is dead, and that is heard next.
                    served.mail.with(|mail| match &region {
                        Some(memory) => mail.share(Mail::Outputs, memory),
                        None => mail.send(Mail::Outputs, Vec::new(), Carriage::Shared),
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
                    if let Err(what) = self.crew.complete(self.lane, self.tenure, done) {
                        return Some(foreign::breach(&what));
                    }
                }
            }
        }
    }

    fn run_errands(&self, mail: &Mailbox, stage: &Stage) {
        while let Some(errand) = self.crew.next_errand(self.lane, self.tenure) {
            let delivery = match errand {
                Errand::Job(delivery) => delivery,
                Errand::Region(region) if self.send_region(mail, region) => continue,
                Errand::Region(_) => return,
            };
            let job = delivery.job;
            match self.deliver(mail, delivery, stage) {
                Ok(()) => {}
                // Its jobs are retried when its death is known.
                Err(Undelivered::WorkerGone) => return,
                Err(Undelivered::Job(error)) => {
                    self.crew.undeliverable(self.lane, self.tenure, job, error);
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
    fn send_region(&self, mail: &Mailbox, region: u32) -> bool {
        let send = |memory: &OwnedFd| mail.with(|mail| mail.share(Mail::Inputs { region }, memory));
        // If there is no such region any more, the jobs that it was for have ended.
        self.inputs.share(region, send).is_none_or(|sent| matches!(sent, Some(Ok(()))))
    }

    fn deliver(&self, mail: &Mailbox, errand: Delivery, stage: &Stage) -> Result<(), Undelivered> {
        let is_stopped = || !self.crew.is_awaited(self.lane, self.tenure, errand.job);
        let frozen = |now| self.crew.stalls.frozen(now);
        let digests = RefCell::new(Vec::new());
        let mut limit = Limit::begin(errand.timeout, &is_stopped, &frozen, &self.crew.readable);
        if errand.digests {
            limit = limit.digesting(&digests);
        }
        if self.has_rings() {
            let mut placed = Vec::with_capacity(errand.inputs.len());
            for source in &errand.inputs {
                let read = || load::place(source, &self.inputs, &limit);
                match stage.while_reading(read).map_err(Undelivered::Job)? {
                    Some(bytes) => placed.push(bytes),
                    None => break,
                }
            }
            if placed.len() == errand.inputs.len()
                && self.crew.placed(self.lane, self.tenure, errand.job, placed, digests.take())
            {
                return Ok(());
            }
            tracing::debug!(
                job = errand.job.0,
                worker = self.lane,
                "job does not fit the arena, so it goes by shm; --arena-limit allows more"
            );
        }
        // They are read once more.
        digests.take();
        let carriage = self.carriage();
        let mut bytes_in = 0;
        let mut payloads = Vec::with_capacity(errand.inputs.len());
        for source in &errand.inputs {
            let read = || load::payload(source, carriage, &limit);
            let (payload, bytes) = stage.while_reading(read).map_err(Undelivered::Job)?;
            payloads.push(payload.place(carriage).map_err(|error| failed(&error))?);
            bytes_in += bytes;
        }
        if carriage == Carriage::Inline {
            self.check_memory(bytes_in).map_err(Undelivered::Job)?;
        }
        if !self.crew.encoded(self.lane, self.tenure, errand.job, bytes_in, digests.take()) {
            // The job has ended meanwhile, or its worker has.
            return Ok(());
        }
        let request = Request {
            job: errand.job,
            kernel: errand.kernel,
            params: errand.params,
            timeout: errand.timeout,
            shared: carriage == Carriage::Shared,
        };
        mail.with(|mail| mail.send(Mail::Job(request), payloads, carriage))
            .unwrap_or(Err(SendError::Disconnected))
            .map_err(|error| failed(&error))?;
        self.crew.posted(self.lane, self.tenure);
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

/// What a runner is doing, for the link that waits for its end.
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

    /// Waits until the runner is over or reads; whether it is over. One that reads ends by itself
    /// when it has read: its worker is no more then, and the crew has nothing for it.
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
    fn a_runner_that_reads_is_not_waited_for_and_one_that_sends_is() {
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
