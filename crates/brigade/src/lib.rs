//! Brigade runs CPU-bound jobs in worker processes, and makes this isolation as cheap as threads.
//!
//! A *kernel* is a named, pure computation; a *job* is one call of it. A [`Pool`] runs jobs on a
//! *backend*: one after another, on an event loop, on threads, or in processes that it starts,
//! feeds, watches and replaces. The same job gives the same bytes and the same errors on each
//! backend.
//!
//! # A pool inside another program
//! ```no_run
//! use std::process::ExitCode;
//!
//! use brigade::{JobSpec, Pool, Registry};
//!
//! fn main() -> ExitCode {
//!     // This executable is also the worker program, so this call comes first.
//!     let registry = Registry::builtin();
//!     if let Some(code) = brigade::run_if_worker(&registry) {
//!         return code;
//!     }
//!     let pool = Pool::builder().workers(2).build().expect("workers start");
//!     let jobs = (0..100).map(|_| JobSpec::new("spin").param("us", 500));
//!     let ok = pool.map(jobs).filter(|outcome| outcome.result.is_ok()).count();
//!     println!("{ok} jobs ok");
//!     ExitCode::SUCCESS
//! }
//! ```
//!
//! # Your own kernel
//! Implement [`Kernel`] and add it with [`Registry::with`]. The crate `brigade-cli` has Brigade's command
//! line for any registry.
//!
//! # Features
//! Without features this crate compiles no codec. `image`, `matrix`, `audio` and `learning` add those
//! kernels to [`Registry::builtin`]; `kernels` adds all.

pub use brigade_exec::{
    Backend, Environment, ForkServer, JobHandle, Map, MapUnordered, Pool, PoolBuffer, PoolBuilder,
    PoolConfig, PoolError, PoolStatus, Readable, Root, Sandbox, StartMethod, Stop, SubmitError,
    Transport, WorkerReport, install_panic_hook, run_if_worker,
};
pub use brigade_kernels::{
    Context, Family, Inputs, Kernel, KernelError, KernelId, OutputFormat, ParamError, ParamKind,
    ParamSpec, Progress, RegisteredKernel, Registry, Size, Spec,
};
pub use brigade_proto::{
    Buffer, Bytes, JobError, JobId, JobSpec, Nanos, Note, Notes, Outcome, Params, Source, Span,
    Spans, Stamps, Status, Value, WorkerId,
};
