//! Lines of a batch, read on a thread of their own: waiting for the next line must
//! not hold up results.

use std::io::{self, BufRead};
use std::thread;

use crossbeam_channel::{Receiver, Sender};

/// Longest line, in bytes.
pub(super) const MAX_LINE: usize = 1 << 20;

/// What the reader found.
#[derive(Debug)]
pub(super) enum Read {
    /// A line that is not empty, without its end; its number, counted from 1.
    Line(u64, Vec<u8>),
    /// A line of more than [`MAX_LINE`] bytes.
    TooLong(u64),
    /// Nothing more can be read.
    Failed(io::Error),
}

/// Reads `source` line by line, a few lines ahead. The channel closes at its end.
///
/// # Errors
/// When the thread cannot be made.
pub(super) fn start(source: impl BufRead + Send + 'static) -> io::Result<Receiver<Read>> {
    let (sender, lines) = crossbeam_channel::bounded(16);
    // Never joined: it may wait for a line that never comes, and ends with the
    // process.
    thread::Builder::new().name("reader".to_owned()).spawn(move || read(source, &sender))?;
    Ok(lines)
}

fn read(mut source: impl BufRead, lines: &Sender<Read>) {
    for number in 1.. {
        let read = match line(&mut source) {
            Ok(None) => return,
            Ok(Some(Some(line))) if line.iter().all(u8::is_ascii_whitespace) => continue,
            Ok(Some(Some(line))) => Read::Line(number, line),
            Ok(Some(None)) => Read::TooLong(number),
            Err(error) => Read::Failed(error),
        };
        let last = matches!(read, Read::Failed(_));
        if lines.send(read).is_err() || last {
            return;
        }
    }
}

/// The next line, `Some(None)` if it is too long, `None` at the end. A line that
/// is too long is skipped piece by piece: it never is in memory as a whole.
fn line(source: &mut impl BufRead) -> io::Result<Option<Option<Vec<u8>>>> {
    let mut line = Vec::new();
    let mut too_long = false;
    let mut any = false;
    loop {
        let piece = match source.fill_buf() {
            Ok(piece) => piece,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if piece.is_empty() {
            return Ok(any.then_some((!too_long).then_some(line)));
        }
        any = true;
        let end = piece.iter().position(|&byte| byte == b'\n');
        let text = &piece[..end.unwrap_or(piece.len())];
        if line.len() + text.len() > MAX_LINE {
            too_long = true;
            line = Vec::new();
        } else if !too_long {
            line.extend_from_slice(text);
        }
        let used = text.len() + usize::from(end.is_some());
        source.consume(used);
        if end.is_some() {
            return Ok(Some((!too_long).then_some(line)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_empty_or_endless_ones_cost_nothing() {
        let mut text = b"one\n\n  \r\n".to_vec();
        text.extend(vec![b'x'; MAX_LINE + 1]);
        text.push(b'\n');
        text.extend(vec![b'y'; MAX_LINE]);
        text.extend(b"\nlast");
        let lines = start(io::BufReader::with_capacity(1000, io::Cursor::new(text))).unwrap();
        let seen: Vec<(u64, usize)> = lines
            .iter()
            .map(|read| match read {
                Read::Line(number, line) => (number, line.len()),
                Read::TooLong(number) => (number, usize::MAX),
                Read::Failed(error) => panic!("{error}"),
            })
            .collect();
        assert_eq!(seen, [(1, 3), (4, usize::MAX), (5, MAX_LINE), (6, 4)]);
    }
}
