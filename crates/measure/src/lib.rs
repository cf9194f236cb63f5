//! Measurements and statistics: benchmarks of commands, experiments with several variants,
//! comparisons of two builds, the history of a benchmark, models fitted to results, and a
//! description of the machine that they were taken on.

pub mod change_points;
pub mod command;
pub mod comparison;
pub mod context;
mod cover;
pub mod doctor;
pub mod experiment;
pub mod floors;
pub mod gate;
pub mod history;
pub mod host;
mod machine;
pub mod memory;
pub mod models;
pub mod rng;
pub mod saved;
pub mod stats;
pub mod summary;
pub mod worker_times;

pub use brigade_sys::clock;
