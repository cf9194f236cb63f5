//! Reads a journal to its end, or to where it is torn.

use std::fmt;
use std::io::{self, BufRead, Read};

use super::record::{ABSOLUTE_SCHEMA, Chain, Record, SCHEMA, json_of};

/// No record is longer, in bytes: a line that is, is none.
const MAX_LINE: u64 = 1 << 20;

/// How far a journal is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Bytes of whole records.
    pub(super) good: u64,
    /// Bytes after them: a record that was not written to its end.
    pub(super) torn: u64,
    pub(super) chain: Chain,
    /// Whether it is of the version that names all files absolutely.
    pub(super) is_absolute: bool,
}

fn is_known(schema: &str) -> bool {
    [SCHEMA, ABSOLUTE_SCHEMA].contains(&schema)
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
/// A last line that is no record is a torn one: its coordinator, or the machine, ended while
/// it was being written.
pub(super) fn scan(
    mut reader: impl BufRead,
    mut each: impl FnMut(u64, Record),
) -> Result<End, Unreadable> {
    let mut end = End { good: 0, torn: 0, chain: Chain::START, is_absolute: false };
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let len = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line)? as u64;
        if len == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n");
        let record = text.and_then(|text| end.chain.read(text));
        match record {
            Some(Record::Journal { schema }) if number == 1 && is_known(&schema) => {
                end.is_absolute = schema == ABSOLUTE_SCHEMA;
            }
            Some(record) if number > 1 => each(end.good, record),
            _ if number == 1 => {
                return match foreign_schema(text.unwrap_or(&line)) {
                    Some(schema) if !is_known(&schema) => Err(Unreadable::Version(schema)),
                    // So short that it may be a beginning.
                    _ if text.is_none() && is_beginning(&line) => Ok(End { torn: len, ..end }),
                    _ => Err(Unreadable::NoJournal),
                };
            }
            // Nothing after it.
            _ if reader.fill_buf()?.is_empty() => return Ok(End { torn: len, ..end }),
            _ => return Err(Unreadable::Damaged(number)),
        }
        end.good += len;
    }
    Ok(end)
}

fn foreign_schema(line: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(json_of(line)?).ok()?;
    let schema = json.get("journal")?.get("schema")?.as_str()?;
    schema.starts_with("brigade.journal.").then(|| schema.to_owned())
}

/// Whether these bytes are less than the first line of every journal.
fn is_beginning(bytes: &[u8]) -> bool {
    let mut chain = Chain::START;
    let first = chain.line(&Record::Journal { schema: SCHEMA.to_owned() });
    first.starts_with(bytes)
}
