//! Plain data that Brigade's coordinator, its workers and the library's callers exchange. No I/O,
//! no threads, no clock.
//!
//! Everything that crosses a process boundary is `serde`-serialisable. A [`JobSpec`] is complete in
//! itself: it refers to no terminal and, if its files have absolute paths, to no current directory.
//! So it can be journalled, queued, or sent to another machine.

mod buffer;
mod bytes;
mod count;
mod error;
mod ids;
mod job;
pub mod limits;
mod notes;
mod outcome;
mod params;
mod printable;
mod span;

pub use buffer::Buffer;
pub use bytes::{BufferOwner, Bytes};
pub use count::{Number, count};
pub use error::JobError;
pub use ids::{JobId, WorkerId};
pub use job::{JobSpec, Source};
pub use notes::{Note, Notes};
pub use outcome::{Outcome, Status};
pub use params::{Params, Value};
pub use printable::{is_printable, printable};
pub use span::{Nanos, Span, Spans, Stamps};

/// Version of the messages between a coordinator and its workers. The handshake refuses a worker
/// with another version. Raise it with every change to what crosses the process boundary.
pub const PROTOCOL_VERSION: u32 = 6;
