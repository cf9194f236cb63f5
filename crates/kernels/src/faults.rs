//! Kernels that go wrong, to see what becomes of the others.

use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use crate::{Context, Family, Kernel, KernelError, OutputFormat, ParamSpec, Progress, Spec};

pub(crate) fn kernels() -> Vec<Box<dyn Kernel>> {
    vec![Box::new(Crash), Box::new(PanicKernel), Box::new(Hang), Box::new(Hog)]
}

struct Crash;

impl Kernel for Crash {
    fn spec(&self) -> Spec {
        Spec::new("crash", "Ends its process")
            .family(Family::Fault)
            .param(
                ParamSpec::choice(
                    "how",
                    &["abort", "segv", "exit", "stack-overflow", "kill"],
                    "abort(), a SIGSEGV, exit with status 0, endless recursion, or a SIGKILL",
                )
                .default("abort"),
            )
            .output(OutputFormat::Fixed("bin"), "nothing, ever")
            .needs_isolation()
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        match job.choice("how") {
            "segv" => signal(Signal::SEGV),
            "kill" => signal(Signal::KILL),
            "stack-overflow" => overflow(),
            "exit" => std::process::exit(0),
            _ => std::process::abort(),
        }
    }
}

/// Sends this process a signal until it has died of it: Rust's own handler of
/// SIGSEGV, which looks for stack overflows, lets the second one through.
fn signal(signal: Signal) -> ! {
    loop {
        let _ = kill_process(getpid(), signal);
    }
}

fn overflow() -> ! {
    #[expect(unconditional_recursion, reason = "the fault to be tried")]
    fn deeper(depth: u64) -> u64 {
        // Not a tail call, and not to be turned into a loop.
        std::hint::black_box(deeper(std::hint::black_box(depth) + 1)) + 1
    }
    unreachable!("reached depth {}", deeper(0))
}

struct PanicKernel;

impl Kernel for PanicKernel {
    fn spec(&self) -> Spec {
        Spec::new("panic", "Panics; the job fails and its worker goes on")
            .family(Family::Fault)
            .output(OutputFormat::Fixed("bin"), "nothing, ever")
    }

    fn run(&self, _: &mut Context<'_>) -> Result<Progress, KernelError> {
        panic!("this kernel always panics")
    }
}

struct Hang;

impl Kernel for Hang {
    fn spec(&self) -> Spec {
        Spec::new("hang", "Never returns and never looks whether it should; see --timeout")
            .family(Family::Fault)
            .param(
                ParamSpec::choice("how", &["sleep", "spin"], "without or with using a core")
                    .default("sleep"),
            )
            .output(OutputFormat::Fixed("bin"), "nothing, ever")
            .needs_isolation()
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let spin = job.choice("how") == "spin";
        loop {
            if spin {
                std::hint::spin_loop();
            } else {
                std::thread::sleep(Duration::from_secs(3600));
            }
        }
    }
}

struct Hog;

/// Bytes that are taken at a time.
const STEP: usize = 16 << 20;

impl Kernel for Hog {
    fn spec(&self) -> Spec {
        Spec::new("hog", "Takes memory, uses all of it, and gives it back")
            .family(Family::Fault)
            .param(
                ParamSpec::int("mib", 1..=1 << 20, "how much, in MiB; more than there is ends it")
                    .default(1024),
            )
            .output(OutputFormat::Fixed("bin"), "what it took: 8 bytes, little-endian, in MiB")
            .needs_isolation()
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let mib = job.int("mib");
        let total = mib.unsigned_abs() as usize * (1 << 20);
        let mut taken: Vec<Vec<u8>> = Vec::new();
        let mut left = total;
        while left > 0 {
            job.check_stop()?;
            let mut block = Vec::new();
            let len = left.min(STEP);
            block.try_reserve_exact(len).map_err(|_| KernelError::Memory { bytes: len as u64 })?;
            // Not zeroes, which the system would only promise.
            block.resize(len, 0xa5);
            taken.push(block);
            left -= len;
        }
        std::hint::black_box(&taken);
        job.put(&mib.to_le_bytes())?;
        Ok(Progress::Done)
    }
}
