//! The worker's side: from the first instruction of the process to its last job.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use brigade_ipc::wire::{Reply, Request};
use brigade_ipc::{
    Carriage, Connected, Hello, NONCE_ENV, PARENT_ENV, Payload, Received, RecvError, Refusal,
    Region, SERVER_ENV, SendError, Sender, StatusPage, build_id, connect, worker_environment,
};
use brigade_kernels::{Context, Entry, KernelError, KernelId, OutputSink, Registry};
use brigade_proto::{Buffer, JobError, PROTOCOL_VERSION};
use brigade_sys::{affinity, clock, process};

use super::forward::Forward;
use crate::invoke::{self, Call, Deadline};

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
    let (server, nonce, parent) = match worker_environment()? {
        Ok(found) => found,
        Err(refusal) => return Some(give_notice(&refusal)),
    };
    Some(match start(registry, server, nonce, parent) {
        Ok(worker) => worker.serve(),
        Err(refusal) => give_notice(&refusal),
    })
}

/// The coordinator shows the last line of this in its error.
fn give_notice(reason: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("brigade worker: {reason}");
    ExitCode::FAILURE
}

/// What makes a process a worker, in this order.
fn start(
    registry: &Registry,
    server: String,
    nonce: u128,
    parent: u32,
) -> Result<Worker<'_>, Refusal> {
    let step = |what: &str, result: std::io::Result<()>| {
        result.map_err(|error| Refusal::Broken(format!("cannot {what}: {error}")))
    };
    // 1. Nothing inherited: another worker's socket kept open here would hide its
    //    death from the coordinator.
    step("close inherited descriptors", process::close_inherited_descriptors())?;
    // 2. No life without the coordinator.
    step("follow the coordinator", process::die_with_parent(parent))?;
    // 3. Programs that a kernel starts learn nothing of the coordinator.
    process::clear_environment(&[SERVER_ENV, NONCE_ENV, PARENT_ENV]);
    // 4. Shake hands.
    let hello = Hello {
        version: PROTOCOL_VERSION,
        build: build_id(),
        nonce,
        pid: process::pid(),
        kernels: names(registry),
    };
    let Connected { welcome, page, requests, replies } = connect(server, &hello)?;
    // 5. Be who the coordinator says.
    process::set_name(&format!("brigade-{}", welcome.worker));
    if let Some(index) = welcome.pin {
        affinity::pin_thread(index as usize);
    }
    let replies = Arc::new(Mutex::new(replies));
    let job = Arc::new(AtomicU64::new(0));
    Forward::install(&replies, welcome.log_level, &job);
    tracing::debug!("worker started");
    Ok(Worker { registry, page, requests, replies, job })
}

/// Names of all kernels, in the order of the registry.
pub(super) fn names(registry: &Registry) -> Vec<String> {
    registry.iter().map(|entry| entry.spec.name.to_owned()).collect()
}

struct Worker<'r> {
    registry: &'r Registry,
    page: StatusPage,
    requests: brigade_ipc::Receiver,
    replies: Arc<Mutex<Sender>>,
    /// For the log: the job in hand plus one.
    job: Arc<AtomicU64>,
}

impl Worker<'_> {
    fn serve(self) -> ExitCode {
        loop {
            match self.requests.recv::<Request>() {
                Ok((request, inputs)) => match self.work(&request, &inputs) {
                    Ok(()) => {}
                    // The coordinator has gone.
                    Err(SendError::Disconnected) => return ExitCode::SUCCESS,
                    Err(error) => return give_notice(&error),
                },
                Err(RecvError::Disconnected) => {
                    tracing::debug!("worker leaves");
                    return ExitCode::SUCCESS;
                }
                Err(error) => return give_notice(&error),
            }
        }
    }

    fn work(&self, request: &Request, inputs: &[Received]) -> Result<(), SendError> {
        let in_hand = clock::now();
        self.page.take(request.job);
        self.job.store(request.job.0 + 1, Ordering::Relaxed);
        let carriage = if request.shared { Carriage::Shared } else { Carriage::Inline };
        let mut sink = Outputs { carriage, outputs: Vec::new() };
        let (called, returned, result) = match self.registry.get(KernelId(request.kernel)) {
            Some(entry) => self.call(entry, request, inputs, &mut sink),
            None => {
                let message = format!("there is no kernel {}", request.kernel);
                (in_hand, in_hand, Err(JobError::Transport { message }))
            }
        };
        let (error, payloads) = match result {
            Ok(()) => (None, sink.outputs),
            Err(error) => (Some(error), Vec::new()),
        };
        let published = clock::now();
        let reply = Reply::Done { job: request.job, error, in_hand, called, returned, published };
        let replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        replies.send(reply, payloads, carriage)?;
        drop(replies);
        self.page.done();
        self.job.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn call(
        &self,
        entry: &Entry,
        request: &Request,
        inputs: &[Received],
        sink: &mut Outputs,
    ) -> (u64, u64, Result<(), JobError>) {
        let slices: Vec<&[u8]> = inputs.iter().map(Received::in_place).collect();
        tracing::trace!(kernel = entry.spec.name, "kernel called");
        let called = clock::now();
        self.page.call(called);
        let never = || false;
        let deadline = Deadline { timeout: request.timeout, called, cancelled: &never };
        let context = Context::new(&request.params, &slices, sink, &deadline);
        let mut call = Call::new(entry, context);
        let (returned, result) = invoke::run_to_end(&mut call, &deadline, thread::sleep);
        tracing::trace!(kernel = entry.spec.name, "kernel returned");
        (called, returned, deadline.judge(result, returned))
    }
}

/// Outputs where they will travel from: large ones in shared memory if payloads
/// are shared.
struct Outputs {
    carriage: Carriage,
    outputs: Vec<Payload>,
}

impl OutputSink for Outputs {
    fn add(&mut self, len: usize) -> Result<&mut [u8], KernelError> {
        let none = || KernelError::Memory { bytes: len as u64 };
        let payload = if self.carriage == Carriage::Shared && len > brigade_ipc::channel::SMALL {
            Payload::Region(Region::zeroed(len).ok_or_else(none)?)
        } else {
            Payload::Bytes(Arc::new(Buffer::try_zeroed(len).ok_or_else(none)?))
        };
        match self.outputs.push_mut(payload) {
            Payload::Region(region) => Ok(region.bytes_mut()),
            Payload::Bytes(bytes) => {
                Arc::get_mut(bytes).map(|bytes| &mut bytes[..]).ok_or_else(none)
            }
        }
    }

    fn truncate_last(&mut self, len: usize) {
        match self.outputs.last_mut() {
            Some(Payload::Region(region)) => region.truncate(len),
            Some(Payload::Bytes(bytes)) => {
                if let Some(bytes) = Arc::get_mut(bytes) {
                    bytes.truncate(len);
                }
            }
            None => {}
        }
    }

    fn count(&self) -> usize {
        self.outputs.len()
    }
}
