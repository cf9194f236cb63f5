//! What the coordinator says, and how it fares: its log, its panics, its memory.

use std::fmt::{self, Write};
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Threads of a pool, by the beginnings of their names.
const THREADS: [&str; 4] = ["supervisor", "completions", "control-", "stager-"];

/// Listens to warnings, and to panics in threads of a pool, from here on.
pub(crate) fn listen() {
    tracing::subscriber::set_global_default(Warnings).unwrap();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        if THREADS.iter().any(|name| thread.name().is_some_and(|own| own.starts_with(name))) {
            PANICS.fetch_add(1, Ordering::Relaxed);
        }
        usual(info);
    }));
}

/// Forgets what was said, and how much memory was in use.
pub(super) fn forget() {
    SAID.lock().unwrap_or_else(PoisonError::into_inner).clear();
    PANICS.store(0, Ordering::Relaxed);
    // proc_pid_clear_refs(5): resets VmHWM.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Whether there was a warning with these words.
pub(super) fn said(words: &str) -> bool {
    let said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    said.iter().any(|line| line.contains(words))
}

pub(super) fn everything() -> String {
    SAID.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
}

/// How many warnings there were.
pub(super) fn count() -> usize {
    SAID.lock().unwrap_or_else(PoisonError::into_inner).len()
}

pub(super) fn panics() -> usize {
    PANICS.load(Ordering::Relaxed)
}

/// Most memory that this process had since [`forget`], in bytes.
pub(super) fn peak_memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

struct Warnings;

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What workers log is not the coordinator's.
        metadata.is_event()
            && *metadata.level() <= Level::WARN
            && metadata.target() != "brigade::worker"
    }
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }
    fn event(&self, event: &Event<'_>) {
        let mut line = LogLine(String::new());
        event.record(&mut line);
        SAID.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct LogLine(String);

impl Visit for LogLine {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}
