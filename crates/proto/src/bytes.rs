use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Buffer;

/// Immutable bytes on the heap or in the memory of a [`BufferOwner`]. They start at a multiple of
/// 64. Clones share them.
///
/// ```
/// use brigade_proto::{Buffer, Bytes};
/// let bytes = Bytes::from(Buffer::from(&b"hello"[..]));
/// assert_eq!(&bytes[..], b"hello");
/// ```
#[derive(Clone)]
pub struct Bytes(Repr);

#[derive(Clone)]
enum Repr {
    Heap(Arc<Buffer>),
    Lent(Arc<dyn BufferOwner>),
}

/// Memory that is lent out as [`Bytes`]. Dropping the last clone of the bytes drops the owner,
/// which can then reclaim the memory.
pub trait BufferOwner: Any + Send + Sync {
    /// The bytes. Every call must return the same slice. It must start at a multiple of 64, as a
    /// [`Buffer`] does.
    fn bytes(&self) -> &[u8];
}

impl Bytes {
    /// Bytes in the memory of `lender`.
    pub fn from_owner(lender: Arc<dyn BufferOwner>) -> Self {
        Self(Repr::Lent(lender))
    }

    /// The owner of the memory, if it is an `L`. `None` for bytes on the heap.
    pub fn owner<L: BufferOwner>(&self) -> Option<&L> {
        match &self.0 {
            Repr::Heap(_) => None,
            Repr::Lent(lender) => {
                let lender: &dyn Any = &**lender;
                lender.downcast_ref()
            }
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Heap(buffer) => buffer,
            Repr::Lent(lender) => lender.bytes(),
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Buffer::default().into()
    }
}

impl From<Buffer> for Bytes {
    fn from(buffer: Buffer) -> Self {
        Self(Repr::Heap(Arc::new(buffer)))
    }
}

impl From<Arc<Buffer>> for Bytes {
    fn from(buffer: Arc<Buffer>) -> Self {
        Self(Repr::Heap(buffer))
    }
}

impl From<&[u8]> for Bytes {
    /// Copies the bytes to the heap.
    ///
    /// # Panics
    /// If there is no memory; see [`Buffer::try_zeroed`].
    fn from(bytes: &[u8]) -> Self {
        Buffer::from(bytes).into()
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Buffer::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Library(Buffer);

    impl BufferOwner for Library {
        fn bytes(&self) -> &[u8] {
            &self.0
        }
    }

    #[test]
    fn lent_bytes_know_their_lender_and_equal_bytes_on_the_heap() {
        let buffer = Buffer::from(&b"abc"[..]);
        let lent = Bytes::from_owner(Arc::new(Library(buffer.clone())));
        assert_eq!(lent, Bytes::from(buffer));
        assert!(lent.owner::<Library>().is_some());
        assert!(Bytes::default().owner::<Library>().is_none());
    }
}
