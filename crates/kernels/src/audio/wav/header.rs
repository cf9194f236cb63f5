//! The chunks of a WAV file: what its samples are, and where they lie.
//!
//! Sources: Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft,
//! 1991); "Multiple Channel Audio Data and WAVE Files" (Microsoft, 2007) for the extensible
//! format; EBU Tech 3306 and ITU-R BS.2088 for RF64 and BW64.

use super::{SampleEncoding, WavFormat};
use crate::KernelError;

/// What a file says of its samples, and their bytes.
#[derive(Debug)]
pub(super) struct EncodedSamples<'a> {
    pub(super) format: WavFormat,
    /// Whole frames.
    pub(super) data: &'a [u8],
}

/// The rest of the GUID of a format that has a two-byte tag.
pub(super) const TAGGED: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
/// The rest of the GUID of ambisonic B-format.
const AMBISONIC: [u8; 14] = [0, 0, 0x21, 7, 0xd3, 0x11, 0x86, 0x44, 0xc8, 0xc1, 0xca, 0, 0, 0];

fn unsupported(what: impl std::fmt::Display) -> KernelError {
    KernelError::input(format!("unsupported WAV: {what}"))
}

fn damaged(what: impl std::fmt::Display) -> KernelError {
    KernelError::input(format!("damaged WAV: {what}"))
}

fn truncated(what: impl std::fmt::Display) -> KernelError {
    KernelError::input(format!("truncated WAV: {what}"))
}

/// Finds the format and the samples. Nothing is allocated.
pub(super) fn read(bytes: &[u8]) -> Result<EncodedSamples<'_>, KernelError> {
    let long = match (bytes.get(..4), bytes.get(8..12)) {
        (Some(b"RIFF"), Some(b"WAVE")) => false,
        (Some(b"RF64" | b"BW64"), Some(b"WAVE")) => true,
        (Some(b"RIFX"), Some(b"WAVE")) => {
            return Err(unsupported("big-endian (RIFX); convert it to an ordinary WAV file"));
        }
        (Some(b"RIFF" | b"RF64" | b"BW64"), None) => {
            return Err(truncated(format!("it has {} bytes", bytes.len())));
        }
        _ => return Err(not_wav(bytes)),
    };
    let mut chunks = ChunkReader { bytes, at: 12, ds64: None };
    let mut format = None;
    while let Some(chunk) = chunks.next() {
        let ChunkHeader { id, len, start } = chunk;
        if &id == b"data" {
            let format: WavFormat =
                format.ok_or_else(|| damaged("no format before its samples"))?;
            let data = samples(&chunks, &chunk, &format)?;
            nothing_more(&chunks, &chunk)?;
            return Ok(EncodedSamples { format, data });
        }
        let Some(body) = usize::try_from(len).ok().and_then(|len| bytes[start..].get(..len)) else {
            return Err(truncated(format!(
                "its chunk `{}` is said to have {len} bytes, and {} are there",
                id.escape_ascii(),
                bytes.len() - start
            )));
        };
        match &id {
            b"ds64" if long => chunks.ds64 = Some(Ds64::read(body)?),
            b"fmt " if format.is_some() => return Err(damaged("it has two formats")),
            b"fmt " => format = Some(read_format(body)?),
            b"LIST" if body.starts_with(b"wavl") => {
                return Err(unsupported("its samples are a list of pieces (wavl)"));
            }
            _ => {}
        }
        chunks.skip(&chunk);
    }
    Err(truncated("it ends before its samples"))
}

fn not_wav(bytes: &[u8]) -> KernelError {
    let what = match bytes {
        [] => "the file is empty".to_owned(),
        [b'r', b'i', b'f', b'f', 0x2e, 0x91, ..] => "it is Sony Wave64".to_owned(),
        [b'F', b'O', b'R', b'M', ..] => "it is AIFF".to_owned(),
        [b'f', b'L', b'a', b'C', ..] => "it is FLAC".to_owned(),
        [b'O', b'g', b'g', b'S', ..] => "it is Ogg".to_owned(),
        [b'I', b'D', b'3', ..] => "it is MP3".to_owned(),
        _ => format!("it starts with `{}`", bytes[..bytes.len().min(4)].escape_ascii()),
    };
    KernelError::input(format!("not a WAV file: {what}"))
}

struct ChunkHeader {
    id: [u8; 4],
    /// As it is said.
    len: u64,
    /// Where its content begins.
    start: usize,
}

/// Sizes of 64 bits.
struct Ds64 {
    data: u64,
    table: Vec<([u8; 4], u64)>,
}

impl Ds64 {
    fn read(body: &[u8]) -> Result<Self, KernelError> {
        let number = |at: usize| {
            let bytes = body.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        let data = number(8).ok_or_else(|| damaged("its 64-bit sizes (ds64) are cut short"))?;
        // Bounded by what is there, not by what it says of its length.
        let table = body.get(28..).unwrap_or_default().as_chunks::<12>().0;
        let entry = |entry: &[u8; 12]| {
            let [a, b, c, d, len @ ..] = *entry;
            ([a, b, c, d], u64::from_le_bytes(len))
        };
        Ok(Self { data, table: table.iter().map(entry).collect() })
    }
}

struct ChunkReader<'a> {
    bytes: &'a [u8],
    at: usize,
    ds64: Option<Ds64>,
}

impl ChunkReader<'_> {
    fn next(&self) -> Option<ChunkHeader> {
        let (head, _) = self.bytes.get(self.at..)?.split_first_chunk::<8>()?;
        let [a, b, c, d, len @ ..] = *head;
        let (id, len) = ([a, b, c, d], u32::from_le_bytes(len));
        let mut chunk = ChunkHeader { id, len: len.into(), start: self.at + 8 };
        if let Some(ds64) = self.ds64.as_ref().filter(|_| len == u32::MAX) {
            let listed = ds64.table.iter().find(|(name, _)| *name == id).map(|(_, len)| *len);
            let data = (&id == b"data").then_some(ds64.data);
            chunk.len = data.or(listed).unwrap_or(chunk.len);
        }
        Some(chunk)
    }

    /// Goes on behind a chunk that is all there.
    fn skip(&mut self, chunk: &ChunkHeader) {
        let end = chunk.start.saturating_add(usize::try_from(chunk.len).unwrap_or(usize::MAX));
        let is_odd = chunk.len % 2 == 1;
        // Chunks begin at even places. Some writers forget that.
        let is_packed = self.bytes.get(end..end.saturating_add(4)).is_some_and(|id| {
            matches!(id, b"data" | b"fmt " | b"LIST" | b"fact" | b"bext" | b"cue " | b"smpl")
        });
        self.at = end.saturating_add(usize::from(is_odd && !is_packed));
    }

    /// Where the file ends by its own account, if it says so.
    fn said_end(&self) -> Option<u64> {
        let len = u32::from_le_bytes(self.bytes.get(4..8)?.try_into().ok()?);
        (len != 0 && len < STREAMED.start).then_some(u64::from(len) + 8)
    }
}

/// What programs write for a length that they do not know yet: ffmpeg all ones; others a little
/// less, for whole frames.
const STREAMED: std::ops::Range<u32> = 0xffff_ff00..u32::MAX;
/// The same of sox (0x7ffff000) and arecord (about 2^31).
const STREAMED_SIGNED: std::ops::RangeInclusive<u64> = 0x7fff_ef00..=0x8000_0000;

/// The bytes of the samples: as many as the chunk says, or to the end of the file if its
/// writer did not know.
fn samples<'a>(
    chunks: &ChunkReader<'a>,
    chunk: &ChunkHeader,
    format: &WavFormat,
) -> Result<&'a [u8], KernelError> {
    let rest = &chunks.bytes[chunk.start..];
    let available = rest.len() as u64;
    let is_streamed = match chunk.len {
        // The header was not completed if there are bytes behind what it accounts for.
        0 => chunks.said_end().is_none_or(|end| end < chunks.bytes.len() as u64),
        len if len == u64::MAX => true,
        len if len >= STREAMED.start.into() && len <= u32::MAX.into() => len > available,
        len => len > available && STREAMED_SIGNED.contains(&len),
    };
    let len = if is_streamed { available } else { chunk.len };
    let data = usize::try_from(len).ok().and_then(|len| rest.get(..len)).ok_or_else(|| {
        truncated(format!("its samples are said to have {len} bytes, and {available} are there"))
    })?;
    let frame = format.frame_bytes();
    let excess = data.len() % frame;
    // A pad byte that was counted, or at the end of a stream.
    let is_pad = excess == 1 && data.len().is_multiple_of(2) && data.ends_with(&[0]);
    if excess > 0 && !is_pad {
        let len = data.len();
        return Err(truncated(format!(
            "its samples end within a frame: {len} bytes, and {frame} to a frame"
        )));
    }
    Ok(&data[..data.len() - excess])
}

/// Refuses samples that would be left out without a word.
fn nothing_more(chunks: &ChunkReader<'_>, data: &ChunkHeader) -> Result<(), KernelError> {
    let end = (data.start as u64).saturating_add(data.len);
    let rest = (chunks.bytes.len() as u64).saturating_sub(end);
    if rest > u32::MAX.into() {
        let bytes = chunks.bytes.len();
        return Err(unsupported(format!(
            "it has {bytes} bytes, which its 32-bit header cannot say; convert it to RF64"
        )));
    }
    let mut chunks = ChunkReader { at: chunks.at, bytes: chunks.bytes, ds64: None };
    chunks.skip(data);
    while let Some(chunk) = chunks.next() {
        match &chunk.id {
            b"data" => return Err(unsupported("it has two chunks of samples")),
            b"RIFF" | b"RF64" | b"BW64" => {
                return Err(unsupported("another file follows in it; split them"));
            }
            _ => chunks.skip(&chunk),
        }
    }
    Ok(())
}

fn read_format(body: &[u8]) -> Result<WavFormat, KernelError> {
    let short = || damaged(format!("its format has {} bytes, at least 16 are needed", body.len()));
    let word =
        |at: usize| body.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_le_bytes);
    let long =
        |at: usize| body.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let mut tag = word(0).ok_or_else(short)?;
    let (channels, rate) = (word(2).ok_or_else(short)?, long(4).ok_or_else(short)?);
    let (frame, bits) = (word(12).ok_or_else(short)?, word(14).ok_or_else(short)?);
    let (mut valid, mut mask) = (bits, None);
    if tag == 0xfffe {
        let guid = body.get(24..40);
        let guid = guid.ok_or_else(|| damaged("its extensible format is cut short"))?;
        if guid[2..] == AMBISONIC {
            return Err(unsupported("ambisonic B-format"));
        }
        if guid[2..] != TAGGED {
            let hex: String = guid.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(unsupported(format!("samples of an unknown kind (GUID {hex})")));
        }
        tag = u16::from_le_bytes([guid[0], guid[1]]);
        mask = long(20);
        // Some writers leave it at 0.
        valid = word(18).filter(|&valid| valid > 0).unwrap_or(bits);
    }
    if !matches!(tag, 1 | 3) {
        return Err(unsupported(format!(
            "its samples are {}; convert them to PCM, as `ffmpeg -i IN -c:a pcm_s16le OUT.wav` does",
            kind(tag)
        )));
    }
    if channels == 0 || rate == 0 {
        return Err(damaged("no channels or no sample rate"));
    }
    if frame == 0 || frame % channels != 0 {
        return Err(damaged(format!("frames of {frame} bytes for {channels} channels")));
    }
    let bytes = frame / channels;
    let sample = match (tag, bits, bytes) {
        (3, 32, 4) => SampleEncoding::F32,
        (3, 64, 8) => SampleEncoding::F64,
        (3, ..) => {
            return Err(unsupported(format!(
                "floats of {bits} bits in {bytes} bytes; 32 and 64 bits are read"
            )));
        }
        (_, _, 5..) => {
            return Err(unsupported(format!(
                "integers of {bits} bits in {bytes} bytes; up to 32 bits are read"
            )));
        }
        _ if bits == 0 || bits > 8 * bytes || valid > bits => {
            return Err(damaged(format!("{bits} bits, {valid} of them valid, in {bytes} bytes")));
        }
        _ => SampleEncoding::Int { bytes: bytes as u8, valid: valid as u8 },
    };
    Ok(WavFormat { channels, rate, sample, mask })
}

/// The name of a way to encode samples (mmreg.h).
fn kind(tag: u16) -> String {
    let name = match tag {
        0x0002 => "Microsoft ADPCM",
        0x0006 => "A-law",
        0x0007 => "mu-law",
        0x0011 => "IMA ADPCM",
        0x0031 => "GSM 6.10",
        0x0040 => "G.721 ADPCM",
        0x0050 => "MPEG audio",
        0x0055 => "MP3",
        0x0092 => "AC-3",
        0x00ff | 0x1600 | 0x1610 | 0xa106 => "AAC",
        0x0160..=0x0163 => "Windows Media Audio",
        0x674f..=0x6771 => "Vorbis",
        0xf1ac => "FLAC",
        _ => return format!("of an unknown kind (format {tag:#06x})"),
    };
    name.to_owned()
}
