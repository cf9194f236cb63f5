//! The worker's side: inputs in the arena's regions, outputs in the worker's own.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use brigade_sys::mapping::{Mapping, View};
use brigade_sys::slab::{Slab, Slabs};
use brigade_sys::{shortage, socket};

use super::range;
use crate::channel::Received;
use crate::wire::PayloadLocation;

/// The regions of an arena, as a worker sees them.
#[derive(Debug, Default)]
pub struct InputRegions(Vec<(u32, InputRegion)>);

#[derive(Debug)]
enum InputRegion {
    /// Received and not mapped yet.
    Memory(OwnedFd),
    /// Mapped.
    View(View),
}

impl InputRegions {
    /// Adds a received region under its number.
    pub fn add(&mut self, number: u32, mail: Vec<Received>) {
        let memory = mail.into_iter().find_map(Received::into_memory);
        self.0.extend(memory.map(|memory| (number, InputRegion::Memory(memory))));
    }

    /// Whether the worker has received this region.
    pub fn has(&self, number: u32) -> bool {
        self.0.iter().any(|(known, _)| *known == number)
    }

    /// Maps a received region, unless it is mapped already.
    ///
    /// # Errors
    /// When the region cannot be mapped; the message says what is lacking. The caller can try
    /// again.
    pub fn open(&mut self, number: u32) -> Result<(), String> {
        let region = self.0.iter_mut().find(|(known, _)| *known == number);
        if let Some((_, region)) = region
            && let InputRegion::Memory(memory) = region
        {
            *region =
                InputRegion::View(View::of(memory).map_err(|_| {
                    shortage::of_shared_memory(socket::file_len(memory).unwrap_or(0))
                })?);
        }
        Ok(())
    }

    /// The bytes of an input. `None` if the region is not mapped or has no such place.
    pub fn find(&self, number: u32, offset: u64, len: u64) -> Option<&[u8]> {
        match self.0.iter().find(|(known, _)| *known == number)? {
            (_, InputRegion::View(view)) => view.get(range(offset, len)?),
            (_, InputRegion::Memory(_)) => None,
        }
    }

    /// Drops regions that the coordinator no longer uses.
    pub fn forget(&mut self, numbers: &[u32]) {
        self.0.retain(|(known, _)| !numbers.contains(known));
    }
}

/// The regions that hold a worker's outputs, as the worker sees them.
#[derive(Debug, Default)]
pub struct OutputAllocator {
    regions: Vec<Arc<Slabs<Mapping>>>,
    /// Outputs on loan to the coordinator, by number.
    lent: Vec<Option<Slab<Mapping>>>,
    /// Numbers that are free.
    free: Vec<u32>,
}

/// An output that a kernel writes in place.
#[derive(Debug)]
pub struct OutputSlab {
    region: u32,
    slab: Slab<Mapping>,
}

impl OutputSlab {
    /// The bytes, for the kernel to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.slab
    }

    /// Shortens the output to `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.slab.truncate(len);
    }
}

impl OutputAllocator {
    /// Maps one more region. False if the coordinator has sent none, or the worker cannot map it.
    pub fn add(&mut self, mail: Vec<Received>) -> bool {
        let memory = mail.into_iter().find_map(Received::into_memory);
        let region = memory.and_then(|memory| Mapping::of(&memory).ok());
        let slabs = region.and_then(|region| Slabs::new(region, Mapping::bytes_mut));
        let Some(slabs) = slabs else { return false };
        self.regions.push(Arc::new(slabs));
        true
    }

    /// A slab for an output that still has its previous content. `None` when no region has room.
    pub fn take(&self, len: usize) -> Option<OutputSlab> {
        self.regions.iter().enumerate().find_map(|(region, slabs)| {
            Some(OutputSlab { region: region as u32, slab: slabs.take(len)? })
        })
    }

    /// Lends a slab to the coordinator; returns where it is.
    pub fn loan(&mut self, output: OutputSlab) -> PayloadLocation {
        let OutputSlab { region, slab } = output;
        let (offset, len) = (slab.offset() as u64, slab.len() as u64);
        let number = self.free.pop().unwrap_or(self.lent.len() as u32);
        match self.lent.get_mut(number as usize) {
            Some(place) => *place = Some(slab),
            None => self.lent.push(Some(slab)),
        }
        PayloadLocation::Slab { region, offset, len, slab: number }
    }

    /// Reclaims slabs that the coordinator no longer uses. Ignores numbers that are not on loan.
    pub fn reclaim(&mut self, slabs: &[u32]) {
        for &number in slabs {
            if self.lent.get_mut(number as usize).and_then(Option::take).is_some() {
                self.free.push(number);
            }
        }
    }

    /// Gives the memory of unused slabs back to the operating system; returns how many bytes. Skips
    /// free ranges below 64 KiB.
    pub fn trim(&self) -> usize {
        self.regions.iter().map(|slabs| slabs.trim(64 << 10)).sum()
    }
}
