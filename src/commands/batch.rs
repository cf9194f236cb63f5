use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;

use brigade_exec::{Pool, Readable, Root, Stop, SubmitError};
use brigade_kernels::Registry;
use brigade_proto::{JobId, JobSpec, Outcome, Status};
use brigade_report::{JobRow, RunConfig, RunHuman, RunJsonl, RunReport};
use crossbeam_channel::{Receiver, Sender, never, select};

use super::batch_line::{self, Allowed, Parsed};
use super::batch_reader::{self, Read};
use super::output_reservations::OutputReservations;
use super::session::{Session, Window};
use crate::args::{BatchArgs, Durability};
use crate::commit::{Commits, Committed};
use crate::config;
use crate::console::{ProgressDisplay, Results, say};
use crate::exit::{Exit, Failure};
use crate::finalize::{JobInfo, concluded, finalize, settle_resumed, settle_unrun};
use crate::journal::{Journal, JournaledJob, ResumeDecision, With};
use crate::missing;
use crate::recorder::RunRecorder;
use crate::signals::Interrupt;
use crate::tracer;
use crate::write::{self, FileReservation, Replace};

pub(crate) fn run(args: &BatchArgs, registry: Registry) -> Result<Exit, Failure> {
    let mut config = config::pool(&args.pool)?;
    let files = files(args)?;
    config.readable = Arc::clone(&files);
    let (lines, _reserved) = open(&args.file)?;
    let mut described = RunConfig::of(&config);
    described.keep_going = true;
    let used = std::iter::once(&args.file).chain(&args.output.output);
    let trace = tracer::open(args.trace.trace.as_deref(), used, described.title())?;
    let mut results =
        Results::open(args.output.output.as_deref(), std::slice::from_ref(&args.file))?;
    let window = Window::new(&config);
    let used = std::iter::once(&args.file).chain(&args.output.output).chain(&args.trace.trace);
    let journal = Journal::open(&args.journal, used)?;
    journal.as_ref().map_or(Ok(()), Journal::begin)?;
    let durability = args.durability.durability;
    let writer = journal.as_ref().map(Journal::writer);
    let commits = Commits::start(durability, writer, Vec::new());
    let session = Session::start(config, registry, trace, journal, commits)?;
    let mut closing = RunHuman::new("the result lines tell all");
    session.pool.ready().map_err(|error| Failure::from(&*error))?;
    let account = session.work(|pool, recorder, interrupt| {
        let (sender, outcomes) = crossbeam_channel::unbounded();
        // On a terminal the progress bar would be drawn between the result lines.
        let progress = ProgressDisplay::start(None, !io::stdout().is_terminal());
        let batch = Batch {
            args,
            pool,
            interrupt,
            lines: Some(lines),
            sender,
            outcomes,
            flight: HashMap::new(),
            window,
            taken: 0,
            early: BTreeMap::new(),
            due: 0,
            output_reservations: OutputReservations::new(args.force, Arc::clone(&files)),
            files,
            recorder,
            results: &mut results,
            closing: &mut closing,
            progress,
            ended: None,
        };
        batch.run()
    })?;
    if durability == Durability::None { results.flush() } else { results.finish() }?;
    let place = "one line each on standard output".to_owned();
    let mut summary = Vec::new();
    account.report(&mut closing, &mut summary, serde_json::Value::Null, &described, place)?;
    crate::console::write(&summary);
    Ok(account.exit)
}

/// The files that lines may name.
fn files(args: &BatchArgs) -> Result<Arc<Readable>, Failure> {
    let Some(directory) = &args.root else { return Ok(Arc::new(Readable::Regular)) };
    let root = Root::open(directory).map_err(|error| {
        Failure::usage(format!("cannot use --root {}: {error}", directory.display()))
    })?;
    Ok(Arc::new(Readable::Beneath(root)))
}

/// Starts to read the batch, a file or standard input (`-`). Reserves it, so that no result
/// replaces it.
fn open(path: &Path) -> Result<(Receiver<Read>, Option<FileReservation>), Failure> {
    let cannot = |error: io::Error| Failure::usage(missing::cannot_read("batch", path, &error));
    if path == Path::new("-") {
        // Standard input may be a regular file, too.
        let stdin = io::stdin().as_fd().try_clone_to_owned().map(File::from);
        let reserved = stdin.and_then(|stdin| write::reserve_open(&stdin, BATCH)).ok();
        let lines = batch_reader::start(BufReader::new(io::stdin())).map_err(cannot)?;
        return Ok((lines, reserved));
    }
    let file = File::open(path).map_err(cannot)?;
    let found = file.metadata().map_err(cannot)?;
    if found.is_dir() {
        return Err(cannot(io::ErrorKind::IsADirectory.into()));
    }
    let mut file = BufReader::new(file);
    // Check the first bytes before any worker starts. Reading from a terminal or a pipe could block
    // here; the reader thread checks those.
    if found.is_file() || (found.file_type().is_char_device() && !file.get_ref().is_terminal()) {
        let beginning = file.fill_buf().map_err(cannot)?;
        batch_reader::refuse_beginning(beginning)
            .map_err(|why| Failure::usage(format!("{} is no batch: {why}", path.display())))?;
    }
    let lines = batch_reader::start(file).map_err(cannot)?;
    Ok((lines, Some(write::reserve(path, BATCH))))
}

/// How an error message names the batch if a line gives it as its output.
const BATCH: &str = "the batch itself";

/// A running batch. It takes lines while the window has room. It writes results as they come, or in
/// the order of the lines.
struct Batch<'a> {
    args: &'a BatchArgs,
    pool: &'a Pool,
    interrupt: &'a Interrupt,
    /// `None` once no more lines are wanted.
    lines: Option<Receiver<Read>>,
    sender: Sender<Outcome>,
    outcomes: Receiver<Outcome>,
    /// Submitted jobs that are not settled, each with its position among the lines.
    flight: HashMap<JobId, (u64, JobInfo)>,
    window: Window,
    /// Lines taken so far.
    taken: u64,
    /// With `--ordered`: rows that wait for an earlier row. They use room in the window like jobs
    /// in flight.
    early: BTreeMap<u64, JobRow>,
    /// With `--ordered`: the position of the row to write next.
    due: u64,
    output_reservations: OutputReservations,
    /// The files that lines may name.
    files: Arc<Readable>,
    recorder: &'a mut RunRecorder,
    results: &'a mut Results,
    closing: &'a mut RunHuman,
    progress: ProgressDisplay,
    ended: Option<(Exit, String)>,
}

impl Batch<'_> {
    fn run(mut self) -> Result<Option<(Exit, String)>, Failure> {
        let outcomes = self.outcomes.clone();
        let committed = self.recorder.commits().committed().clone();
        let bell = self.interrupt.bell().clone();
        let closed = never();
        loop {
            if self.interrupt.signal().is_some() {
                self.lines = None;
            }
            if outcomes.is_empty() && committed.is_empty() {
                self.results.flush()?;
                self.look_for_reader();
            }
            // Only after `look_for_reader`, which may end the batch.
            let commits = self.recorder.commits();
            if self.lines.is_none() && self.flight.is_empty() && commits.is_empty() {
                break;
            }
            let room =
                self.flight.len() + self.early.len() < self.window.size() && commits.has_room();
            // Nothing is in flight, so no result can join the group: it should not wait for more.
            if self.flight.is_empty() && commits.has_room() {
                commits.hurry();
            }
            // With --ordered, rows that wait behind a slow job may fill the window. The slow job is
            // in flight itself, so the loop then waits for that job alone.
            let lines = self.lines.as_ref().filter(|_| room).cloned().unwrap_or(closed.clone());
            select! {
                recv(outcomes) -> outcome => if let Ok(outcome) = outcome {
                    self.finalize(&outcome)?;
                },
                recv(committed) -> job => if let Ok(job) = job {
                    self.conclude(job?)?;
                },
                recv(lines) -> line => match line {
                    Ok(line) => self.take(line)?,
                    Err(_) => self.lines = None,
                },
                // The top of the loop checks the signal.
                recv(bell) -> _ => {}
            }
        }
        if self.taken == 0 && self.ended.is_none() && self.interrupt.signal().is_none() {
            let batch = self.args.file.display();
            say(format_args!("note: the batch {batch} has no lines: no job was run"));
        }
        Ok(self.ended)
    }

    fn take(&mut self, read: Read) -> Result<(), Failure> {
        let (number, text) = match read {
            Read::Line(number, text) => (number, text),
            Read::Refused(number, why) => {
                let info = JobInfo { id: number.into(), line: Some(number), ..JobInfo::default() };
                return self.refuse(&info, why);
            }
            Read::NoBatch(why) => {
                let batch = self.args.file.display();
                say(format_args!("error: {batch} is no batch: {why}"));
                let exit = if self.taken == 0 { Exit::Usage } else { Exit::JobFailed };
                self.end(exit, format!("{batch} is no batch"));
                return Ok(());
            }
            Read::Failed(error) => {
                let batch = self.args.file.display();
                say(format_args!("error: cannot read batch {batch} to its end: {error}"));
                self.end(Exit::JobFailed, format!("{batch} cannot be read to its end"));
                return Ok(());
            }
        };
        let allowed = Allowed {
            registry: self.pool.registry(),
            backend: self.pool.config().backend,
            faults: self.args.allow_fault_kernels,
            is_confined: self.args.root.is_some(),
            timeout: self.pool.config().timeout,
        };
        let Parsed { mut info, job } = batch_line::parse(number, &text, allowed);
        let job = job.and_then(|job| self.look_at_inputs(&info).map(|()| job));
        let decision = match (&job, self.recorder.journal()) {
            (Ok(job), Some(journal)) => look_up(journal, job, &mut info)?,
            _ => ResumeDecision::New,
        };
        if self.args.force {
            info.replace = Replace::Always;
        }
        let mut job = match job.and_then(|job| self.claim(&info).map(|()| job)) {
            Ok(job) => job,
            Err(reason) => return self.refuse(&info, reason),
        };
        if let ResumeDecision::Done(done, files) = decision {
            self.release(info.output.as_deref());
            let row = settle_resumed(&info, *done, &files, self.recorder);
            let place = self.taken;
            self.taken += 1;
            return self.report(place, row);
        }
        if let (Some(journal), Some(entry)) = (self.recorder.journal(), &info.entry) {
            journal.accept(entry.job, info.output.as_deref());
            job.digest_inputs = true;
        }
        match self.pool.submit_to(job, &self.sender) {
            Ok(id) => {
                self.flight.insert(id, (self.taken, info));
                self.taken += 1;
                Ok(())
            }
            Err(SubmitError::Closed) => {
                self.release(info.output.as_deref());
                self.lines = None;
                self.report_unrun(&info, Status::Cancelled, "not started: the run ended early")
            }
            Err(error) => {
                self.release(info.output.as_deref());
                self.refuse(&info, error.to_string())
            }
        }
    }

    /// With a journal, the inputs of a job are read before the job is submitted. So this checks
    /// first that the line may name them.
    fn look_at_inputs(&mut self, info: &JobInfo) -> Result<(), String> {
        if self.recorder.journal().is_none() {
            return Ok(());
        }
        info.inputs.iter().try_for_each(|path| match self.files.open(path) {
            // The job itself reports an error of the operating system.
            Err(error) if error.raw_os_error().is_none() => {
                Err(format!("cannot read {}: {error}", path.display()))
            }
            _ => Ok(()),
        })
    }

    fn claim(&mut self, info: &JobInfo) -> Result<(), String> {
        match &info.output {
            Some(path) => self.output_reservations.claim(path, info.replace),
            None => Ok(()),
        }
    }

    fn release(&mut self, output: Option<&Path>) {
        if let Some(path) = output {
            self.output_reservations.release(path);
        }
    }

    fn refuse(&mut self, info: &JobInfo, reason: impl Into<String>) -> Result<(), Failure> {
        self.report_unrun(info, Status::Failed, reason)
    }

    fn report_unrun(
        &mut self,
        info: &JobInfo,
        status: Status,
        reason: impl Into<String>,
    ) -> Result<(), Failure> {
        let place = self.taken;
        self.taken += 1;
        let row = settle_unrun(info, status, reason.into(), self.recorder);
        self.report(place, row)
    }

    fn finalize(&mut self, outcome: &Outcome) -> Result<(), Failure> {
        // Not in flight: the pool may report a job that it has refused.
        let Some((place, info)) = self.flight.remove(&outcome.id) else {
            return Ok(());
        };
        self.window.learn(outcome.bytes_out());
        let output = info.output.clone();
        if let Some(row) = finalize(info, place, outcome, self.recorder)? {
            self.release(output.as_deref());
            self.report(place, row)?;
        }
        Ok(())
    }

    /// Reports a job that the committer has handed back: its result is in place, or the row says
    /// why not.
    fn conclude(&mut self, job: Committed) -> Result<(), Failure> {
        self.release(job.output.as_deref());
        let place = job.place;
        let row = concluded(job, self.recorder);
        self.report(place, row)
    }

    fn report(&mut self, place: u64, row: JobRow) -> Result<(), Failure> {
        if !self.args.ordered {
            return self.print(row);
        }
        self.early.insert(place, row);
        while let Some(row) = self.early.remove(&self.due) {
            self.due += 1;
            self.print(row)?;
        }
        Ok(())
    }

    fn print(&mut self, row: JobRow) -> Result<(), Failure> {
        self.progress.job(row.status == Status::Ok);
        RunJsonl { summary: false }.job(self.results, row.clone())?;
        self.closing.job(self.results, row)?;
        self.look_for_reader();
        Ok(())
    }

    fn look_for_reader(&mut self) {
        if self.results.is_pointless() && self.lines.is_some() {
            self.end(Exit::StdoutClosed, "nobody reads the results".to_owned());
        }
    }

    fn end(&mut self, exit: Exit, reason: String) {
        self.lines = None;
        self.ended = Some((exit, reason));
        self.pool.stop(Stop::Drain);
    }
}

/// Enters a job in the journal and finds out what earlier runs have made of it.
fn look_up(
    journal: &mut Journal,
    job: &JobSpec,
    info: &mut JobInfo,
) -> Result<ResumeDecision, Failure> {
    // A line number does not identify a job: lines may be added before it.
    let id = info.is_named.then_some(&info.id);
    let entry =
        JournaledJob { job: journal.enter(job, info.output.as_deref(), id), with: With::of(job) };
    let decision = journal.decision(entry.job, &entry.with)?;
    info.entry = Some(entry);
    info.replace = journal.replace(&decision);
    Ok(decision)
}
