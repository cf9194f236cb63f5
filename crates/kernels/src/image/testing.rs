//! Small images and a way to run a kernel on them.

use brigade_proto::{Buffer, Params, Value};

use super::pixels::Shape;
use super::raw;
use crate::synth::SynthRng;
use crate::{Always, Context, HeapSink, KernelError, Progress, Registry};

#[derive(Clone, Debug)]
pub(crate) struct TestImage {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) channels: usize,
    pub(crate) bytes: Vec<u8>,
}

impl TestImage {
    pub(crate) fn random(width: usize, height: usize, channels: usize, seed: u64) -> Self {
        let mut rng = SynthRng::new(seed);
        let bytes = (0..width * height * channels).map(|_| rng.next() as u8).collect();
        Self { width, height, channels, bytes }
    }

    /// The value at a place, edges replicated.
    pub(crate) fn at(&self, x: isize, y: isize, channel: usize) -> u8 {
        let x = x.clamp(0, self.width as isize - 1) as usize;
        let y = y.clamp(0, self.height as isize - 1) as usize;
        self.bytes[(y * self.width + x) * self.channels + channel]
    }

    /// As a raw image.
    pub(crate) fn npy(&self) -> Vec<u8> {
        let shape = Shape::new(self.width, self.height, self.channels).unwrap();
        [raw::header(shape), self.bytes.clone()].concat()
    }

    pub(crate) fn from_file(bytes: &[u8]) -> Self {
        let pixels = super::codec::decode(bytes, u64::MAX).unwrap().pixels;
        let Shape { width, height, channels } = pixels.shape;
        Self { width, height, channels, bytes: pixels.bytes().to_vec() }
    }
}

/// The first output of a kernel on one input.
pub(crate) fn run(
    kernel: &str,
    params: &[(&str, Value)],
    input: &[u8],
) -> Result<Vec<u8>, KernelError> {
    let registry = Registry::builtin();
    let entry = registry.find(kernel).unwrap();
    let given: Params = params.iter().cloned().collect();
    let complete = entry.resolve(&given, 1).unwrap();
    let input = Buffer::from(input);
    let mut sink = HeapSink::default();
    let inputs: [&[u8]; 1] = [&input];
    let mut context = Context::new(&complete, &inputs, &mut sink, &Always);
    assert_eq!(entry.kernel.run(&mut context)?, Progress::Done);
    Ok(sink.into_outputs()[0].to_vec())
}

/// A raw image in, a raw image out.
pub(crate) fn run_raw(kernel: &str, params: &[(&str, Value)], case: &TestImage) -> TestImage {
    TestImage::from_file(&run(kernel, params, &case.npy()).unwrap())
}

/// Each byte is at most `by` away.
pub(crate) fn assert_near(bytes: &[u8], exact: &[f64], by: f64) {
    assert_eq!(bytes.len(), exact.len());
    for (i, (&byte, &exact)) in bytes.iter().zip(exact).enumerate() {
        assert!((f64::from(byte) - exact).abs() <= by, "{i}: {byte} instead of {exact}");
    }
}
