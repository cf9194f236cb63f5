//! The kernels that Brigade runs, and the trait to write more.
//!
//! A kernel is a named, pure computation: parameters and input buffers in,
//! output buffers out. It opens no file, starts no thread and knows no process;
//! which worker runs it, and how its bytes get there, is the executor's business.
//!
//! [`Registry::builtin`] holds all of them, by family: [`Family`]. The families that need codecs or
//! libraries are behind the features `image` (with computer vision), `matrix`, `audio` and `learning`;
//! all are on by default. Kernels that measure, and that fail on purpose, are always there.

#![cfg_attr(
    not(all(feature = "audio", feature = "image", feature = "learning", feature = "matrix")),
    allow(dead_code, unused_imports, reason = "each family uses a part of the shared modules")
)]

#[cfg(any(feature = "audio", feature = "image", feature = "learning", feature = "matrix"))]
mod alloc;
#[cfg(feature = "audio")]
mod audio;
mod context;
mod error;
mod faults;
#[cfg(feature = "image")]
mod image;
mod kernel;
#[cfg(feature = "learning")]
mod learning;
#[cfg(feature = "matrix")]
mod matrix;
mod measuring;
#[cfg(any(feature = "audio", feature = "image", feature = "learning", feature = "matrix"))]
mod npy;
mod param;
mod registry;
mod simd;
mod synth;
#[cfg(feature = "image")]
mod vision;

pub use context::{Always, Context, Control, HeapSink, OutputSink};
pub use error::{KernelError, ParamError};
pub use kernel::{Family, Inputs, Kernel, OutputFormat, Progress, Spec};
pub use param::{ParamKind, ParamSpec};
pub use registry::{KernelId, RegisteredKernel, Registry};
pub use synth::Size;
