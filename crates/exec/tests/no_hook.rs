//! A pool changes no panic hook of the program that uses it.

use std::sync::atomic::{AtomicUsize, Ordering};

use brigade_exec::{Backend, Pool};
use brigade_kernels::{Context, Kernel, KernelError, Progress, Registry, Spec};
use brigade_proto::{JobError, JobSpec};

static SEEN: AtomicUsize = AtomicUsize::new(0);

struct Clumsy;

impl Kernel for Clumsy {
    fn spec(&self) -> Spec {
        Spec::new("clumsy", "Panics")
    }
    fn run(&self, _: &mut Context<'_>) -> Result<Progress, KernelError> {
        panic!("out of {}", "eggs")
    }
}

#[test]
fn the_hook_of_the_program_sees_the_panics_of_its_threads() {
    std::panic::set_hook(Box::new(|_| {
        SEEN.fetch_add(1, Ordering::Relaxed);
    }));
    for backend in [Backend::Sync, Backend::Async, Backend::Threads] {
        let registry = Registry::builtin().with(Clumsy);
        let pool = Pool::builder().backend(backend).workers(1).registry(registry).build().unwrap();
        let error = pool.submit(JobSpec::new("clumsy")).unwrap().wait().result.unwrap_err();
        assert_eq!(error.to_string(), "kernel panicked: out of eggs");
        let JobError::Panic { message, location } = error else { panic!("{error}") };
        assert_eq!((message.as_str(), location.as_str()), ("out of eggs", ""));
    }
    assert_eq!(SEEN.load(Ordering::Relaxed), 3);
}
