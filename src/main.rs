//! Brigade for its built-in kernels; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    brigade::main(brigade::Registry::builtin())
}
