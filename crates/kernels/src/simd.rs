//! Compiling a loop once per instruction set, chosen at run time.
//!
//! The loops are plain Rust that the compiler vectorises: integers, or floats
//! without reordered sums, so every instruction set gives the same bytes.

/// Wraps functions whose loops are worth compiling for AVX2 as well. Not for AVX-512:
/// on a Sapphire Rapids Xeon that was no faster for any of them, the compiler gave up on
/// the widest (the median of 25 took 70 times as long), and every further version
/// costs seconds of build time (`scripts/bench_kernels.py`).
/// What they call must be `#[inline(always)]`, or it is compiled for the
/// baseline. Not for generic functions.
macro_rules! vectorised {
    ($($(#[$attr:meta])* $vis:vis fn $name:ident $args:tt $(-> $ret:ty)? $body:block)*) => {$(
        $(#[$attr])*
        #[multiversion::multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt+popcnt"))]
        $vis fn $name $args $(-> $ret)? $body
    )*};
}

pub(crate) use vectorised;
