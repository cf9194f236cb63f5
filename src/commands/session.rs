//! What `run` and `batch` have in common: a pool with signals watched, a window of jobs in flight,
//! and the end of the report.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use brigade_exec::{Backend, Pool, PoolConfig};
use brigade_kernels::Registry;
use brigade_measure::summary::{RunFacts, Summary};
use brigade_proto::{Nanos, count};
use brigade_report::{RunConfig, RunEnd, RunReport};
use brigade_sys::{clock, cores, heap, shortage, usage};

use signal_hook::consts::SIGHUP;

use crate::commit::Commits;
use crate::console;
use crate::exit::{Exit, Failure};
use crate::journal::Journal;
use crate::recorder::RunRecorder;
use crate::signals::{self, Interrupt};
use crate::tracer::PendingTrace;

/// A running pool, and what has been recorded so far.
pub(super) struct Session {
    pub(super) pool: Pool,
    recorder: RunRecorder,
    begin: Nanos,
}

/// What is known after the workers have ended.
pub(super) struct Account {
    pub(super) exit: Exit,
    summary: Summary,
    startup: Nanos,
    workers: Vec<brigade_exec::WorkerReport>,
    ended_early: Option<String>,
}

impl Session {
    /// Starts the workers without waiting for them, and a timeline if there is a file for one.
    pub(super) fn start(
        config: PoolConfig,
        registry: Registry,
        trace: Option<PendingTrace>,
        journal: Option<Journal>,
        commits: Commits,
    ) -> Result<Self, Failure> {
        let begin = clock::now();
        // A write beyond `ulimit -f` must fail the job of that output, not end this process.
        brigade_sys::signals::let_large_files_fail();
        let tracer = trace.map(|blank| blank.begin(begin, &config)).transpose()?;
        if config.backend == Backend::Processes {
            heap::use_one_heap();
        }
        let pool = Pool::builder().config(config).registry(Arc::new(registry)).start()?;
        Ok(Self { pool, recorder: RunRecorder::new(tracer, journal, commits), begin })
    }

    /// Calls `work` while signals are watched, then ends the workers.
    ///
    /// `work` returns why it ended early, if it had a reason of its own.
    pub(super) fn work(
        self,
        work: impl FnOnce(
            &Pool,
            &mut RunRecorder,
            &Interrupt,
        ) -> Result<Option<(Exit, String)>, Failure>,
    ) -> Result<Account, Failure> {
        let Self { pool, mut recorder, begin } = self;
        let (reason, signal) = signals::watch(&pool, |interrupt| {
            let reason = work(&pool, &mut recorder, interrupt);
            (reason, interrupt.signal())
        })
        .map_err(|error| Failure {
            exit: Exit::Pool,
            message: format!("cannot watch for signals: {error}{}", shortage::remedy(&error)),
        })?;
        let last = clock::now();
        let status = pool.status();
        let slots = pool.config().slots();
        let workers = pool.close();
        let shutdown = clock::now() - last;
        let startup = nanos(status.startup);
        let mut ready: Vec<Nanos> = workers.iter().map(|worker| worker.ready_ns).collect();
        ready.resize(slots, startup);
        let peak_rss_bytes = workers.iter().filter_map(|worker| worker.peak_rss_bytes).max();
        let restarts = status.restarts;
        let run = RunFacts { wall: last - begin, ready, shutdown, restarts, peak_rss_bytes };
        let summary = recorder.tally().summary(&run);
        let traced = recorder.close(&summary, &workers);
        // After SIGHUP the terminal is gone: a failed write to it is not worth reporting.
        let reason = match reason {
            Err(_) if signal == Some(SIGHUP) => None,
            reason => reason?,
        };
        // The gravest reason wins: a pool that gave up explains cancelled jobs.
        let (exit, ended_early) = match (status.gave_up, signal, reason) {
            (Some(error), ..) => {
                console::say(format_args!("error: the pool gave up: {error}"));
                (Exit::Pool, Some(format!("the pool gave up: {error}")))
            }
            (None, Some(signal), _) => {
                let text = format!("interrupted by {}", signals::name(signal));
                (Exit::Interrupted(signal), Some(text))
            }
            (None, None, Some((exit, text))) => (exit, Some(text)),
            (None, None, None) if summary.counts.not_ok() > 0 => (Exit::JobFailed, None),
            (None, None, None) => (Exit::Ok, None),
        };
        let exit = match (traced, exit) {
            (Err(error), exit) => {
                console::say(format_args!("error: {error}"));
                if exit == Exit::Ok { Exit::JobFailed } else { exit }
            }
            (Ok(()), exit) => exit,
        };
        Ok(Account { exit, summary, startup, workers, ended_early })
    }
}

impl Account {
    /// Writes the end of the report.
    pub(super) fn report(
        &self,
        report: &mut dyn RunReport,
        out: &mut dyn io::Write,
        host: serde_json::Value,
        config: &RunConfig,
        results: String,
    ) -> io::Result<()> {
        let usage = usage::with_children();
        let end = RunEnd {
            host,
            config,
            startup: self.startup,
            summary: &self.summary,
            workers: &self.workers,
            cpu: usage.user_ns + usage.system_ns,
            cores: cores::usable().usable,
            ended_early: self.ended_early.clone(),
            results,
        };
        // Once for a run, however many jobs a note concerns.
        for (note, &jobs) in &self.summary.notes {
            let of = count(self.summary.counts.total(), "job");
            console::say(format_args!("note: {} ({jobs} of {of})", note.text()));
        }
        let written = report.end(out, &end).and_then(|()| out.flush());
        // After SIGHUP the terminal is gone, as in `Session::work`.
        if self.exit == Exit::Interrupted(SIGHUP) { Ok(()) } else { written }
    }
}

fn nanos(time: Duration) -> Nanos {
    time.as_nanos() as Nanos
}

/// How many jobs may be in flight: enough to keep every worker busy, and so few that the results
/// that wait to be written stay within [`Window::BYTES`].
#[derive(Debug)]
pub(super) struct Window {
    least: usize,
    most: usize,
    mean_bytes: f64,
}

impl Window {
    /// Bytes of results that may wait to be written, as far as they can be predicted.
    const BYTES: f64 = (256 << 20) as f64;

    pub(super) fn new(config: &PoolConfig) -> Self {
        let least = config.slots() * (config.depth + 1);
        // Never more than the queue holds, so that submitting does not block.
        Self { least, most: config.queue.max(least), mean_bytes: 0.0 }
    }

    /// Notes that a job's outputs had this many bytes in total.
    pub(super) fn learn(&mut self, bytes: u64) {
        // The mean follows the last few jobs: a batch may change from small to large ones.
        self.mean_bytes += (bytes as f64 - self.mean_bytes) / 8.0;
    }

    pub(super) fn size(&self) -> usize {
        let fitting = (Self::BYTES / self.mean_bytes.max(1.0)) as usize;
        fitting.clamp(self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_shrinks_with_large_results_but_keeps_workers_busy() {
        let config = PoolConfig { workers: 2, depth: 2, queue: 256, ..PoolConfig::default() };
        let mut window = Window::new(&config);
        assert_eq!(window.size(), 256);
        for _ in 0..100 {
            window.learn(16 << 20);
        }
        assert_eq!(window.size(), 16);
        for _ in 0..100 {
            window.learn(1 << 30);
        }
        assert_eq!(window.size(), 6);
    }
}
