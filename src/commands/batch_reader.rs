//! Reads the lines of a batch on a thread of its own: waiting for the next line must not delay
//! results.

use std::io::{self, BufRead};
use std::thread;

use crossbeam_channel::{Receiver, Sender};

/// Longest line, in bytes.
pub(super) const MAX_LINE: usize = 1 << 20;

/// A source that has this many bytes without the end of a line is not a batch, and may be endless:
/// the thread stops reading it.
const MAX_SKIPPED: usize = 16 << 20;

/// What the reader thread found.
#[derive(Debug)]
pub(super) enum Read {
    /// A line that is not empty, without its line feed, and its number, counted from 1.
    Line(u64, Vec<u8>),
    /// A line that cannot be JSON text, and why.
    Refused(u64, String),
    /// The source is not a batch, and why. The thread stops reading.
    NoBatch(String),
    /// Reading failed. The thread stops.
    Failed(io::Error),
}

/// Reads `source` line by line, a few lines ahead. The channel closes at the end of the source.
///
/// # Errors
/// When the thread cannot be started.
pub(super) fn start(source: impl BufRead + Send + 'static) -> io::Result<Receiver<Read>> {
    let (sender, lines) = crossbeam_channel::bounded(16);
    // Never joined: the thread may wait for a line that never comes. It ends with the process.
    thread::Builder::new().name("reader".to_owned()).spawn(move || read(source, &sender))?;
    Ok(lines)
}

/// Refuses the first bytes of a file if they cannot be the beginning of a batch, and says why.
pub(super) fn refuse_beginning(bytes: &[u8]) -> Result<(), String> {
    for (mark, name) in [
        (&[0xff, 0xfe, 0, 0][..], "UTF-32"),
        (&[0, 0, 0xfe, 0xff], "UTF-32"),
        (&[0xff, 0xfe], "UTF-16"),
        (&[0xfe, 0xff], "UTF-16"),
    ] {
        if bytes.starts_with(mark) {
            return Err(format!("it is {name}, by its byte order mark; a batch is UTF-8"));
        }
    }
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    if line.contains(&0) {
        return Err("its first line holds zero bytes, so it is no text in UTF-8".to_owned());
    }
    Ok(())
}

/// The UTF-8 byte order mark, which some programs put before a text.
const MARK: &[u8] = b"\xef\xbb\xbf";

fn read(mut source: impl BufRead, lines: &Sender<Read>) {
    for number in 1.. {
        let read = match line(&mut source) {
            Ok(None) => return,
            Ok(Some(line)) => line.judge(number),
            Err(error) => Some(Read::Failed(error)),
        };
        let Some(read) = read else { continue };
        let is_last = matches!(read, Read::Failed(_) | Read::NoBatch(_));
        if lines.send(read).is_err() || is_last {
            return;
        }
    }
}

/// A line, without its end.
#[derive(Default)]
struct RawLine {
    /// Its first bytes: all of them, if the line is not longer than [`MAX_LINE`].
    text: Vec<u8>,
    len: usize,
    /// Whether it was read to its end.
    is_whole: bool,
    has_zeros: bool,
}

impl RawLine {
    /// What the reader thread reports for this line; `None` if the line is empty.
    fn judge(mut self, number: u64) -> Option<Read> {
        if number == 1 {
            if let Err(why) = refuse_beginning(&self.text) {
                return Some(Read::NoBatch(why));
            }
            if self.text.starts_with(MARK) {
                self.text.drain(..MARK.len());
            }
        }
        let zeros = if self.has_zeros { " and holds zero bytes" } else { "" };
        if !self.is_whole {
            let mib = MAX_SKIPPED >> 20;
            return Some(Read::NoBatch(format!(
                "line {number} has no end within {mib} MiB{zeros}; a batch is JSON, one job a line"
            )));
        }
        if self.len > MAX_LINE {
            return Some(Read::Refused(number, format!("longer than {MAX_LINE} bytes{zeros}")));
        }
        if self.has_zeros {
            return Some(Read::Refused(number, "not JSON: it holds zero bytes".to_owned()));
        }
        let is_empty = self.text.iter().all(u8::is_ascii_whitespace);
        (!is_empty).then_some(Read::Line(number, self.text))
    }
}

/// The next line; `None` at the end of the source. Bytes beyond [`MAX_LINE`] are not kept in
/// memory.
fn line(source: &mut impl BufRead) -> io::Result<Option<RawLine>> {
    let mut line = RawLine::default();
    let mut is_there = false;
    loop {
        let piece = match source.fill_buf() {
            Ok(piece) => piece,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if piece.is_empty() {
            line.is_whole = true;
            return Ok(is_there.then_some(line));
        }
        is_there = true;
        let end = piece.iter().position(|&byte| byte == b'\n');
        let text = &piece[..end.unwrap_or(piece.len())];
        line.has_zeros |= text.contains(&0);
        let room = MAX_LINE - line.text.len();
        line.text.extend_from_slice(&text[..text.len().min(room)]);
        line.len += text.len();
        let used = text.len() + usize::from(end.is_some());
        source.consume(used);
        line.is_whole = end.is_some();
        if line.is_whole || line.len > MAX_SKIPPED {
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that was found: the line number, and the length or why the line is refused.
    fn found(text: Vec<u8>) -> Vec<(u64, Result<usize, String>)> {
        let lines = start(io::BufReader::with_capacity(1000, io::Cursor::new(text))).unwrap();
        lines
            .iter()
            .map(|read| match read {
                Read::Line(number, line) => (number, Ok(line.len())),
                Read::Refused(number, why) => (number, Err(why)),
                Read::NoBatch(why) => (0, Err(why)),
                Read::Failed(error) => panic!("{error}"),
            })
            .collect()
    }

    #[test]
    fn lines_are_numbered_and_empty_or_endless_ones_cost_nothing() {
        let mut text = b"one\n\n  \r\n".to_vec();
        text.extend(vec![b'x'; MAX_LINE + 1]);
        text.push(b'\n');
        text.extend(vec![b'y'; MAX_LINE]);
        text.extend(b"\na\0b\n\0\nlast");
        let long = Err("longer than 1048576 bytes".to_owned());
        let zeros = || Err("not JSON: it holds zero bytes".to_owned());
        let expected =
            [(1, Ok(3)), (4, long), (5, Ok(MAX_LINE)), (6, zeros()), (7, zeros()), (8, Ok(4))];
        assert_eq!(found(text), expected);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert_eq!(found(b"\xef\xbb\xbfone\r\n\xef\xbb\xbftwo".to_vec()), [(1, Ok(4)), (2, Ok(6))]);
        assert_eq!(found(b"\xef\xbb\xbf\none".to_vec()), [(2, Ok(3))]);
        assert_eq!(found(b"\xef\xbb\xbf".to_vec()), []);
    }

    #[test]
    fn what_is_no_utf_8_from_its_first_line_on_is_no_batch() {
        for (text, why) in [
            (&b"\xff\xfe{\0}\0\n\0"[..], "it is UTF-16"),
            (b"\xfe\xff\0{\0}", "it is UTF-16"),
            (b"\xff\xfe\0\0{\0\0\0", "it is UTF-32"),
            (b"{\0}\0\n\0", "zero bytes"),
            (b"\0", "zero bytes"),
        ] {
            let found = found(text.to_vec());
            let [(0, Err(said))] = &found[..] else { panic!("{text:?}: {found:?}") };
            assert!(said.contains(why), "{said}");
            assert!(refuse_beginning(text).unwrap_err().contains(why));
        }
        assert!(refuse_beginning(b"{}\n\0").is_ok(), "not of the first line");
    }

    #[test]
    fn what_has_no_end_is_given_up() {
        let mut text = b"one\n".to_vec();
        text.extend(vec![0; MAX_SKIPPED + 2000]);
        let found = found(text);
        let [(1, Ok(3)), (0, Err(why))] = &found[..] else { panic!("{found:?}") };
        assert!(why.starts_with("line 2 has no end within 16 MiB and holds zero bytes;"), "{why}");
    }
}
