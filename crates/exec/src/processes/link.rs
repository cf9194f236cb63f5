//! The two threads that serve one worker: one blocks in receiving, one in
//! sending. A worker that stalls or floods holds up nobody but them, and its death
//! frees both.

use std::sync::Arc;
use std::thread;

use brigade_ipc::wire::{Reply, Request};
use brigade_ipc::{Carriage, Listener, Receiver, Refusal, SendError, Sender, Welcome};
use brigade_proto::{JobError, WorkerId};
use brigade_sys::clock;

use super::crew::{Crew, Dispatch, Done};
use super::forward;
use super::keeper::{Event, Keeper};
use crate::load;

/// Everything that the threads of a link need.
pub(super) struct Link {
    pub(super) crew: Arc<Crew>,
    pub(super) keeper: Keeper,
    pub(super) lane: usize,
    pub(super) tenure: u64,
    pub(super) pid: u32,
    pub(super) carriage: Carriage,
    pub(super) pin: bool,
    /// When the pool was asked for.
    pub(super) begin: u64,
    pub(super) kernels: Arc<[String]>,
}

impl Link {
    /// Lets the worker in and serves it to its end. Runs on a thread of its own;
    /// its last act is to tell the keeper.
    pub(super) fn serve(self, listener: Listener) {
        let (lane, tenure) = (self.lane, self.tenure);
        let keeper = self.keeper.clone();
        let event = match self.welcome(listener) {
            Ok((requests, replies)) => {
                Event::LinkClosed { lane, tenure, offence: self.run(requests, &replies) }
            }
            Err(refusal) => Event::Refused { lane, tenure, refusal },
        };
        keeper.tell(event);
    }

    fn welcome(&self, listener: Listener) -> Result<(Sender, Receiver), Refusal> {
        let accepted = listener.accept(self.pid, &self.kernels)?;
        let page = accepted.welcome(Welcome {
            worker: WorkerId(self.lane as u32),
            log_level: forward::current_level(),
            pin: self.pin.then_some(self.lane as u32),
        })?;
        self.crew.ready(self.lane, self.tenure, self.pid, clock::since(self.begin));
        self.keeper.tell(Event::Ready { lane: self.lane, tenure: self.tenure, page });
        Ok((accepted.requests, accepted.replies))
    }

    /// Returns what the worker did wrong, if it did.
    fn run(self, requests: Sender, replies: &Receiver) -> Option<String> {
        let link = Arc::new(self);
        let sender = {
            let link = Arc::clone(&link);
            thread::Builder::new()
                .name(format!("send-{}", link.lane))
                .spawn(move || link.send(&requests))
        };
        let offence = match sender {
            Ok(sender) => {
                let offence = link.receive(replies);
                link.crew.unready(link.lane, link.tenure);
                if offence.is_some() {
                    // The worker lives and may not read: only its death frees a
                    // sender that is blocked, so it is not waited for here.
                    link.keeper.tell(Event::Offence { lane: link.lane, tenure: link.tenure });
                }
                // Sends fail from here on, so it ends.
                let _ = sender.join();
                offence
            }
            Err(error) => Some(format!("its sender thread cannot be started: {error}")),
        };
        link.crew.unready(link.lane, link.tenure);
        offence
    }

    fn receive(&self, replies: &Receiver) -> Option<String> {
        loop {
            let (reply, payloads) = match replies.recv::<Reply>() {
                Ok(received) => received,
                Err(brigade_ipc::RecvError::Disconnected) => return None,
                Err(error) => return Some(error.to_string()),
            };
            match reply {
                Reply::Log(record) => forward::emit(&record, self.lane, self.pid),
                Reply::Done { job, error, in_hand, called, returned, published } => {
                    let result = match error {
                        Some(error) => Err(error),
                        None => payloads
                            .into_iter()
                            .map(brigade_ipc::Received::into_buffer)
                            .collect::<Option<Vec<_>>>()
                            .ok_or_else(|| no_memory("its outputs")),
                    };
                    let done = Done { job, result, in_hand, called, returned, published };
                    if let Err(out_of_turn) = self.crew.complete(self.lane, self.tenure, done) {
                        return Some(format!("it answered job {} out of turn", out_of_turn.0));
                    }
                }
            }
        }
    }

    fn send(&self, requests: &Sender) {
        while let Some(dispatch) = self.crew.next(self.lane, self.tenure) {
            tracing::debug!(job = dispatch.job.0, worker = self.lane, "job assigned");
            if let Some(timeout) = dispatch.timeout {
                self.keeper.mind(timeout);
            }
            let job = dispatch.job;
            match self.deliver(requests, dispatch) {
                Ok(()) => {}
                // Its jobs are retried when its death is known.
                Err(Undelivered::WorkerGone) => return,
                Err(Undelivered::Job(error)) => {
                    self.crew.undeliverable(self.lane, self.tenure, job, error);
                }
            }
        }
        // Dropping the sender tells the worker to leave.
    }

    fn deliver(&self, requests: &Sender, dispatch: Dispatch) -> Result<(), Undelivered> {
        let mut bytes_in = 0;
        let mut payloads = Vec::with_capacity(dispatch.inputs.len());
        for source in &dispatch.inputs {
            let (payload, bytes) =
                load::payload(source, self.carriage).map_err(Undelivered::Job)?;
            payloads.push(payload.place(self.carriage).map_err(|error| failed(&error))?);
            bytes_in += bytes;
        }
        self.crew.encoded(self.lane, self.tenure, dispatch.job, clock::now(), bytes_in);
        let request = Request {
            job: dispatch.job,
            kernel: dispatch.kernel,
            params: dispatch.params,
            timeout: dispatch.timeout,
            shared: self.carriage == Carriage::Shared,
        };
        requests.send(request, payloads, self.carriage).map_err(|error| failed(&error))
    }
}

enum Undelivered {
    WorkerGone,
    Job(JobError),
}

fn failed(error: &SendError) -> Undelivered {
    match error {
        SendError::Disconnected => Undelivered::WorkerGone,
        other => Undelivered::Job(JobError::Transport { message: other.to_string() }),
    }
}

fn no_memory(what: &str) -> JobError {
    JobError::Transport { message: format!("no memory for {what}") }
}
