//! Compiling a loop once per instruction set, chosen at run time.
//!
//! The loops are plain Rust that the compiler vectorises: integers, or floats
//! without reordered sums, so every instruction set gives the same bytes.

/// Wraps functions whose loops are worth compiling for AVX-512 and AVX2 as well.
/// What they call must be `#[inline(always)]`, or it is compiled for the
/// baseline. Not for generic functions.
macro_rules! vectorised {
    ($($(#[$attr:meta])* $vis:vis fn $name:ident $args:tt $(-> $ret:ty)? $body:block)*) => {$(
        $(#[$attr])*
        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512bw+avx512vl+avx512dq+avx512cd+avx2+bmi1+bmi2+lzcnt+popcnt",
            "x86_64+avx2+bmi1+bmi2+lzcnt+popcnt",
        ))]
        $vis fn $name $args $(-> $ret)? $body
    )*};
}

pub(crate) use vectorised;
