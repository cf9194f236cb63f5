//! The worker's side: from the first instruction of the process to its last job.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use brigade_ipc::wire::{
    self, Answer, ChunkBody, ChunkOthers, Instants, Mail, Order, Place, Reply, Request,
};
use brigade_ipc::{
    Carriage, Connected, Hello, InputShelf, Invitation, MAX_MESSAGE, NONCE_ENV, OutputShelf,
    PARENT_ENV, Patience, Payload, Received, RecvError, Refusal, SERVER_ENV, SendError, Sender,
    Station, build_id, connect, worker_environment,
};
use brigade_kernels::{Context, Entry, KernelId, OutputSink, Registry};
use brigade_proto::{Buffer, JobError, JobId, Nanos, PROTOCOL_VERSION, Params};
use brigade_sys::{affinity, clock, process};

use super::bounds::{self, Bound, make_way_if_starved};
use super::forward::Forward;
use super::sinks::{Output, Room, Sink};
use super::template;
use crate::invoke::{self, Call, Deadline};
use crate::log::{is_chatty, tell_called, tell_returned};

/// Runs this process as a worker if a coordinator has started it as one; `None`
/// if not. The first thing that a program's `main` does:
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     let registry = brigade_kernels::Registry::builtin();
///     if let Some(code) = brigade_exec::run_if_worker(&registry) {
///         return code;
///     }
///     // ... the program itself
///     ExitCode::SUCCESS
/// }
/// ```
///
/// Nothing that matters may be open or running before it: the worker closes every
/// descriptor above 2, and is single-threaded.
pub fn run_if_worker(registry: &Registry) -> Option<ExitCode> {
    if let Some(code) = template::run_if_template(registry) {
        return Some(code);
    }
    Some(match worker_environment()? {
        Ok((invitation, parent)) => {
            // Programs that a kernel starts learn nothing of the coordinator.
            process::clear_environment(&[SERVER_ENV, NONCE_ENV, PARENT_ENV]);
            run(registry, hello(registry), invitation, parent)
        }
        Err(refusal) => give_notice(&refusal),
    })
}

/// What a worker says of itself; of whose it is, and who, when it has found out.
pub(super) fn hello(registry: &Registry) -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        build: build_id().to_owned(),
        nonce: 0,
        pid: 0,
        kernels: names(registry),
    }
}

/// Runs this process as a worker to its end. Its environment is clear of the coordinator's words.
pub(super) fn run(
    registry: &Registry,
    mut hello: Hello,
    invitation: Invitation,
    parent: u32,
) -> ExitCode {
    match start(registry, &mut hello, invitation, parent) {
        Ok(worker) => worker.serve(),
        Err(refusal) => give_notice(&refusal),
    }
}

/// The coordinator shows the last line of this in its error.
fn give_notice(reason: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("brigade worker: {reason}");
    ExitCode::FAILURE
}

/// What makes a process a worker, in this order.
fn start<'r>(
    registry: &'r Registry,
    hello: &mut Hello,
    invitation: Invitation,
    parent: u32,
) -> Result<Worker<'r>, Refusal> {
    let step = |what: &str, result: std::io::Result<()>| {
        result.map_err(|error| Refusal::Broken(format!("cannot {what}: {error}")))
    };
    // 1. Nothing inherited: another worker's socket kept open here would hide its
    //    death from the coordinator.
    step("close inherited descriptors", process::close_inherited_descriptors())?;
    // 2. No life without the coordinator.
    step("follow the coordinator", process::die_with_parent(parent))?;
    // 3. Shake hands.
    hello.nonce = invitation.nonce();
    hello.pid = process::pid();
    let Connected { welcome, station, requests, replies } = connect(invitation, hello)?;
    // 4. Be who the coordinator says.
    process::set_name(&format!("brigade-{}", welcome.worker));
    if let Some(index) = welcome.pin {
        affinity::pin_thread(index as usize);
    }
    let replies = Arc::new(Mutex::new(replies));
    let job = Arc::new(AtomicU64::new(0));
    Forward::install(&replies, welcome.log_level, &job);
    // 5. Stay within bounds. The sandbox is the last: nothing can be opened in it.
    let bound = Bound::set(&welcome.bounds)?;
    bounds::shut_in(welcome.bounds.sandbox)?;
    tracing::debug!("worker started");
    let mail = Mailbag { requests, replies, pending: VecDeque::new() };
    Ok(Worker {
        registry,
        station,
        mail,
        patience: welcome.patience(),
        inputs: InputShelf::default(),
        outputs: OutputShelf::default(),
        bound,
        job,
    })
}

/// Names of all kernels, in the order of the registry.
pub(super) fn names(registry: &Registry) -> Vec<String> {
    registry.iter().map(|entry| entry.spec.name.to_owned()).collect()
}

struct Worker<'r> {
    registry: &'r Registry,
    station: Station,
    mail: Mailbag,
    /// How it waits for orders, if it gets any.
    patience: Option<Patience>,
    inputs: InputShelf,
    outputs: OutputShelf,
    bound: Bound,
    /// For the log: the job in hand plus one.
    job: Arc<AtomicU64>,
}

/// Encoded places of outputs that surely fit an answer.
const ROOM_FOR_PLACES: usize = 400;

/// The mail channels.
pub(super) struct Mailbag {
    requests: brigade_ipc::Receiver,
    replies: Arc<Mutex<Sender>>,
    /// What came while something else was waited for.
    pending: VecDeque<(Mail, Vec<Received>)>,
}

impl Mailbag {
    /// The first mail that is wanted.
    pub(super) fn fetch(
        &mut self,
        wanted: impl Fn(&Mail) -> bool,
    ) -> Result<(Mail, Vec<Received>), RecvError> {
        let place = self.pending.iter().position(|(mail, _)| wanted(mail));
        if let Some(found) = place.and_then(|place| self.pending.remove(place)) {
            return Ok(found);
        }
        loop {
            let (mail, payloads) = self.requests.recv::<Mail>()?;
            if wanted(&mail) {
                return Ok((mail, payloads));
            }
            self.pending.push_back((mail, payloads));
        }
    }

    pub(super) fn reply(
        &self,
        reply: Reply,
        payloads: Vec<Payload>,
        carriage: Carriage,
    ) -> Result<(), SendError> {
        let replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.send(reply, payloads, carriage)
    }
}

/// Why a worker stops working.
enum Leave {
    /// It was told to, or its coordinator has gone.
    Quietly,
    Because(String),
}

impl From<RecvError> for Leave {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Disconnected => Self::Quietly,
            other => Self::Because(other.to_string()),
        }
    }
}

impl From<SendError> for Leave {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Disconnected => Self::Quietly,
            other => Self::Because(other.to_string()),
        }
    }
}

/// A job in hand, however it came.
struct InHand {
    job: JobId,
    kernel: u32,
    params: Arc<Params>,
    timeout: Option<Duration>,
}

impl Worker<'_> {
    fn serve(mut self) -> ExitCode {
        let leave = match self.patience {
            Some(patience) => self.take_orders(patience),
            None => self.take_mail(),
        };
        match leave {
            Err(Leave::Because(reason)) => give_notice(&reason),
            Err(Leave::Quietly) | Ok(()) => {
                tracing::debug!("worker leaves");
                ExitCode::SUCCESS
            }
        }
    }

    fn take_mail(&mut self) -> Result<(), Leave> {
        loop {
            self.do_mail()?;
            self.make_way()?;
        }
    }

    fn take_orders(&mut self, patience: Patience) -> Result<(), Leave> {
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            let order = self
                .station
                .next(&mut buffer, patience)
                .map_err(|corrupt| Leave::Because(corrupt.to_string()))?;
            let in_hand = clock::now();
            match wire::decode_order(order).map_err(|error| Leave::Because(error.to_string()))? {
                Order::Job { job, kernel, params, timeout, inputs, returned } => {
                    self.take(job);
                    self.outputs.take_back(&returned);
                    let job = InHand { job, kernel, params, timeout };
                    self.do_order(&job, in_hand, inputs)?;
                }
                Order::Chunk { first, count, runs, returned } => {
                    self.outputs.take_back(&returned);
                    self.do_chunk(first, count, in_hand, runs)?;
                }
                Order::Mail => self.do_mail()?,
                Order::Leave => return Ok(()),
            }
            self.make_way()?;
        }
    }

    /// Asks to be replaced if the last job has left too little memory for the next.
    fn make_way(&mut self) -> Result<(), Leave> {
        if self.bound.has_outgrown() {
            self.mail.reply(Reply::Outgrown, Vec::new(), Carriage::Inline)?;
        }
        Ok(())
    }

    fn take(&self, job: JobId) {
        self.station.take(job);
        self.job.store(job.0 + 1, Ordering::Relaxed);
    }

    fn done(&self) {
        self.station.done();
        self.job.store(0, Ordering::Relaxed);
    }

    /// A job whose payloads come by mail and go the same way.
    #[inline(never)]
    fn do_mail(&mut self) -> Result<(), Leave> {
        let (mail, inputs) = self.mail.fetch(|mail| matches!(mail, Mail::Job(_)))?;
        let Mail::Job(Request { job, kernel, params, timeout, shared }) = mail else {
            unreachable!("only jobs were asked for")
        };
        let in_hand = clock::now();
        self.take(job);
        let carriage = if shared { Carriage::Shared } else { Carriage::Inline };
        let mut sink = Sink::new(Room::of(carriage), self.bound.outputs());
        let slices: Vec<&[u8]> = inputs.iter().map(Received::in_place).collect();
        let job = InHand { job, kernel, params, timeout };
        let (instants, result) =
            call(self.registry, &self.station, &self.bound, &job, in_hand, &slices, &mut sink);
        self.reply(job.job, instants, result, sink.into_outputs(), carriage)
    }

    #[inline(never)]
    fn reply(
        &self,
        job: JobId,
        instants: Instants,
        result: Result<(), JobError>,
        outputs: Vec<Output>,
        carriage: Carriage,
    ) -> Result<(), Leave> {
        let payloads: Option<Vec<Payload>> =
            outputs.into_iter().map(Output::into_payload).collect();
        let (error, payloads) = match (result, payloads) {
            (Err(error), _) => (Some(error), Vec::new()),
            (Ok(()), Some(payloads)) => (None, payloads),
            (Ok(()), None) => (Some(no_memory()), Vec::new()),
        };
        let Instants { in_hand, called, returned, .. } = instants;
        let published = clock::now();
        let reply = Reply::Done { job, error, in_hand, called, returned, published };
        self.mail.reply(reply, payloads, carriage)?;
        self.done();
        Ok(())
    }

    /// Fetches the regions that an order names and that are not known yet.
    fn learn_regions(&mut self, places: &[Place]) -> Result<(), Leave> {
        let regions = places.iter().map(|place| match place {
            Place::Slab { region, .. } => *region as usize + 1,
            Place::Here(_) => 0,
        });
        let needed = regions.max().unwrap_or(0);
        while self.inputs.count() < needed {
            let (_, region) = self.mail.fetch(|mail| matches!(mail, Mail::Inputs))?;
            self.inputs.add(region);
        }
        Ok(())
    }

    /// Many small jobs, one after another: each kernel is called when the one before
    /// it has returned.
    #[inline(never)]
    fn do_chunk(
        &mut self,
        first: JobId,
        count: u32,
        in_hand: Nanos,
        runs: Place,
    ) -> Result<(), Leave> {
        let nonsense = |error: &dyn std::fmt::Display| Leave::Because(error.to_string());
        self.learn_regions(std::slice::from_ref(&runs))?;
        let (runs, returned): ChunkBody = match runs {
            Place::Here(bytes) => wire::decode_bulk(&bytes),
            Place::Slab { region, offset, len, .. } => {
                let bytes = self.inputs.find(region, offset, len);
                wire::decode_bulk(bytes.ok_or_else(|| nonsense(&"a chunk is in no slab"))?)
            }
        }
        .map_err(|error| nonsense(&error))?;
        self.outputs.take_back(&returned);
        let mut said = Vec::with_capacity(count as usize * size_of::<Nanos>());
        let mut others = ChunkOthers::new();
        let mut called = clock::now();
        let begin = called;
        let mut place = 0;
        'runs: for run in runs {
            let entry = self.registry.get(KernelId(run.kernel));
            for i in 0..run.count as usize {
                let job = JobId(first.0 + u64::from(place));
                self.take(job);
                self.station.call(called);
                let inputs: Vec<Buffer> = match run.inputs.get(i) {
                    Some(inputs) => inputs.iter().map(|bytes| Buffer::from(&bytes[..])).collect(),
                    None => Vec::new(),
                };
                let slices: Vec<&[u8]> = inputs.iter().map(|input| &input[..]).collect();
                let room = Room::Arena { shelf: &mut self.outputs, mail: &mut self.mail };
                let mut sink = Sink::new(room, self.bound.outputs());
                let bound = &self.bound;
                let (returned, result) =
                    run_entry(entry, bound, &run.params, None, called, &slices, &mut sink);
                let outputs = sink.into_outputs();
                if result.is_ok() && outputs.iter().any(Output::is_apart) {
                    // No room for outputs that an answer can name. This job and the rest go
                    // on one by one.
                    break 'runs;
                }
                said.extend_from_slice(&returned.to_le_bytes());
                called = returned;
                match result {
                    Ok(()) if outputs.is_empty() => {}
                    Ok(()) => {
                        let places = outputs.into_iter().map(|o| o.into_place(&mut self.outputs));
                        let result = places.collect::<Option<Vec<_>>>().ok_or_else(no_memory);
                        others.push((place, result));
                    }
                    Err(error) => others.push((place, Err(error))),
                }
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
        let room = Room::Arena { shelf: &mut self.outputs, mail: &mut self.mail };
        let mut sink = Sink::new(room, u64::MAX);
        let result = match sink.add(said.len()) {
            Ok(output) => {
                output.copy_from_slice(&said);
                Ok(())
            }
            Err(_) => Err(no_memory()),
        };
        let outputs = sink.into_outputs();
        self.answer(first, instants, result, outputs)
    }

    /// A job whose inputs are in the order or in the arena.
    fn do_order(&mut self, job: &InHand, in_hand: Nanos, inputs: Vec<Place>) -> Result<(), Leave> {
        self.learn_regions(&inputs)?;
        let tiny: Vec<Option<Buffer>> = inputs
            .iter()
            .map(|place| match place {
                Place::Here(bytes) => Some(Buffer::from(&bytes[..])),
                Place::Slab { .. } => None,
            })
            .collect();
        let mut slices: Vec<&[u8]> = Vec::with_capacity(inputs.len());
        for (place, tiny) in inputs.iter().zip(&tiny) {
            slices.push(match (place, tiny) {
                (_, Some(buffer)) => buffer,
                (Place::Slab { region, offset, len, .. }, None) => self
                    .inputs
                    .find(*region, *offset, *len)
                    .ok_or_else(|| Leave::Because("an input is in no slab".to_owned()))?,
                (Place::Here(_), None) => &[],
            });
        }
        let room = Room::Arena { shelf: &mut self.outputs, mail: &mut self.mail };
        let mut sink = Sink::new(room, self.bound.outputs());
        let (instants, result) =
            call(self.registry, &self.station, &self.bound, job, in_hand, &slices, &mut sink);
        let outputs = sink.into_outputs();
        self.answer(job.job, instants, result, outputs)
    }

    fn answer(
        &mut self,
        job: JobId,
        mut instants: Instants,
        result: Result<(), JobError>,
        outputs: Vec<Output>,
    ) -> Result<(), Leave> {
        let tiny = outputs.iter().map(|output| match output {
            Output::Heap(buffer) => buffer.len() + 8,
            Output::Slab(_) => 32,
            Output::Apart(_) => MAX_MESSAGE,
        });
        if tiny.sum::<usize>() > ROOM_FOR_PLACES {
            return self.reply(job, instants, result, outputs, Carriage::Shared);
        }
        let error = result.err();
        let places = match &error {
            Some(_) => Vec::new(),
            None => outputs.into_iter().filter_map(|o| o.into_place(&mut self.outputs)).collect(),
        };
        let answer = Answer { job, error, outputs: places };
        let mut buffer = [0; MAX_MESSAGE];
        let (head, body) = buffer.split_at_mut(Instants::BYTES);
        let len = wire::encode_answer(&answer, body)
            .map_err(|error| Leave::Because(error.to_string()))?;
        let (Some(len), Some(head)) = (len, head.first_chunk_mut()) else {
            // Outputs would have fitted: a long error message.
            let result = answer.error.map_or(Ok(()), Err);
            return self.reply(job, instants, result, Vec::new(), Carriage::Shared);
        };
        instants.published = clock::now();
        instants.write(head);
        self.station.publish(&buffer[..Instants::BYTES + len]);
        self.done();
        Ok(())
    }
}

fn no_memory() -> JobError {
    make_way_if_starved();
    JobError::Transport { message: "no memory for its outputs".to_owned() }
}

fn call(
    registry: &Registry,
    station: &Station,
    bound: &Bound,
    job: &InHand,
    in_hand: Nanos,
    inputs: &[&[u8]],
    sink: &mut dyn OutputSink,
) -> (Instants, Result<(), JobError>) {
    let entry = registry.get(KernelId(job.kernel));
    let called = clock::now();
    station.call(called);
    let (returned, result) =
        run_entry(entry, bound, &job.params, job.timeout, called, inputs, sink);
    (Instants { in_hand, called, returned, published: 0 }, result)
}

/// Calls a kernel; returns when it returned.
fn run_entry(
    entry: Option<&Entry>,
    bound: &Bound,
    params: &Params,
    timeout: Option<Duration>,
    called: Nanos,
    inputs: &[&[u8]],
    sink: &mut dyn OutputSink,
) -> (Nanos, Result<(), JobError>) {
    let Some(entry) = entry else {
        let message = "its worker has no such kernel".to_owned();
        return (called, Err(JobError::Transport { message }));
    };
    let chatty = is_chatty();
    if chatty {
        tell_called(entry.spec.name);
    }
    let never = || false;
    let deadline = Deadline { timeout, called, cancelled: &never };
    let context = Context::new(params, inputs, sink, &deadline);
    let mut call = Call::new(entry, context);
    let (returned, result) = bound.time(|| invoke::run_to_end(&mut call, &deadline, thread::sleep));
    let result = result.map_err(|error| bound.blame(error));
    if chatty {
        tell_returned(entry.spec.name);
    }
    (returned, deadline.judge(result, returned))
}
