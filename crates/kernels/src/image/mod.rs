//! Image kernels, and what every kernel that reads an image needs.

mod blur;
mod codec;
#[cfg(test)]
mod codec_tests;
mod equalize;
mod exif;
#[cfg(test)]
mod files_tests;
mod format;
mod gaussian;
mod grayscale;
mod guard;
mod histogram;
mod job;
mod jpeg;
mod median;
mod median_histogram;
mod median_network;
mod median_weighed;
mod pattern;
mod pixels;
mod png;
mod raw;
mod resize;
mod sharpen;
mod sobel;
#[cfg(test)]
pub(crate) mod testing;
mod tiff;
mod upright;
mod webp;

use crate::Kernel;

pub(crate) use job::{drop_alpha, filter, load, load_values, reader, store, synthesize};
pub(crate) use pixels::{BLOCK, Pixels, block};
pub(crate) use sobel::gradients;

pub(crate) fn kernels() -> Vec<Box<dyn Kernel>> {
    vec![
        Box::new(grayscale::Grayscale),
        Box::new(blur::Blur),
        Box::new(resize::Resize),
        Box::new(sobel::Sobel),
        Box::new(median::Median),
        Box::new(sharpen::Sharpen),
        Box::new(equalize::Equalize),
        Box::new(histogram::Histogram),
    ]
}
