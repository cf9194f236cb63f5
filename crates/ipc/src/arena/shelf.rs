//! A worker's side: inputs in the pool's regions, outputs in its own.

use std::sync::Arc;

use brigade_sys::slab::{Slab, Slabs};
use ipc_channel::ipc::IpcSharedMemory;

use super::range;
use crate::channel::Received;
use crate::wire::Place;

/// The regions of the pool's arena, as a worker sees them.
#[derive(Debug, Default)]
pub struct InputShelf(Vec<IpcSharedMemory>);

impl InputShelf {
    /// One more region.
    pub fn add(&mut self, mail: Vec<Received>) {
        self.0.extend(mail.into_iter().filter_map(Received::into_region));
    }

    /// How many regions are known.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The bytes of an input. `None` if there is no such place.
    pub fn find(&self, region: u32, offset: u64, len: u64) -> Option<&[u8]> {
        self.0.get(region as usize)?.get(range(offset, len)?)
    }
}

/// The regions in which a worker's outputs lie, as the worker sees them.
#[derive(Debug, Default)]
pub struct OutputShelf {
    regions: Vec<Arc<Slabs<IpcSharedMemory>>>,
    /// Outputs that the coordinator has, by number.
    lent: Vec<Option<Slab<IpcSharedMemory>>>,
    /// Numbers that are free.
    free: Vec<u32>,
}

/// An output that a kernel writes in place.
#[derive(Debug)]
pub struct OutputSlab {
    region: u32,
    slab: Slab<IpcSharedMemory>,
}

impl OutputSlab {
    /// The bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.slab
    }

    /// Shortens it.
    pub fn truncate(&mut self, len: usize) {
        self.slab.truncate(len);
    }
}

impl OutputShelf {
    /// One more region; false if the coordinator has sent none.
    pub fn add(&mut self, mail: Vec<Received>) -> bool {
        let region = mail.into_iter().find_map(Received::into_region);
        let slabs = region.and_then(|region| Slabs::new(region, IpcSharedMemory::deref_mut));
        let Some(slabs) = slabs else { return false };
        self.regions.push(Arc::new(slabs));
        true
    }

    /// A slab for an output, with whatever was there before. `None` when there is no room.
    pub fn take(&self, len: usize) -> Option<OutputSlab> {
        self.regions.iter().enumerate().find_map(|(region, slabs)| {
            Some(OutputSlab { region: region as u32, slab: slabs.take(len)? })
        })
    }

    /// Lends a slab to the coordinator.
    pub fn lend(&mut self, output: OutputSlab) -> Place {
        let OutputSlab { region, slab } = output;
        let (offset, len) = (slab.offset() as u64, slab.len() as u64);
        let number = self.free.pop().unwrap_or(self.lent.len() as u32);
        match self.lent.get_mut(number as usize) {
            Some(place) => *place = Some(slab),
            None => self.lent.push(Some(slab)),
        }
        Place::Slab { region, offset, len, slab: number }
    }

    /// The coordinator does not use these any more.
    pub fn take_back(&mut self, slabs: &[u32]) {
        for &number in slabs {
            if self.lent.get_mut(number as usize).and_then(Option::take).is_some() {
                self.free.push(number);
            }
        }
    }

    /// Gives memory of slabs that are not in use back to the operating system.
    pub fn trim(&self) -> usize {
        self.regions.iter().map(|slabs| slabs.trim(64 << 10)).sum()
    }
}
