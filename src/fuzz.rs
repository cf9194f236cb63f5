//! What fuzzers feed (`fuzz/` in the repository) of this crate.

use brigade_exec::Backend;
use brigade_kernels::Registry;
use brigade_measure::saved::Saved;
use brigade_report::html::{Source, render};

use crate::commands::batch_line::{self, Allowed};

/// A line of a batch, without its end.
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

/// A journal, as `--resume` finds it.
pub fn journal(bytes: &[u8]) {
    crate::journal::scan_bytes(bytes);
}

/// A saved result, as `compare` and `report` read it.
pub fn saved(text: &[u8]) {
    let Ok(value) = serde_json::from_slice(text) else { return };
    let _ = Saved::read(&value);
    let source = Source { file: "x.json".to_owned(), written: String::new() };
    let _ = render(&value, &source);
}
