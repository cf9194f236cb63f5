use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use brigade_exec::{Backend, Sandbox, StartMethod, Transport};
use clap::Args;
use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};

/// How jobs are executed. `None` is "not given": what is given is checked against
/// the backend.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Workers")]
pub(crate) struct PoolArgs {
    /// How jobs run: one after another (sync); on one event loop, where waiting jobs overlap
    /// (async); on threads; on threads under one global lock (threads-gil); in worker processes
    /// [default: processes]
    #[arg(short, long, value_name = "BACKEND", value_parser = backend())]
    pub(crate) backend: Option<Backend>,
    /// How many workers [default: the cores that this process may use, by affinity and
    /// container quota]
    #[arg(short, long, value_name = "N")]
    pub(crate) workers: Option<usize>,
    #[command(flatten)]
    pub(crate) worker: WorkerArgs,
    #[command(flatten)]
    pub(crate) processes: ProcessArgs,
}

/// What only worker processes have.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Worker processes (with --backend processes)")]
pub(crate) struct ProcessArgs {
    /// How data reaches a worker: in reusable shared memory (arena), in a shared memory region
    /// for each payload (shm), or inside messages (inline) [default: arena]
    #[arg(long, value_name = "TRANSPORT", value_parser = transport())]
    pub(crate) transport: Option<Transport>,
    /// How a worker starts: as a new process (spawn), or forked from a process that was
    /// started once (forkserver) [default: spawn]
    #[arg(long, value_name = "METHOD", value_parser = start_method())]
    pub(crate) start_method: Option<StartMethod>,
    /// Jobs assigned to one worker at a time: with 2 the next job is there when one ends
    /// [default: 2]
    #[arg(long, value_name = "N")]
    pub(crate) depth: Option<usize>,
    #[command(flatten)]
    pub(crate) guards: GuardArgs,
}

/// How a worker of any backend is treated.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct WorkerArgs {
    /// Bind worker n to the n-th usable core
    #[arg(long)]
    pub(crate) pin: bool,
    /// End a job whose kernel runs longer, as in 500ms, 5s, 2m: a worker process is killed and
    /// replaced; other backends ask the kernel to stop. Reading the inputs may take as long again;
    /// time in which everything is stopped or frozen does not count [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

/// How worker processes are watched, bounded and replaced.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct GuardArgs {
    /// Shared memory for payloads at most, as in 512MiB; jobs that do not fit go by shm
    /// [default: a quarter of the memory that this process may use]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub(crate) arena_limit: Option<u64>,
    /// How long a worker polls for its next job before it sleeps, as in 20us; 0 to sleep at
    /// once [default: about as long as waking it takes here, measured at the start]
    #[arg(long, value_name = "DURATION", value_parser = duration_or_0)]
    pub(crate) spin: Option<Duration>,
    /// How often to retry a job whose worker died. Errors that the kernel returns are not
    /// retried [default: 2]
    #[arg(long, value_name = "N")]
    pub(crate) retries: Option<u32>,
    /// Stop after more than N consecutive idle or start-up worker deaths with no job completed.
    /// Workers that die together count once, and the pool waits for jobs that other workers are
    /// running [default: 5]
    #[arg(long, value_name = "N")]
    pub(crate) max_restarts: Option<u32>,
    /// Replace a worker that does not begin an assigned job for this long. --timeout bounds a
    /// kernel that runs too long [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) heartbeat: Option<Duration>,
    /// Replace a worker after this many jobs, or up to an eighth fewer, so that not all are
    /// replaced at once [default: never]
    #[arg(long, value_name = "N")]
    pub(crate) max_jobs_per_worker: Option<u64>,
    /// Private memory of a job at most, as in 256MiB: beyond it the job fails and is not
    /// retried. A worker that holds half of it after a job is replaced [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub(crate) memory_limit: Option<u64>,
    /// Processor time of a job at most, as in 10s: beyond it the job fails and is not retried
    /// [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) cpu_limit: Option<Duration>,
    /// Take the file system, the network, programs, processes and threads away from workers
    /// (Landlock and seccomp), and the inputs of other workers' jobs. `--sandbox=best-effort` runs
    /// with the parts that this kernel has
    #[arg(long, value_name = "HOW", value_parser = sandbox())]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "strict")]
    pub(crate) sandbox: Option<Sandbox>,
    /// How long a worker may take to start [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) start_timeout: Option<Duration>,
    /// Start workers through this program: a wrapper, for example of a profiler, that in the end
    /// runs brigade [default: this executable]
    #[arg(long, value_name = "PATH")]
    pub(crate) worker_program: Option<PathBuf>,
    /// Pass this environment variable to workers, or set it. By default they get PATH, LANG, LC_*,
    /// TMPDIR, BRIGADE_* and what the loader and the runtime read; the rest may be secret. Can be
    /// repeated
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = variable())]
    pub(crate) env: Vec<Variable>,
}

/// A variable of the environment: with a value, or with the one that it has here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: OsString,
    pub(crate) value: Option<OsString>,
}

fn variable() -> impl TypedValueParser<Value = Variable> {
    // A value need not be UTF-8.
    OsStringValueParser::new().map(|text| {
        let bytes = text.as_bytes();
        let part = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        match bytes.iter().position(|byte| *byte == b'=') {
            Some(place) => {
                Variable { name: part(&bytes[..place]), value: Some(part(&bytes[place + 1..])) }
            }
            None => Variable { name: text, value: None },
        }
    })
}

/// `500ms`, `5s`, `1m 30s`; not zero.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write 500ms, 5s, or 2m")),
    }
}

/// As a duration, or nothing at all.
pub(super) fn duration_or_0(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { duration(text) }
}

/// `4096`, `64KiB`, `1.5GiB`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        other => return Err(format!("there is no unit `{other}`; write 512MiB or 2GiB")),
    };
    match digits.parse::<f64>() {
        Ok(number) if number.is_finite() && number >= 0.0 => Ok((number * unit as f64) as u64),
        _ => Err("write a number and a unit, as in 512MiB or 2GiB".to_owned()),
    }
}

pub(super) fn backend() -> impl TypedValueParser<Value = Backend> {
    names(Backend::ALL.iter().map(|value| value.name()))
}

pub(super) fn transport() -> impl TypedValueParser<Value = Transport> {
    names(Transport::ALL.iter().map(|value| value.name()))
}

pub(super) fn start_method() -> impl TypedValueParser<Value = StartMethod> {
    names(StartMethod::ALL.iter().map(|value| value.name()))
}

fn sandbox() -> impl TypedValueParser<Value = Sandbox> {
    names(Sandbox::ALL.iter().map(|value| value.name()))
}

/// Listed in the help and in completions, with a suggestion for a near miss.
fn names<T>(names: impl Iterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = String> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names.collect::<Vec<_>>()).try_map(|name| name.parse::<T>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_a_length() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for wrong in ["5", "", "0s", "-1s", "s", "1 fortnight", "999999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
