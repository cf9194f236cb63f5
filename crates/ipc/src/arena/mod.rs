//! Slabs of long-lived shared regions, for payloads.
//!
//! A region is written by one side only. Inputs lie in the regions of the pool's
//! [`Arena`], which every worker maps: a payload is in place before it is known
//! which worker will have it, and after a worker's death for the next one. Outputs
//! lie in regions of each worker's own ([`OutputShelf`]), so a worker that writes where
//! it should not garbles its own results and no one else's.
//!
//! Who allocates keeps the list of what is free on its own heap, so nothing that
//! the other side writes can make two slabs overlap. What the other side says of a
//! slab is checked against the region like any foreign input.

mod outputs;
mod shelf;

use std::ops::{Deref, DerefMut, Range};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use brigade_proto::{Bytes, Lend};
use brigade_sys::slab::{Slab, Slabs};
use ipc_channel::ipc::IpcSharedMemory;

use crate::channel::Payload;
use crate::fresh;
use crate::wire::Place;

pub use outputs::Outputs;
pub use shelf::{InputShelf, OutputShelf, OutputSlab};

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

    /// A region for at least `len` bytes, larger if `present` are there already:
    /// few large regions are better than many small ones.
    fn region(&self, len: usize, present: usize) -> Option<IpcSharedMemory> {
        // Of nothing there is no mapping.
        let needed = len.max(1).checked_add(len / 8)?.checked_next_multiple_of(4096)?;
        let limit = *self.limit.get_or_init(self.default);
        let step = present.saturating_mul(2).clamp(SMALLEST, LARGEST_STEP);
        let step = step.min(usize::try_from(limit / STEPS).ok()? / 4096 * 4096);
        let size = [needed.max(step), needed].into_iter().find(|&n| self.take(n as u64))?;
        let region = fresh::sealed(size);
        if region.is_none() {
            self.give(size);
        }
        region
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes as u64, Ordering::Relaxed);
    }
}

/// The regions in which a pool's inputs lie.
#[derive(Debug)]
pub struct Arena {
    number: u32,
    budget: Arc<Budget>,
    regions: Mutex<Vec<Inputs>>,
}

#[derive(Debug)]
struct Inputs {
    slabs: Arc<Slabs<IpcSharedMemory>>,
    /// To be sent. Never looked into: `slabs` has a mapping of its own.
    theirs: IpcSharedMemory,
}

impl Arena {
    /// An arena without any memory yet.
    pub fn new(budget: Arc<Budget>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self { number, budget, regions: Mutex::default() }
    }

    fn regions(&self) -> MutexGuard<'_, Vec<Inputs>> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slab of `len` bytes with whatever was there before. `None` when the budget
    /// is spent.
    pub fn take(&self, len: usize) -> Option<ArenaSlab> {
        let mut regions = self.regions();
        let found =
            regions.iter().enumerate().find_map(|(i, inputs)| Some((i, inputs.slabs.take(len)?)));
        let (region, slab) = match found {
            Some(found) => found,
            None if regions.len() >= MAX_REGIONS => return None,
            None => {
                let present = regions.iter().map(|inputs| inputs.slabs.len()).sum();
                let theirs = self.budget.region(len, present)?;
                let mine = fresh::again(&theirs);
                let slabs = mine.and_then(|mine| Slabs::new(mine, IpcSharedMemory::deref_mut));
                let Some(slabs) = slabs.map(Arc::new) else {
                    self.budget.give(theirs.len());
                    return None;
                };
                regions.push(Inputs { slabs: Arc::clone(&slabs), theirs });
                (regions.len() - 1, slabs.take(len)?)
            }
        };
        Some(ArenaSlab { arena: self.number, region: region as u32, slab })
    }

    /// How many regions there are.
    pub fn count(&self) -> usize {
        self.regions().len()
    }

    /// A region on its way to a worker.
    pub fn payload(&self, region: usize) -> Option<Payload> {
        let regions = self.regions();
        let theirs = &regions.get(region)?.theirs;
        fresh::again(theirs).map(Payload::Shared)
    }

    /// Where `bytes` are, if they are in a slab of this arena.
    pub fn place(&self, bytes: &Bytes) -> Option<Place> {
        let slab = bytes.lender::<ArenaSlab>().filter(|slab| slab.arena == self.number)?;
        Some(Place::Slab {
            region: slab.region,
            offset: slab.slab.offset() as u64,
            len: slab.slab.len() as u64,
            slab: 0,
        })
    }

    /// Gives memory of slabs that are not in use back to the operating system.
    pub fn trim(&self) -> usize {
        self.regions().iter().map(|inputs| inputs.slabs.trim(64 << 10)).sum()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for inputs in self.regions().drain(..) {
            self.budget.give(inputs.slabs.len());
        }
    }
}

/// A slab of a pool's arena. Fill it, then send it as [`Bytes::lent`].
#[derive(Debug)]
pub struct ArenaSlab {
    arena: u32,
    region: u32,
    slab: Slab<IpcSharedMemory>,
}

impl ArenaSlab {
    /// Shortens it.
    pub fn truncate(&mut self, len: usize) {
        self.slab.truncate(len);
    }

    /// Which region of its arena it is in.
    pub fn region(&self) -> usize {
        self.region as usize
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

impl Lend for ArenaSlab {
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
