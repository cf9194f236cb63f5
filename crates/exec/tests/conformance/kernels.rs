//! Kernels that do what the tests need and nothing else.

use std::path::Path;
use std::time::{Duration, Instant};

use brigade_kernels::{Context, Inputs, Kernel, KernelError, ParamSpec, Progress, Registry, Spec};

use brigade_proto::Note;

use crate::{inputs, limits, orphans, sandbox, short};

pub(crate) fn registry() -> Registry {
    Registry::empty()
        .with(Echo)
        .with(Fill)
        .with(Remark)
        .with(Fail)
        .with(Panic)
        .with(Wait)
        .with(Busy)
        .with(Deaf)
        .with(Die)
        .with(DieOnce)
        .with(Print)
        .with(GateKernel)
        .with(short::Needy)
        .with(limits::Grab)
        .with(limits::Leak)
        .with(limits::Burn)
        .with(sandbox::Escape)
        .with(inputs::Scribble)
        .with(orphans::Shepherd)
}

/// Gives its inputs back, each byte plus one.
struct Echo;

impl Kernel for Echo {
    fn spec(&self) -> Spec {
        Spec::new("echo", "Gives its inputs back, each byte plus one").inputs(Inputs::between(
            0,
            4,
            "any bytes",
        ))
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        for input in job.inputs() {
            assert_eq!(input.as_ptr() as usize % 64, 0, "inputs are aligned");
            let output = job.output(input.len() + 10)?;
            assert_eq!(output.as_ptr() as usize % 64, 0, "outputs are aligned");
            for (to, from) in output.iter_mut().zip(*input) {
                *to = from.wrapping_add(1);
            }
            job.truncate_output(input.len());
        }
        Ok(Progress::Done)
    }
}

/// Remarks on its result, and has an output only if it is asked for one.
struct Remark;

impl Kernel for Remark {
    fn spec(&self) -> Spec {
        Spec::new("remark", "Remarks that a profile was dropped")
            .param(ParamSpec::int("bytes", 0..=1 << 20, "Length of its output").default(0_i64))
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        job.note(Note::IccDropped);
        if job.int("bytes") > 0 {
            job.output(job.int("bytes") as usize)?;
        }
        Ok(Progress::Done)
    }
}

/// Gives so many bytes, all the same. Zeros it leaves as they are.
struct Fill;

impl Kernel for Fill {
    fn spec(&self) -> Spec {
        Spec::new("fill", "Gives so many bytes, all the same")
            .param(ParamSpec::int("bytes", 0..=1 << 30, "").default(1))
            .param(ParamSpec::int("byte", 0..=255, "").default(0))
    }
    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let byte = job.int("byte") as u8;
        let output = job.output(job.int("bytes") as usize)?;
        if byte != 0 {
            output.fill(byte);
        }
        Ok(Progress::Done)
    }
}

/// Returns an error after it has written an output.
struct Fail;

impl Kernel for Fail {
    fn spec(&self) -> Spec {
        Spec::new("fail", "Returns an error").inputs(Inputs::between(0, 1, "any bytes"))
    }
    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        job.put(&[1; 10_000])?;
        Err(KernelError::input("these bytes are no good"))
    }
}

struct Panic;

impl Kernel for Panic {
    fn spec(&self) -> Spec {
        Spec::new("panic", "Panics")
    }
    fn run(&self, _: &mut Context<'_>) -> Result<Progress, KernelError> {
        panic!("out of {}", "eggs")
    }
}

/// Waits twice, then says how often it was called.
struct Wait;

impl Kernel for Wait {
    fn spec(&self) -> Spec {
        Spec::new("wait", "Waits").param(ParamSpec::int("ms", 0..=1_000_000, "").default(1))
    }
    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        if job.round() < 2 {
            return Ok(Progress::Wait(Duration::from_millis(job.int("ms") as u64)));
        }
        let round = job.round() as u8;
        job.put(&[round])?;
        Ok(Progress::Done)
    }
}

/// Computes, and looks whether it should stop.
struct Busy;

impl Kernel for Busy {
    fn spec(&self) -> Spec {
        Spec::new("busy", "Computes").param(ParamSpec::int("ms", 0..=1_000_000, "").default(1))
    }
    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let end = Instant::now() + Duration::from_millis(job.int("ms") as u64);
        while Instant::now() < end {
            job.check_stop()?;
            std::hint::spin_loop();
        }
        Ok(Progress::Done)
    }
}

/// Sleeps and never looks whether it should stop.
struct Deaf;

impl Kernel for Deaf {
    fn spec(&self) -> Spec {
        Spec::new("deaf", "Sleeps").param(ParamSpec::int("ms", 0..=1_000_000, "").default(1))
    }
    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        std::thread::sleep(Duration::from_millis(job.int("ms") as u64));
        Ok(Progress::Done)
    }
}

/// Ends its process.
struct Die;

pub(crate) const WAYS: &[&str] = &["kill", "segv", "abort", "exit", "overflow"];

impl Kernel for Die {
    fn spec(&self) -> Spec {
        Spec::new("die", "Ends its process")
            .param(ParamSpec::choice("how", WAYS, "").default("abort"))
            .param(ParamSpec::int("ms", 0..=1000, "how long before").default(0))
            .needs_isolation()
    }
    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        std::thread::sleep(Duration::from_millis(job.int("ms").cast_unsigned()));
        die(job.choice("how"))
    }
}

pub(crate) fn die(how: &str) -> ! {
    use rustix::process::{Signal, getpid, kill_process};
    match how {
        "kill" => loop {
            let _ = kill_process(getpid(), Signal::KILL);
        },
        // Rust's own handler, which looks for stack overflows, lets the second one
        // through.
        "segv" => loop {
            let _ = kill_process(getpid(), Signal::SEGV);
        },
        #[expect(clippy::exit, reason = "one of the ways to die")]
        "exit" => std::process::exit(0),
        "overflow" => {
            #[expect(unconditional_recursion, reason = "that is the point")]
            fn deeper(n: u64) -> u64 {
                std::hint::black_box(deeper(std::hint::black_box(n) + 1) + 1)
            }
            panic!("{}", deeper(0))
        }
        _ => std::process::abort(),
    }
}

/// Ends its process the first time; its input names a file that tells.
struct DieOnce;

impl Kernel for DieOnce {
    fn spec(&self) -> Spec {
        Spec::new("die-once", "Ends its process once")
            .param(ParamSpec::choice("how", WAYS, "").default("abort"))
            .inputs(Inputs::exactly(1, "path of a marker file"))
            .needs_isolation()
    }
    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let marker = Path::new(std::str::from_utf8(job.input(0)?).unwrap());
        if !marker.exists() {
            std::fs::write(marker, "").unwrap();
            die(job.choice("how"));
        }
        job.put(b"alive")?;
        Ok(Progress::Done)
    }
}

/// Writes a lot to standard output and standard error.
struct Print;

impl Kernel for Print {
    fn spec(&self) -> Spec {
        Spec::new("print", "Prints a megabyte")
    }
    fn run(&self, _: &mut Context<'_>) -> Result<Progress, KernelError> {
        for _ in 0..10_000 {
            println!("{}", "x".repeat(50));
            eprintln!("{}", "y".repeat(50));
        }
        Ok(Progress::Done)
    }
}

/// Waits for a file `open` in the directory that its input names; says that it
/// does so by a file of its own there.
struct GateKernel;

impl Kernel for GateKernel {
    fn spec(&self) -> Spec {
        Spec::new("gate", "Waits for a file").inputs(Inputs::exactly(1, "path of a directory"))
    }
    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let directory = Path::new(std::str::from_utf8(job.input(0)?).unwrap());
        let thread = format!("{:?}-{}", std::thread::current().id(), std::process::id());
        let _ = std::fs::write(directory.join(thread), "");
        // Gone: the test has failed.
        while directory.exists() && !directory.join("open").exists() {
            job.check_stop()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Progress::Done)
    }
}
