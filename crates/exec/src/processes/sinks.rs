//! Where a worker's kernels write their outputs: as close as possible to the memory that they are
//! sent from.

use brigade_ipc::wire::PayloadLocation;
use brigade_ipc::{Carriage, OutputAllocator, OutputSlab, Payload, Received, Region};
use brigade_kernels::{KernelError, OutputSink};
use brigade_proto::Buffer;
use brigade_sys::shortage;

use crate::load::TINY;

/// An output of the job in hand.
pub(super) enum Output {
    /// On the heap. It is copied into a message.
    Heap(Buffer),
    /// In a slab of the arena.
    Slab(OutputSlab),
    /// In a shared memory region of its own.
    Apart(Region),
}

impl Output {
    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(buffer) => buffer,
            Self::Slab(slab) => slab.bytes_mut(),
            Self::Apart(region) => region,
        }
    }

    /// Whether the output can only go over the control channel.
    pub(super) fn is_apart(&self) -> bool {
        matches!(self, Self::Apart(_))
    }

    /// Makes a payload for the control channel. `None` when there is no memory for it.
    pub(super) fn into_payload(self) -> Option<Payload> {
        match self {
            Self::Heap(buffer) => Some(Payload::Bytes(buffer.into())),
            Self::Slab(mut slab) => Region::copy_of(slab.bytes_mut()).map(Payload::Region),
            Self::Apart(region) => Some(Payload::Region(region)),
        }
    }

    /// Makes a location that a response can name. `None` if the output can only go over the control
    /// channel.
    pub(super) fn into_location(self, outputs: &mut OutputAllocator) -> Option<PayloadLocation> {
        match self {
            Self::Heap(buffer) => Some(PayloadLocation::Here(buffer.to_vec().into())),
            Self::Slab(slab) => Some(outputs.loan(slab)),
            Self::Apart(_) => None,
        }
    }
}

/// Where a worker gets further regions for its outputs from.
pub(super) trait RegionSource {
    /// A region with room for an output of `len` bytes; `None` if there is none.
    fn next(&mut self, len: usize) -> Option<Vec<Received>>;
}

/// Which memory an output may use.
pub(super) enum OutputMemory<'w> {
    /// Only the heap: outputs are sent inside messages.
    Inline,
    /// A shared memory region for each large output.
    Shared,
    /// Slabs of the arena.
    Arena { outputs: &'w mut OutputAllocator, regions: &'w mut dyn RegionSource },
}

impl OutputMemory<'_> {
    pub(super) fn of(carriage: Carriage) -> Self {
        match carriage {
            Carriage::Inline => Self::Inline,
            Carriage::Shared => Self::Shared,
        }
    }

    fn output(&mut self, len: usize) -> Result<Output, KernelError> {
        match self {
            Self::Inline => on_the_heap(len),
            Self::Shared if len <= brigade_ipc::channel::SMALL => on_the_heap(len),
            Self::Shared => apart(len),
            Self::Arena { .. } if len <= TINY => on_the_heap(len),
            Self::Arena { outputs, regions } => {
                let slab = outputs.take(len).or_else(|| {
                    outputs.add(regions.next(len)?).then_some(())?;
                    outputs.take(len)
                });
                slab.map_or_else(|| apart(len), |slab| Ok(Output::Slab(slab)))
            }
        }
    }
}

fn on_the_heap(len: usize) -> Result<Output, KernelError> {
    let buffer = Buffer::try_zeroed(len).ok_or(KernelError::Memory { bytes: len as u64 })?;
    Ok(Output::Heap(buffer))
}

fn apart(len: usize) -> Result<Output, KernelError> {
    let region = Region::zeroed(len).ok_or_else(|| {
        let bytes = len as u64;
        KernelError::Shortage { bytes, why: shortage::of_shared_memory(bytes) }
    })?;
    Ok(Output::Apart(region))
}

/// The outputs of one job.
pub(super) struct WorkerSink<'w> {
    room: OutputMemory<'w>,
    /// How many more bytes the outputs may have.
    left: u64,
    outputs: Vec<Output>,
}

impl<'w> WorkerSink<'w> {
    /// For outputs of at most `most` bytes together.
    pub(super) fn new(room: OutputMemory<'w>, most: u64) -> Self {
        Self { room, left: most, outputs: Vec::new() }
    }

    pub(super) fn into_outputs(self) -> Vec<Output> {
        self.outputs
    }

    fn push(&mut self, len: usize) -> Result<&mut Output, KernelError> {
        let bytes = len as u64;
        self.left = self.left.checked_sub(bytes).ok_or(KernelError::Memory { bytes })?;
        let output = self.room.output(len)?;
        Ok(self.outputs.push_mut(output))
    }
}

impl OutputSink for WorkerSink<'_> {
    fn add(&mut self, len: usize) -> Result<&mut [u8], KernelError> {
        let output = self.push(len)?;
        // A slab has old content; the heap and new regions are zeroed already.
        if let Output::Slab(slab) = output {
            slab.bytes_mut().fill(0);
        }
        Ok(output.bytes_mut())
    }

    fn add_for_overwrite(&mut self, len: usize) -> Result<&mut [u8], KernelError> {
        Ok(self.push(len)?.bytes_mut())
    }

    fn truncate_last(&mut self, len: usize) {
        match self.outputs.last_mut() {
            Some(Output::Heap(buffer)) => buffer.truncate(len),
            Some(Output::Slab(slab)) => slab.truncate(len),
            Some(Output::Apart(region)) => region.truncate(len),
            None => {}
        }
    }

    fn count(&self) -> usize {
        self.outputs.len()
    }
}
