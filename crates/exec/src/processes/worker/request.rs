//! Requests from the ring, each a job or a batch of jobs, and how a kernel is called.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use brigade_ipc::wire::{self, BatchBody, BatchOthers, Instants, PayloadLocation, RingResponse};
use brigade_ipc::{Carriage, MAX_MESSAGE, WorkerEndpoint};
use brigade_kernels::{Context, KernelError, KernelId, OutputSink, RegisteredKernel, Registry};
use brigade_proto::{Buffer, JobError, JobId, Nanos, Notes, Params};
use brigade_sys::clock;

use super::{Leave, Worker};
use crate::invoke::{self, CallError, Deadline, KernelCall};
use crate::log::{is_chatty, tell_called, tell_returned};
use crate::processes::sinks::{Output, OutputMemory, WorkerSink};
use crate::processes::worker_limits::{AppliedLimits, recycle_if_starved};
use crate::stall::Frozen;

/// Encoded output locations of up to this many bytes always fit into a response.
const ROOM_FOR_LOCATIONS: usize = 400;

/// A job in hand, from the ring or from the control channel.
pub(super) struct InHand {
    pub(super) job: JobId,
    pub(super) kernel: u32,
    pub(super) params: Arc<Params>,
    pub(super) timeout: Option<Duration>,
}

impl Worker<'_> {
    /// Runs a job whose inputs are in the request or in the arena.
    pub(super) fn run_ring_job(
        &mut self,
        job: &InHand,
        in_hand: Nanos,
        inputs: Vec<PayloadLocation>,
    ) -> Result<(), Leave> {
        if let Err(why) = self.learn_regions(&inputs)? {
            let (instants, error) = not_called(in_hand, &why);
            return self.respond(job.job, instants, Err(error), Vec::new());
        }
        let tiny: Vec<Option<Buffer>> = inputs
            .iter()
            .map(|location| match location {
                PayloadLocation::Here(bytes) => Some(Buffer::from(&bytes[..])),
                PayloadLocation::Slab { .. } => None,
            })
            .collect();
        let mut slices: Vec<&[u8]> = Vec::with_capacity(inputs.len());
        for (location, tiny) in inputs.iter().zip(&tiny) {
            slices.push(match (location, tiny) {
                (_, Some(buffer)) => buffer,
                (PayloadLocation::Slab { region, offset, len, .. }, None) => self
                    .inputs
                    .find(*region, *offset, *len)
                    .ok_or_else(|| Leave::Because("an input is in no slab".to_owned()))?,
                (PayloadLocation::Here(_), None) => &[],
            });
        }
        let room = OutputMemory::Arena { outputs: &mut self.outputs, regions: &mut self.control };
        let mut sink = WorkerSink::new(room, self.bound.outputs());
        let (instants, result) =
            call(self.registry, &self.endpoint, &self.bound, job, in_hand, &slices, &mut sink);
        let outputs = sink.into_outputs();
        self.respond(job.job, instants, result, outputs)
    }

    fn respond(
        &mut self,
        job: JobId,
        mut instants: Instants,
        result: Result<Notes, JobError>,
        outputs: Vec<Output>,
    ) -> Result<(), Leave> {
        let tiny = outputs.iter().map(|output| match output {
            Output::Heap(buffer) => buffer.len() + 8,
            Output::Slab(_) => 32,
            Output::Apart(_) => MAX_MESSAGE,
        });
        if tiny.sum::<usize>() > ROOM_FOR_LOCATIONS {
            return self.respond_by_message(job, instants, result, outputs, Carriage::Shared);
        }
        let (error, notes) = match result {
            Ok(notes) => (None, notes),
            Err(error) => (Some(error), Notes::default()),
        };
        let locations = match &error {
            Some(_) => Vec::new(),
            None => {
                outputs.into_iter().filter_map(|o| o.into_location(&mut self.outputs)).collect()
            }
        };
        let response = RingResponse { job, error, notes, outputs: locations };
        let mut buffer = [0; MAX_MESSAGE];
        let (head, body) = buffer.split_at_mut(Instants::BYTES);
        let len = wire::encode_response(&response, body)
            .map_err(|error| Leave::Because(error.to_string()))?;
        let (Some(len), Some(head)) = (len, head.first_chunk_mut()) else {
            // The outputs would have fitted, so the response is too long because of its error
            // message.
            let result = response.error.map_or(Ok(notes), Err);
            return self.respond_by_message(job, instants, result, Vec::new(), Carriage::Shared);
        };
        instants.published = clock::now();
        instants.write(head);
        self.endpoint.publish(&buffer[..Instants::BYTES + len]);
        self.done();
        Ok(())
    }

    /// Runs many small jobs, one after another: the worker calls each kernel when the one before it
    /// has returned.
    #[inline(never)]
    pub(super) fn run_batch(
        &mut self,
        first: JobId,
        count: u32,
        in_hand: Nanos,
        runs: PayloadLocation,
    ) -> Result<(), Leave> {
        let nonsense = |error: &dyn std::fmt::Display| Leave::Because(error.to_string());
        self.learn_regions(std::slice::from_ref(&runs))?.map_err(|why| nonsense(&why))?;
        let (runs, returned): BatchBody = match runs {
            PayloadLocation::Here(bytes) => wire::decode_bulk(&bytes),
            PayloadLocation::Slab { region, offset, len, .. } => {
                let bytes = self.inputs.find(region, offset, len);
                wire::decode_bulk(bytes.ok_or_else(|| nonsense(&"a batch is in no slab"))?)
            }
        }
        .map_err(|error| nonsense(&error))?;
        self.outputs.reclaim(&returned);
        let mut said = Vec::with_capacity(count as usize * size_of::<Nanos>());
        let mut others = BatchOthers::new();
        let mut called = clock::now();
        let begin = called;
        let mut place = 0;
        'runs: for run in runs {
            let entry = self.registry.get(KernelId(run.kernel));
            for i in 0..run.count as usize {
                let job = JobId(first.0 + u64::from(place));
                self.take(job);
                self.endpoint.call(called);
                let inputs: Vec<Buffer> = match run.inputs.get(i) {
                    Some(inputs) => inputs.iter().map(|bytes| Buffer::from(&bytes[..])).collect(),
                    None => Vec::new(),
                };
                let slices: Vec<&[u8]> = inputs.iter().map(|input| &input[..]).collect();
                let room =
                    OutputMemory::Arena { outputs: &mut self.outputs, regions: &mut self.control };
                let mut sink = WorkerSink::new(room, self.bound.outputs());
                let bound = &self.bound;
                let (returned, result) = run_entry(
                    entry,
                    bound,
                    &run.params,
                    None,
                    (called, &|_| 0),
                    &slices,
                    &mut sink,
                );
                let outputs = sink.into_outputs();
                // Most jobs of a batch end like this: nothing is said of them but when.
                let is_plain =
                    outputs.is_empty() && matches!(&result, Ok(notes) if notes.is_empty());
                if !is_plain {
                    let has_no_room = result.is_ok() && outputs.iter().any(Output::is_apart);
                    if has_no_room
                        || matches!(&result, Err(error) if matches!(**error, JobError::Shortage { .. }))
                    {
                        // There is no space for outputs that a response can name, or no memory.
                        // The coordinator sends this job and the rest one by one.
                        break 'runs;
                    }
                    others.push(match result {
                        Ok(notes) => {
                            let outputs = outputs.into_iter();
                            let locations = outputs.map(|o| o.into_location(&mut self.outputs));
                            let locations = locations.collect::<Option<Vec<_>>>();
                            (place, notes, locations.ok_or_else(no_memory))
                        }
                        Err(error) => (place, Notes::default(), Err(*error)),
                    });
                }
                said.extend_from_slice(&returned.to_le_bytes());
                called = returned;
                place += 1;
            }
        }
        let instants = Instants { in_hand, called: begin, returned: called, published: 0 };
        for _ in place..count {
            said.extend_from_slice(&wire::NOT_RUN.to_le_bytes());
        }
        if !others.is_empty() {
            said.extend(wire::encode_bulk(&others).map_err(|error| nonsense(&error))?);
        }
        let room = OutputMemory::Arena { outputs: &mut self.outputs, regions: &mut self.control };
        let mut sink = WorkerSink::new(room, u64::MAX);
        let result = match sink.add_for_overwrite(said.len()) {
            Ok(output) => {
                output.copy_from_slice(&said);
                Ok(Notes::default())
            }
            Err(_) => Err(no_memory()),
        };
        let outputs = sink.into_outputs();
        self.respond(first, instants, result, outputs)
    }
}

pub(super) fn no_memory() -> JobError {
    recycle_if_starved();
    JobError::Shortage { bytes: 0, message: "no memory for its outputs".to_owned() }
}

/// The result of a job whose inputs cannot be mapped.
#[cold]
pub(super) fn not_called(in_hand: Nanos, why: &str) -> (Instants, JobError) {
    // Aborts if this worker can map nothing more: the worker may be out of memory although the
    // machine is not, and the job is then tried elsewhere at once.
    recycle_if_starved();
    let now = clock::now();
    let message = format!("its inputs cannot be mapped: {why}");
    let instants = Instants { in_hand, called: now, returned: now, published: 0 };
    (instants, JobError::Shortage { bytes: 0, message })
}

pub(super) fn call(
    registry: &Registry,
    endpoint: &WorkerEndpoint,
    bound: &AppliedLimits,
    job: &InHand,
    in_hand: Nanos,
    inputs: &[&[u8]],
    sink: &mut dyn OutputSink,
) -> (Instants, Result<Notes, JobError>) {
    let entry = registry.get(KernelId(job.kernel));
    let called = clock::now();
    endpoint.call(called);
    let frozen = |now| endpoint.frozen(now);
    let (returned, result) =
        run_entry(entry, bound, &job.params, job.timeout, (called, &frozen), inputs, sink);
    (Instants { in_hand, called, returned, published: 0 }, result.map_err(|error| *error))
}

/// Calls a kernel; returns the time at which it returned, and its result.
fn run_entry(
    entry: Option<&RegisteredKernel>,
    bound: &AppliedLimits,
    params: &Params,
    timeout: Option<Duration>,
    (called, frozen): (Nanos, Frozen<'_>),
    inputs: &[&[u8]],
    sink: &mut dyn OutputSink,
) -> (Nanos, Result<Notes, Box<JobError>>) {
    let Some(entry) = entry else {
        let message = "its worker has no such kernel".to_owned();
        return (called, Err(Box::new(JobError::Transport { message })));
    };
    let chatty = is_chatty();
    if chatty {
        tell_called(entry.spec.name);
    }
    let never = || false;
    let deadline = Deadline::new(timeout, called, frozen, &never);
    let context = Context::new(params, inputs, sink, &deadline);
    let mut call = KernelCall::new(entry, context);
    let (returned, result) = bound.time(|| invoke::run_to_end(&mut call, &deadline, thread::sleep));
    let result = result.map_err(|error| Box::new(explain(bound, *error)));
    if chatty {
        tell_returned(entry.spec.name);
    }
    (returned, deadline.judge(result, returned))
}

/// Adds to the error of a call what this worker knows of its memory.
#[cold]
fn explain(bound: &AppliedLimits, error: CallError) -> CallError {
    match bound.attribute_oom(error) {
        // Only the coordinator knows which other jobs run and may hold the memory.
        CallError::NoMemory(error) => {
            let bytes = match error {
                KernelError::Memory { bytes } | KernelError::Shortage { bytes, .. } => bytes,
                _ => 0,
            };
            CallError::Failed(JobError::Shortage { bytes, message: error.to_string() })
        }
        other => other,
    }
}
