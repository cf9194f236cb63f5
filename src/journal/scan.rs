//! Reads a journal to its end, or to where it is torn.

use std::fmt;
use std::io::{self, BufRead, Read};

use super::record::{
    self, ABSOLUTE_SCHEMA, Chain, JournalRecord, SCHEMA, UNSYNCED_SCHEMA, json_of,
};

/// The longest record, in bytes: a longer line is not a record.
const MAX_LINE: u64 = 1 << 20;

/// Where the good part of a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JournalEnd {
    /// Bytes of whole records.
    pub(super) good: u64,
    /// Bytes after them: the last write, which was not completed.
    pub(super) torn: u64,
    pub(super) chain: Chain,
    pub(super) version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The first, which names all files absolutely.
    Absolute,
    /// The second, which does not say what is on the disk.
    Unsynced,
    Current,
}

impl Version {
    const ALL: [Self; 3] = [Self::Absolute, Self::Unsynced, Self::Current];

    fn schema(self) -> &'static str {
        match self {
            Self::Absolute => ABSOLUTE_SCHEMA,
            Self::Unsynced => UNSYNCED_SCHEMA,
            Self::Current => SCHEMA,
        }
    }

    fn of(schema: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.schema() == schema)
    }
}

/// Why a journal cannot be continued.
#[derive(Debug)]
pub(super) enum Unreadable {
    Io(io::Error),
    /// The file does not begin like a journal.
    NoJournal,
    /// The journal has this schema, which this version does not know.
    Version(String),
    /// The line with this number, counted from 1, is wrong, and a later line shows that it is not a
    /// torn end.
    Damaged(u64),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::NoJournal => write!(f, "is not a journal of Brigade; name another file"),
            Self::Version(schema) => write!(
                f,
                "is a journal of another version of Brigade (`{schema}`, this one writes \
                 `{SCHEMA}`); finish it with that version, or name another file"
            ),
            Self::Damaged(line) => write!(
                f,
                "is damaged at line {line}, with more after it; without its rest (`head -n {}`) \
                 --resume goes on from there",
                line - 1
            ),
        }
    }
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Calls `each` with every whole record and the offset of its line.
///
/// The journal is torn from the first line on that is not a record. Its coordinator or the machine
/// stopped before this line was on the disk, and any part of what was written after it may be
/// missing. The journal is damaged if a later line says that this place was already on the disk.
pub(super) fn scan(
    mut reader: impl BufRead,
    mut each: impl FnMut(u64, JournalRecord),
) -> Result<JournalEnd, Unreadable> {
    let mut end = JournalEnd { good: 0, torn: 0, chain: Chain::START, version: Version::Current };
    let mut line = Vec::new();
    for number in 1.. {
        let len = next(&mut reader, &mut line)?;
        if len == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n");
        let record = text.and_then(|text| end.chain.read(text));
        match record {
            Some(JournalRecord::Journal { schema })
                if number == 1 && Version::of(&schema).is_some() =>
            {
                end.version = Version::of(&schema).unwrap_or(Version::Current);
            }
            Some(record) if number > 1 => each(end.good, record),
            _ => {
                end.torn = len;
                if number == 1 {
                    check_beginning(&line)?;
                    // Any other file must not be taken for a torn journal.
                    let is_all = next(&mut reader, &mut line)? == 0;
                    return if is_all { Ok(end) } else { Err(Unreadable::NoJournal) };
                }
                return rest(reader, end, number);
            }
        }
        end.good += len;
    }
    Ok(end)
}

/// Reads up to the next line feed, or as far as a line may be long.
fn next(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    Ok(reader.take(MAX_LINE).read_until(b'\n', line)? as u64)
}

/// Reads what follows line `number`, which is not a record.
fn rest(
    mut reader: impl BufRead,
    mut end: JournalEnd,
    number: u64,
) -> Result<JournalEnd, Unreadable> {
    let mut line = Vec::new();
    loop {
        let len = next(&mut reader, &mut line)?;
        if len == 0 {
            return Ok(end);
        }
        let was_synced = match end.version {
            Version::Current => {
                let text = line.strip_suffix(b"\n").unwrap_or(&line);
                record::synced(text).is_some_and(|bytes| bytes > end.good)
            }
            // Older versions do not say it: only the last line can be torn.
            Version::Absolute | Version::Unsynced => true,
        };
        if was_synced {
            return Err(Unreadable::Damaged(number));
        }
        end.torn += len;
    }
}

/// Checks that a first line, which is not a record, may be the beginning of one.
fn check_beginning(line: &[u8]) -> Result<(), Unreadable> {
    if let Some(schema) = foreign_schema(line)
        && Version::of(&schema).is_none()
    {
        return Err(Unreadable::Version(schema));
    }
    // If a file has become longer but its bytes were not written, the missing bytes are zeros.
    let end = line.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let is_beginning = Version::ALL.iter().any(|version| {
        let mut chain = Chain::START;
        let first = chain.line(&JournalRecord::Journal { schema: version.schema().to_owned() });
        first.len() > end && first.starts_with(&line[..end])
    });
    if is_beginning { Ok(()) } else { Err(Unreadable::NoJournal) }
}

fn foreign_schema(line: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(json_of(line)?).ok()?;
    let schema = json.get("journal")?.get("schema")?.as_str()?;
    schema.starts_with("brigade.journal.").then(|| schema.to_owned())
}
