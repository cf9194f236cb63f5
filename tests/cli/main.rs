//! The program as its users see it: command lines in, exit codes, files and text
//! out.

mod bad_input;
mod batch;
mod bench;
mod bench_options;
mod bombs;
mod compare;
mod endings;
mod faults;
mod gate;
mod help;
mod history;
mod journal;
mod json_schema;
mod limits;
mod memory;
mod outputs;
mod pressure;
mod refused;
mod report;
mod run;
mod schemas;
// Shared with the tests of `sys`.
mod shown;
#[path = "../../crates/sys/src/skip.rs"]
mod skip;
mod trace;
mod untrusted;
mod util;
