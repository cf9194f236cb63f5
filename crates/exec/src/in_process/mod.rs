//! The backends that run kernels in the caller's own process.

mod event_loop;
mod outputs;
mod slot;
mod sync;
mod threads;

pub(crate) use event_loop::EventLoop;
pub(crate) use sync::Sync;
pub(crate) use threads::Threads;
