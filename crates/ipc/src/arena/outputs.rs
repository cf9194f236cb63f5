//! The coordinator's side of a worker's outputs.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use brigade_proto::{BufferOwner, Bytes};
use brigade_sys::mapping::View;

use super::{Budget, MAX_REGIONS, Paid, range};
use crate::fresh;
use crate::wire::PayloadLocation;

/// Most slabs that the coordinator returns to a worker in one request.
pub(super) const RETURNED_AT_ONCE: usize = 24;

/// The regions that hold one worker's outputs, as the coordinator sees them.
#[derive(Debug)]
pub struct Outputs(Arc<OutputsInner>);

#[derive(Debug)]
struct OutputsInner {
    budget: Arc<Budget>,
    regions: Mutex<Vec<Arc<OutputRegion>>>,
    /// Slabs that the coordinator no longer uses; it tells the worker with the next job.
    returned: Mutex<Vec<u32>>,
    any_returned: AtomicU32,
}

#[derive(Debug)]
struct OutputRegion {
    view: View,
    _paid: Paid,
}

impl Outputs {
    /// Creates the outputs of a worker, without regions.
    pub fn new(budget: Arc<Budget>) -> Self {
        Self(Arc::new(OutputsInner {
            budget,
            regions: Mutex::default(),
            returned: Mutex::default(),
            any_returned: AtomicU32::new(0),
        }))
    }

    /// Creates one more region, to send to the worker. `None` when the budget is spent or memory is
    /// lacking.
    pub fn grow(&self, bytes: u64) -> Option<OwnedFd> {
        let mut regions = self.0.regions.lock().unwrap_or_else(PoisonError::into_inner);
        if regions.len() >= MAX_REGIONS {
            return None;
        }
        let present = regions.iter().map(|region| region.view.len()).sum();
        let paid = self.0.budget.take_region(usize::try_from(bytes).ok()?, present)?;
        let memory = fresh::file(paid.bytes)?;
        let view = View::of(&memory).ok()?;
        regions.push(Arc::new(OutputRegion { view, _paid: paid }));
        Some(memory)
    }

    /// The bytes of an output: in place in a slab, or from the message. `None` if there is no such
    /// location.
    pub fn find(&self, location: PayloadLocation) -> Option<Bytes> {
        let (region, offset, len, slab) = match location {
            PayloadLocation::Here(bytes) => return Some(Bytes::from(&bytes[..])),
            PayloadLocation::Slab { region, offset, len, slab } => (region, offset, len, slab),
        };
        let regions = self.0.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let region = Arc::clone(regions.get(region as usize)?);
        drop(regions);
        let range = range(offset, len).filter(|range| range.end <= region.view.len())?;
        Some(Bytes::from_owner(Arc::new(OutputLoan {
            outputs: Arc::clone(&self.0),
            region,
            range,
            slab,
        })))
    }

    /// Takes some of the slabs that the worker can have back: enough to keep up with any job, and
    /// few enough for one request.
    pub fn returned(&self) -> Vec<u32> {
        self.take_returned(RETURNED_AT_ONCE)
    }

    /// Takes all slabs that the worker can have back in addition to those of [`Outputs::returned`],
    /// for a longer message.
    pub fn more_returned(&self) -> Vec<u32> {
        self.take_returned(usize::MAX)
    }

    /// Puts back slabs that the worker could not be told about.
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

/// An output in place. Dropping it returns the slab.
struct OutputLoan {
    outputs: Arc<OutputsInner>,
    region: Arc<OutputRegion>,
    range: Range<usize>,
    slab: u32,
}

impl BufferOwner for OutputLoan {
    fn bytes(&self) -> &[u8] {
        self.region.view.get(self.range.clone()).unwrap_or_default()
    }
}

impl Drop for OutputLoan {
    fn drop(&mut self) {
        let mut returned = self.outputs.returned.lock().unwrap_or_else(PoisonError::into_inner);
        returned.push(self.slab);
        self.outputs.any_returned.store(returned.len() as u32, Ordering::Release);
    }
}
