use std::sync::Arc;
use std::time::Duration;

use super::WordMemory;

/// A word on which one side sleeps, and which the other sides clear to wake it.
///
/// Zero: no thread needs a wake-up. The sleeper sets the flag to what it wants to be woken for,
/// *then* checks once more for something to do, then sleeps. A waker publishes, *then* checks the
/// flag. Both have a sequentially consistent fence between their two steps, so at least one of them
/// sees the other's first step.
#[derive(Debug)]
pub(crate) struct WakeFlag<M> {
    memory: Arc<M>,
    index: usize,
}

impl<M> Clone for WakeFlag<M> {
    fn clone(&self) -> Self {
        Self { memory: Arc::clone(&self.memory), index: self.index }
    }
}

impl<M: WordMemory> WakeFlag<M> {
    pub(crate) fn new(memory: Arc<M>, index: usize) -> Self {
        Self { memory, index }
    }

    /// Sleeper: sets the flag. The sleeper must check for something to do after this and before
    /// [`WakeFlag::sleep`].
    pub(crate) fn set(&self, value: u32) {
        self.memory.swap(self.index, value.into());
        self.memory.fence();
    }

    /// Sleeper: sleeps until the flag is no longer `value`; may return early.
    pub(crate) fn sleep(&self, value: u32, limit: Option<Duration>) {
        self.memory.sleep_on(self.index, value, limit);
    }

    pub(crate) fn get(&self) -> u32 {
        self.memory.load(self.index) as u32
    }

    /// Waker, after it has published: orders that before its checks of any number of flags.
    pub(crate) fn fence(&self) {
        self.memory.fence();
    }

    /// Waker: clears the flag and wakes the sleeper, if the flag is at least `least`. Of several
    /// wakers only one does this; returns whether it was this one.
    pub(crate) fn raise(&self, least: u32) -> bool {
        let raised = self.get() >= least && self.memory.swap(self.index, 0) != 0;
        if raised {
            self.memory.wake(self.index);
        }
        raised
    }
}
