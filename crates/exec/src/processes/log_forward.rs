//! One log for all processes: a worker sends what it logs to the coordinator, ahead of the response
//! to the job that it belongs to. The coordinator logs it with the worker's slot and process id.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use brigade_ipc::wire::{LogRecord, MessageResponse};
use brigade_ipc::{Carriage, Sender};
use brigade_proto::{JobId, Nanos, limits};
use brigade_sys::clock;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The most detailed level that this process logs: 0 (none) to 5 (trace).
pub(super) fn current_level() -> u8 {
    LevelFilter::current().into_level().map_or(0, rank)
}

fn rank(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// Longest text of one record, in bytes.
const MAX_TEXT: usize = 8 << 10;

/// Logs a record that a worker has sent. `at_ns` is the worker's timestamp, because a record may be
/// printed a little later than it was made.
pub(super) fn emit(record: &LogRecord, worker: usize, pid: u32) {
    let text = limits::cut(&record.text, MAX_TEXT);
    let from = limits::cut(&record.target, 256);
    let job = record.job.map(|job| job.0);
    let at_ns = record.at;
    macro_rules! emit {
        ($level:expr) => {
            tracing::event!(target: "brigade::worker", $level, worker, pid, job, at_ns, from, "{text}")
        };
    }
    match record.level {
        1 => emit!(Level::ERROR),
        2 => emit!(Level::WARN),
        3 => emit!(Level::INFO),
        4 => emit!(Level::DEBUG),
        _ => emit!(Level::TRACE),
    }
}

/// Limits how many of a worker's records are logged: a worker that logs without end must not hide
/// what the others log.
#[derive(Default)]
pub(super) struct LogRateLimiter {
    since: Nanos,
    passed: u32,
    dropped: u64,
}

/// Records of one worker in one second. A kernel that logs ten records per job stays below that at
/// up to hundreds of jobs per second.
const RECORDS: u32 = 5_000;
const SECOND: Nanos = 1_000_000_000;

impl LogRateLimiter {
    /// Whether to log a record that has just arrived.
    pub(super) fn allows(&mut self, now: Nanos, worker: usize) -> bool {
        if now - self.since >= SECOND {
            if self.dropped > 0 {
                let records = self.dropped;
                tracing::warn!(worker, records, "a worker logs too much: records were dropped");
            }
            *self = Self { since: now, ..Self::default() };
        }
        let admitted = self.passed < RECORDS;
        if admitted {
            self.passed += 1;
        } else {
            self.dropped += 1;
        }
        admitted
    }
}

/// The worker's subscriber. It knows the job in hand. It keeps no other spans, because a worker
/// does one thing at a time.
pub(super) struct Forward {
    responses: Arc<Mutex<Sender>>,
    level: u8,
    /// The job in hand plus one; zero if there is none.
    job: Arc<AtomicU64>,
}

impl Forward {
    /// Sends this process's log to the coordinator from here on.
    pub(super) fn install(responses: &Arc<Mutex<Sender>>, level: u8, job: &Arc<AtomicU64>) {
        if level > 0 {
            let forward = Self { responses: Arc::clone(responses), level, job: Arc::clone(job) };
            // This fails only if a custom `main` has set a subscriber. That one is then used.
            let _ = tracing::subscriber::set_global_default(forward);
        }
    }
}

impl Subscriber for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && rank(*metadata.level()) <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.level {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let record = LogRecord {
            level: rank(*event.metadata().level()),
            target: event.metadata().target().to_owned(),
            text: limits::cut(&text.0, MAX_TEXT).to_owned(),
            job: self.job.load(Ordering::Relaxed).checked_sub(1).map(JobId),
            at: clock::now(),
        };
        let responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        // If the coordinator is gone, the record has no reader.
        let _ = responses.send(MessageResponse::Log(record), Vec::new(), Carriage::Inline);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// An event's message, then its fields as `name=value`.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = if field.name() == "message" {
            let rest = std::mem::take(&mut self.0);
            write!(self.0, "{value:?}{rest}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_so_many_a_second() {
        let mut gate = LogRateLimiter::default();
        let mut admitted = |now| (0..3 * RECORDS).filter(|_| gate.allows(now, 0)).count() as u32;
        assert_eq!(admitted(5 * SECOND), RECORDS);
        assert_eq!(admitted(6 * SECOND - 1), 0);
        assert_eq!(admitted(6 * SECOND), RECORDS);
    }
}
