//! Dense linear algebra on `.npy` arrays of f32 and f64, in C or Fortran order.
//!
//! Products are the `matrixmultiply` crate's (Goto's algorithm), reached through
//! `ndarray`; the factorisations are blocked, so that most of their work is
//! products too.

mod cholesky;
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
