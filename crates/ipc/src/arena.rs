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

use std::ops::{Deref, DerefMut, Range};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use brigade_proto::{Bytes, Lend};
use brigade_sys::slab::{Slab, Slabs};
use ipc_channel::ipc::IpcSharedMemory;

use crate::channel::{Payload, Received};
use crate::fresh;
use crate::wire::Place;

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
/// Slabs of which a worker is told with an order that it can have them back.
const RETURNED_AT_ONCE: usize = 24;

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

/// The regions in which one worker's outputs lie, as the coordinator sees them.
#[derive(Debug)]
pub struct Outputs(Arc<OutputsInner>);

#[derive(Debug)]
struct OutputsInner {
    budget: Arc<Budget>,
    regions: Mutex<Vec<Arc<IpcSharedMemory>>>,
    /// Slabs that nobody here uses any more; the worker is told with its next job.
    returned: Mutex<Vec<u32>>,
    any_returned: AtomicU32,
}

impl Drop for OutputsInner {
    fn drop(&mut self) {
        let regions = self.regions.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.budget.give(regions.iter().map(|region| region.len()).sum());
    }
}

impl Outputs {
    /// No regions yet.
    pub fn new(budget: Arc<Budget>) -> Self {
        Self(Arc::new(OutputsInner {
            budget,
            regions: Mutex::default(),
            returned: Mutex::default(),
            any_returned: AtomicU32::new(0),
        }))
    }

    /// One more region, on its way to the worker; `None` when the budget is spent.
    pub fn grow(&self, bytes: u64) -> Option<Payload> {
        let mut regions = self.0.regions.lock().unwrap_or_else(PoisonError::into_inner);
        if regions.len() >= MAX_REGIONS {
            return None;
        }
        let present = regions.iter().map(|region| region.len()).sum();
        let mine = self.0.budget.region(usize::try_from(bytes).ok()?, present)?;
        let Some(theirs) = fresh::again(&mine) else {
            self.0.budget.give(mine.len());
            return None;
        };
        regions.push(Arc::new(mine));
        Some(Payload::Shared(theirs))
    }

    /// The bytes of an output where they are, or as they came. `None` if there is
    /// no such place.
    pub fn find(&self, place: Place) -> Option<Bytes> {
        let (region, offset, len, slab) = match place {
            Place::Here(bytes) => return Some(Bytes::from(&bytes[..])),
            Place::Slab { region, offset, len, slab } => (region, offset, len, slab),
        };
        let regions = self.0.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let region = Arc::clone(regions.get(region as usize)?);
        drop(regions);
        let range = range(offset, len).filter(|range| range.end <= region.len())?;
        Some(Bytes::lent(Arc::new(Lease { outputs: Arc::clone(&self.0), region, range, slab })))
    }

    /// Some of the slabs that the worker can have back: enough to keep up with any job, and
    /// few enough for its message.
    pub fn returned(&self) -> Vec<u32> {
        self.take_returned(RETURNED_AT_ONCE)
    }

    /// Those that the worker can have back as well as [`Outputs::returned`], with a message
    /// that is longer.
    pub fn more_returned(&self) -> Vec<u32> {
        self.take_returned(usize::MAX)
    }

    /// Of slabs that the worker can have back, and that it could not be told of.
    #[cold]
    pub fn not_returned(&self, slabs: &[u32]) {
        let mut returned = self.0.returned.lock().unwrap_or_else(PoisonError::into_inner);
        returned.extend_from_slice(slabs);
        self.0.any_returned.store(returned.len() as u32, Ordering::Release);
    }

    fn take_returned(&self, most: usize) -> Vec<u32> {
        if self.0.any_returned.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut returned = self.0.returned.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = returned.len().saturating_sub(most);
        let slabs = returned.split_off(rest);
        self.0.any_returned.store(returned.len() as u32, Ordering::Release);
        slabs
    }
}

fn range(offset: u64, len: u64) -> Option<Range<usize>> {
    let end = offset.checked_add(len)?;
    // So that a kernel can view it as numbers.
    offset.is_multiple_of(64).then_some(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)
}

/// An output in place.
struct Lease {
    outputs: Arc<OutputsInner>,
    region: Arc<IpcSharedMemory>,
    range: Range<usize>,
    slab: u32,
}

impl Lend for Lease {
    fn bytes(&self) -> &[u8] {
        &self.region[self.range.clone()]
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut returned = self.outputs.returned.lock().unwrap_or_else(PoisonError::into_inner);
        returned.push(self.slab);
        self.outputs.any_returned.store(returned.len() as u32, Ordering::Release);
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limit: u64) -> Arc<Budget> {
        Budget::new(Some(limit), || 0)
    }

    fn received(payload: Payload) -> Vec<Received> {
        match payload {
            Payload::Shared(region) => {
                let len = region.len();
                vec![Received::Shared(region, len)]
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_input_is_seen_where_it_was_written() {
        let arena = Arena::new(budget(64 << 20));
        let mut shelf = InputShelf::default();
        let mut slab = arena.take(5_000_000).unwrap();
        slab.fill(7);
        slab.truncate(4_000_000);
        shelf.add(received(arena.payload(slab.region()).unwrap()));
        let bytes = Bytes::lent(Arc::new(slab));
        let Some(Place::Slab { region, offset, len, .. }) = arena.place(&bytes) else {
            panic!("it is in the arena")
        };
        assert_eq!(shelf.find(region, offset, len).unwrap(), &bytes[..]);
        assert!(shelf.find(region, offset, u64::MAX).is_none());
        assert!(shelf.find(region, offset + 1, 1).is_none());
        assert!(shelf.find(region + 1, 0, 1).is_none());
        // Another pool's arena is not this one's.
        assert!(Arena::new(budget(0)).place(&bytes).is_none());
    }

    #[test]
    fn an_output_is_lent_and_its_slab_used_again() {
        let budget = budget(64 << 20);
        let outputs = Outputs::new(Arc::clone(&budget));
        let mut shelf = OutputShelf::default();
        assert!(shelf.take(100).is_none());
        assert!(shelf.add(received(outputs.grow(3_000_000).unwrap())));
        let mut places = Vec::new();
        for round in 0..100_u8 {
            let mut slab = shelf.take(3_000_000).unwrap();
            assert!(slab.bytes_mut().iter().all(|&byte| byte == round), "what was there before");
            slab.bytes_mut().fill(round + 1);
            let place = shelf.lend(slab);
            places.push(place.clone());
            let bytes = outputs.find(place).unwrap();
            assert!(bytes.iter().all(|&byte| byte == round + 1));
            assert!(shelf.take(3_000_000).is_none(), "the region holds one");
            drop(bytes);
            shelf.take_back(&outputs.returned());
            // Nonsense changes nothing.
            shelf.take_back(&[0, 7, u32::MAX]);
        }
        assert!(places.windows(2).all(|pair| pair[0] == pair[1]));
        assert!(budget.used() > 0);
        drop(outputs);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_many_jobs_gave_back_is_returned_at_once_and_never_lost() {
        let outputs = Outputs::new(budget(64 << 20));
        outputs.grow(1000).unwrap();
        let leases = (0..1000).map(|slab| Place::Slab { region: 0, offset: 0, len: 8, slab });
        drop(leases.map(|place| outputs.find(place).unwrap()).collect::<Vec<_>>());
        let mut first = outputs.returned();
        assert_eq!(first.len(), RETURNED_AT_ONCE);
        outputs.not_returned(&first.split_off(10));
        first.extend(outputs.more_returned());
        first.sort_unstable();
        assert_eq!(first, (0..1000).collect::<Vec<_>>());
        assert!(outputs.returned().is_empty());
    }

    #[test]
    fn impossible_places_are_not_found() {
        let outputs = Outputs::new(budget(64 << 20));
        outputs.grow(1000).unwrap();
        let place = |region, offset, len| Place::Slab { region, offset, len, slab: 0 };
        assert!(outputs.find(place(0, 0, 1000)).is_some());
        for (region, offset, len) in
            [(1, 0, 1), (0, 1, 1), (0, 0, 1 << 40), (0, u64::MAX - 63, 64), (0, 64, u64::MAX)]
        {
            assert!(outputs.find(place(region, offset, len)).is_none());
        }
    }

    #[test]
    fn a_budget_is_kept() {
        let budget = budget(2 << 20);
        let arena = Arena::new(Arc::clone(&budget));
        let first = arena.take(900_000).unwrap();
        let second = arena.take(900_000).unwrap();
        assert!(arena.take(900_000).is_none());
        drop((first, second));
        assert!(arena.take(900_000).is_some());
        assert!(arena.trim() > 0);
        drop(arena);
        assert_eq!(budget.used(), 0);
    }
}
