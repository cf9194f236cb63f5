//! A kernel of one's own, on every backend: `cargo run --example custom_kernel`.
#![allow(clippy::print_stdout, reason = "a program may")]

use std::process::ExitCode;

use brigade::{Backend, Context, Inputs, JobSpec, KernelError, Pool, Progress, Registry, Spec};

struct CountWords;

impl brigade::Kernel for CountWords {
    fn spec(&self) -> Spec {
        Spec::new("count-words", "Counts the words of a text").inputs(Inputs::exactly(1, "text"))
    }

    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
        let text = String::from_utf8_lossy(job.input(0)?);
        job.put(text.split_whitespace().count().to_string().as_bytes())?;
        Ok(Progress::Done)
    }
}

fn main() -> ExitCode {
    let registry = || Registry::empty().with(CountWords);
    if let Some(code) = brigade::run_if_worker(&registry()) {
        return code; // this very executable, started as a worker
    }
    for &backend in Backend::ALL {
        let pool = Pool::builder().backend(backend).registry(registry()).build().expect("starts");
        let job = JobSpec::new("count-words").input(&b"what a thread costs"[..]);
        let words = pool.submit(job).expect("is valid").wait().result.expect("is counted");
        println!("{backend}: {} words", String::from_utf8_lossy(&words[0]));
        assert_eq!(&words[0][..], b"4");
    }
    ExitCode::SUCCESS
}
