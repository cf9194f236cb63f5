//! Every reader of foreign bytes, as a function of bytes that must not panic. The targets
//! beside this file give them to libFuzzer; `tests/fuzz.rs` gives them seeds and mutations
//! of seeds, on every `cargo test`.

#![allow(dead_code, reason = "each target uses one of them")]

use std::sync::LazyLock;

use brigade_kernels::{Always, Context, HeapSink, Registry, Size};
use brigade_proto::{Buffer, Params};

/// What is fed with bytes.
pub(crate) type Body = fn(&[u8]);

/// By name.
pub(crate) const TARGETS: &[(&str, Body)] = &[
    ("answer", brigade_ipc::fuzz::answer),
    ("order", brigade_ipc::fuzz::order),
    ("chunk", brigade_ipc::fuzz::chunk),
    ("mail", brigade_ipc::fuzz::mail),
    ("greeting", brigade_ipc::fuzz::greeting),
    ("ring", brigade_ipc::fuzz::ring),
    ("batch_line", batch_line),
    ("journal", brigade_cli::fuzz::journal),
    ("saved", brigade_cli::fuzz::saved),
    ("npy", npy),
    ("wav", wav),
    ("safetensors", safetensors),
    ("image", image),
];

/// Feeds one target.
pub(crate) fn feed(target: &str, bytes: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    body(bytes);
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::builtin);

pub(crate) fn batch_line(line: &[u8]) {
    brigade_cli::fuzz::batch_line(&REGISTRY, line);
}

/// An image of at most 2^16 pixels, in any format.
pub(crate) fn image(file: &[u8]) {
    run("grayscale", &[("max_pixels", 1 << 16)], &[file]);
}

pub(crate) fn npy(file: &[u8]) {
    run("transpose", &[], &[file]);
    run("cholesky", &[], &[file]);
}

pub(crate) fn wav(file: &[u8]) {
    run("spectrogram", &[], &[file]);
}

/// The layers of a network for two numbers each of 8 features.
pub(crate) fn safetensors(file: &[u8]) {
    static BATCH: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut header = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        header.extend(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 8), }");
        header.resize(127, b' ');
        header.push(b'\n');
        header.extend((0..16).flat_map(|i| (i as f32 / 8.0).to_le_bytes()));
        header
    });
    run("mlp", &[], &[&BATCH, file]);
}

/// What the kernel makes of it is its business, as long as it comes back with something
/// that is no larger than it has reason to be.
fn run(name: &str, params: &[(&str, i64)], inputs: &[&[u8]]) {
    let entry = REGISTRY.find(name).expect("it is built in");
    let params: Params = params.iter().copied().collect();
    let params = entry.resolve(&params, inputs.len()).expect("they are right");
    let buffers: Vec<Buffer> = inputs.iter().map(|input| Buffer::from(*input)).collect();
    let inputs: Vec<&[u8]> = buffers.iter().map(|buffer| &buffer[..]).collect();
    let mut sink = HeapSink::default();
    let mut job = Context::new(&params, &inputs, &mut sink, &Always);
    let result = entry.kernel.run(&mut job);
    if let Err(error) = result {
        assert!(!error.to_string().is_empty(), "a reason is given");
    }
    let written: usize = sink.into_outputs().iter().map(|output| output.len()).sum();
    let read: usize = inputs.iter().map(|input| input.len()).sum();
    assert!(written <= 64 * read + (16 << 20), "{written} bytes out of {read}");
}

/// Seeds beside those in `corpus/`: what the kernels themselves would be tried with.
pub(crate) fn synthetic(target: &str) -> Vec<Vec<u8>> {
    let of = |kernel: &str, size: Size, input: usize| {
        let inputs = REGISTRY.find(kernel).expect("built in").kernel.synthesize(size, 1);
        inputs.expect("a size that is right")[input].to_vec()
    };
    match target {
        "image" => vec![of("blur", Size::Area { width: 12, height: 9 }, 0)],
        "npy" => vec![of("transpose", Size::Count(5), 0)],
        "wav" => vec![of("spectrogram", Size::Count(2000), 0)],
        _ => Vec::new(),
    }
}
