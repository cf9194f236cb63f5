//! Slabs in long-lived shared regions, for payloads.
//!
//! Only one side writes a region. Inputs lie in the regions of an [`Arena`], which workers map and
//! cannot write. By default a pool has one arena for all its workers: a payload is in place before
//! the dispatcher picks a worker, and after that worker's death it is in place for the next one.
//! Alternatively each worker has an arena of its own and cannot read the inputs of other workers'
//! jobs; then inputs are placed once the worker is known. Outputs lie in regions of each worker's
//! own ([`OutputAllocator`]), which the coordinator can only read: a worker that writes where it
//! should not garbles only its own results.
//!
//! The allocating side keeps the free list on its own heap, so nothing that the other side writes
//! can make two slabs overlap. It checks what the other side says about a slab against the region,
//! like any foreign input.
//!
//! The coordinator frees input memory a region at a time, when no slab of the region is in use: the
//! seal that keeps workers from writing ([`Mapping::for_readers`]) also keeps the coordinator from
//! punching holes. It never reuses a region's number, so a worker cannot mistake a new region for
//! an old one. The memory is free once the workers, too, have unmapped it; the coordinator tells
//! them.

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
use crate::wire::PayloadLocation;

pub use outputs::Outputs;
pub use worker_side::{InputRegions, OutputAllocator, OutputSlab};

/// A region is rounded up to at least this size, unless 1/[`STEPS`] of the budget is less.
const SMALLEST: usize = 2 << 20;
/// A region for a smaller payload is rounded up to at most this size. Only the pages that are used
/// take memory.
const LARGEST_STEP: usize = 64 << 20;
/// A region for a smaller payload is rounded up to at most 1/`STEPS` of the budget.
const STEPS: u64 = 16;
/// Most regions of one arena or worker. Regions grow to [`LARGEST_STEP`], so a budget below about
/// 16 GiB is normally spent before an arena has this many.
const MAX_REGIONS: usize = 256;
/// How much shared memory a pool may use for payloads.
#[derive(Debug)]
pub struct Budget {
    limit: OnceLock<u64>,
    default: fn() -> u64,
    used: AtomicU64,
}

impl Budget {
    /// A budget of at most `limit` bytes. If `limit` is `None`, the first request for memory calls
    /// `default`, which may take a while to find the limit.
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

    /// Takes the bytes of a region for at least `len` bytes. The region is larger if `present`
    /// bytes exist already: few large regions are better than many small ones.
    fn take_region(self: &Arc<Self>, len: usize, present: usize) -> Option<Paid> {
        // At least one byte: an empty region cannot be mapped.
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

/// A part of a budget; dropping it gives the bytes back.
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

/// The regions that hold inputs, for all workers of a pool or for one of them.
#[derive(Debug)]
pub struct Arena {
    number: u32,
    budget: Arc<Budget>,
    regions: Mutex<Regions>,
}

#[derive(Debug, Default)]
struct Regions {
    /// In the order of their numbers.
    present: Vec<Arc<ArenaRegion>>,
    /// Number of the next region.
    next: u32,
}

impl Regions {
    fn find(&self, number: u32) -> Option<&Arc<ArenaRegion>> {
        self.present.iter().find(|region| region.number == number)
    }
}

#[derive(Debug)]
struct ArenaRegion {
    arena: u32,
    number: u32,
    slabs: Arc<Slabs<Mapping>>,
    /// The descriptor that workers receive.
    memory: OwnedFd,
    /// Given back when neither the arena nor a slab refers to the region.
    paid: Paid,
}

impl Arena {
    /// Creates an arena without memory.
    pub fn new(budget: Arc<Budget>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { number, budget, regions: Mutex::default() }
    }

    fn regions(&self) -> MutexGuard<'_, Regions> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slab of `len` bytes that still has its previous content. `None` when the budget is spent,
    /// memory is lacking, or the arena has all the regions that it may have.
    pub fn take(&self, len: usize) -> Option<ArenaSlab> {
        let mut regions = self.regions();
        let take = |region: &Arc<ArenaRegion>| {
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
        let region = Arc::new(ArenaRegion { arena, number, slabs, memory, paid });
        regions.next += 1;
        regions.present.push(Arc::clone(&region));
        take(&region)
    }

    /// Calls `send` with the memory of a region. `None` if the arena no longer has this region;
    /// then nothing is in it.
    pub fn share<T>(&self, region: u32, send: impl FnOnce(&OwnedFd) -> T) -> Option<T> {
        let found = Arc::clone(self.regions().find(region)?);
        Some(send(&found.memory))
    }

    /// Where `bytes` are, if they are in a slab of this arena.
    pub fn location(&self, bytes: &Bytes) -> Option<PayloadLocation> {
        let slab = bytes.owner::<ArenaSlab>().filter(|slab| slab.region.arena == self.number)?;
        Some(PayloadLocation::Slab {
            region: slab.region.number,
            offset: slab.slab.offset() as u64,
            len: slab.slab.len() as u64,
            slab: 0,
        })
    }

    /// Removes the regions that are not in use; returns how many bytes they had. Workers still map
    /// them: [`Arena::gone`] says which ones to tell the workers about.
    pub fn trim(&self) -> usize {
        let mut trimmed = 0;
        // Slabs are taken under this lock only, so an unused region stays unused meanwhile.
        self.regions().present.retain(|region| {
            let is_used = !region.slabs.is_unused();
            trimmed += if is_used { 0 } else { region.paid.bytes };
            is_used
        });
        trimmed
    }

    /// Returns those of `numbers` that the arena no longer has: workers that have mapped these
    /// regions keep their memory in use.
    pub fn gone(&self, numbers: &[u32]) -> Vec<u32> {
        let regions = self.regions();
        numbers.iter().copied().filter(|&number| regions.find(number).is_none()).collect()
    }
}

/// A slab of an arena. The caller fills it, then sends it as [`Bytes::from_owner`].
#[derive(Debug)]
pub struct ArenaSlab {
    // Drops before `region`: when the last reference to a region goes, none of its slabs is in use.
    slab: Slab<Mapping>,
    region: Arc<ArenaRegion>,
}

impl ArenaSlab {
    /// Shortens the slab to `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.slab.truncate(len);
    }

    /// Number of the region that holds the slab.
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
    // Aligned, so that a kernel can view the bytes as numbers.
    offset.is_multiple_of(64).then_some(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)
}

#[cfg(test)]
mod tests;
