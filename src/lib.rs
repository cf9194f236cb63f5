//! Brigade's command line, for any registry of kernels. The library for pools inside other programs is
//! the crate `brigade`.
//!
//! [`main`] runs the command line: implement `Kernel`, add it with `Registry::with`, and your program has
//! `run`, `batch`, `kernels`, `doctor` and the other commands for it.

mod args;
mod commands;
mod commit;
mod compact;
mod config;
mod console;

mod exit;
mod exports;
mod finalize;
#[doc(hidden)]
pub mod fuzz;
mod git;
mod journal;
mod log;
mod missing;
mod plan;
mod recorder;
mod saved;
mod signals;
mod tracer;
mod write;

use std::process::ExitCode;

use brigade_exec::{install_panic_hook, run_if_worker};
use brigade_kernels::Registry;

/// Runs Brigade's whole command line, for the kernels of `registry`.
///
/// Call it first in `main`: the program is also its own worker program, and a worker should do
/// nothing else before this call.
///
/// ```no_run
/// # use brigade_kernels::Registry;
/// fn main() -> std::process::ExitCode {
///     brigade_cli::main(Registry::builtin())
/// }
/// ```
pub fn main(registry: Registry) -> ExitCode {
    // For worker processes, threads and plain code: all run the same kernels.
    brigade_sys::heap::keep_freed_memory();
    if let Some(code) = run_if_worker(&registry) {
        return code;
    }
    install_panic_hook();
    commands::dispatch(registry).into()
}
