//! Computer vision: images in, features out.

mod canny;
mod corners;

use crate::Kernel;

pub(crate) fn kernels() -> Vec<Box<dyn Kernel>> {
    vec![Box::new(canny::Canny), Box::new(corners::Corners)]
}
