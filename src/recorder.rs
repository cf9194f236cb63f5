//! What is recorded during a run: sums, and a timeline if one is wanted.

use std::io;

use brigade_exec::WorkerReport;
use brigade_measure::summary::{Summary, Tally};
use brigade_proto::{Nanos, Outcome, Status};
use brigade_report::JobRow;

use crate::commit::Commits;
use crate::journal::Journal;
use crate::tracer::Tracer;

/// Every job of a run is recorded here once.
pub(crate) struct RunRecorder {
    tally: Tally,
    /// The timeline, or why there will be none, which is no reason to end the run.
    tracer: Option<io::Result<Tracer>>,
    journal: Option<Journal>,
    commits: Commits,
}

impl RunRecorder {
    pub(crate) fn new(tracer: Option<Tracer>, journal: Option<Journal>, commits: Commits) -> Self {
        Self { tally: Tally::default(), tracer: tracer.map(Ok), journal, commits }
    }

    /// Results that are being committed.
    pub(crate) fn commits(&mut self) -> &mut Commits {
        &mut self.commits
    }

    /// The journal, if one is kept.
    pub(crate) fn journal(&mut self) -> Option<&mut Journal> {
        self.journal.as_mut()
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Records a job that has come back from the pool. The work on its result began at `since`.
    pub(crate) fn enter(&mut self, outcome: &Outcome, row: &JobRow, since: Nanos) {
        self.tally.add(outcome, row.status);
        if let Some(Ok(tracer)) = &mut self.tracer
            && let Err(error) = tracer.job(row, &outcome.stamps, since)
        {
            self.tracer = Some(Err(error));
        }
    }

    /// A job that was recorded as ok has failed: its result could not be put in place.
    pub(crate) fn was_not_written(&mut self) {
        self.tally.was_not_written();
    }

    /// Records a job that never reached the pool.
    pub(crate) fn enter_unrun(&mut self, status: Status) {
        self.tally.add_unrun(status);
    }

    /// Records a job whose result an earlier run has made.
    pub(crate) fn enter_resumed(&mut self) {
        self.tally.add_resumed();
    }

    /// Completes results, journal and timeline, when the workers have ended.
    ///
    /// # Errors
    /// When a result, the timeline or the journal could not be written.
    pub(crate) fn close(self, summary: &Summary, workers: &[WorkerReport]) -> io::Result<()> {
        // Results that came out of the pool are written, whatever ended the run.
        let written = self.commits.finish();
        let kept = written.and(self.journal.map_or(Ok(()), Journal::close));
        self.tracer.map_or(Ok(()), |tracer| tracer?.end(summary, workers))?;
        kept.map_err(|failure| io::Error::other(failure.message))
    }
}
