//! Where a worker's kernels write their outputs: as near as possible to where they
//! will travel from.

use brigade_ipc::wire::{ControlMessage, Place, Reply};
use brigade_ipc::{Carriage, OutputAllocator, OutputSlab, Payload, Region};
use brigade_kernels::{KernelError, OutputSink};
use brigade_proto::Buffer;
use brigade_sys::shortage;

use super::worker::Mailbag;
use crate::load::TINY;

/// An output of the job in hand.
pub(super) enum Output {
    /// It will be copied into a message.
    Heap(Buffer),
    /// In a slab.
    Slab(OutputSlab),
    /// In a region of its own.
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

    /// Whether it can only go over the control channel.
    pub(super) fn is_apart(&self) -> bool {
        matches!(self, Self::Apart(_))
    }

    /// On its way over the control channel. `None` when there is no memory for it.
    pub(super) fn into_payload(self) -> Option<Payload> {
        match self {
            Self::Heap(buffer) => Some(Payload::Bytes(buffer.into())),
            Self::Slab(mut slab) => Region::copy_of(slab.bytes_mut()).map(Payload::Region),
            Self::Apart(region) => Some(Payload::Region(region)),
        }
    }

    /// Named in an answer. `None` if it can only go over the control channel.
    pub(super) fn into_place(self, shelf: &mut OutputAllocator) -> Option<Place> {
        match self {
            Self::Heap(buffer) => Some(Place::Here(buffer.to_vec().into())),
            Self::Slab(slab) => Some(shelf.loan(slab)),
            Self::Apart(_) => None,
        }
    }
}

/// What an output may be made of.
pub(super) enum QueueSpace<'w> {
    /// Messages only.
    Inline,
    /// A region of its own for each large one.
    Shared,
    /// Slabs.
    Arena { shelf: &'w mut OutputAllocator, mail: &'w mut Mailbag },
}

impl QueueSpace<'_> {
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
            Self::Arena { shelf, mail } => {
                let slab = shelf.take(len).or_else(|| {
                    grow(shelf, mail, len)?;
                    shelf.take(len)
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

/// Asks the coordinator for more memory, and waits for its answer.
fn grow(shelf: &mut OutputAllocator, mail: &mut Mailbag, len: usize) -> Option<()> {
    let need = Reply::NeedRegion { bytes: len as u64 };
    mail.reply(need, Vec::new(), Carriage::Shared).ok()?;
    let (_, region) = mail.fetch(|mail| matches!(mail, ControlMessage::Outputs)).ok()?;
    shelf.add(region).then_some(())
}

/// The outputs of one job.
pub(super) struct Sink<'w> {
    room: QueueSpace<'w>,
    /// Bytes that they may have in addition.
    left: u64,
    outputs: Vec<Output>,
}

impl<'w> Sink<'w> {
    /// For outputs of at most so many bytes together.
    pub(super) fn new(room: QueueSpace<'w>, most: u64) -> Self {
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

impl OutputSink for Sink<'_> {
    fn add(&mut self, len: usize) -> Result<&mut [u8], KernelError> {
        let output = self.push(len)?;
        // The others are fresh.
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
