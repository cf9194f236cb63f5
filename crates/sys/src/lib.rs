//! Brigade's platform layer: the only crate with unsafe code.
//!
//! Written for Linux. What another system lacks returns an error that says so.
#![allow(unsafe_code)]

pub mod affinity;
pub mod clock;
pub mod confine;
pub mod cores;
pub mod event_fd;
pub mod fork;
pub mod heap;
#[cfg(feature = "libjpeg")]
pub mod libjpeg;
pub mod limits;
pub mod mapping;
pub mod orphans;
pub mod patient;
pub mod perf;
pub mod process;
pub mod process_group_guard;
pub mod random;
pub mod sandbox;
pub mod shared;
pub mod shortage;
pub mod signals;
#[cfg(test)]
mod skip;
pub mod slab;
pub mod socket;
pub mod stall;
pub mod storage;
pub mod usage;
