//! Dense linear algebra on `.npy` arrays of numbers, in C or Fortran order.
//!
//! All is computed in float32 if the inputs are float16 or float32, else in float64. Every number
//! is the same there, or the input is refused: an int64 beyond 2^53 may have no float64. Where
//! finite inputs give infinite numbers or NaN, the job has the remark `overflow`; where a system
//! is so near to singular that no digit need be right, `ill-conditioned`.
//!
//! Products are the `matrixmultiply` crate's (Goto's algorithm), reached through
//! `ndarray`; the factorisations are blocked, so that most of their work is
//! products too.

mod cholesky;
mod condition;
mod element;
mod lu;
mod operand;
mod product;
mod transpose;

use crate::Kernel;

pub(crate) fn kernels() -> Vec<Box<dyn Kernel>> {
    vec![
        Box::new(product::Matmul),
        Box::new(product::Matvec),
        Box::new(transpose::Transpose),
        Box::new(lu::LuSolve),
        Box::new(cholesky::Cholesky),
    ]
}

#[cfg(test)]
mod testing;
