//! One log: what a worker logs is sent to the coordinator, ahead of the reply to
//! the job that it belongs to, and logged there with the worker's slot and pid.

use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use brigade_ipc::wire::{LogRecord, Reply};
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

/// Logs what a worker has sent. `at_ns` is the worker's own time: a record may be
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

/// How much of what a worker logs is passed on: a worker that logs without end is not to
/// bury what the others say.
#[derive(Default)]
pub(super) struct LogRateLimiter {
    since: Nanos,
    passed: u32,
    dropped: u64,
}

/// Records of one worker in one second. A kernel that logs ten a job is below that up to
/// hundreds of jobs a second.
const RECORDS: u32 = 5_000;
const SECOND: Nanos = 1_000_000_000;

impl LogRateLimiter {
    /// Whether a record that has just come is passed on.
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

/// The worker's subscriber. Knows the job in hand; other spans are not kept, since
/// a worker does one thing at a time.
pub(super) struct Forward {
    replies: Arc<Mutex<Sender>>,
    level: u8,
    /// Job in hand plus one; zero: none.
    job: Arc<AtomicU64>,
}

impl Forward {
    /// Sends this process's log to the coordinator from here on.
    pub(super) fn install(replies: &Arc<Mutex<Sender>>, level: u8, job: &Arc<AtomicU64>) {
        if level > 0 {
            let forward = Self { replies: Arc::clone(replies), level, job: Arc::clone(job) };
            // Set already only if a custom main did so; then that one is used.
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
        let replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
        // If the coordinator is gone, so is the log.
        let _ = replies.send(Reply::Log(record), Vec::new(), Carriage::Inline);
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
