//! The kernels that Brigade runs, and the trait to write more.
//!
//! A kernel is a named, pure computation: parameters and input buffers in,
//! output buffers out. It opens no file, starts no thread and knows no process;
//! which worker runs it, and how its bytes get there, is the executor's business.
//!
//! [`Registry::builtin`] holds all of them, by family: [`Family`].

mod audio;
mod context;
mod error;
mod faults;
mod image;
mod kernel;
mod learning;
mod matrix;
mod measuring;
mod npy;
mod param;
mod registry;
mod simd;
mod synth;
mod vision;

pub use context::{Always, Context, Control, HeapSink, OutputSink};
pub use error::{KernelError, ParamError};
pub use kernel::{Family, Inputs, Kernel, OutputFormat, Progress, Spec};
pub use param::{ParamKind, ParamSpec};
pub use registry::{KernelId, RegisteredKernel, Registry};
pub use synth::Size;
