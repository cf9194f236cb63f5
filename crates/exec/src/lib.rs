//! Brigade's executors: `sync`, `async`, `threads`, `threads-gil` and `processes` behind one trait.
//! On each of them the same job gives the same bytes and the same errors, and its spans have the
//! same meaning.
//!
//! Start at [`Pool::builder`]. A program that uses [`Backend::Processes`] is its own worker
//! program, so its `main` has to call [`run_if_worker`] first.

mod batch;
mod batch_outcomes;
mod completions;
mod config;
mod environment;
mod error;
mod executor;
mod handle;
mod in_process;
mod invoke;
mod job_state;
mod load;
mod log;
mod map;
mod pool;
mod pool_buffer;
mod processes;
mod stall;
mod task;
mod wakeup_latency;

pub use brigade_sys::confine::{Readable, Root};
pub use config::{Backend, PoolConfig, Sandbox, StartMethod, Transport};
pub use environment::Environment;
pub use error::{PoolError, SubmitError};
pub use executor::{PoolStatus, Stop, WorkerReport};
pub use handle::JobHandle;
pub use invoke::install_panic_hook;
pub use map::{Map, MapUnordered};
pub use pool::{Pool, PoolBuilder};
pub use pool_buffer::PoolBuffer;
pub use processes::{ForkServer, run_if_worker};

// Callers move these between threads and share them. This does not compile if a change takes that
// away.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Pool>();
    is_shared::<PoolBuilder>();
    is_shared::<PoolBuffer>();
    is_shared::<PoolError>();
    is_shared::<SubmitError>();
    is_shared::<ForkServer>();
    is_shared::<JobHandle>();
    is_shared::<Map<'_, std::vec::IntoIter<brigade_proto::JobSpec>>>();
    is_shared::<MapUnordered<'_, std::vec::IntoIter<brigade_proto::JobSpec>>>();
};
