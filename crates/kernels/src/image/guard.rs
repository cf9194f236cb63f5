//! Decoders of others may panic on a damaged file. That is the file's fault, and no reason to end a
//! worker or to show a user where in their source it happened.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::format::ImageFormat;
use crate::KernelError;

/// What `decode` gives; a panic in it becomes an error that calls the file damaged.
///
/// Nothing is printed where the backends call kernels: their hook keeps panics of kernels to
/// itself.
pub(super) fn guarded<T>(
    format: ImageFormat,
    decode: impl FnOnce() -> Result<T, KernelError>,
) -> Result<T, KernelError> {
    // What `decode` has touched is dropped with it.
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(KernelError::input(format!("damaged {format}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let bytes: &[u8] = &[];
        let error = guarded::<u8>(ImageFormat::WebP, || Ok(bytes[0])).unwrap_err();
        assert_eq!(error.to_string(), "damaged WebP");
        assert_eq!(guarded(ImageFormat::WebP, || Ok(1)), Ok(1));
    }
}
