use std::time::Duration;

use brigade_proto::Buffer;

use crate::{Context, KernelError, ParamSpec, Size};

/// A named, pure computation: the same parameters and inputs give the same
/// outputs, on every backend.
///
/// # Example
/// ```
/// use brigade_kernels::{Context, Inputs, Kernel, KernelError, ParamSpec, Progress, Spec};
///
/// struct Add;
///
/// impl Kernel for Add {
///     fn spec(&self) -> Spec {
///         Spec::new("add", "Adds a number to every byte")
///             .param(ParamSpec::int("by", 0..=255, "What is added; wraps around").default(1))
///             .inputs(Inputs::exactly(1, "any bytes"))
///     }
///
///     fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError> {
///         let by = job.int("by") as u8;
///         let input = job.input(0)?;
///         // Each byte of it is written.
///         let output = job.output_for_overwrite(input.len())?;
///         for (to, from) in output.iter_mut().zip(input) {
///             *to = from.wrapping_add(by);
///         }
///         Ok(Progress::Done)
///     }
/// }
/// ```
pub trait Kernel: Send + Sync + 'static {
    /// What the kernel is called, takes and gives. Asked once, at registration.
    fn spec(&self) -> Spec;

    /// Computes one job, on the calling thread alone.
    ///
    /// A kernel that has to wait for something returns [`Progress::Wait`] and is
    /// called again afterwards with the same context and
    /// [`Context::round`] one higher: an event loop runs other jobs meanwhile,
    /// a global lock is released.
    ///
    /// # Errors
    /// What is wrong with the inputs; the job is reported as `failed` and not
    /// retried.
    ///
    /// # Panics
    /// A panic is caught and reported as `failed` with its message and location.
    fn run(&self, job: &mut Context<'_>) -> Result<Progress, KernelError>;

    /// Makes inputs of the given size, for `--size` and for measuring. Equal
    /// arguments give equal bytes on every machine.
    ///
    /// # Errors
    /// When the size does not fit the kernel; the message says what does.
    fn synthesize(&self, size: Size, seed: u64) -> Result<Vec<Buffer>, KernelError> {
        let count = self.spec().inputs.min;
        (0..count as u64).map(|i| crate::synth::bytes(size, seed.wrapping_add(i))).collect()
    }
}

/// What a call of [`Kernel::run`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The outputs are complete.
    Done,
    /// Nothing to compute for this long: call again afterwards.
    Wait(Duration),
}

/// What a kernel is called, takes and gives.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The name on the command line.
    pub name: &'static str,
    /// One line of help.
    pub summary: &'static str,
    /// Further help: formulas, edge handling, which reference it agrees with.
    pub details: &'static str,
    /// The shelf it stands on.
    pub family: Family,
    /// Parameters, in the order of the help.
    pub params: Vec<ParamSpec>,
    /// What it reads.
    pub inputs: Inputs,
    /// What it writes: shape, element type, unit.
    pub output: &'static str,
    /// The file format of its first output.
    pub output_format: OutputFormat,
    /// Size of the synthetic input when none is asked for, as on the command
    /// line: `1920x1080`, `512`, `1MiB`.
    pub default_size: &'static str,
    /// Whether it takes down or hangs the process that it runs in. Such a kernel
    /// is refused by every backend but `processes`.
    pub needs_isolation: bool,
}

impl Spec {
    /// A kernel without parameters and inputs that writes bytes.
    pub fn new(name: &'static str, summary: &'static str) -> Self {
        Self {
            name,
            summary,
            details: "",
            family: Family::Custom,
            params: Vec::new(),
            inputs: Inputs::exactly(0, "nothing"),
            output: "bytes",
            output_format: OutputFormat::Fixed("bin"),
            default_size: "64KiB",
            needs_isolation: false,
        }
    }

    /// Sets the family.
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// Sets the longer help.
    pub fn details(mut self, details: &'static str) -> Self {
        self.details = details;
        self
    }

    /// Adds a parameter.
    pub fn param(mut self, param: ParamSpec) -> Self {
        self.params.push(param);
        self
    }

    /// Adds parameters.
    pub fn params(mut self, params: impl IntoIterator<Item = ParamSpec>) -> Self {
        self.params.extend(params);
        self
    }

    /// Sets what it reads.
    pub fn inputs(mut self, inputs: Inputs) -> Self {
        self.inputs = inputs;
        self
    }

    /// Sets what it writes.
    pub fn output(mut self, format: OutputFormat, doc: &'static str) -> Self {
        self.output_format = format;
        self.output = doc;
        self
    }

    /// Sets the size of the synthetic input when none is asked for.
    pub fn default_size(mut self, size: &'static str) -> Self {
        self.default_size = size;
        self
    }

    /// Marks a kernel that takes down or hangs the process that it runs in.
    pub fn needs_isolation(mut self) -> Self {
        self.needs_isolation = true;
        self
    }
}

/// The shelf that a kernel stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Images in, images out.
    Image,
    /// Images in, features out.
    Vision,
    /// Dense linear algebra on `.npy` files.
    Matrix,
    /// Sound in WAV files.
    Audio,
    /// Deep learning.
    Learning,
    /// For measuring the executors themselves.
    Measuring,
    /// For trying out what happens when a job goes wrong.
    Fault,
    /// Kernels that a user added.
    Custom,
}

impl Family {
    /// The heading in `brigade kernels`.
    pub fn title(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Vision => "computer vision",
            Self::Matrix => "matrix",
            Self::Audio => "audio",
            Self::Learning => "deep learning",
            Self::Measuring => "measuring",
            Self::Fault => "faults",
            Self::Custom => "custom",
        }
    }
}

/// How many inputs a kernel reads, and what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Fewest.
    pub min: usize,
    /// Most.
    pub max: usize,
    /// What each is: format, shape, element type.
    pub doc: &'static str,
}

impl Inputs {
    /// Exactly `n` inputs.
    pub const fn exactly(n: usize, doc: &'static str) -> Self {
        Self { min: n, max: n, doc }
    }

    /// At least `min` and at most `max` inputs.
    pub const fn between(min: usize, max: usize, doc: &'static str) -> Self {
        Self { min, max, doc }
    }
}

/// The file format of a kernel's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// The format of the first input, or another image format by the kernel's
    /// `format` parameter.
    LikeInput,
    /// Always this one, given as a file name extension: `npy`, `json`, `wav`.
    Fixed(&'static str),
}
