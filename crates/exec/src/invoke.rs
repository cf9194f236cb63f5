//! Calls kernels. Every backend does it here.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use brigade_kernels::{Context, Control, KernelError, Progress, RegisteredKernel};
use brigade_proto::{JobError, Nanos, Notes, limits};
use brigade_sys::clock;

use crate::stall::{Frozen, Stopwatch};

/// A kernel call. It pauses when the kernel waits.
pub(crate) struct KernelCall<'a> {
    entry: &'a RegisteredKernel,
    context: Context<'a>,
}

/// The result of one step of a call.
pub(crate) enum StepResult {
    Wait(Duration),
    Finished(CallResult),
}

/// The result of a call. The error is boxed because it is much larger than the notes, and each move
/// of the result would copy that many bytes: of empty jobs in a batch, a fifth of the worker's time
/// went into such copies.
pub(crate) type CallResult = Result<Notes, Box<CallError>>;

/// Why a call failed.
pub(crate) enum CallError {
    /// The kernel noticed that it should stop. The executor knows why.
    Stopped,
    /// The machine had no memory for the job.
    NoMemory(KernelError),
    Failed(JobError),
}

impl<'a> KernelCall<'a> {
    pub(crate) fn new(entry: &'a RegisteredKernel, context: Context<'a>) -> Self {
        Self { entry, context }
    }

    /// Runs the kernel until its next wait or its end.
    pub(crate) fn step(&mut self) -> StepResult {
        let context = &mut self.context;
        let kernel = &self.entry.kernel;
        CAUGHT.with_borrow_mut(|caught| caught.armed = true);
        // Unwind safety: nothing uses the context after a panic.
        let result = catch_unwind(AssertUnwindSafe(|| kernel.run(context)));
        let panic = CAUGHT.with_borrow_mut(|caught| {
            caught.armed = false;
            caught.panic.take()
        });
        match result {
            Ok(Ok(Progress::Done)) => StepResult::Finished(Ok(context.notes())),
            Ok(Ok(Progress::Wait(time))) => {
                context.next_round();
                StepResult::Wait(time)
            }
            Ok(Err(error)) => StepResult::Finished(Err(Box::new(error.into()))),
            Err(payload) => {
                // Only the hook sees the location.
                let (message, location) =
                    panic.unwrap_or_else(|| (message_of(&*payload), String::new()));
                let error = JobError::Panic { message, location };
                StepResult::Finished(Err(Box::new(CallError::Failed(error))))
            }
        }
    }
}

impl From<KernelError> for CallError {
    #[cold]
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Stopped => Self::Stopped,
            KernelError::Memory { .. } | KernelError::Shortage { .. } => Self::NoMemory(error),
            error => {
                let message = limits::cut(&error.to_string(), limits::MAX_ERROR_BYTES).to_owned();
                Self::Failed(JobError::Kernel { message })
            }
        }
    }
}

#[derive(Default)]
struct Caught {
    armed: bool,
    panic: Option<(String, String)>,
}

thread_local! {
    static CAUGHT: RefCell<Caught> = RefCell::default();
}

/// Installs a panic hook that records the message and the location of a panic inside a kernel
/// instead of printing them, for the error of the job. It passes other panics to the hook that was
/// installed before. Installed once, whatever the number of calls.
///
/// It also hides the panics of ipc-channel that Brigade expects and reports as errors: where memory or
/// descriptors are lacking.
///
/// Worker processes have this hook, and so has Brigade's own command line. A pool does not install it
/// in the program that uses it: there, a kernel that panics on a backend in the same process
/// (`threads`, for example) is told by the program's own hook, and the location in
/// [`JobError::Panic`] is empty.
///
/// ```
/// # use brigade_exec::install_panic_hook;
/// install_panic_hook();
/// ```
pub fn install_panic_hook() {
    brigade_ipc::hide_expected_panics();
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let noted = CAUGHT.try_with(|caught| {
                let Ok(mut caught) = caught.try_borrow_mut() else {
                    return false;
                };
                if caught.armed {
                    caught.panic = Some(describe(info));
                }
                caught.armed
            });
            if noted != Ok(true) {
                previous(info);
            }
        }));
    });
}

/// The message of a panic.
fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    limits::cut(text.unwrap_or(NO_TEXT), limits::MAX_ERROR_BYTES).to_owned()
}

const NO_TEXT: &str = "a value that is not text";

fn describe(info: &PanicHookInfo<'_>) -> (String, String) {
    let message = info.payload_as_str().unwrap_or(NO_TEXT);
    let location = info
        .location()
        .map(|at| format!("{}:{}:{}", without_machine(at.file()), at.line(), at.column()));
    let location = location.unwrap_or_default();
    (limits::cut(message, limits::MAX_ERROR_BYTES).to_owned(), location)
}

/// Shortens a source path to start at its crate's directory. The part before that is a directory of
/// the machine that built the program.
fn without_machine(file: &str) -> &str {
    if !file.starts_with('/') {
        return file;
    }
    // Without a `src` directory only the file name is left.
    match file.rfind("/src/") {
        Some(end) => &file[file[..end].rfind('/').map_or(0, |slash| slash + 1)..],
        None => file.rsplit('/').next().unwrap_or(file),
    }
}

/// When a kernel call has to end.
pub(crate) struct Deadline<'a> {
    /// The time limit, counted from the kernel's call; `None`: no limit.
    timeout: Option<(Duration, Stopwatch<'a>)>,
    /// Whether the job was cancelled.
    cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Deadline<'a> {
    pub(crate) fn new(
        timeout: Option<Duration>,
        called: Nanos,
        frozen: Frozen<'a>,
        cancelled: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        let timeout = timeout.map(|timeout| (timeout, Stopwatch::start(called, frozen)));
        Self { timeout, cancelled }
    }

    pub(crate) fn is_over(&self) -> bool {
        let timeout = self.timeout.as_ref();
        timeout.is_some_and(|(timeout, watch)| watch.is_over(clock::now(), *timeout))
    }

    /// Shortens a wait of the kernel so that it ends at the deadline.
    pub(crate) fn shorten(&self, wait: Duration) -> Duration {
        match &self.timeout {
            Some((timeout, watch)) => wait.min(timeout.saturating_sub(watch.at(clock::now()))),
            None => wait,
        }
    }

    /// Turns the end of a call into the job's result. A kernel that ran for longer than its timeout
    /// has timed out, whether or not it noticed.
    pub(crate) fn judge(
        &self,
        result: CallResult,
        returned: Nanos,
    ) -> Result<Notes, Box<JobError>> {
        if let Some((after, watch)) = &self.timeout
            && watch.is_over(returned, *after)
        {
            return Err(Box::new(JobError::TimedOut { after: *after }));
        }
        let error = match result.map_err(|error| *error) {
            Err(CallError::Failed(error)) => error,
            Err(CallError::NoMemory(error)) => JobError::Kernel { message: error.to_string() },
            _ if (self.cancelled)() => JobError::Cancelled,
            Ok(notes) => return Ok(notes),
            // Nobody asked the kernel to stop, so it has failed.
            Err(CallError::Stopped) => {
                JobError::Kernel { message: KernelError::Stopped.to_string() }
            }
        };
        Err(Box::new(error))
    }
}

impl Control for Deadline<'_> {
    fn should_stop(&self) -> bool {
        (self.cancelled)() || self.is_over()
    }
}

/// Runs a call to its end on this thread; `sleep` waits for the kernel. Returns when the kernel
/// returned last, and the result.
pub(crate) fn run_to_end(
    call: &mut KernelCall<'_>,
    deadline: &Deadline<'_>,
    mut sleep: impl FnMut(Duration),
) -> (Nanos, CallResult) {
    loop {
        match call.step() {
            StepResult::Wait(time) => {
                let end = clock::after(time);
                // Sleep again if the deadline shortened the sleep and has moved since, because this
                // process was stopped meanwhile.
                loop {
                    let left = Duration::from_nanos(end.saturating_sub(clock::now()));
                    sleep(deadline.shorten(left));
                    if deadline.should_stop() {
                        return (clock::now(), Err(Box::new(CallError::Stopped)));
                    }
                    if clock::now() >= end {
                        break;
                    }
                }
            }
            StepResult::Finished(result) => return (clock::now(), result),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_names_no_directory_of_the_machine_that_built_it() {
        for (file, expected) in [
            ("crates/kernels/src/faults.rs", "crates/kernels/src/faults.rs"),
            ("/home/me/brigade/crates/kernels/src/faults.rs", "kernels/src/faults.rs"),
            (
                "/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/zune-jpeg-0.5.0/src/a/b.rs",
                "zune-jpeg-0.5.0/src/a/b.rs",
            ),
            ("/rustc/0123abcd/library/core/src/slice/mod.rs", "core/src/slice/mod.rs"),
            ("/tmp/kernel.rs", "kernel.rs"),
        ] {
            assert_eq!(without_machine(file), expected);
        }
    }
}
