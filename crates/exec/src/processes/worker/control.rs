//! What comes over the control channel: regions of the arena, and jobs whose payloads go through the channel.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use brigade_ipc::wire::{ControlMessage, Instants, Place, Reply, Request};
use brigade_ipc::{Carriage, Input, Payload, Received, Receiver, RecvError, SendError, Sender};
use brigade_proto::{JobError, JobId, Notes};
use brigade_sys::clock;

use super::request::{InHand, call, no_memory, not_called};
use super::{Leave, Worker};
use crate::processes::sinks::{Output, QueueSpace, Sink};

/// The mail channels.
pub(in super::super) struct Mailbag {
    requests: Receiver,
    replies: Arc<Mutex<Sender>>,
    /// What came while something else was waited for.
    pending: VecDeque<(ControlMessage, Vec<Received>)>,
}

impl Mailbag {
    pub(super) fn new(requests: Receiver, replies: Arc<Mutex<Sender>>) -> Self {
        Self { requests, replies, pending: VecDeque::new() }
    }

    /// The first mail that is wanted.
    pub(in super::super) fn fetch(
        &mut self,
        wanted: impl Fn(&ControlMessage) -> bool,
    ) -> Result<(ControlMessage, Vec<Received>), RecvError> {
        let place = self.pending.iter().position(|(mail, _)| wanted(mail));
        if let Some(found) = place.and_then(|place| self.pending.remove(place)) {
            return Ok(found);
        }
        loop {
            let (mail, payloads) = self.requests.recv::<ControlMessage>()?;
            if wanted(&mail) {
                return Ok((mail, payloads));
            }
            self.pending.push_back((mail, payloads));
        }
    }

    pub(in super::super) fn reply(
        &self,
        reply: Reply,
        payloads: Vec<Payload>,
        carriage: Carriage,
    ) -> Result<(), SendError> {
        let replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.send(reply, payloads, carriage)
    }
}

impl Worker<'_> {
    /// A job whose payloads come over the control channel and go the same way.
    #[inline(never)]
    pub(super) fn do_mail(&mut self) -> Result<(), Leave> {
        let (mail, inputs) = self.mail.fetch(|mail| matches!(mail, ControlMessage::Job(_)))?;
        let ControlMessage::Job(Request { job, kernel, params, timeout, shared }) = mail else {
            unreachable!("only jobs were asked for")
        };
        let in_hand = clock::now();
        self.take(job);
        let carriage = if shared { Carriage::Shared } else { Carriage::Inline };
        let mut sink = Sink::new(QueueSpace::of(carriage), self.bound.outputs());
        let inputs: Result<Vec<Input>, String> = inputs.into_iter().map(Received::open).collect();
        let inputs = match inputs {
            Ok(inputs) => inputs,
            Err(why) => {
                let (instants, error) = not_called(in_hand, &why);
                return self.reply(job, instants, Err(error), Vec::new(), carriage);
            }
        };
        let slices: Vec<&[u8]> = inputs.iter().map(|input| &input[..]).collect();
        let job = InHand { job, kernel, params, timeout };
        let (instants, result) =
            call(self.registry, &self.endpoint, &self.bound, &job, in_hand, &slices, &mut sink);
        self.reply(job.job, instants, result, sink.into_outputs(), carriage)
    }

    #[inline(never)]
    pub(super) fn reply(
        &self,
        job: JobId,
        instants: Instants,
        result: Result<Notes, JobError>,
        outputs: Vec<Output>,
        carriage: Carriage,
    ) -> Result<(), Leave> {
        let payloads: Option<Vec<Payload>> =
            outputs.into_iter().map(Output::into_payload).collect();
        let (error, notes, payloads) = match (result, payloads) {
            (Err(error), _) => (Some(error), Notes::default(), Vec::new()),
            (Ok(notes), Some(payloads)) => (None, notes, payloads),
            (Ok(_), None) => (Some(no_memory()), Notes::default(), Vec::new()),
        };
        let Instants { in_hand, called, returned, .. } = instants;
        let published = clock::now();
        let reply = Reply::Done { job, error, notes, in_hand, called, returned, published };
        self.mail.reply(reply, payloads, carriage)?;
        self.done();
        Ok(())
    }

    /// Fetches the regions that an order names and that are not known yet, and maps them. If one
    /// cannot be mapped, the inner error says what is lacking.
    pub(super) fn learn_regions(&mut self, places: &[Place]) -> Result<Result<(), String>, Leave> {
        for place in places {
            if let Place::Slab { region, .. } = place {
                if !self.inputs.has(*region) {
                    self.fetch_region(*region)?;
                }
                if let Err(why) = self.inputs.open(*region) {
                    return Ok(Err(why));
                }
            }
        }
        Ok(Ok(()))
    }

    #[cold]
    fn fetch_region(&mut self, needed: u32) -> Result<(), Leave> {
        while !self.inputs.has(needed) {
            let (mail, memory) =
                self.mail.fetch(|mail| matches!(mail, ControlMessage::Inputs { .. }))?;
            if let ControlMessage::Inputs { region } = mail {
                self.inputs.add(region, memory);
            }
        }
        Ok(())
    }
}
