use thiserror::Error;

/// Why a kernel could not compute a job.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// An input's bytes are not what the kernel reads.
    #[error("{0}")]
    Input(String),
    /// There are fewer inputs than that.
    #[error("input {} is missing", index + 1)]
    MissingInput {
        /// Counted from 0.
        index: usize,
    },
    /// An input is larger than allowed.
    #[error("{what} is {size}, more than the limit of {limit}; {flag} raises it")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it says it is.
        size: String,
        /// What is allowed.
        limit: String,
        /// The flag or parameter that allows more.
        flag: &'static str,
    },
    /// The computation has no result for these values: a singular matrix, a NaN.
    #[error("{0}")]
    Numeric(String),
    /// Memory cannot be had.
    #[error("no memory for {bytes} bytes")]
    Memory {
        /// What was asked for.
        bytes: u64,
    },
    /// Memory for an output cannot be had, through no fault of the job.
    #[error("no memory for {bytes} bytes: {why}")]
    Shortage {
        /// What was asked for.
        bytes: u64,
        /// What is lacking, and what would help.
        why: String,
    },
    /// The job was cancelled or has run past its timeout.
    #[error("stopped")]
    Stopped,
}

impl KernelError {
    /// An input's bytes are not what the kernel reads.
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input(message.into())
    }
}

/// A job names a kernel or parameter that does not exist, or a value that is not
/// allowed. Found before any worker has the job.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParamError {
    /// No kernel has this name.
    #[error("there is no kernel `{name}`{}; there are: {}", hint(similar), known.join(", "))]
    UnknownKernel {
        /// What was asked for.
        name: String,
        /// The nearest name, if one is near.
        similar: Option<String>,
        /// All names.
        known: Vec<String>,
    },
    /// The kernel has no parameter of this name.
    #[error("`{kernel}` has no parameter `{name}`{}; {allowed}", hint(similar))]
    UnknownParam {
        /// The kernel.
        kernel: String,
        /// What was asked for.
        name: String,
        /// The nearest name, if one is near.
        similar: Option<String>,
        /// All parameters with their ranges and defaults.
        allowed: String,
    },
    /// The value is of the wrong type.
    #[error("`{kernel}` cannot take {name}={value}: {types}; {name} is {allowed}")]
    WrongType {
        /// The kernel.
        kernel: String,
        /// The parameter.
        name: String,
        /// What was given, as it was written.
        value: String,
        /// The types: "a number is expected, a string was given".
        types: String,
        /// Type, range and default.
        allowed: String,
    },
    /// The value is out of range.
    #[error("`{kernel}` cannot take {name}={value}: {name} is {allowed}")]
    BadValue {
        /// The kernel.
        kernel: String,
        /// The parameter.
        name: String,
        /// What was given.
        value: String,
        /// Type, range and default.
        allowed: String,
    },
    /// A parameter without default is not given.
    #[error("`{kernel}` needs {name}: {allowed}")]
    MissingParam {
        /// The kernel.
        kernel: String,
        /// The parameter.
        name: String,
        /// Type and range.
        allowed: String,
    },
    /// Too few or too many inputs.
    #[error("`{kernel}` reads {expected} ({doc}), not {given}")]
    InputCount {
        /// The kernel.
        kernel: String,
        /// How many it reads, in words.
        expected: String,
        /// What they are.
        doc: String,
        /// How many were given.
        given: usize,
    },
}

fn hint(similar: &Option<String>) -> String {
    similar.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}
