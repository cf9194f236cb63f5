//! The entry of a program into the role of a worker or a fork server.

use std::process::ExitCode;

use brigade_ipc::{NONCE_ENV, PARENT_ENV, SERVER_ENV, worker_environment};
use brigade_kernels::Registry;
use brigade_sys::process;

use super::{fork_server_process, worker};
use crate::install_panic_hook;

/// Runs this process as a worker or a fork server if a coordinator has started it as one; returns
/// `None` otherwise. A program's `main` must call this before anything else:
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
/// Before this call, the program must not open a descriptor that matters or start a thread: the
/// worker closes every descriptor above 2 and is single-threaded.
pub fn run_if_worker(registry: &Registry) -> Option<ExitCode> {
    if let Some(code) = fork_server_process::run_if_fork_server(registry) {
        return Some(code);
    }
    Some(match worker_environment()? {
        Ok((token, parent)) => {
            install_panic_hook();
            // Programs that a kernel starts must learn nothing about the coordinator.
            process::clear_environment(&[SERVER_ENV, NONCE_ENV, PARENT_ENV]);
            process::be_killed_first();
            worker::run(registry, worker::hello(registry), token, parent)
        }
        Err(refusal) => worker::give_notice(&refusal),
    })
}
