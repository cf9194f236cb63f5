//! The worker process, from its first instruction to its last job.

mod control;
mod request;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use brigade_ipc::wire::{self, MessageResponse, RingRequest};
use brigade_ipc::{
    BootstrapToken, Carriage, Connected, Hello, InputRegions, MAX_MESSAGE, OutputAllocator,
    RecvError, Refusal, SendError, SpinPolicy, WorkerEndpoint, build_id, connect,
};
use brigade_kernels::Registry;
use brigade_proto::{JobId, PROTOCOL_VERSION};
use brigade_sys::{affinity, clock, process};

use self::control::ControlChannel;
use self::request::InHand;
use super::log_forward::Forward;
use super::worker_limits::{self, AppliedLimits};

/// What a worker says about itself. The nonce and the process id are added when they are known.
pub(super) fn hello(registry: &Registry) -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        build: build_id().to_owned(),
        nonce: 0,
        pid: 0,
        kernels: names(registry),
    }
}

/// Runs this process as a worker to its end. The environment no longer has the coordinator's
/// variables.
pub(super) fn run(
    registry: &Registry,
    mut hello: Hello,
    token: BootstrapToken,
    parent: u32,
) -> ExitCode {
    match start(registry, &mut hello, token, parent) {
        Ok(worker) => worker.serve(),
        Err(refusal) => give_notice(&refusal),
    }
}

/// Prints why the worker ends. The coordinator shows the last line of this output in its error.
pub(super) fn give_notice(reason: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("brigade worker: {reason}");
    ExitCode::FAILURE
}

/// Turns this process into a worker. The order of the steps matters.
fn start<'r>(
    registry: &'r Registry,
    hello: &mut Hello,
    token: BootstrapToken,
    parent: u32,
) -> Result<Worker<'r>, Refusal> {
    let step = |what: &str, result: std::io::Result<()>| {
        result.map_err(|error| Refusal::Broken(format!("cannot {what}: {error}")))
    };
    // 1. Close inherited descriptors: another worker's socket, if kept open here, would hide the
    //    death of that worker from the coordinator.
    step("close inherited descriptors", process::close_inherited_descriptors())?;
    // 2. Die with the coordinator.
    step("follow the coordinator", process::die_with_parent(parent))?;
    // 3. Connect and handshake.
    hello.nonce = token.nonce();
    hello.pid = process::pid();
    let Connected { welcome, endpoint, requests, responses } = connect(token, hello)?;
    // 4. Set the name, core and log level that the coordinator chose.
    process::set_name(&format!("brigade-{}", welcome.worker));
    if let Some(index) = welcome.pin {
        affinity::pin_thread(index as usize);
    }
    let responses = Arc::new(Mutex::new(responses));
    let job = Arc::new(AtomicU64::new(0));
    Forward::install(&responses, welcome.log_level, &job);
    // 5. Apply the limits. The sandbox comes last, because nothing can be opened inside it.
    let bound = AppliedLimits::set(&welcome.bounds)?;
    worker_limits::enter_sandbox(welcome.bounds.sandbox)?;
    tracing::debug!("worker started");
    let control = ControlChannel::new(requests, responses);
    Ok(Worker {
        registry,
        endpoint,
        control,
        spin_policy: welcome.spin_policy(),
        inputs: InputRegions::default(),
        outputs: OutputAllocator::default(),
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
    endpoint: WorkerEndpoint,
    control: ControlChannel,
    /// How the worker waits for requests in its ring; `None` if it has no rings.
    spin_policy: Option<SpinPolicy>,
    inputs: InputRegions,
    outputs: OutputAllocator,
    bound: AppliedLimits,
    /// For the log: the job in hand plus one; zero if there is none.
    job: Arc<AtomicU64>,
}

/// Why a worker leaves.
enum Leave {
    /// The coordinator told it to leave, or is gone.
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

impl Worker<'_> {
    fn serve(mut self) -> ExitCode {
        let leave = match self.spin_policy {
            Some(spin_policy) => self.serve_ring(spin_policy),
            None => self.serve_control(),
        };
        // The process ends now, and the kernel frees everything at once.
        std::mem::forget(self);
        match leave {
            Err(Leave::Because(reason)) => give_notice(&reason),
            Err(Leave::Quietly) | Ok(()) => {
                tracing::debug!("worker leaves");
                ExitCode::SUCCESS
            }
        }
    }

    fn serve_control(&mut self) -> Result<(), Leave> {
        loop {
            self.run_control_job()?;
            self.request_recycle()?;
        }
    }

    // A separate function, so that job.ld can name it.
    #[inline(never)]
    fn serve_ring(&mut self, spin_policy: SpinPolicy) -> Result<(), Leave> {
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            let request = self
                .endpoint
                .next(&mut buffer, spin_policy)
                .map_err(|corrupt| Leave::Because(corrupt.to_string()))?;
            let in_hand = clock::now();
            match wire::decode_request(request)
                .map_err(|error| Leave::Because(error.to_string()))?
            {
                RingRequest::Job { job, kernel, params, timeout, inputs, returned } => {
                    self.take(job);
                    self.outputs.reclaim(&returned);
                    let job = InHand { job, kernel, params, timeout };
                    self.run_ring_job(&job, in_hand, inputs)?;
                }
                RingRequest::Batch { first, count, runs, returned } => {
                    self.outputs.reclaim(&returned);
                    self.run_batch(first, count, in_hand, runs)?;
                }
                RingRequest::ControlMessage => self.run_control_job()?,
                RingRequest::Forget { regions } => self.inputs.forget(&regions),
                RingRequest::Leave => return Ok(()),
            }
            self.request_recycle()?;
        }
    }

    /// Asks to be replaced if the last job has left too little memory for the next. Then runs none
    /// of the jobs that are on their way, because they could fail for lack of the memory that
    /// earlier jobs hold. The coordinator kills this process and gives those jobs to another
    /// worker.
    fn request_recycle(&mut self) -> Result<(), Leave> {
        if !self.bound.has_outgrown() {
            return Ok(());
        }
        self.control.send(MessageResponse::Outgrown, Vec::new(), Carriage::Inline)?;
        loop {
            thread::park();
        }
    }

    fn take(&self, job: JobId) {
        self.endpoint.take(job);
        self.job.store(job.0 + 1, Ordering::Relaxed);
    }

    fn done(&self) {
        self.endpoint.done();
        self.job.store(0, Ordering::Relaxed);
    }
}
