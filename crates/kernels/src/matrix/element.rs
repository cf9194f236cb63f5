//! What the two element types have in common.

use ndarray::LinalgScalar;

use crate::npy::Float;
use crate::simd::vectorised;

/// f32 or f64.
pub(super) trait Element: Float + LinalgScalar + PartialOrd + std::fmt::Display {
    /// From 1 to the next float.
    const EPSILON: Self;

    fn of_len(len: usize) -> Self;
    fn is_finite(self) -> bool;
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    /// `to += factor * from`, element by element.
    fn axpy(factor: Self, from: &[Self], to: &mut [Self]);
    /// Sum of the products, in an order that does not depend on the machine.
    fn dot(a: &[Self], b: &[Self]) -> Self;
}

macro_rules! element {
    ($type:ident, $axpy:ident, $dot:ident) => {
        vectorised! {
            fn $axpy(factor: $type, from: &[$type], to: &mut [$type]) {
                for (to, from) in to.iter_mut().zip(from) {
                    *to += factor * from;
                }
            }
            fn $dot(a: &[$type], b: &[$type]) -> $type {
                // Enough sums side by side to fill several vector registers.
                let mut sums: [$type; 32] = [0.0; 32];
                let n = a.len().min(b.len());
                let ((a, a_rest), (b, b_rest)) = (a[..n].as_chunks(), b[..n].as_chunks());
                for (a, b) in a.iter().zip(b) {
                    let (a, b): (&[$type; 32], &[$type; 32]) = (a, b);
                    for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                        *sum += a * b;
                    }
                }
                let mut half = 16;
                while half > 0 {
                    let (low, high) = sums.split_at_mut(half);
                    for (low, high) in low.iter_mut().zip(high) {
                        *low += *high;
                    }
                    half /= 2;
                }
                let mut rest = 0.0;
                for (a, b) in a_rest.iter().zip(b_rest) {
                    rest += a * b;
                }
                sums[0] + rest
            }
        }

        impl Element for $type {
            const EPSILON: Self = Self::EPSILON;

            fn of_len(len: usize) -> Self {
                len as Self
            }
            fn is_finite(self) -> bool {
                self.is_finite()
            }
            fn abs(self) -> Self {
                self.abs()
            }
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            fn axpy(factor: Self, from: &[Self], to: &mut [Self]) {
                $axpy(factor, from, to);
            }
            fn dot(a: &[Self], b: &[Self]) -> Self {
                $dot(a, b)
            }
        }
    };
}

element!(f32, axpy_f32, dot_f32);
element!(f64, axpy_f64, dot_f64);
