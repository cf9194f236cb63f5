//! What Brigade measures: summaries of spans, and the machine it measured on.

pub mod comparison;
pub mod context;
pub mod doctor;
pub mod experiment;
pub mod floors;
pub mod host;
mod machine;
pub mod models;
pub mod summary;

pub use brigade_sys::clock;
