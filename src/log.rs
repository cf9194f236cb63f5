//! The log on standard error.

use std::io;

use brigade_proto::printable;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::console;
use crate::exit::Failure;

/// Logs what `filter` lets through. Workers send their log records to this process.
pub(crate) fn init(filter: &str) -> Result<(), Failure> {
    let targets: Targets = filter.parse().map_err(|error| {
        Failure::usage(format!(
            "--log {filter}: {error}; write off, error, warn, info, debug, trace, or per module, \
             as in info,brigade_exec=debug"
        ))
    })?;
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Lines);
    // Fails only inside a program that has its own logger, which is then used.
    let _ = tracing_subscriber::registry().with(targets).with(lines).try_init();
    Ok(())
}

/// Writes whole lines above the progress bar.
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // File names and the messages of workers may contain anything.
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        console::write(format!("{}\n", printable(text)).as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
