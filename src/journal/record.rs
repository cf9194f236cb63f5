//! One line of a journal, and the checksum that chains it to all lines before it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::write::RunId;

/// Name and version of the format.
pub(super) const SCHEMA: &str = "brigade.journal.v3";

/// The previous version, which does not say what is on the disk. Its journals are continued in
/// their own format, like those of the first version.
pub(super) const UNSYNCED_SCHEMA: &str = "brigade.journal.v2";

/// The first version, which also names all files absolutely.
pub(super) const ABSOLUTE_SCHEMA: &str = "brigade.journal.v1";

/// A record of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum JournalRecord {
    /// The first line.
    Journal { schema: String },
    /// A coordinator starts or resumes. Its temporary files have `run` in their names; `pid` is for
    /// people.
    Session {
        pid: u32,
        run: RunId,
        /// The directory of the journal in this session, an absolute path. Names in the journal are
        /// relative to it. Missing in the first version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base: Option<FileName>,
    },
    /// A job is about to be submitted.
    Accepted {
        job: Digest,
        /// Only in journals of older versions: the contents of the inputs are not known before they
        /// are read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        with: Option<Digest>,
        output: Option<FileName>,
    },
    /// The job's result is computed, and complete in temporary files. These get their names after
    /// this record is written.
    Done(DoneRecord),
    /// The job ended without a result, or its result could not be put in place. In that case
    /// `status` is [`TAKEN`] if a file of another program is there.
    Failed { job: Digest, status: String },
    /// The first `bytes` bytes of the journal were on the disk before this line was written.
    Synced {
        bytes: u64,
        /// The checksum of the line before. With it, this line can be checked even if that one is
        /// lost.
        after: Chain,
        /// Whether the run has ended, and none of its records is missing.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ended: bool,
    },
}

/// The status of a job whose result could not be put in place, because a file of another program is
/// there.
pub(super) const TAKEN: &str = "taken";

/// The result of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DoneRecord {
    pub(super) job: Digest,
    pub(super) with: Digest,
    /// The files that hold the result, as [`Base::name`](super::base::Base) names them; none if
    /// none was wanted.
    pub(crate) outputs: Vec<FileName>,
    /// BLAKE3 of the output bytes, in hexadecimal; of several outputs one after another.
    pub(crate) digest: String,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) attempts: u32,
}

/// Half of a BLAKE3 hash. It identifies a job, or what a job runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Digest(pub(super) [u8; 16]);

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        let mut half = [0; 16];
        half.copy_from_slice(&hash.as_bytes()[..16]);
        Self(half)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:032x}", u128::from_be_bytes(self.0)))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_ours = text.len() == 32 && !text.starts_with('+');
        let number = u128::from_str_radix(&text, 16).ok().filter(|_| is_ours);
        let number = number.ok_or_else(|| serde::de::Error::custom("not 32 digits"))?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// A file name. One that is not UTF-8 is written as bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum FileName {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&Path> for FileName {
    fn from(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(path.as_os_str().as_bytes().to_vec()),
        }
    }
}

impl FileName {
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Text(text) => text.into(),
            Self::Bytes(bytes) => OsString::from_vec(bytes.clone()).into(),
        }
    }
}

/// The checksum of the last line, which covers all lines before it. So a line that is lost,
/// repeated or moved is noticed at the next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain([u8; 8]);

impl Serialize for Chain {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:016x}", u64::from_be_bytes(self.0)))
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_ours = text.len() == 16 && !text.starts_with('+');
        let number = u64::from_str_radix(&text, 16).ok().filter(|_| is_ours);
        let number = number.ok_or_else(|| serde::de::Error::custom("not 16 digits"))?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// Length of a line's checksum and the space after it.
const MARGIN: usize = 17;

impl Chain {
    /// The value before the first line.
    pub(super) const START: Self = Self([0; 8]);

    fn next(self, json: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(json);
        let mut sum = [0; 8];
        sum.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(sum)
    }

    /// The line for the next record, with its line feed.
    pub(super) fn line(&mut self, record: &JournalRecord) -> Vec<u8> {
        let json = serde_json::to_vec(record).expect("a record is text, numbers and lists");
        *self = self.next(&json);
        let mut line = format!("{:016x} ", u64::from_be_bytes(self.0)).into_bytes();
        line.extend(json);
        line.push(b'\n');
        line
    }

    /// Parses a line without its line feed. `None` if it is not the next line.
    pub(super) fn read(&mut self, line: &[u8]) -> Option<JournalRecord> {
        let (sum, json) = (line.get(..MARGIN)?, json_of(line)?);
        let next = self.next(json);
        if sum != format!("{:016x} ", u64::from_be_bytes(next.0)).as_bytes() {
            return None;
        }
        let record = serde_json::from_slice(json).ok()?;
        *self = next;
        Some(record)
    }
}

/// How many bytes of the journal were on the disk before this line was written. `None` if the line
/// does not say that, or its checksum is wrong. The lines before it do not matter.
pub(super) fn synced(line: &[u8]) -> Option<u64> {
    match serde_json::from_slice(json_of(line)?).ok()? {
        JournalRecord::Synced { bytes, mut after, .. } => after.read(line).map(|_| bytes),
        _ => None,
    }
}

/// The JSON of a line, whether its checksum is right or not.
pub(super) fn json_of(line: &[u8]) -> Option<&[u8]> {
    line.get(MARGIN..)
}
