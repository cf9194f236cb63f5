//! Control channel messages: regions of the arena, and jobs whose payloads go through the channel.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use brigade_ipc::wire::{
    ControlMessage, Instants, MessageRequest, MessageResponse, PayloadLocation,
};
use brigade_ipc::{Carriage, Input, Payload, Received, Receiver, RecvError, SendError, Sender};
use brigade_proto::{JobError, JobId, Notes};
use brigade_sys::clock;

use super::request::{InHand, call, no_memory, not_called};
use super::{Leave, Worker};
use crate::processes::sinks::{Output, OutputMemory, RegionSource, WorkerSink};

/// Both directions of the control channel.
pub(super) struct ControlChannel {
    requests: Receiver,
    responses: Arc<Mutex<Sender>>,
    /// Messages that arrived while the worker waited for another one.
    pending: VecDeque<(ControlMessage, Vec<Received>)>,
}

impl ControlChannel {
    pub(super) fn new(requests: Receiver, responses: Arc<Mutex<Sender>>) -> Self {
        Self { requests, responses, pending: VecDeque::new() }
    }

    /// Receives the first message for which `matches` is true. Messages that arrive before it wait
    /// in `pending`.
    pub(super) fn fetch(
        &mut self,
        matches: impl Fn(&ControlMessage) -> bool,
    ) -> Result<(ControlMessage, Vec<Received>), RecvError> {
        let place = self.pending.iter().position(|(message, _)| matches(message));
        if let Some(found) = place.and_then(|place| self.pending.remove(place)) {
            return Ok(found);
        }
        loop {
            let (message, payloads) = self.requests.recv::<ControlMessage>()?;
            if matches(&message) {
                return Ok((message, payloads));
            }
            self.pending.push_back((message, payloads));
        }
    }

    pub(super) fn send(
        &self,
        response: MessageResponse,
        payloads: Vec<Payload>,
        carriage: Carriage,
    ) -> Result<(), SendError> {
        let responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        responses.send(response, payloads, carriage)
    }
}

/// Asks the coordinator for one more region, and waits for it.
impl RegionSource for ControlChannel {
    fn next(&mut self, len: usize) -> Option<Vec<Received>> {
        let need = MessageResponse::NeedRegion { bytes: len as u64 };
        self.send(need, Vec::new(), Carriage::Shared).ok()?;
        let (_, region) = self.fetch(|control| matches!(control, ControlMessage::Outputs)).ok()?;
        Some(region)
    }
}

impl Worker<'_> {
    /// Runs a job whose payloads come over the control channel, and sends its outputs the same way.
    #[inline(never)]
    pub(super) fn run_control_job(&mut self) -> Result<(), Leave> {
        let (message, inputs) =
            self.control.fetch(|message| matches!(message, ControlMessage::Job(_)))?;
        let ControlMessage::Job(MessageRequest { job, kernel, params, timeout, shared }) = message
        else {
            unreachable!("only jobs were asked for")
        };
        let in_hand = clock::now();
        self.take(job);
        let carriage = if shared { Carriage::Shared } else { Carriage::Inline };
        let mut sink = WorkerSink::new(OutputMemory::of(carriage), self.bound.outputs());
        let inputs: Result<Vec<Input>, String> = inputs.into_iter().map(Received::open).collect();
        let inputs = match inputs {
            Ok(inputs) => inputs,
            Err(why) => {
                let (instants, error) = not_called(in_hand, &why);
                return self.respond_by_message(job, instants, Err(error), Vec::new(), carriage);
            }
        };
        let slices: Vec<&[u8]> = inputs.iter().map(|input| &input[..]).collect();
        let job = InHand { job, kernel, params, timeout };
        let (instants, result) =
            call(self.registry, &self.endpoint, &self.bound, &job, in_hand, &slices, &mut sink);
        self.respond_by_message(job.job, instants, result, sink.into_outputs(), carriage)
    }

    #[inline(never)]
    pub(super) fn respond_by_message(
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
        let response =
            MessageResponse::Done { job, error, notes, in_hand, called, returned, published };
        self.control.send(response, payloads, carriage)?;
        self.done();
        Ok(())
    }

    /// Receives and maps the regions that a request names and the worker does not know yet. If a
    /// region cannot be mapped, the inner error says what is missing.
    pub(super) fn learn_regions(
        &mut self,
        locations: &[PayloadLocation],
    ) -> Result<Result<(), String>, Leave> {
        for location in locations {
            if let PayloadLocation::Slab { region, .. } = location {
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
            let (message, memory) =
                self.control.fetch(|message| matches!(message, ControlMessage::Inputs { .. }))?;
            if let ControlMessage::Inputs { region } = message {
                self.inputs.add(region, memory);
            }
        }
        Ok(())
    }
}
