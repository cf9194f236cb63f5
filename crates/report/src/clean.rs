//! Whatever names and messages hold: what a person reads moves no cursor, and nothing in it is a
//! command to whatever shows it.

use std::io::{self, Write};

use brigade_proto::{is_printable, printable};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Writes lines for a person.
///
/// # Errors
/// When `out` fails.
pub(crate) fn lines(
    out: &mut dyn Write,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let mut text = Vec::new();
    write(&mut text)?;
    String::from_utf8_lossy(&text).split_inclusive('\n').try_for_each(|line| {
        match line.strip_suffix('\n') {
            Some(line) => writeln!(out, "{}", printable(line)),
            None => write!(out, "{}", printable(line)),
        }
    })
}

/// `text` with what is not shown as itself written as in a program, but for the characters that
/// have a meaning where it goes.
pub(crate) fn escaped(text: &str, kept: &[char]) -> String {
    let mut clean = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if is_command(&text[at..]) {
            clean.extend(c.escape_unicode());
        } else if is_printable(c) || kept.contains(&c) {
            clean.push(c);
        } else {
            clean.extend(c.escape_default());
        }
    }
    clean
}

/// What the logs of some build services take for a command, wherever it is in a line.
fn is_command(text: &str) -> bool {
    text.starts_with("##[")
}

/// Writes JSON that is the same to every reader, and does nothing to a terminal.
///
/// # Errors
/// When `out` fails.
pub(crate) fn json(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    Ok(value.serialize(&mut Serializer::with_formatter(out, Escaped))?)
}

struct Escaped;

impl Formatter for Escaped {
    /// JSON as somebody else has written it. What is escaped here can only be in a text there, but
    /// for tabs, which can only be between its parts.
    fn write_raw_fragment<W>(&mut self, out: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + Write,
    {
        for (at, part) in fragment.split('\t').enumerate() {
            if at > 0 {
                out.write_all(b"\t")?;
            }
            self.write_string_fragment(out, part)?;
        }
        Ok(())
    }

    fn write_string_fragment<W>(&mut self, out: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + Write,
    {
        let mut rest = fragment;
        let is_order = |rest: &str, at: usize, c| !is_printable(c) || is_command(&rest[at..]);
        while let Some((at, _)) = rest.char_indices().find(|&(at, c)| is_order(rest, at, c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            let mut units = rest[at..].chars();
            let c = units.next().unwrap_or_default();
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = units.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_lines_and_hold_no_commands() {
        let mut out = Vec::new();
        lines(&mut out, |out| out.write_all("a\x1b[2J\n::error::x\n\nlast\u{9b}".as_bytes()))
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "a\\u{1b}[2J\n\\u{3a}:error::x\n\nlast\\u{9b}");
        assert_eq!(escaped("a\n\u{202e}b", &['\n']), "a\n\\u{202e}b");
    }

    #[test]
    fn json_says_the_same_and_has_nothing_that_is_not_shown() {
        let value = "a\u{9b}\u{7f}\u{202e}\u{e0041}##[error]\n\"ü\\";
        let mut out = Vec::new();
        json(&mut out, &value).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.chars().all(is_printable) && !text.contains("##["), "{text:?}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
    }
}
