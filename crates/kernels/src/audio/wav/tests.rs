use super::*;

const KINDS: [SampleEncoding; 9] = [
    SampleEncoding::Int { bytes: 1, valid: 8 },
    SampleEncoding::Int { bytes: 2, valid: 16 },
    SampleEncoding::Int { bytes: 2, valid: 12 },
    SampleEncoding::Int { bytes: 3, valid: 24 },
    SampleEncoding::Int { bytes: 3, valid: 20 },
    SampleEncoding::Int { bytes: 4, valid: 24 },
    SampleEncoding::Int { bytes: 4, valid: 32 },
    SampleEncoding::F32,
    SampleEncoding::F64,
];

fn file(sound: &Sound) -> Vec<u8> {
    let mut file = vec![0; sound.file_len().unwrap()];
    sound.write(&mut file).unwrap();
    file
}

fn sound(sample: SampleEncoding, mask: Option<u32>, channels: Vec<Vec<f64>>) -> Sound {
    let format = WavFormat { channels: channels.len() as u16, rate: 8000, sample, mask };
    Sound { format, channels }
}

/// A stereo file of 16 bits with three frames, in parts that a test changes.
struct Parts {
    head: Vec<u8>,
    format: Vec<u8>,
    data: Vec<u8>,
}

impl Parts {
    fn new() -> Self {
        let all = file(&sound(
            SampleEncoding::Int { bytes: 2, valid: 16 },
            None,
            vec![vec![0.0, 0.5, -1.0], vec![0.25, -0.25, 0.75]],
        ));
        Self { head: all[..12].into(), format: all[12..36].into(), data: all[36..].into() }
    }

    fn with(&self, before: &[u8], after: &[u8]) -> Vec<u8> {
        [&self.head[..], &self.format, before, &self.data, after].concat()
    }

    fn frames(&self, before: &[u8], after: &[u8]) -> Result<usize, String> {
        frames(&self.with(before, after))
    }
}

fn frames(file: &[u8]) -> Result<usize, String> {
    read(file).map(|sound| sound.channels[0].len()).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(file: &[u8], expected: &str) {
    let error = frames(file).unwrap_err();
    assert!(error.contains(expected), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn every_format_reads_back() {
    for sample in KINDS {
        for mask in [None, Some(0), Some(0x603)] {
            let channels = vec![vec![0.0, 0.5, -1.0], vec![0.25, -0.25, 0.75], vec![0.5; 3]];
            let sound = sound(sample, mask, channels);
            let file = file(&sound);
            assert!(file.len().is_multiple_of(2));
            let back = read(&file).unwrap();
            assert_eq!(back.channels, sound.channels, "{sample:?}");
            assert_eq!(back.format, sound.format);
        }
    }
}

#[test]
fn loud_samples_are_clipped_and_odd_lengths_padded() {
    let sound = sound(SampleEncoding::Int { bytes: 3, valid: 20 }, None, vec![vec![2.0]]);
    let file = file(&sound);
    assert_eq!(file[file.len() - 4..], [0xf0, 0xff, 0x7f, 0]);
    assert_eq!(read(&file).unwrap().channels, [[1.0 - 1.0 / 524_288.0]]);
    let is_clipped = |x: f64| {
        let sound = Sound { channels: vec![vec![0.0, x]], ..sound };
        sound.write(&mut vec![0; sound.file_len().unwrap()]).unwrap()
    };
    assert_eq!([2.0, 1.0, -1.1, -1.0, 0.9999].map(is_clipped), [true, true, true, false, false]);
}

#[test]
fn twenty_four_bits_in_four_bytes_are_the_upper_ones() {
    let bytes = include_bytes!("../../../tests/files/wav/wav_24_in_32.wav");
    let sound = read(bytes).unwrap();
    assert_eq!(sound.format.sample, SampleEncoding::Int { bytes: 4, valid: 24 });
    let x = &sound.channels[0];
    // The first is 0.
    for (x, expected) in x[1..].iter().zip([0.10532, 0.19889, 0.27074]) {
        assert!((x - expected).abs() < 1e-5, "{x} instead of {expected}");
    }
    let rms = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt();
    assert!((rms - 0.3807).abs() < 1e-4, "{rms}");
}

#[test]
fn bits_at_the_lower_end_are_refused() {
    let mut low =
        file(&sound(SampleEncoding::Int { bytes: 4, valid: 24 }, Some(4), vec![vec![0.5; 4]]));
    let at = low.len() - 16;
    for sample in low[at..].as_chunks_mut::<4>().0 {
        *sample = 0x0012_3456_i32.to_le_bytes();
    }
    refused(&low, "lower end of 4 bytes");
}

#[test]
fn chunks_before_the_samples_are_skipped_with_their_pad() {
    let bytes = include_bytes!("../../../tests/files/wav/wav_odd_chunk.wav");
    assert_eq!(frames(bytes), Ok(3000));
    let parts = Parts::new();
    assert_eq!(parts.frames(b"junk\x03\0\0\0abc\0", b""), Ok(3));
    // Some writers forget the pad.
    assert_eq!(parts.frames(b"junk\x03\0\0\0abc", b""), Ok(3));
    assert_eq!(parts.frames(b"", b"LIST\x05\0\0\0INFOx\0id3 \0\0\0\0"), Ok(3));
    assert_eq!(parts.frames(b"", b"\0trailing rubbish"), Ok(3));
}

#[test]
fn a_length_that_the_writer_did_not_know_is_the_rest() {
    let bytes = include_bytes!("../../../tests/files/wav/wav_streamed.wav");
    assert_eq!(frames(bytes), Ok(3000));
    let mut parts = Parts::new();
    for len in [0, u32::MAX, u32::MAX - 36, 0x7fff_f000, 0x7fff_ff00, 0x8000_0000] {
        parts.data[4..8].copy_from_slice(&len.to_le_bytes());
        parts.head[4..8].copy_from_slice(&len.wrapping_add(36).to_le_bytes());
        assert_eq!(parts.frames(b"", b""), Ok(3), "{len:#x}");
        refused(&parts.with(b"", b"\x01\x02"), "within a frame");
    }
    // As Python's `wave` leaves it when its program is killed.
    parts.head[4..8].copy_from_slice(&36_u32.to_le_bytes());
    parts.data[4..8].copy_from_slice(&0_u32.to_le_bytes());
    assert_eq!(parts.frames(b"", b""), Ok(3));
    // Nothing was recorded, and the header says all that is there.
    parts.data.truncate(8);
    parts.head[4..8].copy_from_slice(&48_u32.to_le_bytes());
    refused(&parts.with(b"", b"LIST\x04\0\0\0INFO"), "holds no samples");
}

#[test]
fn rf64_and_bw64_have_sizes_of_64_bits() {
    let mut parts = Parts::new();
    parts.data[4..8].copy_from_slice(&[0xff; 4]);
    let mut sizes = b"ds64\x1c\0\0\0".to_vec();
    for size in [0_u64, 12, 3] {
        sizes.extend(size.to_le_bytes());
    }
    sizes.extend([0; 4]);
    for name in [b"RF64", b"BW64"] {
        let head = [&name[..], b"\xff\xff\xff\xffWAVE"].concat();
        let file = [&head[..], &sizes, &parts.format, &parts.data].concat();
        assert_eq!(frames(&file), Ok(3));
        let longer = [&file[..], b"LIST\x04\0\0\0INFO"].concat();
        assert_eq!(frames(&longer), Ok(3));
        refused(&file[..file.len() - 1], "12 bytes, and 11 are there");
        refused(&[&head[..], b"ds64\x04\0\0\0abcd", &parts.data].concat(), "ds64");
    }
    // What RIFF cannot say is written so; the header alone is looked at.
    let format = WavFormat { channels: 1, rate: 8000, sample: SampleEncoding::F32, mask: None };
    let head = format.head(5 << 30);
    assert_eq!((&head[..8], &head[12..16]), (&b"RF64\xff\xff\xff\xff"[..], &b"ds64"[..]));
    assert_eq!(head[28..36], (5_u64 << 30).to_le_bytes());
    assert_eq!(head[20..28], ((5_u64 << 30) + head.len() as u64 - 8).to_le_bytes());
    assert_eq!(head[head.len() - 8..], *b"data\xff\xff\xff\xff");
}

#[test]
fn what_is_not_read_is_named() {
    let parts = Parts::new();
    for (tag, name) in [
        (2, "Microsoft ADPCM"),
        (6, "A-law"),
        (7, "mu-law"),
        (0x11, "IMA ADPCM"),
        (0x55, "MP3"),
        (0x1234, "of an unknown kind (format 0x1234)"),
    ] {
        let mut file = parts.with(b"", b"");
        file[20..22].copy_from_slice(&u16::to_le_bytes(tag));
        refused(&file, &format!("unsupported WAV: its samples are {name}"));
    }
    let mut half = parts.with(b"", b"");
    half[20] = 3;
    refused(&half, "floats of 16 bits");
    let file = parts.with(b"", b"");
    refused(&[&file[..], &file].concat(), "another file follows");
    refused(&parts.with(b"", &parts.data), "two chunks of samples");
    refused(&parts.with(b"LIST\x04\0\0\0wavl", b""), "wavl");
    refused(&[b"RIFX", &file[4..]].concat(), "RIFX");
    refused(b"FORM\0\0\0\0AIFF", "not a WAV file: it is AIFF");
    let mut exotic = self::file(&sound(SampleEncoding::F32, Some(1), vec![vec![0.5]]));
    let guid = exotic.windows(14).position(|bytes| bytes == header::TAGGED).unwrap();
    exotic[guid + 3] = 1;
    refused(&exotic, "unknown kind (GUID 0300");
}

#[test]
fn damage_is_told() {
    let parts = Parts::new();
    let good = parts.with(b"", b"");
    let mut longer = good.clone();
    longer[40..44].copy_from_slice(&1000_u32.to_le_bytes());
    let mut bits = good.clone();
    bits[34] = 17;
    let mut frame = good.clone();
    frame[32] = 3;
    let mut silent = good.clone();
    silent[22] = 0;
    for (bytes, expected) in [
        (&b""[..], "not a WAV file: the file is empty"),
        (b"RIFF", "truncated WAV"),
        (b"not a sound at all", "not a WAV file: it starts with `not `"),
        (&good[..30], "truncated WAV: its chunk `fmt `"),
        (&good[..38], "truncated WAV: it ends before its samples"),
        (&good[..good.len() - 7], "12 bytes, and 5 are there"),
        (&longer, "1000 bytes, and 12 are there"),
        (&[&parts.head[..], &parts.data].concat(), "no format before its samples"),
        (&[&good[..36], &parts.format, &parts.data].concat(), "two formats"),
        (&bits, "17 bits"),
        (&frame, "frames of 3 bytes for 2 channels"),
        (&silent, "no channels"),
    ] {
        refused(bytes, expected);
    }
    for (sample, at) in [(SampleEncoding::F32, 4), (SampleEncoding::F64, 8)] {
        let mut odd = file(&sound(sample, None, vec![vec![0.5; 3]]));
        let end = odd.len() - at;
        odd[end..].fill(0xff);
        refused(&odd, "sample 2 of channel 0 is NaN");
    }
    let loud = sound(SampleEncoding::F32, None, vec![vec![1e300]]);
    let mut to = vec![0; loud.file_len().unwrap()];
    assert!(loud.write(&mut to).unwrap_err().to_string().contains("1e300"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(at in 0..80_usize, byte: u8, kind in 0..KINDS.len(), mask: bool) {
        let mask = mask.then_some(3);
        let mut bytes = file(&sound(KINDS[kind], mask, vec![vec![0.5; 3]; 2]));
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        let _ = read(&bytes);
    }
}
