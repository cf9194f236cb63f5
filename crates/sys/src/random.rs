//! Secrets from the operating system.

use std::io;

/// 128 bits that nobody can guess.
///
/// # Errors
/// When the system has no randomness to give.
pub fn nonce() -> io::Result<u128> {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(u128::from_ne_bytes(bytes))
}
