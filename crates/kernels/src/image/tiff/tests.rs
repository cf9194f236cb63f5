//! Files that are made here, tag by tag.

use brigade_proto::{Note, Notes};

use super::super::testing::TestImage;
use super::{Shape, Tiff, read, tag, write};

/// A little-endian file with one strip from 8 on, and its directory behind it.
#[derive(Clone)]
struct Made {
    tags: Vec<(u16, Vec<u32>)>,
    data: Vec<u8>,
}

impl Made {
    /// One row of samples of 8 bits.
    fn new(width: u32, photometric: u32, samples: u32, data: &[u8]) -> Self {
        let tags = [
            (tag::WIDTH, width),
            (tag::HEIGHT, 1),
            (tag::BITS, 8),
            (tag::COMPRESSION, 1),
            (tag::PHOTOMETRIC, photometric),
            (tag::STRIP_OFFSETS, 8),
            (tag::SAMPLES, samples),
            (tag::STRIP_LENGTHS, data.len() as u32),
        ];
        let tags = tags.map(|(tag, value)| (tag, vec![value])).to_vec();
        Self { tags, data: data.to_vec() }
    }

    fn with(mut self, tag: u16, values: &[u32]) -> Self {
        self.tags.retain(|(other, _)| *other != tag);
        self.tags.push((tag, values.to_vec()));
        self
    }

    /// `next` is the offset of the next directory.
    fn bytes(&self, next: u32) -> Vec<u8> {
        let table = 8 + self.data.len() as u32;
        let mut bytes = b"II\x2a\0".to_vec();
        bytes.extend(table.to_le_bytes());
        bytes.extend(&self.data);
        bytes.extend((self.tags.len() as u16).to_le_bytes());
        let mut outside = table + 2 + 12 * self.tags.len() as u32 + 4;
        let mut values = Vec::new();
        for (tag, numbers) in &self.tags {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(4_u16.to_le_bytes());
            bytes.extend((numbers.len() as u32).to_le_bytes());
            let packed = numbers.iter().flat_map(|number| number.to_le_bytes());
            if numbers.len() == 1 {
                bytes.extend(packed);
            } else {
                bytes.extend(outside.to_le_bytes());
                values.extend(packed);
                outside += 4 * numbers.len() as u32;
            }
        }
        bytes.extend(next.to_le_bytes());
        bytes.extend(values);
        bytes
    }

    fn read(&self) -> Result<(Vec<u8>, Vec<Note>), String> {
        let (pixels, notes) = read(&self.bytes(0), 1 << 20).map_err(|error| error.to_string())?;
        Ok((pixels.bytes().to_vec(), notes.iter().collect()))
    }
}

#[test]
fn what_is_written_says_what_its_alpha_is() {
    for (channels, extra) in [(1, None), (3, None), (4, Some(2))] {
        // More than a strip.
        let case = TestImage::random(300, 400, channels, 2);
        let shape = Shape::new(300, 400, channels).unwrap();
        let bytes = write(&case.bytes, shape).unwrap();
        let (file, first) = Tiff::open(&bytes).unwrap();
        let directory = file.directory(first).unwrap();
        assert_eq!(directory.number(tag::EXTRA_SAMPLES).unwrap(), extra);
        let (pixels, notes) = read(&bytes, 1 << 20).unwrap();
        assert_eq!((pixels.shape, notes), (shape, Notes::default()));
        assert_eq!(pixels.bytes(), case.bytes);
    }
}

#[test]
fn premultiplied_colours_are_divided_and_what_no_alpha_explains_is_noted() {
    let premultiplied =
        |data: &[u8]| Made::new(2, 2, 4, data).with(tag::EXTRA_SAMPLES, &[1]).read().unwrap();
    let whole = premultiplied(&[64, 32, 0, 128, 0, 0, 0, 0]);
    assert_eq!(whole, (vec![128, 64, 0, 128, 0, 0, 0, 0], vec![]));
    let beyond = premultiplied(&[200, 32, 0, 128, 0, 0, 9, 0]);
    assert_eq!(beyond, (vec![255, 64, 0, 128, 0, 0, 255, 0], vec![Note::Clipped]));
    let grey = Made::new(2, 1, 2, &[64, 128, 7, 7]).with(tag::EXTRA_SAMPLES, &[1]);
    assert_eq!(grey.read().unwrap().0, [128, 128, 128, 128, 255, 255, 255, 7]);
}

#[test]
fn samples_beside_colours_and_alpha_are_noted_or_refused() {
    let data = [1, 2, 3, 4, 5];
    let of = |photometric, extra: &[u32]| {
        Made::new(1, photometric, 5, &data).with(tag::EXTRA_SAMPLES, extra).read()
    };
    assert_eq!(of(2, &[0, 0]), Ok((vec![1, 2, 3], vec![Note::SamplesDropped])));
    assert_eq!(of(2, &[0, 2]), Ok((vec![1, 2, 3, 5], vec![Note::SamplesDropped])));
    assert_eq!(of(1, &[0, 2, 0, 0]), Ok((vec![1, 1, 1, 3], vec![Note::SamplesDropped])));
    assert_eq!(of(2, &[2]).unwrap_err(), "damaged TIFF: 5 samples do not suit its colours");
    let unsaid = |photometric, samples| Made::new(1, photometric, samples, &data).read();
    assert_eq!(unsaid(2, 4), Ok((vec![1, 2, 3, 4], vec![])));
    assert_eq!(unsaid(2, 5).unwrap_err(), "unsupported TIFF: 5 samples, of which 2 mean nothing");
    assert_eq!(unsaid(1, 2).unwrap_err(), "unsupported TIFF: 2 samples, of which 1 mean nothing");
}

#[test]
fn what_readers_do_not_agree_on_is_refused() {
    let grey = Made::new(4, 1, 1, &[1, 2, 3, 4]);
    let refusal = |made: Made| made.read().unwrap_err();
    let cases = [
        (tag::PREDICTOR, 2, "unsupported TIFF: a predictor without LZW or Deflate"),
        (tag::FILL_ORDER, 2, "unsupported TIFF: bits in reversed order (FillOrder 2)"),
        (tag::SAMPLE_FORMAT, 2, "unsupported TIFF: signed samples"),
        (tag::BITS, 24, "unsupported TIFF: samples of 24 bits"),
        (tag::COMPRESSION, 77, "unsupported TIFF: compression 77"),
        (tag::PHOTOMETRIC, 77, "unsupported TIFF: photometric interpretation 77"),
        (tag::PLANAR, 3, "damaged TIFF: planar configuration 3"),
        (tag::STRIP_LENGTHS, 3, "truncated TIFF"),
        (tag::STRIP_OFFSETS, 1 << 30, "truncated TIFF"),
        (tag::WIDTH, 0, "damaged TIFF: it has no pixels"),
        (tag::WIDTH, 1000, "truncated TIFF"),
        (tag::ROWS_PER_STRIP, 0, "damaged TIFF: its strips or tiles have no pixels"),
        (
            tag::DNG_VERSION,
            1,
            "unsupported TIFF: a camera's raw file, whose first page is a preview",
        ),
    ];
    for (tag, value, expected) in cases {
        assert_eq!(refusal(grey.clone().with(tag, &[value])), expected);
    }
    let mixed = Made::new(1, 2, 3, &[1, 2, 3]).with(tag::BITS, &[8, 8, 4]);
    assert_eq!(refusal(mixed), "unsupported TIFF: samples of different depths");
    let mut without = grey;
    without.tags.retain(|(tag, _)| *tag != tag::PHOTOMETRIC);
    assert_eq!(refusal(without), "damaged TIFF: it does not say what its samples mean");
}

#[test]
fn smaller_copies_are_no_pages_and_a_circle_of_pages_ends() {
    let page = |kind: Option<u32>| {
        let made = Made::new(4, 1, 1, &[1, 2, 3, 4]);
        let second = 8 + 4 + 2 + 12 * 8 + 4;
        let mut bytes = made.bytes(second);
        let made = kind.map_or(made.clone(), |kind| made.with(tag::SUBFILE_TYPE, &[kind]));
        // The second directory names the first strip again, and itself as the next.
        bytes.extend(&made.bytes(second)[12..]);
        read(&bytes, 100).unwrap().1.iter().collect::<Vec<_>>()
    };
    assert_eq!(page(None), [Note::MorePages]);
    assert_eq!(page(Some(2)), [Note::MorePages]);
    // A circle: as many copies as are followed.
    assert_eq!(page(Some(1)), [Note::MorePages]);
    let made = Made::new(4, 1, 1, &[1, 2, 3, 4]);
    let second = 8 + 4 + 2 + 12 * 8 + 4;
    let copy = made.clone().with(tag::SUBFILE_TYPE, &[1]).bytes(0);
    let bytes = [&made.bytes(second), &copy[12..]].concat();
    assert_eq!(read(&bytes, 100).unwrap().1, Notes::default());
}

#[test]
fn pack_bits_runs_go_on_in_the_next_row() {
    // Three literal bytes, nothing, five times 9.
    let data = [2, 1, 2, 3, 128, 252, 9];
    let made = Made::new(4, 1, 1, &data)
        .with(tag::COMPRESSION, &[32_773])
        .with(tag::HEIGHT, &[2])
        .with(tag::STRIP_LENGTHS, &[7]);
    assert_eq!(made.read(), Ok((vec![1, 2, 3, 9, 9, 9, 9, 9], vec![])));
    assert_eq!(made.with(tag::HEIGHT, &[3]).read().unwrap_err(), "truncated TIFF");
}

#[test]
fn a_palette_of_8_bits_is_known_by_its_values() {
    let map = |scale: u32| (0..12).map(|i| i * 20 * scale).collect::<Vec<_>>();
    let of = |scale| {
        let made = Made::new(4, 3, 1, &[0b0001_1011]).with(tag::BITS, &[2]);
        made.with(tag::COLOR_MAP, &map(scale)).read().unwrap()
    };
    let expected = [0, 80, 160, 20, 100, 180, 40, 120, 200, 60, 140, 220].to_vec();
    for scale in [1, 256, 257] {
        assert_eq!(of(scale), (expected.clone(), vec![]), "{scale}");
    }
    assert_eq!(of(258).1, [Note::DepthReduced]);
}

/// Whole numbers of 32 and 64 bits are rounded as their quotient says.
#[test]
fn deep_numbers_are_scaled_by_their_largest_value() {
    let half = (u32::MAX / 255) / 2;
    let values = [0, half, half + 1, u32::MAX / 255 * 7, u32::MAX];
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let made = Made::new(5, 1, 1, &data).with(tag::BITS, &[32]);
    assert_eq!(made.read(), Ok((vec![0, 0, 1, 7, 255], vec![Note::DepthReduced])));
    let white = made.with(tag::PHOTOMETRIC, &[0]);
    assert_eq!(white.read().unwrap().0, [255, 255, 254, 248, 0]);
}
