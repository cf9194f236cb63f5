use std::collections::HashMap;
use std::io::{self, Write};

use brigade_exec::{Pool, PoolConfig, PoolError, Stop, SubmitError};
use brigade_kernels::Registry;
use brigade_measure::host::Host;
use brigade_proto::{JobId, Outcome, Status};
use brigade_report::{JobRow, ParamValues, RunConfig, RunHuman, RunJson, RunJsonl, RunReport};
use crossbeam_channel::{Receiver, Sender, select};

use super::resume::Resume;
use super::session::{Session, Window};
use crate::args::{Durability, RunArgs, RunFormat};
use crate::commit::{Commits, Committed};
use crate::config;
use crate::console::{ProgressDisplay, Results};
use crate::exit::{Exit, Failure};
use crate::finalize::{JobInfo, concluded, finalize, settle_resumed, settle_unrun};
use crate::journal::{Journal, JournaledJob, ResumeDecision};
use crate::plan::{self, PlannedInputs, RunPlan};
use crate::recorder::RunRecorder;
use crate::signals::Interrupt;
use crate::tracer;
use crate::write::Replace;

pub(crate) fn run(args: &RunArgs, registry: Registry) -> Result<Exit, Failure> {
    let pool = config::pool(&args.pool)?;
    Journal::check(&args.journal)?;
    let plan = plan::run(args, &registry, pool.backend)?;
    plan.check_apart("--journal", args.journal.journal.as_deref())?;
    plan.check_apart("--output", args.output.output.as_deref())?;
    plan.check_apart("--trace", args.trace.trace.as_deref())?;
    let config = describe(args, &pool, &plan);
    let paths = plan.paths();
    let used = paths.iter().chain(&args.output.output);
    let trace = tracer::open(args.trace.trace.as_deref(), used, config.title())?;
    let mut results = Results::open(args.output.output.as_deref(), &paths)?;
    if plan.is_on_stdout() {
        results = results.on_stderr();
    }
    let used = paths.iter().chain(&args.output.output).chain(&args.trace.trace);
    let mut journal = Journal::open(&args.journal, used)?;
    let past = journal.as_mut().map(|journal| Resume::of(journal, args, &plan)).transpose()?;
    let made = plan.prepare()?;
    journal.as_ref().map_or(Ok(()), Journal::begin)?;
    let (on_stdout, in_file) = args.formats();
    let mut report = report(on_stdout);
    let mut aside = (in_file != on_stdout).then(|| self::report(in_file));
    // Read the state of the machine before this run itself loads it, and only if a report needs it.
    let host = match (on_stdout, in_file) {
        (RunFormat::Human, RunFormat::Human) => serde_json::Value::Null,
        _ => serde_json::json!(Host::read()),
    };
    let window = Window::new(&pool);
    let writer = journal.as_ref().map(Journal::writer);
    let commits = Commits::start(args.durability.durability, writer, made);
    let session = Session::start(pool, registry, trace, journal, commits)?;
    let account = session.work(|pool, recorder, interrupt| {
        let (sender, outcomes) = crossbeam_channel::unbounded();
        let progress = ProgressDisplay::start(Some(plan.len()), on_stdout == RunFormat::Human);
        let round = RunLoop {
            args,
            plan: &plan,
            past,
            pool,
            interrupt,
            sender,
            outcomes,
            flight: HashMap::new(),
            window,
            recorder,
            report: &mut *report,
            aside: aside.as_deref_mut(),
            results: &mut results,
            progress,
            ended: None,
        };
        round.run()
    })?;
    let where_to = plan.results();
    match aside {
        None => account.report(&mut *report, &mut results, host, &config, where_to)?,
        Some(mut aside) => {
            let (out, place) = (&mut results.stdout_only(), where_to.clone());
            account.report(&mut *report, out, host.clone(), &config, place)?;
            account.report(&mut *aside, &mut results.file_only(), host, &config, where_to)?;
        }
    }
    if args.durability.durability != Durability::None {
        results.finish()?;
    }
    Ok(account.exit)
}

fn report(format: RunFormat) -> Box<dyn RunReport> {
    match format {
        RunFormat::Human => Box::new(RunHuman::new("--format json lists all")),
        RunFormat::Json => Box::new(RunJson::default()),
        RunFormat::Jsonl => Box::new(RunJsonl { summary: true }),
    }
}

fn describe(args: &RunArgs, pool: &PoolConfig, plan: &RunPlan) -> RunConfig {
    let mut config = RunConfig::of(pool);
    config.kernel = Some(plan.kernel.to_owned());
    config.params = ParamValues(plan.params.clone());
    config.keep_going = args.keep_going;
    if let PlannedInputs::Synthetic { size, seed, .. } = &plan.inputs {
        config.size = size.map(|size| size.to_string());
        config.seed = Some(*seed);
    }
    config
}

/// A run in progress: all jobs, from the first to the last.
struct RunLoop<'a> {
    args: &'a RunArgs,
    plan: &'a RunPlan,
    past: Option<Resume>,
    pool: &'a Pool,
    interrupt: &'a Interrupt,
    sender: Sender<Outcome>,
    outcomes: Receiver<Outcome>,
    /// Submitted jobs that are not settled, with their positions in the plan.
    flight: HashMap<JobId, (u64, JournalInfo)>,
    window: Window,
    recorder: &'a mut RunRecorder,
    report: &'a mut dyn RunReport,
    /// The report for the file, if it has another format than standard output.
    aside: Option<&'a mut (dyn RunReport + 'static)>,
    results: &'a mut Results,
    progress: ProgressDisplay,
    ended: Option<StopReason>,
}

/// What the journal says of a job, if one is kept.
#[derive(Clone, Default)]
struct JournalInfo {
    entry: Option<JournaledJob>,
    replace: Replace,
}

/// Why no more jobs are handed out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StopReason {
    JobFailed,
    NobodyReads,
    /// By a signal, or because the pool gave up. `Session::work` finds out which.
    Stopped,
}

impl RunLoop<'_> {
    fn run(mut self) -> Result<Option<(Exit, String)>, Failure> {
        let outcomes = self.outcomes.clone();
        let committed = self.recorder.commits().committed().clone();
        let mut next = 0;
        let mut is_ready = false;
        loop {
            while self.ended.is_none()
                && next < self.plan.len()
                && self.flight.len() < self.window.size()
                && self.recorder.commits().has_room()
            {
                if self.hand_out(next)? {
                    next += 1;
                }
                // A backend that runs jobs on this thread has finished the job by now.
                while let Ok(outcome) = self.outcomes.try_recv() {
                    self.finalize(&outcome)?;
                }
                while let Ok(job) = committed.try_recv() {
                    self.conclude(job?)?;
                }
            }
            // By now the first jobs run, on the workers that are ready.
            if !is_ready {
                self.start()?;
                is_ready = true;
            }
            let commits = self.recorder.commits();
            if self.flight.is_empty() && commits.has_room() {
                // Nothing is in flight, so no result can join the group: it should not wait for
                // more.
                commits.hurry();
            }
            if self.flight.is_empty()
                && commits.is_empty()
                && (self.ended.is_some() || next == self.plan.len())
            {
                break;
            }
            if self.outcomes.is_empty() && committed.is_empty() {
                self.results.flush()?;
            }
            // The channels stay connected: `self.sender` lives, and so does the committer.
            select! {
                recv(outcomes) -> outcome => if let Ok(outcome) = outcome {
                    self.finalize(&outcome)?;
                },
                recv(committed) -> job => if let Ok(job) = job {
                    self.conclude(job?)?;
                },
            }
        }
        self.cancel_from(next)?;
        let unfinished = self.recorder.tally().counts().cancelled;
        Ok(match self.ended {
            Some(StopReason::JobFailed) if unfinished > 0 => Some((
                Exit::JobFailed,
                "a job failed, and no new ones were started; --keep-going runs all".to_owned(),
            )),
            Some(StopReason::NobodyReads) if unfinished > 0 => {
                Some((Exit::StdoutClosed, "nobody reads the results".to_owned()))
            }
            _ => None,
        })
    }

    /// Waits until all workers are ready. If one cannot start, the command fails and reports no
    /// jobs.
    fn start(&self) -> Result<(), Failure> {
        match self.pool.ready() {
            Err(error)
                if self.interrupt.signal().is_none()
                    // A job that kills workers may cause this error so early. The job will be
                    // reported.
                    && !matches!(*error, PoolError::NoProgress { .. }) =>
            {
                Err(Failure::from(&*error))
            }
            _ => Ok(()),
        }
    }

    /// Submits a job. Returns false if no more jobs are accepted.
    fn hand_out(&mut self, job: u64) -> Result<bool, Failure> {
        if self.interrupt.signal().is_some() {
            self.ended = Some(StopReason::Stopped);
            return Ok(false);
        }
        let mut spec = self.plan.spec(job);
        let known = match (&mut self.past, self.recorder.journal()) {
            (Some(past), Some(journal)) => {
                let output = self.plan.output(job);
                let (entry, decision) = past.look_up(journal, job, &spec, output.as_deref())?;
                let name = entry.job;
                let known = JournalInfo { replace: journal.replace(&decision), entry: Some(entry) };
                if let ResumeDecision::Done(done, files) = decision {
                    let info = self.info(job, known);
                    let row = settle_resumed(&info, *done, &files, self.recorder);
                    self.progress.job(true);
                    self.tell(row)?;
                    return Ok(true);
                }
                journal.accept(name, output.as_deref());
                spec.digest_inputs = true;
                known
            }
            _ => JournalInfo::default(),
        };
        match self.pool.submit_to(spec, &self.sender) {
            Ok(id) => {
                self.flight.insert(id, (job, known));
                Ok(true)
            }
            Err(SubmitError::Closed) => {
                self.ended = Some(StopReason::Stopped);
                Ok(false)
            }
            // Not expected: the plan has checked the job.
            Err(error) => Err(Failure::usage(error)),
        }
    }

    fn info(&self, job: u64, known: JournalInfo) -> JobInfo {
        JobInfo {
            id: job.into(),
            is_named: false,
            line: None,
            kernel: self.plan.kernel.to_owned(),
            inputs: self.plan.files(job).to_vec(),
            output: self.plan.output(job),
            replace: if self.args.force { Replace::Always } else { known.replace },
            entry: known.entry,
        }
    }

    fn finalize(&mut self, outcome: &Outcome) -> Result<(), Failure> {
        // Not in flight: the pool may report a job that it has refused.
        let Some((job, known)) = self.flight.remove(&outcome.id) else {
            return Ok(());
        };
        self.window.learn(outcome.bytes_out());
        match finalize(self.info(job, known), job, outcome, self.recorder)? {
            Some(row) => self.over(row),
            None => Ok(()),
        }
    }

    /// Reports a job that the committer has handed back: its result is in place, or the row says
    /// why not.
    fn conclude(&mut self, job: Committed) -> Result<(), Failure> {
        let row = concluded(job, self.recorder);
        self.over(row)
    }

    /// Reports a job. Ends the run if no one reads the results, or the job has failed.
    fn over(&mut self, row: JobRow) -> Result<(), Failure> {
        let (status, ok) = (row.status, row.status == Status::Ok);
        self.progress.job(ok);
        self.tell(row)?;
        if self.results.is_pointless() {
            self.end(StopReason::NobodyReads);
        } else if !ok && status != Status::Cancelled && !self.args.keep_going {
            self.end(StopReason::JobFailed);
        }
        Ok(())
    }

    fn tell(&mut self, row: JobRow) -> io::Result<()> {
        match &mut self.aside {
            None => self.report.job(self.results, row),
            Some(aside) => {
                aside.job(&mut self.results.file_only(), row.clone())?;
                self.report.job(&mut self.results.stdout_only(), row)
            }
        }
    }

    fn end(&mut self, why: StopReason) {
        if self.ended.is_none() {
            self.ended = Some(why);
            self.pool.stop(Stop::Drain);
        }
    }

    /// Reports the jobs that were never handed out.
    fn cancel_from(&mut self, next: u64) -> Result<(), Failure> {
        let reason = match self.ended {
            Some(StopReason::JobFailed) => {
                "not started: an earlier job failed; --keep-going runs all"
            }
            _ => "not started: the run ended early",
        };
        for job in next..self.plan.len() {
            let info = self.info(job, JournalInfo::default());
            let row = settle_unrun(&info, Status::Cancelled, reason.to_owned(), self.recorder);
            self.tell(row)?;
        }
        Ok(())
    }
}
