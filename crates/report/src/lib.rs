//! Brigade's output formats.

pub mod bench;
mod clean;
pub mod comparison_human;
mod comparison_words;
pub mod doctor;
mod files;
pub mod formats;
pub mod history_human;
pub mod history_kept;
mod history_words;
pub mod html;
mod id;
pub mod kernels;
mod run;
mod run_human;
mod run_json;
pub mod trace;
pub mod units;

pub use files::{FileBytes, Files, bytes_of_name, name_bytes};
pub use id::Id;
pub use run::{
    JobRow, Micros, NoteNames, ParamValues, ProcessConfig, RUN_SCHEMA, RunConfig, RunEnd,
    RunReport, SpansUs,
};
pub use run_human::RunHuman;
pub use run_json::{RunJson, RunJsonl};
