//! Brigade with its built-in kernels. All code is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    brigade_cli::main(brigade_kernels::Registry::builtin())
}
