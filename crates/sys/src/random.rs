//! Random secrets from the operating system.

use std::io;

/// A secret of 128 random bits.
///
/// # Errors
/// When the operating system has no randomness to give.
pub fn nonce() -> io::Result<u128> {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(u128::from_ne_bytes(bytes))
}
