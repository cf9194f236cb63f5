//! Entry points of this crate for the fuzzers in `fuzz/`.

use brigade_exec::Backend;
use brigade_kernels::Registry;
use brigade_measure::saved::Saved;
use brigade_report::html::{ResultSource, render};

use crate::commands::batch_line::{self, Allowed};

/// Parses a line of a batch, without its line feed.
pub fn batch_line(registry: &Registry, line: &[u8]) {
    let allowed = Allowed {
        registry,
        backend: Backend::Processes,
        faults: true,
        is_confined: true,
        timeout: None,
    };
    let parsed = batch_line::parse(1, line, allowed);
    if let Err(reason) = parsed.job {
        assert!(!reason.is_empty(), "a line is refused for a reason");
    }
}

/// Reads a journal, as `--resume` does.
pub fn journal(bytes: &[u8]) {
    crate::journal::scan_bytes(bytes);
}

/// Reads a saved result, as `compare` and `report` do.
pub fn saved(text: &[u8]) {
    let Ok(value) = serde_json::from_slice(text) else { return };
    let _ = Saved::read(&value);
    let source = ResultSource { file: "x.json".to_owned(), written: String::new() };
    let _ = render(&value, &source);
}
