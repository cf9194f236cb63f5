use std::cell::Cell;
use std::sync::atomic::{AtomicU8, Ordering};

use brigade_proto::{Buffer, Note, Notes, Params, Value, limits};

use crate::KernelError;

/// Where a kernel's outputs go: the heap, a fresh shared mapping, or a slab of a
/// long-lived shared region. The transport decides; the kernel writes in place.
pub trait OutputSink {
    /// Adds an output of `len` bytes, all zero, 64-byte aligned.
    ///
    /// # Errors
    /// When the memory cannot be had.
    fn add(&mut self, len: usize) -> Result<&mut [u8], KernelError>;

    /// Adds an output of `len` bytes, 64-byte aligned, of which the kernel writes each. What is
    /// in them until then is whatever was there before, where that saves writing zeros.
    ///
    /// # Errors
    /// As [`OutputSink::add`].
    fn add_for_overwrite(&mut self, len: usize) -> Result<&mut [u8], KernelError> {
        self.add(len)
    }

    /// Shortens the output that was added last to `len` bytes.
    fn truncate_last(&mut self, len: usize);

    /// How many outputs there are.
    fn count(&self) -> usize;
}

/// Outputs on the heap.
#[derive(Debug, Default)]
pub struct HeapSink(Vec<Buffer>);

impl HeapSink {
    /// The outputs, in the order in which they were added.
    pub fn into_outputs(self) -> Vec<Buffer> {
        self.0
    }
}

impl OutputSink for HeapSink {
    fn add(&mut self, len: usize) -> Result<&mut [u8], KernelError> {
        let buffer = Buffer::try_zeroed(len).ok_or(KernelError::Memory { bytes: len as u64 })?;
        Ok(self.0.push_mut(buffer))
    }

    fn truncate_last(&mut self, len: usize) {
        if let Some(last) = self.0.last_mut() {
            last.truncate(len);
        }
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}

/// What the executor tells a running kernel.
pub trait Control: Sync {
    /// Whether the job was cancelled or has run past its timeout.
    fn should_stop(&self) -> bool;
}

/// A [`Control`] that never stops a kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Always;

impl Control for Always {
    fn should_stop(&self) -> bool {
        false
    }
}

/// One job as its kernel sees it.
pub struct Context<'a> {
    params: &'a Params,
    inputs: &'a [&'a [u8]],
    sink: &'a mut dyn OutputSink,
    control: &'a dyn Control,
    round: u32,
    notes: Cell<Notes>,
}

impl<'a> Context<'a> {
    /// A job with complete, validated parameters ([`RegisteredKernel::resolve`]
    /// makes them).
    ///
    /// [`RegisteredKernel::resolve`]: crate::RegisteredKernel::resolve
    pub fn new(
        params: &'a Params,
        inputs: &'a [&'a [u8]],
        sink: &'a mut dyn OutputSink,
        control: &'a dyn Control,
    ) -> Self {
        Self { params, inputs, sink, control, round: 0, notes: Cell::default() }
    }

    /// All inputs. Each starts at a multiple of 64.
    pub fn inputs(&self) -> &'a [&'a [u8]] {
        self.inputs
    }

    /// Input `index`.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn input(&self, index: usize) -> Result<&'a [u8], KernelError> {
        self.inputs.get(index).copied().ok_or(KernelError::MissingInput { index })
    }

    fn value(&self, name: &str) -> &'a Value {
        self.params.get(name).unwrap_or_else(|| panic!("parameter `{name}` is not in the spec"))
    }

    /// A whole-number parameter.
    ///
    /// # Panics
    /// When the kernel's spec has no such parameter of this kind.
    pub fn int(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Int(v) => *v,
            other => panic!("parameter `{name}` is not a whole number: {other}"),
        }
    }

    /// A real-number parameter.
    ///
    /// # Panics
    /// When the kernel's spec has no such parameter of this kind.
    pub fn float(&self, name: &str) -> f64 {
        match self.value(name) {
            Value::Float(v) => *v,
            other => panic!("parameter `{name}` is not a real number: {other}"),
        }
    }

    /// A yes-or-no parameter.
    ///
    /// # Panics
    /// When the kernel's spec has no such parameter of this kind.
    pub fn flag(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Bool(v) => *v,
            other => panic!("parameter `{name}` is not true or false: {other}"),
        }
    }

    /// A parameter that is one of a list of names.
    ///
    /// # Panics
    /// When the kernel's spec has no such parameter of this kind.
    pub fn choice(&self, name: &str) -> &'a str {
        match self.value(name) {
            Value::Text(v) => v,
            other => panic!("parameter `{name}` is not a name: {other}"),
        }
    }

    /// Adds an output of `len` bytes, all zero, 64-byte aligned, to be filled in
    /// place.
    ///
    /// # Errors
    /// When the memory cannot be had, or there are too many outputs.
    pub fn output(&mut self, len: usize) -> Result<&mut [u8], KernelError> {
        self.check_output(len)?;
        self.sink.add(len)
    }

    /// Adds an output of `len` bytes, 64-byte aligned, of which the kernel writes each, in place:
    /// what is in them until then is whatever was there before. Where outputs are slabs that are
    /// used again that saves a pass over them: up to two thirds of the time of a kernel that does
    /// little more.
    ///
    /// A kernel that leaves a byte as it was gives other outputs each time. To have that found by
    /// tests, builds with debug assertions put other bytes there each time.
    ///
    /// # Errors
    /// As [`Context::output`].
    pub fn output_for_overwrite(&mut self, len: usize) -> Result<&mut [u8], KernelError> {
        self.check_output(len)?;
        let output = self.sink.add_for_overwrite(len)?;
        if cfg!(debug_assertions) {
            static NEXT: AtomicU8 = AtomicU8::new(1);
            output.fill(NEXT.fetch_add(2, Ordering::Relaxed));
        }
        Ok(output)
    }

    /// Looks whether a result, or what lies between it and the inputs, may have so many bytes,
    /// before there is memory for it: a file of a few kilobytes can ask for gigabytes. The kernel
    /// has the parameter [`ParamSpec::max_bytes`](crate::ParamSpec::max_bytes).
    ///
    /// # Errors
    /// [`KernelError::TooLarge`] where that is more than the parameter allows, and more than 16
    /// times the inputs.
    pub fn check_growth(&self, bytes: u64) -> Result<(), KernelError> {
        let given: u64 = self.inputs.iter().map(|input| input.len() as u64).sum();
        let limit = self.int("max_bytes").unsigned_abs().max(given.saturating_mul(16));
        if bytes <= limit {
            return Ok(());
        }
        Err(KernelError::TooLarge {
            what: "the result",
            size: format!("{bytes} bytes"),
            limit: limit.to_string(),
            flag: "-p max_bytes=N",
        })
    }

    fn check_output(&self, len: usize) -> Result<(), KernelError> {
        if self.sink.count() >= limits::MAX_OUTPUTS || len as u64 > limits::MAX_BUFFER_BYTES {
            return Err(KernelError::Memory { bytes: len as u64 });
        }
        Ok(())
    }

    /// Adds an output with a copy of `bytes`.
    ///
    /// # Errors
    /// As [`Context::output`].
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), KernelError> {
        self.output_for_overwrite(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Shortens the output that was added last: for encoders, which know a bound
    /// before they know the length.
    pub fn truncate_output(&mut self, len: usize) {
        self.sink.truncate_last(len);
    }

    /// Remarks that the result, although right, does not carry everything that the input held.
    /// The remark reaches the caller in the job's outcome; a command says it once per run.
    pub fn note(&self, note: Note) {
        let mut notes = self.notes.get();
        notes.add(note);
        self.notes.set(notes);
    }

    /// What was remarked so far.
    pub fn notes(&self) -> Notes {
        self.notes.get()
    }

    /// How often the kernel has returned [`Progress::Wait`](crate::Progress::Wait).
    pub fn round(&self) -> u32 {
        self.round
    }

    /// For executors: the wait is over, the kernel is called again.
    pub fn next_round(&mut self) {
        self.round += 1;
    }

    /// Whether the job was cancelled or has run past its timeout. A kernel that
    /// runs for long may look now and then and return [`KernelError::Stopped`]:
    /// on a backend without processes nothing else can end it.
    pub fn should_stop(&self) -> bool {
        self.control.should_stop()
    }

    /// Who says when to stop, for a kernel that is filling an output meanwhile.
    pub(crate) fn control(&self) -> &'a dyn Control {
        self.control
    }

    /// [`KernelError::Stopped`] if [`Context::should_stop`].
    ///
    /// # Errors
    /// When the job should stop.
    pub fn check_stop(&self) -> Result<(), KernelError> {
        if self.should_stop() { Err(KernelError::Stopped) } else { Ok(()) }
    }
}
