use std::fmt;

use serde::{Deserialize, Serialize};

/// A remark on a result that is right, but lacks something that its input held, or whose last
/// digits are not reliable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum Note {
    /// Samples of more than 8 bits became 8 bits.
    DepthReduced,
    /// Pages after the first were left out.
    MorePages,
    /// Frames after the first were left out.
    MoreFrames,
    /// The colour profile was dropped.
    IccDropped,
    /// EXIF, XMP or text was dropped. The EXIF orientation is applied and does not count.
    MetadataDropped,
    /// The alpha channel was dropped: the output's format or kind has none.
    AlphaDropped,
    /// Samples outside the range of the result were clipped to it.
    Clipped,
    /// A linear system is nearly singular: few digits of its solution are right, or none.
    IllConditioned,
    /// Finite inputs gave infinite or undefined results.
    Overflow,
    /// Samples of a pixel besides its colours and alpha were left out.
    SamplesDropped,
}

impl Note {
    /// All notes, in the order of their bits.
    pub const ALL: [Self; 10] = [
        Self::DepthReduced,
        Self::MorePages,
        Self::MoreFrames,
        Self::IccDropped,
        Self::MetadataDropped,
        Self::AlphaDropped,
        Self::Clipped,
        Self::IllConditioned,
        Self::Overflow,
        Self::SamplesDropped,
    ];

    /// The name used in JSON, such as `icc-dropped`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DepthReduced => "depth-reduced",
            Self::MorePages => "more-pages",
            Self::MoreFrames => "more-frames",
            Self::IccDropped => "icc-dropped",
            Self::MetadataDropped => "metadata-dropped",
            Self::AlphaDropped => "alpha-dropped",
            Self::Clipped => "clipped",
            Self::IllConditioned => "ill-conditioned",
            Self::Overflow => "overflow",
            Self::SamplesDropped => "samples-dropped",
        }
    }

    /// What happened, as a sentence without a full stop.
    pub fn text(self) -> &'static str {
        match self {
            Self::DepthReduced => "samples of more than 8 bits became 8 bits",
            Self::MorePages => "only the first page was read",
            Self::MoreFrames => "only the first frame was read",
            Self::IccDropped => "the colour profile (ICC) was not kept",
            Self::MetadataDropped => "metadata (EXIF, XMP, text) was not kept",
            Self::AlphaDropped => "the output has no transparency: alpha was dropped",
            Self::Clipped => "values outside the range of the output were cut to it",
            Self::IllConditioned => {
                "the matrix is nearly singular: few digits of the result are right, or none"
            }
            Self::Overflow => "finite inputs gave infinite results or NaN",
            Self::SamplesDropped => "samples beside the colours and alpha were not read",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The set of notes of one job.
///
/// ```
/// use brigade_proto::{Note, Notes};
/// let mut notes = Notes::default();
/// notes.add(Note::IccDropped);
/// assert!(notes.contains(Note::IccDropped));
/// assert_eq!(notes.iter().count(), 1);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Notes(u32);

impl Notes {
    /// The bits of all notes.
    const KNOWN: u32 = {
        let mut known = 0;
        let mut i = 0;
        while i < Note::ALL.len() {
            known |= Note::ALL[i].bit();
            i += 1;
        }
        known
    };

    /// Adds a note. Adding it again changes nothing.
    pub fn add(&mut self, note: Note) {
        self.0 |= note.bit();
    }

    /// Whether the set contains `note`.
    pub fn contains(self, note: Note) -> bool {
        self.0 & note.bit() != 0
    }

    /// Whether the set has no notes.
    pub fn is_empty(self) -> bool {
        self.0 & Self::KNOWN == 0
    }

    /// All notes of the set, in the order of [`Note::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Note> {
        Note::ALL.into_iter().filter(move |&note| self.contains(note))
    }

    /// The set as a bit mask, which [`Notes::from_bits`] reads.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The set of a bit mask. Unknown bits are ignored.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & Self::KNOWN)
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_note_has_a_bit_and_a_name_of_its_own() {
        let mut names: Vec<_> = Note::ALL.into_iter().map(Note::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Note::ALL.len());
        for (place, note) in Note::ALL.into_iter().enumerate() {
            assert_eq!(note.bit(), 1 << place);
            assert!(Notes::from_bits(u32::MAX).contains(note));
        }
        assert_eq!(Notes::from_bits(1 << 31), Notes::default());
    }
}
