//! Sound in WAV files.

mod resample;
mod spectrogram;
mod wav;

use crate::Kernel;

pub(crate) fn kernels() -> Vec<Box<dyn Kernel>> {
    vec![Box::new(spectrogram::Spectrogram), Box::new(resample::Resample)]
}
