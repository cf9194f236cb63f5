//! What the first directory of a file says about its picture, and whether that can be read.

use brigade_proto::{Note, Notes};

use super::directory::{Directory, Numbers};
use super::tag;
use crate::KernelError;
use crate::image::format::{ImageFormat, check_size};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Lzw,
    Deflate,
    PackBits,
    /// ITU-T T.6, of fax machines.
    Group4,
}

/// How a sample is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SampleFormat {
    /// A whole number of 8, 16, 32 or 64 bits, or of fewer than 16 that are not those of whole
    /// bytes.
    Unsigned,
    /// A number of 16, 24, 32 or 64 bits.
    Float,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Color {
    Grey,
    /// Grey, of which 0 is white.
    Inverted,
    Rgb,
    Cmyk,
    /// Numbers of colours in a table.
    Palette,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alpha {
    /// Which of a pixel's samples it is.
    pub(super) sample: usize,
    /// Whether the colours are multiplied by it.
    pub(super) associated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Predictor {
    None,
    Horizontal,
    Float,
}

#[derive(Debug)]
pub(super) struct Layout<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) color: Color,
    pub(super) alpha: Option<Alpha>,
    pub(super) sample: SampleFormat,
    pub(super) bits: usize,
    /// Samples of a pixel in the file.
    pub(super) samples: usize,
    /// Whether each sample has strips or tiles of its own.
    pub(super) planar: bool,
    pub(super) compression: Compression,
    /// Whether the lowest bit of a byte comes first, for [`Compression::Group4`].
    pub(super) reversed: bool,
    pub(super) predictor: Predictor,
    /// Of a strip or tile, in pixels.
    pub(super) chunk: (usize, usize),
    pub(super) tiled: bool,
    /// Where strips or tiles are, and how long.
    pub(super) offsets: Numbers<'a>,
    pub(super) lengths: Numbers<'a>,
    /// The colour map of [`Color::Palette`]: all reds, all greens, all blues.
    pub(super) palette: Option<Numbers<'a>>,
    /// As in EXIF.
    pub(super) orientation: u8,
    pub(super) notes: Notes,
}

impl<'a> Layout<'a> {
    pub(super) fn read(directory: &Directory<'a>, max_pixels: u64) -> Result<Self, KernelError> {
        let number = |tag: u16, default: u64| -> Result<u64, KernelError> {
            Ok(directory.number(tag)?.unwrap_or(default))
        };
        let width = number(tag::WIDTH, 0)?;
        let height = number(tag::HEIGHT, 0)?;
        check_size(width, height, max_pixels)?;
        if width == 0 || height == 0 {
            return Err(ImageFormat::Tiff.damaged("it has no pixels"));
        }
        if directory.has(tag::DNG_VERSION)
            || number(tag::SUBFILE_TYPE, 0)? & 1 == 1 && directory.has(tag::SUB_DIRECTORIES)
        {
            return Err(
                ImageFormat::Tiff.unsupported("a camera's raw file, whose first page is a preview")
            );
        }
        let compression = compression(directory)?;
        let (color, alpha, samples, mut notes) = colors(directory)?;
        let (sample, bits) = samples_format(directory, samples)?;
        if bits > 8 {
            notes.add(Note::DepthReduced);
        }
        let palette = match color {
            Color::Palette => Some(palette(directory, sample, bits)?),
            _ => None,
        };
        // Written by some fax programs; elsewhere next to never.
        let reversed = number(tag::FILL_ORDER, 1)? == 2;
        if reversed && compression != Compression::Group4 {
            return Err(ImageFormat::Tiff.unsupported("bits in reversed order (FillOrder 2)"));
        }
        if compression == Compression::Group4 && (bits, samples) != (1, 1) {
            return Err(ImageFormat::Tiff.damaged("fax compression is for one sample of 1 bit"));
        }
        let planar = match number(tag::PLANAR, 1)? {
            1 => false,
            // With one sample both are the same.
            2 => samples > 1,
            other => {
                return Err(ImageFormat::Tiff.damaged(format_args!("planar configuration {other}")));
            }
        };
        let tiled = directory.has(tag::TILE_WIDTH);
        let chunk = if tiled {
            (number(tag::TILE_WIDTH, 0)?, number(tag::TILE_HEIGHT, 0)?)
        } else {
            (width, number(tag::ROWS_PER_STRIP, height)?.min(height))
        };
        if chunk.0 == 0 || chunk.1 == 0 {
            return Err(ImageFormat::Tiff.damaged("its strips or tiles have no pixels"));
        }
        check_size(chunk.0, chunk.1, max_pixels.max(1 << 20))?;
        let (offsets, lengths) = if tiled {
            (tag::TILE_OFFSETS, tag::TILE_LENGTHS)
        } else {
            (tag::STRIP_OFFSETS, tag::STRIP_LENGTHS)
        };
        let table = |tag: u16| -> Result<Numbers<'a>, KernelError> {
            directory
                .numbers(tag)?
                .ok_or_else(|| ImageFormat::Tiff.damaged(format_args!("tag {tag} is missing")))
        };
        let fits = |number: u64| usize::try_from(number).map_err(|_| ImageFormat::Tiff.truncated());
        Ok(Self {
            width: fits(width)?,
            height: fits(height)?,
            color,
            alpha,
            sample,
            bits,
            samples,
            planar,
            compression,
            reversed,
            predictor: predictor(directory, compression, sample, bits)?,
            chunk: (fits(chunk.0)?, fits(chunk.1)?),
            tiled,
            offsets: table(offsets)?,
            lengths: table(lengths)?,
            palette,
            orientation: number(tag::ORIENTATION, 1)?.min(255) as u8,
            notes,
        })
    }

    /// Strips or tiles beside each other and below each other, of one plane.
    pub(super) fn chunks(&self) -> (usize, usize) {
        (self.width.div_ceil(self.chunk.0), self.height.div_ceil(self.chunk.1))
    }

    /// Samples of a pixel in one strip or tile.
    pub(super) fn interleaved(&self) -> usize {
        if self.planar { 1 } else { self.samples }
    }

    /// Bytes of a row of a strip or tile.
    pub(super) fn row_bytes(&self) -> u64 {
        (self.chunk.0 as u64 * (self.interleaved() * self.bits) as u64).div_ceil(8)
    }

    /// How many samples of a pixel are colours.
    pub(super) fn colors(&self) -> usize {
        self.color.samples()
    }
}

impl Color {
    fn samples(self) -> usize {
        match self {
            Self::Grey | Self::Inverted | Self::Palette => 1,
            Self::Rgb => 3,
            Self::Cmyk => 4,
        }
    }
}

fn compression(directory: &Directory<'_>) -> Result<Compression, KernelError> {
    let number = directory.number(tag::COMPRESSION)?.unwrap_or(1);
    let name = match number {
        1 => return Ok(Compression::None),
        4 => return Ok(Compression::Group4),
        5 => return Ok(Compression::Lzw),
        8 | 32_946 => return Ok(Compression::Deflate),
        32_773 => return Ok(Compression::PackBits),
        2 | 3 => "CCITT Group 3 (fax)",
        6 | 7 | 34_892 => "JPEG",
        9 | 10 | 34_661 => "JBIG",
        32_766 => "NeXT",
        32_809 => "ThunderScan",
        34_676 | 34_677 => "SGI Log",
        33_003 | 33_005 | 34_712 => "JPEG 2000",
        34_887 => "LERC",
        34_925 => "LZMA",
        50_000 => "Zstandard",
        50_001 => "WebP",
        50_002 | 52_546 => "JPEG XL",
        _ => return Err(ImageFormat::Tiff.unsupported(format_args!("compression {number}"))),
    };
    Err(ImageFormat::Tiff.unsupported(format_args!("{name} compression")))
}

/// Colours, alpha, and how many samples a pixel has.
fn colors(directory: &Directory<'_>) -> Result<(Color, Option<Alpha>, usize, Notes), KernelError> {
    let interpretation = directory
        .number(tag::PHOTOMETRIC)?
        .ok_or_else(|| ImageFormat::Tiff.damaged("it does not say what its samples mean"))?;
    let color = match interpretation {
        0 => Color::Inverted,
        1 => Color::Grey,
        2 => Color::Rgb,
        3 => Color::Palette,
        5 if directory.number(tag::INK_SET)?.unwrap_or(1) == 1 => Color::Cmyk,
        4 => return Err(ImageFormat::Tiff.unsupported("a transparency mask")),
        5 => return Err(ImageFormat::Tiff.unsupported("inks other than CMYK")),
        6 => return Err(ImageFormat::Tiff.unsupported("YCbCr colours")),
        8..=10 => return Err(ImageFormat::Tiff.unsupported("CIE L*a*b* colours")),
        32_803 | 34_892 => return Err(ImageFormat::Tiff.unsupported("a camera's raw data")),
        32_844 | 32_845 => return Err(ImageFormat::Tiff.unsupported("LogLuv colours")),
        other => {
            return Err(
                ImageFormat::Tiff.unsupported(format_args!("photometric interpretation {other}"))
            );
        }
    };
    let samples = directory.number(tag::SAMPLES)?.unwrap_or(1);
    let samples = usize::try_from(samples).ok().filter(|samples| (1..=65_535).contains(samples));
    let samples = samples.ok_or_else(|| ImageFormat::Tiff.damaged("it has no samples"))?;
    let colors = color.samples();
    let unlike =
        || ImageFormat::Tiff.damaged(format_args!("{samples} samples do not suit its colours"));
    let extra = samples.checked_sub(colors).ok_or_else(unlike)?;
    let Some(kinds) = directory.numbers(tag::EXTRA_SAMPLES)? else {
        // What many programs write for RGB with alpha, and other readers take it for.
        let alpha = Alpha { sample: 3, associated: false };
        return match (color, extra) {
            (_, 0) => Ok((color, None, samples, Notes::default())),
            (Color::Rgb, 1) => Ok((color, Some(alpha), samples, Notes::default())),
            _ => Err(ImageFormat::Tiff
                .unsupported(format_args!("{samples} samples, of which {extra} mean nothing"))),
        };
    };
    if kinds.len() != extra {
        return Err(unlike());
    }
    let alpha = kinds
        .iter()
        .position(|kind| kind == 1 || kind == 2)
        .map(|place| Alpha { sample: colors + place, associated: kinds.get(place) == Some(1) });
    let mut notes = Notes::default();
    if extra > usize::from(alpha.is_some()) {
        notes.add(Note::SamplesDropped);
    }
    match (color, alpha) {
        (Color::Palette, Some(_)) => {
            Err(ImageFormat::Tiff.unsupported("palette colours with alpha"))
        }
        (Color::Inverted, Some(Alpha { associated: true, .. })) => {
            Err(ImageFormat::Tiff.unsupported("grey of which 0 is white, multiplied by alpha"))
        }
        _ => Ok((color, alpha, samples, notes)),
    }
}

fn samples_format(
    directory: &Directory<'_>,
    samples: usize,
) -> Result<(SampleFormat, usize), KernelError> {
    let same = |tag: u16, default: u64, what: &str| -> Result<u64, KernelError> {
        let Some(numbers) = directory.numbers(tag)? else { return Ok(default) };
        // One number may stand for all.
        if numbers.len() != 1 && numbers.len() < samples {
            return Err(
                ImageFormat::Tiff.damaged(format_args!("tag {tag} has {} numbers", numbers.len()))
            );
        }
        let first = numbers.get(0).unwrap_or(default);
        if numbers.iter().take(samples).any(|number| number != first) {
            return Err(ImageFormat::Tiff.unsupported(format_args!("samples of different {what}")));
        }
        Ok(first)
    };
    let bits = same(tag::BITS, 1, "depths")?;
    let format = same(tag::SAMPLE_FORMAT, 1, "types")?;
    match (format, bits) {
        // 4: nothing is said about them.
        (1 | 4, 1..=16 | 32 | 64) => Ok((SampleFormat::Unsigned, bits as usize)),
        (3, 16 | 24 | 32 | 64) => Ok((SampleFormat::Float, bits as usize)),
        (1 | 4, _) => Err(ImageFormat::Tiff.unsupported(format_args!("samples of {bits} bits"))),
        (2, _) => Err(ImageFormat::Tiff.unsupported("signed samples")),
        (3, _) => {
            Err(ImageFormat::Tiff
                .unsupported(format_args!("floating-point samples of {bits} bits")))
        }
        (5 | 6, _) => Err(ImageFormat::Tiff.unsupported("complex samples")),
        _ => Err(ImageFormat::Tiff.unsupported(format_args!("sample format {format}"))),
    }
}

fn palette<'a>(
    directory: &Directory<'a>,
    sample: SampleFormat,
    bits: usize,
) -> Result<Numbers<'a>, KernelError> {
    if sample != SampleFormat::Unsigned || bits > 16 {
        return Err(ImageFormat::Tiff.unsupported("palette colours of such samples"));
    }
    match directory.numbers(tag::COLOR_MAP)? {
        Some(colors) if colors.len() == 3 << bits => Ok(colors),
        Some(_) => Err(ImageFormat::Tiff.damaged("its colour map has a wrong length")),
        None => Err(ImageFormat::Tiff.damaged("it has no colour map")),
    }
}

fn predictor(
    directory: &Directory<'_>,
    compression: Compression,
    sample: SampleFormat,
    bits: usize,
) -> Result<Predictor, KernelError> {
    let number = directory.number(tag::PREDICTOR)?.unwrap_or(1);
    // Elsewhere readers disagree on whether it was applied.
    if number != 1 && !matches!(compression, Compression::Lzw | Compression::Deflate) {
        return Err(ImageFormat::Tiff.unsupported("a predictor without LZW or Deflate"));
    }
    match (number, sample, bits) {
        (1, ..) => Ok(Predictor::None),
        (2, _, 8 | 16 | 32 | 64) => Ok(Predictor::Horizontal),
        (2, ..) => Err(ImageFormat::Tiff
            .unsupported(format_args!("a horizontal predictor for samples of {bits} bits"))),
        (3, SampleFormat::Float, _) => Ok(Predictor::Float),
        (3, ..) => Err(ImageFormat::Tiff.damaged("a floating-point predictor for whole numbers")),
        _ => Err(ImageFormat::Tiff.unsupported(format_args!("predictor {number}"))),
    }
}
