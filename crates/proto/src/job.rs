use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Buffer, Bytes, Params, Value};

/// Where the bytes of an input come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Source {
    /// Bytes in memory. Many jobs can share them without a copy.
    Bytes(Bytes),
    /// A file. It is read when the job is assigned to a worker, directly into the transport, so a
    /// queue of ten thousand photographs holds ten thousand names. Give an absolute path if the job
    /// may run elsewhere.
    File(PathBuf),
}

impl From<Buffer> for Source {
    fn from(bytes: Buffer) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Arc<Buffer>> for Source {
    fn from(bytes: Arc<Buffer>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Bytes> for Source {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&[u8]> for Source {
    /// Copies the bytes to the heap.
    ///
    /// # Panics
    /// If there is no memory; see [`Buffer::try_zeroed`].
    fn from(bytes: &[u8]) -> Self {
        Buffer::from(bytes).into()
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

/// One call of a kernel, complete in itself.
///
/// ```
/// use brigade_proto::JobSpec;
/// let job = JobSpec::new("blur").param("sigma", 2.0).input(&b"P5 1 1 255 x"[..]);
/// assert_eq!(job.kernel, "blur");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Name of the kernel.
    pub kernel: Cow<'static, str>,
    /// Parameters that differ from the kernel's defaults.
    pub params: Params,
    /// Inputs, in the order that the kernel documents.
    pub inputs: Vec<Source>,
    /// How long the kernel may run, counted from its call. Reading the inputs has the same limit,
    /// counted separately. `None`: the pool's own timeout.
    pub timeout: Option<Duration>,
    /// Whether the outcome has digests of the input files; see
    /// [`Outcome::input_digests`](crate::Outcome::input_digests).
    #[serde(default)]
    pub digest_inputs: bool,
}

impl JobSpec {
    /// A job without inputs, with every parameter at its default.
    pub fn new(kernel: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kernel: kernel.into(),
            params: Params::new(),
            inputs: Vec::new(),
            timeout: None,
            digest_inputs: false,
        }
    }

    /// Sets a parameter. Replaces an earlier value.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.params.set(name, value);
        self
    }

    /// Appends an input.
    pub fn input(mut self, source: impl Into<Source>) -> Self {
        self.inputs.push(source.into());
        self
    }

    /// Asks for digests of the input files, of the bytes that are read; see
    /// [`Outcome::input_digests`](crate::Outcome::input_digests).
    pub fn digest_inputs(mut self) -> Self {
        self.digest_inputs = true;
        self
    }

    /// Limits how long the kernel may run, counted from its call, and how long reading the inputs
    /// may take, counted separately.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}
