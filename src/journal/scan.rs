//! Reads a journal to its end, or to where it is torn.

use std::fmt;
use std::io::{self, BufRead, Read};

use super::record::{self, ABSOLUTE_SCHEMA, Chain, Record, SCHEMA, UNSYNCED_SCHEMA, json_of};

/// No record is longer, in bytes: a line that is, is none.
const MAX_LINE: u64 = 1 << 20;

/// How far a journal is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Bytes of whole records.
    pub(super) good: u64,
    /// Bytes after them: what was written last, and not to its end.
    pub(super) torn: u64,
    pub(super) chain: Chain,
    pub(super) version: Version,
}

/// The version of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The first: it names all files absolutely.
    Absolute,
    /// The second: it does not say what is on the disk.
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

/// Why a file cannot be gone on with.
#[derive(Debug)]
pub(super) enum Unreadable {
    Io(io::Error),
    /// It does not begin like one.
    NoJournal,
    /// Its schema, which this version does not know.
    Version(String),
    /// The line with this number, from one, is wrong, and others follow.
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

/// Calls `each` with every whole record and the place at which its line begins.
///
/// From the first line on that is no record, the journal is torn: its coordinator, or the machine,
/// ended before that was on the disk, and of what was written after it any part may be missing.
/// It is damaged if a later line says that the place was on the disk before.
pub(super) fn scan(
    mut reader: impl BufRead,
    mut each: impl FnMut(u64, Record),
) -> Result<End, Unreadable> {
    let mut end = End { good: 0, torn: 0, chain: Chain::START, version: Version::Current };
    let mut line = Vec::new();
    for number in 1.. {
        let len = next(&mut reader, &mut line)?;
        if len == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n");
        let record = text.and_then(|text| end.chain.read(text));
        match record {
            Some(Record::Journal { schema }) if number == 1 && Version::of(&schema).is_some() => {
                end.version = Version::of(&schema).unwrap_or(Version::Current);
            }
            Some(record) if number > 1 => each(end.good, record),
            _ => {
                end.torn = len;
                if number == 1 {
                    check_beginning(&line)?;
                    // No other file is to be taken for one.
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

/// Reads on to the next end of a line, or as far as a line can be long.
fn next(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    Ok(reader.take(MAX_LINE).read_until(b'\n', line)? as u64)
}

/// What is behind line `number`, which is no record.
fn rest(mut reader: impl BufRead, mut end: End, number: u64) -> Result<End, Unreadable> {
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
            // They do not say it: nothing but the last line is taken for torn.
            Version::Absolute | Version::Unsynced => true,
        };
        if was_synced {
            return Err(Unreadable::Damaged(number));
        }
        end.torn += len;
    }
}

/// Whether a first line, which is no record, may be the beginning of one.
fn check_beginning(line: &[u8]) -> Result<(), Unreadable> {
    if let Some(schema) = foreign_schema(line)
        && Version::of(&schema).is_none()
    {
        return Err(Unreadable::Version(schema));
    }
    // A file that has become longer, and whose bytes were not written, is filled up with zeros.
    let end = line.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let is_beginning = Version::ALL.iter().any(|version| {
        let mut chain = Chain::START;
        let first = chain.line(&Record::Journal { schema: version.schema().to_owned() });
        first.len() > end && first.starts_with(&line[..end])
    });
    if is_beginning { Ok(()) } else { Err(Unreadable::NoJournal) }
}

fn foreign_schema(line: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(json_of(line)?).ok()?;
    let schema = json.get("journal")?.get("schema")?.as_str()?;
    schema.starts_with("brigade.journal.").then(|| schema.to_owned())
}
