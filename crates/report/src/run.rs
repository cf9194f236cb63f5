//! What a run has to report, whatever the format; schema `brigade.run.v1`.

use std::io;

use brigade_exec::{PoolConfig, Sandbox, WorkerReport};
use brigade_measure::summary::Summary;
use brigade_proto::{Nanos, Note, Notes, Params, Span, Spans, Status, Value};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::files::{FileBytes, Files};
use crate::id::Id;

/// Name and version of the JSON schema of `run` and `batch`.
pub const RUN_SCHEMA: &str = "brigade.run.v1";

/// A format for the jobs of a run.
pub trait RunReport {
    /// A job has ended.
    ///
    /// # Errors
    /// When `out` cannot be written.
    fn job(&mut self, out: &mut dyn io::Write, row: JobRow) -> io::Result<()>;

    /// The run is over.
    ///
    /// # Errors
    /// When `out` cannot be written.
    fn end(&mut self, out: &mut dyn io::Write, end: &RunEnd<'_>) -> io::Result<()>;
}

/// One job.
#[derive(Clone, Debug, Serialize)]
pub struct JobRow {
    /// Its number; in a batch, the id that its line gave.
    pub id: Id,
    /// In a batch, its line, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Its kernel; empty if its line named none.
    pub kernel: String,
    /// Its input files; none if they are synthetic.
    pub input: Files,
    /// The bytes of their names, where these are not UTF-8.
    #[serde(skip_serializing_if = "FileBytes::is_empty")]
    pub input_bytes: FileBytes,
    /// The files that were written.
    pub output: Files,
    /// The bytes of their names, where these are not UTF-8.
    #[serde(skip_serializing_if = "FileBytes::is_empty")]
    pub output_bytes: FileBytes,
    /// How it ended.
    pub status: Status,
    /// The worker it ran on.
    pub worker: Option<u32>,
    /// The process it ran in.
    pub pid: Option<u32>,
    /// How many workers it was given to.
    pub attempts: u32,
    /// Its result is from an earlier run (`--resume`): no span of it is known here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// BLAKE3 of the output bytes, in hexadecimal; of several outputs, one after
    /// another.
    pub digest: Option<String>,
    /// Bytes of its inputs.
    pub bytes_in: u64,
    /// Bytes of its outputs.
    pub bytes_out: u64,
    /// How long each phase took; adds up to `total_us` exactly.
    pub spans_us: SpansUs,
    /// How much of `deliver` was waiting for the job that its worker had before.
    pub behind_us: Micros,
    /// Submitted until its outcome was in hand.
    pub total_us: Micros,
    /// What its result does not carry of its input, or how far it can be trusted: a list of
    /// names.
    #[serde(skip_serializing_if = "NoteNames::is_empty")]
    pub notes: NoteNames,
    /// Why it has no result.
    pub error: Option<String>,
    /// The end of what the worker printed that died of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
}

impl JobRow {
    /// What a person calls this job: its inputs, or its number.
    pub fn subject(&self) -> String {
        match &self.input.0[..] {
            [] => format!("job {}", self.id),
            files => files.join(" "),
        }
    }
}

/// The names of a job's notes, as a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoteNames(pub Notes);

impl NoteNames {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for NoteNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Note::name))
    }
}

/// Nanoseconds, written as microseconds with up to three decimals.
///
/// The number written is the exact decimal: below 11 days, the nearest `f64` of a
/// whole number of nanoseconds prints as that number of thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Micros(pub Nanos);

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            serializer.serialize_u64(self.0 / 1000)
        } else {
            serializer.serialize_f64(self.0 as f64 / 1000.0)
        }
    }
}

/// Spans by name, in [`Micros`].
#[derive(Clone, Copy, Debug, Default)]
pub struct SpansUs(pub Spans);

impl Serialize for SpansUs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Span::ALL.len()))?;
        for (span, ns) in self.0.iter() {
            map.serialize_entry(span.name(), &Micros(ns))?;
        }
        map.end()
    }
}

/// What the run was asked to do.
#[derive(Clone, Debug, Serialize)]
pub struct RunConfig {
    /// The kernel; none in a batch.
    pub kernel: Option<String>,
    /// Its complete parameters.
    pub params: ParamValues,
    /// Size of the synthetic inputs, if they are.
    pub size: Option<String>,
    /// Seed of the synthetic inputs.
    pub seed: Option<u64>,
    /// Whether the run goes on after a failed job.
    pub keep_going: bool,
    /// How jobs are executed.
    pub backend: &'static str,
    /// How many workers.
    pub workers: usize,
    /// How long a kernel may run.
    pub timeout_us: Option<Micros>,
    /// Whether each worker is bound to a core.
    pub pin: bool,
    /// What only worker processes have.
    pub processes: Option<ProcessConfig>,
}

/// Settings of worker processes.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessConfig {
    /// How a job's bytes reach a worker.
    pub transport: &'static str,
    /// How a worker comes to be.
    pub start_method: &'static str,
    /// Jobs assigned to one worker at a time.
    pub depth: usize,
    /// How often a job is retried after a crash.
    pub retries: u32,
    /// Deaths in a row without progress that end the run.
    pub max_restarts: u32,
    /// Jobs after which a worker is replaced.
    pub max_jobs_per_worker: Option<u64>,
    /// Private memory that a job may have.
    pub memory_limit_bytes: Option<u64>,
    /// Processor time that a job may use.
    pub cpu_limit_us: Option<Micros>,
    /// What the workers' sandbox has to be made of.
    pub sandbox: Option<&'static str>,
}

impl RunConfig {
    /// The configuration of a pool, with no kernel yet.
    pub fn of(config: &PoolConfig) -> Self {
        let timeout_us = config.timeout.map(|limit| Micros(limit.as_nanos() as u64));
        let processes = (!config.backend.is_in_process()).then(|| ProcessConfig {
            transport: config.transport.name(),
            start_method: config.start_method.name(),
            depth: config.depth,
            retries: config.retries,
            max_restarts: config.max_restarts,
            max_jobs_per_worker: config.max_jobs_per_worker,
            memory_limit_bytes: config.memory_limit,
            cpu_limit_us: config.cpu_limit.map(|limit| Micros(limit.as_nanos() as u64)),
            sandbox: config.sandbox.map(Sandbox::name),
        });
        Self {
            kernel: None,
            params: ParamValues(Params::new()),
            size: None,
            seed: None,
            keep_going: false,
            backend: config.backend.name(),
            workers: config.slots(),
            timeout_us,
            pin: config.pin,
            processes,
        }
    }

    /// "processes, 2 workers, shm".
    pub fn title(&self) -> String {
        let mut title =
            format!("{}, {}", self.backend, crate::units::count(self.workers as u64, "worker"));
        if let Some(processes) = &self.processes {
            title = format!("{title}, {}, {}", processes.start_method, processes.transport);
        }
        match &self.kernel {
            Some(kernel) => format!("{kernel} on {title}"),
            None => format!("batch on {title}"),
        }
    }
}

/// Parameters as plain JSON values.
#[derive(Clone, Debug)]
pub struct ParamValues(pub Params);

impl Serialize for ParamValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0.iter() {
            match value {
                Value::Int(v) => map.serialize_entry(name, v)?,
                Value::Float(v) => map.serialize_entry(name, v)?,
                Value::Bool(v) => map.serialize_entry(name, v)?,
                Value::Text(v) => map.serialize_entry(name, v)?,
            }
        }
        map.end()
    }
}

/// What is known when the run is over.
#[derive(Clone, Debug)]
pub struct RunEnd<'a> {
    /// The machine.
    pub host: serde_json::Value,
    /// What the run was asked to do.
    pub config: &'a RunConfig,
    /// Pool creation asked for until all workers were ready.
    pub startup: Nanos,
    /// What it came to.
    pub summary: &'a Summary,
    /// What each worker did.
    pub workers: &'a [WorkerReport],
    /// Processor time of the program and its workers, from their starts to their ends.
    pub cpu: Nanos,
    /// How many cores they may use.
    pub cores: usize,
    /// Why it ended early, if it did: "interrupted by SIGINT".
    pub ended_early: Option<String>,
    /// Where the results are, in words: "written to out/".
    pub results: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micros_are_written_as_the_exact_decimal() {
        let cases = [
            (0, "0"),
            (1, "0.001"),
            (1_234_567, "1234.567"),
            (100, "0.1"),
            (5_000, "5"),
            (999_999_999_999_999, "999999999999.999"),
        ];
        for (ns, text) in cases {
            assert_eq!(serde_json::to_string(&Micros(ns)).unwrap(), text);
        }
    }
}
