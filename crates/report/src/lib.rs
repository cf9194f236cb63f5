//! Brigade's output formats.

pub mod bench;
mod clean;
pub mod comparison_human;
mod comparison_words;
pub mod doctor;
pub mod formats;
pub mod html;
pub mod kernels;
mod run;
mod run_human;
mod run_json;
pub mod trace;
pub mod units;

pub use run::{
    Files, JobRow, Micros, NoteNames, ParamValues, ProcessConfig, RUN_SCHEMA, RunConfig, RunEnd,
    RunReport, SpansUs,
};
pub use run_human::RunHuman;
pub use run_json::{RunJson, RunJsonl};
