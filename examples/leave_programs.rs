//! Brigade's whole command line with one kernel more, whose jobs leave programs running that
//! nobody waits for: `cargo run --example leave_programs -- run leave-program`.
//! `scripts/kill_coordinator.py` checks with it that they end with the coordinator.

use std::process::{Command, ExitCode, Stdio};

use brigade::{Context, Kernel, KernelError, Progress, Registry, Spec};

struct LeaveProgram;

impl Kernel for LeaveProgram {
    fn spec(&self) -> Spec {
        // Else they would be left by the coordinator itself.
        Spec::new("leave-program", "Starts a program and leaves it running").needs_isolation()
    }

    fn run(&self, _: &mut Context<'_>) -> Result<Progress, KernelError> {
        let mut sleep = Command::new("sleep");
        sleep.arg("3600").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        sleep
            .spawn()
            .map_err(|error| KernelError::input(format!("no program to leave: {error}")))?;
        Ok(Progress::Done)
    }
}

fn main() -> ExitCode {
    brigade_cli::main(Registry::builtin().with(LeaveProgram))
}
