//! Memory for inputs that the caller writes in place.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use brigade_ipc::ArenaSlab;
use brigade_proto::{Buffer, Bytes, Source};

/// A writable buffer for an input, from [`Pool::alloc`](crate::Pool::alloc). It converts into a [`Source`].
#[derive(Debug)]
pub struct PoolBuffer(pub(crate) BufferMemory);

#[derive(Debug)]
pub(crate) enum BufferMemory {
    Heap(Buffer),
    Slab(ArenaSlab),
}

impl Deref for PoolBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            BufferMemory::Heap(buffer) => buffer,
            BufferMemory::Slab(slab) => slab,
        }
    }
}

impl DerefMut for PoolBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            BufferMemory::Heap(buffer) => buffer,
            BufferMemory::Slab(slab) => slab,
        }
    }
}

impl From<PoolBuffer> for Bytes {
    fn from(buffer: PoolBuffer) -> Self {
        match buffer.0 {
            BufferMemory::Heap(buffer) => buffer.into(),
            BufferMemory::Slab(slab) => Self::from_owner(Arc::new(slab)),
        }
    }
}

impl From<PoolBuffer> for Source {
    fn from(buffer: PoolBuffer) -> Self {
        Self::Bytes(buffer.into())
    }
}
