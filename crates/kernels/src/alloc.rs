//! Memory whose size depends on an input.

use crate::KernelError;

/// `len` default values, or an error where there is no memory for them: for
/// buffers whose size depends on an input.
pub(crate) fn try_vec<T: Clone + Default>(len: usize) -> Result<Vec<T>, KernelError> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(len)
        .map_err(|_| KernelError::Memory { bytes: len as u64 * size_of::<T>() as u64 })?;
    vec.resize(len, T::default());
    Ok(vec)
}
