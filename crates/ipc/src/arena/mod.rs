//! Slabs of long-lived shared regions, for payloads.
//!
//! A region is written by one side only. Inputs lie in the regions of an [`Arena`], which workers
//! map and cannot write. A pool has one arena for all its workers: a payload is in place before it
//! is known which worker will have it, and after a worker's death for the next one. Or each worker
//! has one of its own, and cannot read the inputs of other workers' jobs; then inputs are placed when
//! the worker is known. Outputs lie in regions of each worker's own ([`OutputAllocator`]), which the
//! coordinator can only read: a worker that writes where it should not garbles its own results and no
//! one else's.
//!
//! Who allocates keeps the list of what is free on its own heap, so nothing that
//! the other side writes can make two slabs overlap. What the other side says of a
//! slab is checked against the region like any foreign input.
//!
//! Memory of inputs is given back a region at a time, when nobody uses a slab of it: the seal that
//! keeps workers from writing ([`Mapping::for_readers`]) also keeps the coordinator from punching
//! holes. Its number is not used again, so a worker cannot take a new region for an old one. The
//! memory is free when the workers, too, have unmapped it; they are told.

mod outputs;
mod worker_side;

use std::ops::{Deref, DerefMut, Range};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use brigade_proto::{BufferOwner, Bytes};
use brigade_sys::mapping::Mapping;
use brigade_sys::slab::{Slab, Slabs};

use crate::fresh;
use crate::wire::Place;

pub use outputs::Outputs;
pub use worker_side::{InputRegions, OutputAllocator, OutputSlab};

/// The least that a region has.
const SMALLEST: usize = 2 << 20;
/// How much larger than what is asked for a region may be made in advance: only what is
/// used of it takes memory.
const LARGEST_STEP: usize = 64 << 20;
/// ... and as a part of the budget.
const STEPS: u64 = 16;
/// Regions of one arena or worker. With steps that grow, this is never reached
/// before the budget is.
const MAX_REGIONS: usize = 256;
/// How much shared memory a pool may have for payloads.
#[derive(Debug)]
pub struct Budget {
    limit: OnceLock<u64>,
    default: fn() -> u64,
    used: AtomicU64,
}

impl Budget {
    /// At most `limit` bytes; if that is `None`, what `default` says when the first
    /// of them are wanted, because it may take a while to find out.
    pub fn new(limit: Option<u64>, default: fn() -> u64) -> Arc<Self> {
        let limit = limit.map_or_else(OnceLock::new, OnceLock::from);
        Arc::new(Self { limit, default, used: AtomicU64::new(0) })
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let limit = *self.limit.get_or_init(self.default);
        self.used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= limit)
            })
            .is_ok()
    }

    /// Takes the bytes of a region for at least `len`, of more if `present` are there already:
    /// few large regions are better than many small ones.
    fn take_region(self: &Arc<Self>, len: usize, present: usize) -> Option<Paid> {
        // Of nothing there is no mapping.
        let needed = len.max(1).checked_add(len / 8)?.checked_next_multiple_of(4096)?;
        let limit = *self.limit.get_or_init(self.default);
        let step = present.saturating_mul(2).clamp(SMALLEST, LARGEST_STEP);
        let step = step.min(usize::try_from(limit / STEPS).ok()? / 4096 * 4096);
        let bytes = [needed.max(step), needed].into_iter().find(|&n| self.take(n as u64))?;
        Some(Paid { budget: Arc::clone(self), bytes })
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}

/// A part of a budget, given back when this is dropped.
#[derive(Debug)]
struct Paid {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Paid {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

/// The regions in which inputs lie: of all workers of a pool, or of one.
#[derive(Debug)]
pub struct Arena {
    number: u32,
    budget: Arc<Budget>,
    regions: Mutex<Regions>,
}

#[derive(Debug, Default)]
struct Regions {
    /// In the order of their numbers.
    present: Vec<Arc<Region>>,
    /// The number of the next.
    next: u32,
}

impl Regions {
    fn find(&self, number: u32) -> Option<&Arc<Region>> {
        self.present.iter().find(|region| region.number == number)
    }
}

#[derive(Debug)]
struct Region {
    arena: u32,
    number: u32,
    slabs: Arc<Slabs<Mapping>>,
    /// For workers.
    memory: OwnedFd,
    /// Given back when no slab is left.
    paid: Paid,
}

impl Arena {
    /// An arena without any memory yet.
    pub fn new(budget: Arc<Budget>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { number, budget, regions: Mutex::default() }
    }

    fn regions(&self) -> MutexGuard<'_, Regions> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slab of `len` bytes with whatever was there before. `None` when the budget
    /// is spent.
    pub fn take(&self, len: usize) -> Option<ArenaSlab> {
        let mut regions = self.regions();
        let take = |region: &Arc<Region>| {
            Some(ArenaSlab { slab: region.slabs.take(len)?, region: Arc::clone(region) })
        };
        if let Some(slab) = regions.present.iter().find_map(take) {
            return Some(slab);
        }
        if regions.present.len() >= MAX_REGIONS {
            return None;
        }
        let present = regions.present.iter().map(|region| region.slabs.len()).sum();
        let paid = self.budget.take_region(len, present)?;
        let (mapping, memory) = fresh::for_readers(paid.bytes)?;
        let slabs = Arc::new(Slabs::new(mapping, Mapping::bytes_mut)?);
        let (arena, number) = (self.number, regions.next);
        let region = Arc::new(Region { arena, number, slabs, memory, paid });
        regions.next += 1;
        regions.present.push(Arc::clone(&region));
        take(&region)
    }

    /// Has the memory of a region sent to a worker. `None` if there is no such region any more: then
    /// nothing is in it.
    pub fn share<T>(&self, region: u32, send: impl FnOnce(&OwnedFd) -> T) -> Option<T> {
        let found = Arc::clone(self.regions().find(region)?);
        Some(send(&found.memory))
    }

    /// Where `bytes` are, if they are in a slab of this arena.
    pub fn place(&self, bytes: &Bytes) -> Option<Place> {
        let slab = bytes.owner::<ArenaSlab>().filter(|slab| slab.region.arena == self.number)?;
        Some(Place::Slab {
            region: slab.region.number,
            offset: slab.slab.offset() as u64,
            len: slab.slab.len() as u64,
            slab: 0,
        })
    }

    /// Removes the regions that are not in use; returns how many bytes those had. See
    /// [`Arena::gone`] for what remains to be done.
    pub fn trim(&self) -> usize {
        let mut trimmed = 0;
        // Slabs are taken under the lock alone.
        self.regions().present.retain(|region| {
            let is_used = !region.slabs.is_unused();
            trimmed += if is_used { 0 } else { region.paid.bytes };
            is_used
        });
        trimmed
    }

    /// Those of some regions that are there no more: workers that have mapped them keep their
    /// memory in use.
    pub fn gone(&self, numbers: &[u32]) -> Vec<u32> {
        let regions = self.regions();
        numbers.iter().copied().filter(|&number| regions.find(number).is_none()).collect()
    }
}

/// A slab of an arena. Fill it, then send it as [`Bytes::from_owner`].
#[derive(Debug)]
pub struct ArenaSlab {
    // Before its region, which is to be found unused when the last slab is given back.
    slab: Slab<Mapping>,
    region: Arc<Region>,
}

impl ArenaSlab {
    /// Shortens it.
    pub fn truncate(&mut self, len: usize) {
        self.slab.truncate(len);
    }

    /// The number of the region that it is in.
    pub fn region(&self) -> u32 {
        self.region.number
    }
}

impl Deref for ArenaSlab {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.slab
    }
}

impl DerefMut for ArenaSlab {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.slab
    }
}

impl BufferOwner for ArenaSlab {
    fn bytes(&self) -> &[u8] {
        self
    }
}

fn range(offset: u64, len: u64) -> Option<Range<usize>> {
    let end = offset.checked_add(len)?;
    // So that a kernel can view it as numbers.
    offset.is_multiple_of(64).then_some(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)
}

#[cfg(test)]
mod tests;
