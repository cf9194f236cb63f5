//! Brigade with its built-in kernels. All code is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    brigade::main(brigade::Registry::builtin())
}
