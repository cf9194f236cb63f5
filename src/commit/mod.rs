//! Gives results their names and brings them to the disk: in groups, on a thread of its own (the
//! committer), so that the run does not wait for the disk. README.md in `src/write` has the order
//! of the steps, and what a power failure leaves after each.

mod group;

use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use brigade_report::JobRow;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::args::Durability;
use crate::exit::{Exit, Failure};
use crate::journal::{Digest, DoneRecord, JournalWriter};
use crate::write::{Drafts, FileError};
use group::CommitGroup;

/// A job that has succeeded. Its result is complete, but has no name yet.
pub(crate) struct Uncommitted {
    /// The caller's number for the job.
    pub(crate) place: u64,
    pub(crate) row: JobRow,
    pub(crate) drafts: Drafts,
    /// The output that the job was given, if any.
    pub(crate) output: Option<PathBuf>,
    /// The job's digest and its `done` record, if a journal is kept.
    pub(crate) record: Option<(Digest, DoneRecord)>,
}

/// A job that is over: its result is in place, or the error says why not.
pub(crate) struct Committed {
    pub(crate) place: u64,
    pub(crate) row: JobRow,
    pub(crate) output: Option<PathBuf>,
    pub(crate) result: Result<(), FileError>,
    /// How many files the job counted for.
    files: usize,
}

/// How long a result waits for others that can be synced with it.
const DELAY: Duration = Duration::from_millis(100);

/// Most files of a group. Each is open until it has its name. So are those of the next group, which
/// is collected while this one is synced.
const GROUP_FILES: usize = if cfg!(test) { 3 } else { 256 };

/// Most bytes of a group: enough to keep a disk busy.
const GROUP_BYTES: u64 = 64 << 20;

/// Results that are being committed.
pub(crate) struct Commits {
    to: To,
    committed: Receiver<Result<Committed, Failure>>,
    /// How many files were handed over and have not come back.
    waiting: usize,
    jobs: usize,
    /// Whether the committer was told not to wait for more results.
    is_hurried: bool,
    most: usize,
}

enum To {
    /// The committer thread.
    Thread(Sender<Message>, JoinHandle<()>),
    /// The caller gives the files their names at once, and the kernel writes them when it likes.
    /// With a delay: only until the first job that has anything to write, which starts the
    /// committer thread. Most runs without outputs are short, and a thread costs them 0.15 ms.
    Names(Box<CommitGroup>, Sender<Result<Committed, Failure>>, Option<Duration>),
}

enum Message {
    Job(Instant, Box<Uncommitted>),
    /// No more results will come for a while.
    Hurry,
}

impl Commits {
    /// `directories` have new entries, which have to be synced with the first results.
    pub(crate) fn start(
        durability: Durability,
        journal: Option<JournalWriter>,
        directories: Vec<PathBuf>,
    ) -> Self {
        let (sender, committed) = unbounded();
        let group = CommitGroup::new(journal, directories);
        let delay = match durability {
            Durability::None => None,
            Durability::Batch => Some(DELAY),
            Durability::Sync => Some(Duration::ZERO),
        };
        let to = To::Names(Box::new(group), sender, delay);
        Self { to, committed, waiting: 0, jobs: 0, is_hurried: false, most: most_files() }
    }

    /// Jobs come back here, in the order in which they were handed over.
    pub(crate) fn committed(&self) -> &Receiver<Result<Committed, Failure>> {
        &self.committed
    }

    /// Hands a job over. Does not wait for the disk.
    pub(crate) fn add(&mut self, job: Uncommitted) {
        self.jobs += 1;
        self.waiting += files(&job.drafts);
        self.is_hurried = false;
        if let To::Names(group, committed, Some(delay)) = &mut self.to
            && has_anything_to_write(&job)
        {
            match start_thread(std::mem::take(group), committed.clone(), *delay, self.most) {
                Ok(thread) => self.to = thread,
                // The send cannot fail: `self.committed` lives.
                Err(failure) => return drop(committed.send(Err(failure))),
            }
        }
        match &mut self.to {
            // Fails only if the thread has reported an error and ended.
            To::Thread(queue, _) => drop(queue.send(Message::Job(Instant::now(), Box::new(job)))),
            To::Names(group, committed, _) => {
                group.add(job);
                for job in group.name() {
                    // Cannot fail, as above.
                    let _ = committed.send(job);
                }
            }
        }
    }

    /// Whether more jobs may be started: the files of their results will be open. If not, a whole
    /// group has been handed over, and the committer does not wait for more.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting < self.most
    }

    /// Whether all jobs have come back.
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs == 0
    }

    /// Tells the committer not to wait for more results.
    pub(crate) fn hurry(&mut self) {
        if let To::Thread(queue, _) = &self.to
            && self.jobs > 0
            && !self.is_hurried
        {
            self.is_hurried = true;
            // Fails only if the thread has ended, as above.
            let _ = queue.send(Message::Hurry);
        }
    }

    /// Counts a job that has come back.
    pub(crate) fn came_back(&mut self, job: &Committed) {
        self.jobs -= 1;
        self.waiting -= job.files;
        #[cfg(test)]
        if job.result.is_ok() {
            let paths = job.row.output.0.iter().map(PathBuf::from).collect();
            crate::write::disk::record::note(|| {
                crate::write::disk::record::Operation::Report(paths)
            });
        }
    }

    /// Waits until everything that was handed over is in place.
    ///
    /// # Errors
    /// Why it is not, unless that was reported before.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        if let To::Thread(queue, thread) = self.to {
            drop(queue);
            if thread.join().is_err() {
                let message = "the thread that writes results has failed".to_owned();
                return Err(Failure { exit: Exit::JobFailed, message });
            }
        }
        // Results that the caller no longer asked for are in place, too.
        self.committed.try_iter().try_for_each(|job| job.map(drop))
    }
}

fn has_anything_to_write(job: &Uncommitted) -> bool {
    job.drafts.len() > 0 || job.record.is_some()
}

fn start_thread(
    group: Box<CommitGroup>,
    committed: Sender<Result<Committed, Failure>>,
    delay: Duration,
    most: usize,
) -> Result<To, Failure> {
    // The channel needs no bound: `has_room` limits what is in it.
    let (queue, jobs) = unbounded();
    let thread = thread::Builder::new()
        .name("committer".to_owned())
        .spawn(move || work(*group, &jobs, &committed, delay, most))
        .map_err(|error| Failure {
            exit: Exit::Pool,
            message: format!("cannot start a thread: {error}"),
        })?;
    Ok(To::Thread(queue, thread))
}

/// How many files of results may be open at once. The pool needs descriptors, too.
fn most_files() -> usize {
    let free = brigade_sys::shortage::descriptors()
        .map_or(u64::MAX, |(open, limit)| limit.saturating_sub(open));
    usize::try_from(free / 4).unwrap_or(usize::MAX).clamp(2, 2 * GROUP_FILES)
}

/// How many files a job counts for. A job without files counts as one: it has to come back, too.
fn files(drafts: &Drafts) -> usize {
    drafts.len().max(1)
}

/// The committer thread: commits jobs until the queue is closed.
fn work(
    mut group: CommitGroup,
    jobs: &Receiver<Message>,
    committed: &Sender<Result<Committed, Failure>>,
    delay: Duration,
    most: usize,
) {
    // The journal's name has to be on the disk before anything is committed.
    if let Err(failure) = group.begin() {
        let _ = committed.send(Err(failure));
        return;
    }
    while collect(&mut group, jobs, delay, most) {
        for job in group.commit() {
            let is_over = job.is_err();
            // Fails only if the caller has dropped the receiver.
            let _ = committed.send(job);
            if is_over {
                return;
            }
        }
    }
}

/// Waits for a group of jobs. Returns false if there is none and will be none.
fn collect(
    group: &mut CommitGroup,
    jobs: &Receiver<Message>,
    delay: Duration,
    most: usize,
) -> bool {
    let since = loop {
        match jobs.recv() {
            Ok(Message::Job(since, job)) => {
                group.add(*job);
                break since;
            }
            Ok(Message::Hurry) => {}
            Err(_) => return false,
        }
    };
    let mut deadline = since + delay;
    while group.files() < most / 2 && group.bytes() < GROUP_BYTES {
        match jobs.recv_deadline(deadline) {
            Ok(Message::Job(_, job)) => group.add(*job),
            // What has been handed over by now belongs to this group.
            Ok(Message::Hurry) => deadline = since,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    true
}
