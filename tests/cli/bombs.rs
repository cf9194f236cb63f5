//! Small inputs that ask for much memory: what the program takes is measured.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use brigade_kernels::{Family, ParamKind, RegisteredKernel, Registry};
use brigade_sys::event_fd::wait_readable;
use brigade_sys::process::Child;
use serde_json::{Map, Value, json};

use crate::bad_input::crc32;
use crate::util::{Done, TestDir};

const MIB: u64 = 1 << 20;
const CAP: Duration = Duration::from_secs(240);

/// Reads a stream to its end beside the caller.
fn gather(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
}

/// Runs a program to its end; what it says, and its largest resident set in bytes.
#[expect(clippy::zombie_processes, reason = "`reap` waits for it, and tells what it used")]
fn measure(mut command: Command) -> (Done, u64) {
    let mut child = command.process_group(0).spawn().unwrap();
    let watched = Child::watch(child.id()).unwrap();
    let stdout = gather(child.stdout.take().unwrap());
    let stderr = gather(child.stderr.take().unwrap());
    let has_ended = wait_readable(&[watched.pidfd()], Some(CAP)).unwrap()[0];
    if !has_ended {
        watched.kill_group();
    }
    let reaped = watched.reap().unwrap();
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    assert!(has_ended, "still runs after {CAP:?}: {stderr}");
    (Done { code: reaped.status.code(), stdout, stderr }, reaped.usage.peak_rss_bytes)
}

fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let named = [&name[..], body].concat();
    let len = (body.len() as u32).to_be_bytes();
    [&len[..], &named, &crc32(&named).to_be_bytes()].concat()
}

/// A PNG of 8 bits RGB, or of 16 bits RGBA.
fn png(side: u32, is_deep: bool, chunks: &[Vec<u8>]) -> Vec<u8> {
    let (bits, kind) = if is_deep { (16, 6) } else { (8, 2) };
    let mut header = [side.to_be_bytes(), side.to_be_bytes()].concat();
    header.extend([bits, kind, 0, 0, 0]);
    let end = chunk(b"IEND", b"");
    [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &header), &chunks.concat(), &end].concat()
}

/// So many zeros in zlib's format: the first, and copies of the 258 before, of 13 bits each.
fn zlib_zeros(len: u32) -> Vec<u8> {
    let mut bits = Bits(vec![0x78, 0x9c], 0);
    // The last block, of fixed codes; the literal 0.
    for (code, len) in [(0b011, 3), (0b0000_1100, 8)] {
        bits.put(code, len);
    }
    let copies = (len - 1) / 258;
    for _ in 0..copies {
        // Length 258 is symbol 285, whose code is 11000101, sent from its upper end; distance 1.
        bits.put(0b1010_0011, 8);
        bits.put(0, 5);
    }
    bits.put(0, 7);
    let len = copies * 258 + 1;
    bits.0.extend(((len % 65521) << 16 | 1).to_be_bytes());
    bits.0
}

/// Bytes, and how many bits of the last are used.
struct Bits(Vec<u8>, u32);

impl Bits {
    fn put(&mut self, code: u32, len: u32) {
        for place in 0..len {
            if self.1 == 0 {
                self.0.push(0);
            }
            let last = self.0.last_mut().unwrap();
            *last |= (((code >> place) & 1) as u8) << self.1;
            self.1 = (self.1 + 1) % 8;
        }
    }
}

/// A TIFF of four channels of 32-bit floats in one strip, of which 7 bytes are there.
fn tiff(side: u32, compression: u32) -> Vec<u8> {
    let fields = [
        (256, 4, 1, side),
        (257, 4, 1, side),
        // Four numbers, after the fields.
        (258, 3, 4, 158),
        (259, 3, 1, compression),
        (262, 3, 1, 2),
        (273, 4, 1, 166),
        (274, 3, 1, 1),
        (277, 3, 1, 4),
        (278, 4, 1, side),
        (279, 4, 1, 7),
        (284, 3, 1, 1),
        (339, 3, 1, 3),
    ];
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend((fields.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in fields {
        file.extend(u16::to_le_bytes(tag));
        file.extend(u16::to_le_bytes(kind));
        file.extend(u32::to_le_bytes(count));
        file.extend(u32::to_le_bytes(value));
    }
    file.extend([0; 4]);
    file.extend([32, 0, 32, 0, 32, 0, 32, 0]);
    file.extend([0x80, 0, 0, 0, 0, 0, 0]);
    file
}

#[test]
fn an_image_bomb_takes_little_memory() {
    let dir = TestDir::new();
    let pixel = chunk(b"IDAT", b"\x78\x01\x01\x04\0\xfb\xff\0\x01\x02\x03\0\x0d\0\x07");
    let whole = png(1, false, std::slice::from_ref(&pixel));
    let zeros = zlib_zeros(600 << 20);
    let text = |name: &[u8; 4], head: &[u8]| {
        png(1, false, &[chunk(name, &[head, &zeros].concat()), pixel.clone()])
    };
    let header = png(14_142, true, &[chunk(b"IDAT", b"\x78\x9c\x63\x60\x60\0\0\0\x03\0\x01")]);
    assert_eq!(header.len(), 68);
    assert_eq!(tiff(14_142, 1).len(), 173);
    let webp = include_bytes!("files/webp_exif_claims.webp").to_vec();
    let mut table = vec![
        ("plain.png", whole),
        ("iccp.png", text(b"iCCP", b"x\0\0")),
        ("ztxt.png", text(b"zTXt", b"x\0\0")),
        ("itxt.png", text(b"iTXt", b"x\0\x01\0\0\0")),
        ("pixels.png", png(1, false, &[chunk(b"IDAT", &zeros)])),
        ("header.png", header),
        ("exif.webp", webp),
    ];
    for (name, compression) in
        [("none.tif", 1), ("lzw.tif", 5), ("deflate.tif", 8), ("packed.tif", 32773)]
    {
        table.push((name, tiff(14_142, compression)));
    }
    let mut wrong = Vec::new();
    for (name, bytes) in table {
        dir.write(name, bytes);
        let line = format!("run grayscale {name} -b sync --format json");
        let (done, peak) = measure(dir.command(&line));
        if !matches!(done.code, Some(0 | 1)) || done.stderr.contains("panicked") {
            wrong.push(format!("{name}: ends with {:?}: {}", done.code, done.stderr));
        }
        if name == "plain.png" {
            assert_eq!(done.code, Some(0), "the bombs are a picture like this: {done:?}");
        }
        if peak > 200 * MIB {
            wrong.push(format!("{name}: takes {} MiB", peak / MIB));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn wav(rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let len = data.len() as u32;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + len).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(rate.to_le_bytes());
    file.extend((rate.wrapping_mul(u32::from(bits / 8))).to_le_bytes());
    file.extend((bits / 8).to_le_bytes());
    file.extend(bits.to_le_bytes());
    file.extend(b"data");
    file.extend(len.to_le_bytes());
    file.extend(data);
    file
}

fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let len = (header.len() as u16).to_le_bytes();
    [&b"\x93NUMPY\x01\0"[..], &len, header.as_bytes(), data].concat()
}

/// A network of one layer.
fn network(inputs: usize, outputs: usize) -> Vec<u8> {
    let len = inputs * outputs * 4;
    let header = json!({"0.weight": {
        "dtype": "F32", "shape": [outputs, inputs], "data_offsets": [0, len],
    }})
    .to_string();
    let size = (header.len() as u64).to_le_bytes();
    [&size[..], header.as_bytes(), &vec![0; len]].concat()
}

/// Every value that a parameter may have at its ends. What is declared of sizes is small, and of
/// times, too.
fn extremes(entry: &RegisteredKernel, is_declared: bool) -> Vec<(&'static str, Vec<Value>)> {
    let values = |name: &str, kind: &ParamKind| match (name, kind) {
        ("max_pixels", _) if is_declared => vec![json!(1 << 20)],
        ("max_bytes", _) if is_declared => vec![json!(16 << 20)],
        ("us" | "steps", _) => vec![json!(1)],
        (_, ParamKind::Int(range)) => vec![json!(range.start()), json!(range.end())],
        (_, ParamKind::Float(range)) => vec![json!(range.start()), json!(range.end())],
        (_, ParamKind::Bool) => vec![json!(false), json!(true)],
        (_, ParamKind::Choice(names)) => names.iter().map(|name| json!(name)).collect(),
    };
    entry.spec.params.iter().map(|param| (param.name, values(param.name, &param.kind))).collect()
}

/// Each parameter at each of its ends while the others are as they are by default, and all at the
/// same end.
fn settings(entry: &RegisteredKernel, is_declared: bool) -> Vec<Map<String, Value>> {
    let extremes = extremes(entry, is_declared);
    let fixed: Map<String, Value> = extremes
        .iter()
        .filter(|(_, values)| values.len() == 1)
        .map(|(name, values)| ((*name).to_owned(), values[0].clone()))
        .collect();
    let mut settings = vec![fixed.clone()];
    for (name, values) in &extremes {
        for value in values {
            let mut one = fixed.clone();
            one.insert((*name).to_owned(), value.clone());
            settings.push(one);
        }
    }
    for end in [0, usize::MAX] {
        let pick = |values: &[Value]| values[end.min(values.len() - 1)].clone();
        settings
            .push(extremes.iter().map(|(name, values)| ((*name).into(), pick(values))).collect());
    }
    settings
}

/// All kernels with extreme parameters on small inputs, one job a line.
fn jobs(dir: &TestDir, is_declared: bool) -> Vec<Value> {
    dir.image("dot.png", "1x1");
    dir.image("small.png", "64x48");
    dir.image("wide.jpg", "2000x1");
    let files = [
        ("slow.wav", wav(1, 16, &[7; 2000])),
        ("slow8.wav", wav(1, 8, &vec![7; 100_000])),
        ("odd.wav", wav(383_999, 16, &[7; 2000])),
        ("fast.wav", wav(u32::MAX, 16, &[7; 2000])),
        ("long.wav", wav(16_000, 8, &vec![9; 60_000])),
        ("tall.npy", npy("|u1", "(2000, 1, 4)", &[1; 8000])),
        ("column.npy", npy("<f8", "(8000, 1)", &[0; 64_000])),
        ("row.npy", npy("<f8", "(1, 8000)", &[0; 64_000])),
        ("square.npy", npy("<f4", "(8, 8)", &[0; 256])),
        ("vector.npy", npy("<f8", "(8000,)", &[0; 64_000])),
    ];
    for (name, bytes) in &files {
        dir.write(name, bytes);
    }
    dir.write("wide.net", network(1, 8000));
    let sounds = ["slow.wav", "slow8.wav", "odd.wav", "fast.wav", "long.wav"];
    let images = ["dot.png", "small.png", "wide.jpg", "tall.npy", "square.npy"];
    let pairs = [
        ["column.npy", "row.npy"],
        ["row.npy", "column.npy"],
        ["column.npy", "vector.npy"],
        ["square.npy", "square.npy"],
        ["column.npy", "wide.net"],
    ];
    let mut jobs = Vec::new();
    for entry in Registry::builtin().iter().filter(|entry| entry.spec.family != Family::Fault) {
        let inputs: Vec<Vec<&str>> = match (entry.spec.family, entry.spec.inputs.min) {
            (_, 0) => vec![Vec::new()],
            (_, 2) => pairs.iter().map(|pair| pair.to_vec()).collect(),
            (Family::Audio, _) => sounds.iter().map(|name| vec![*name]).collect(),
            _ => images.iter().chain(&["column.npy"]).map(|name| vec![*name]).collect(),
        };
        for params in settings(entry, is_declared) {
            for inputs in &inputs {
                let kernel = entry.spec.name;
                jobs.push(json!({"kernel": kernel, "params": params, "inputs": inputs}));
            }
        }
    }
    assert!(jobs.len() > 500, "{} jobs", jobs.len());
    jobs
}

fn check_all_answered(jobs: &[Value], done: &Done) -> Vec<Value> {
    assert!(matches!(done.code, Some(0 | 1)), "{:?}: {}", done.code, done.stderr);
    let rows = done.lines();
    assert_eq!(rows.len(), jobs.len(), "{}", done.stderr);
    for (row, job) in rows.iter().zip(jobs) {
        let error = row["error"].as_str().unwrap_or_default();
        assert!(!error.contains("panicked"), "{job}: {error}");
        assert!(!error.contains("not a job"), "{job}: {error}");
    }
    rows
}

/// `max_pixels` and `max_bytes` say beforehand how large a result may be; the rest is what a
/// kernel needs whatever its input, most of that the filters of `resample`.
#[test]
fn no_kernel_takes_more_than_was_declared() {
    let dir = TestDir::new();
    let jobs = jobs(&dir, true);
    dir.write("jobs", jobs.iter().map(|job| format!("{job}\n")).collect::<String>());
    let (done, peak) = measure(dir.command("batch jobs --ordered -b sync"));
    let rows = check_all_answered(&jobs, &done);
    let ok = rows.iter().filter(|row| row["status"] == "ok").count();
    assert!(ok > jobs.len() / 3, "{ok} of {}", jobs.len());
    assert!(peak < 300 * MIB, "{} MiB", peak / MIB);
}

/// Whatever is asked for, and however little there is: each job is answered.
#[test]
fn no_kernel_ends_the_program_for_want_of_memory() {
    let dir = TestDir::new();
    let jobs = jobs(&dir, false);
    dir.write("jobs", jobs.iter().map(|job| format!("{job}\n")).collect::<String>());
    let brigade = env!("CARGO_BIN_EXE_brigade");
    let script = format!("ulimit -v 400000; exec {brigade} batch jobs --ordered -b sync");
    let (done, _) = measure(dir.shell(&script));
    let rows = check_all_answered(&jobs, &done);
    let refused = |row: &&Value| {
        let error = row["error"].as_str().unwrap_or_default();
        error.contains("no memory for") || error.contains("more than the limit")
    };
    assert!(rows.iter().filter(refused).count() > 5, "it was enough for all");
}
