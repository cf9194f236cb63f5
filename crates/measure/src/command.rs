//! Runs any command once and measures it from outside.

mod shell;
mod valgrind;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use brigade_sys::event_fd::wait_readable;
use brigade_sys::perf::{Counter, PerfEvent};
use brigade_sys::process::{Child, describe};
use brigade_sys::usage::Usage;

use valgrind::Valgrind;

/// A command and the settings for running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    text: String,
    words: Vec<String>,
    directory: Option<PathBuf>,
    variables: Vec<(String, String)>,
    removed_variables: Vec<String>,
    limit: Option<Duration>,
    counted_by: Option<InstructionCounter>,
    any_status: bool,
    is_shell: bool,
}

/// Why a command line cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The command line is empty.
    #[error("an empty command")]
    Empty,
    /// A quotation is not closed.
    #[error("`{0}`: a quotation is open")]
    OpenQuotation(String),
    /// The line contains shell syntax, which the program would receive as literal text.
    #[error("`{text}`: `{part}` has a meaning for a shell only, and no shell runs this")]
    NeedsShell {
        /// The command line.
        text: String,
        /// The part that needs a shell.
        part: String,
    },
}

/// Why a run has no valid measurement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The program could not be started: the file does not exist or is not executable.
    #[error("{0}")]
    NotStarted(String),
    /// Instruction counting was requested but is not possible.
    #[error("{0}")]
    NotCounted(String),
    /// The program failed, exceeded its time limit, or was interrupted.
    #[error("{0}")]
    Failed(String),
}

/// Method of counting instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionCounter {
    /// The processor's hardware counter, through the kernel's perf events. It has no overhead.
    Perf,
    /// Valgrind's cachegrind, which interprets the program. The program runs about 20 times as
    /// slow, so all other measurements of such a run are meaningless.
    Valgrind,
}

impl InstructionCounter {
    /// The best method that this machine supports.
    ///
    /// # Errors
    /// The reason why this machine cannot count instructions.
    pub fn available() -> Result<Self, String> {
        match Counter::open(PerfEvent::Instructions) {
            Ok(_) => Ok(Self::Perf),
            Err(_) if Valgrind::is_installed() => Ok(Self::Valgrind),
            Err(error) => Err(format!(
                "instructions cannot be counted here ({error}): a virtual machine without a \
                 counter, or /proc/sys/kernel/perf_event_paranoid above 2; an installed valgrind \
                 would do it"
            )),
        }
    }
}

/// Measurements of one run.
#[derive(Clone, Copy, Debug)]
pub struct RunMeasurement {
    /// Wall time from the start of the process until its end.
    pub wall: Duration,
    /// Resource usage of the process, including the child processes that it waited for.
    pub usage: Usage,
    /// Instructions that the process and its children executed in user mode, if counting was
    /// requested.
    pub instructions: Option<u64>,
    /// Exit status. Always 0 unless [any status](Program::any_status) is accepted.
    pub status: i32,
}

/// Interval at which a run checks whether it was interrupted.
const TICK: Duration = Duration::from_millis(100);

impl Program {
    /// Parses a command line, splitting it into words by shell rules. No shell runs the command, so
    /// variables and pipes are rejected. Wildcards are passed to the program unexpanded.
    ///
    /// # Errors
    /// When a quotation is open, the line is empty, or the line needs a shell.
    ///
    /// ```
    /// use brigade_measure::command::{ParseError, Program};
    /// assert!(Program::parse("grep -c 'a|b' file").is_ok());
    /// assert!(matches!(Program::parse("ls | wc"), Err(ParseError::NeedsShell { .. })));
    /// ```
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let words = shell_words::split(text);
        let words = words.map_err(|_| ParseError::OpenQuotation(text.to_owned()))?;
        if let Some(part) = shell::needed_by(text) {
            return Err(ParseError::NeedsShell { text: text.to_owned(), part });
        }
        Self::of(text, words)
    }

    /// A command line that a shell runs: `bash` if it is installed, otherwise `sh`. The measurement
    /// includes the shell's start; in a comparison both sides pay for it. The line fails as soon as
    /// one of its commands fails. With `bash` that includes commands in the middle of a pipe.
    /// Otherwise a program that crashes at once would be measured as a fast one.
    ///
    /// # Errors
    /// When the line is empty.
    pub fn in_shell(text: &str) -> Result<Self, ParseError> {
        if text.trim().is_empty() {
            return Err(ParseError::Empty);
        }
        let shell: &[&str] = match shell::has_bash() {
            true => &["bash", "-e", "-o", "pipefail", "-c", text],
            false => &["sh", "-e", "-c", text],
        };
        let program = Self::of(text, shell.iter().map(|&word| word.to_owned()).collect());
        program.map(|program| Self { is_shell: true, ..program })
    }

    fn of(text: &str, words: Vec<String>) -> Result<Self, ParseError> {
        if words.is_empty() {
            return Err(ParseError::Empty);
        }
        Ok(Self {
            text: text.to_owned(),
            words,
            directory: None,
            variables: Vec::new(),
            removed_variables: Vec::new(),
            limit: None,
            counted_by: None,
            any_status: false,
            is_shell: false,
        })
    }

    /// Enables instruction counting. Run the program from one thread only.
    #[must_use]
    pub fn counting(self, by: InstructionCounter) -> Self {
        Self { counted_by: Some(by), ..self }
    }

    /// Sets a time limit. A run that exceeds it is killed together with its process group.
    #[must_use]
    pub fn within(self, limit: Option<Duration>) -> Self {
        Self { limit, ..self }
    }

    /// Sets the working directory, which must be absolute. A program named by a relative path is
    /// resolved against this directory.
    #[must_use]
    pub fn in_directory(self, directory: PathBuf) -> Self {
        Self { directory: Some(directory), ..self }
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Removes environment variables.
    #[must_use]
    pub fn without_variables(mut self, names: &[&str]) -> Self {
        self.removed_variables.extend(names.iter().map(|&name| name.to_owned()));
        self
    }

    /// With `any`, every exit status counts as success, and [`RunMeasurement`] reports it. Death by
    /// a signal is still a failure. So is an exit status with which a shell reports a program that
    /// it cannot start or that a signal killed (126, 127, and from 128 on).
    #[must_use]
    pub fn any_status(self, any: bool) -> Self {
        Self { any_status: any, ..self }
    }

    /// Path of the program's executable, if the file exists and is executable.
    pub fn executable(&self) -> Option<PathBuf> {
        let is_executable = |path: &PathBuf| {
            let metadata = path.metadata();
            metadata.is_ok_and(|of| of.is_file() && of.permissions().mode() & 0o111 != 0)
        };
        let path = self.path();
        if self.name().contains('/') {
            return Some(path).filter(is_executable);
        }
        let directories = std::env::var_os("PATH").unwrap_or_default();
        let mut found = std::env::split_paths(&directories).map(|directory| directory.join(&path));
        found.find(is_executable)
    }

    /// The command line as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The program's name or path: the first word of the command line.
    pub fn name(&self) -> &str {
        &self.words[0]
    }

    /// Runs the program once, without input. Its standard output is discarded; its standard error
    /// goes to `stderr`.
    ///
    /// # Errors
    /// When the program cannot be started, fails, or exceeds its time limit, or when
    /// `is_interrupted` returned true and the run was killed.
    pub fn run(
        &self,
        stderr: Stdio,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<RunMeasurement, RunError> {
        let failed = |what: &str, error: &io::Error| {
            RunError::Failed(format!("`{}`: {what}: {error}", self.text))
        };
        let uncounted = |error: io::Error| {
            RunError::NotCounted(format!("`{}`: its instructions: {error}", self.text))
        };
        let (mut counter, mut valgrind) = (None, None);
        match self.counted_by {
            None => {}
            Some(InstructionCounter::Perf) => {
                counter = Some(Counter::open(PerfEvent::Instructions).map_err(uncounted)?);
            }
            Some(InstructionCounter::Valgrind) => {
                valgrind = Some(Valgrind::new().map_err(uncounted)?);
            }
        }
        let mut command = match &valgrind {
            None => Command::new(self.path()),
            Some(valgrind) => valgrind.command(&self.path()),
        };
        command.args(&self.words[1..]).envs(self.variables.iter().cloned());
        for name in &self.removed_variables {
            command.env_remove(name);
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).process_group(0);
        let begin = Instant::now();
        let mut started = command.spawn().map_err(|error| {
            RunError::NotStarted(format!("`{}`: cannot be started: {error}", self.text))
        })?;
        let child = Child::watch(started.id()).map_err(|error| {
            // Nothing would supervise the child, and it would outlive this function.
            let _ = started.kill();
            let _ = started.wait();
            failed("cannot be watched", &error)
        })?;
        let mut is_late = false;
        loop {
            let left = self.limit.map(|limit| limit.saturating_sub(begin.elapsed()));
            let patience = left.filter(|_| !is_late).map_or(TICK, |left| left.min(TICK));
            let ready = wait_readable(&[child.pidfd()], Some(patience));
            if ready.map_err(|error| failed("cannot be watched", &error))?[0] {
                break;
            }
            is_late |= self.limit.is_some_and(|limit| begin.elapsed() >= limit);
            if is_late || is_interrupted() {
                child.kill_group();
            }
        }
        let wall = begin.elapsed();
        let reaped = child.reap().map_err(|error| failed("cannot be reaped", &error))?;
        if is_late {
            let limit = self.limit.unwrap_or_default();
            let said = format!("`{}` was ended, as it ran for longer than {limit:?}", self.text);
            return Err(RunError::Failed(said));
        }
        let most = if self.is_shell { 125 } else { 255 };
        let status = reaped.status.code();
        let status = status.filter(|&status| status == 0 || (self.any_status && status <= most));
        let Some(status) = status else {
            return Err(RunError::Failed(format!("`{}` {}", self.text, describe(reaped.status))));
        };
        let instructions = match (counter, valgrind) {
            (Some(counter), _) => Some(counter.count().map_err(uncounted)?),
            (_, Some(valgrind)) => Some(valgrind.count().map_err(uncounted)?),
            (None, None) => None,
        };
        Ok(RunMeasurement { wall, usage: reaped.usage, instructions, status })
    }

    /// Resolves a relative program path against the working directory. The standard library does
    /// not specify which directory a relative path refers to when the child changes its directory.
    fn path(&self) -> PathBuf {
        match &self.directory {
            Some(directory) if self.name().contains('/') => directory.join(self.name()),
            _ => PathBuf::from(self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<RunMeasurement, String> {
        run_once(&Program::parse(text).unwrap())
    }

    fn run_once(program: &Program) -> Result<RunMeasurement, String> {
        program.run(Stdio::null(), &|| false).map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_is_split_as_by_a_shell_and_measured() {
        let taken = run("sh -c 'i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done'").unwrap();
        assert!(taken.wall > Duration::ZERO);
        assert!(taken.usage.user_ns + taken.usage.system_ns > 0);
        assert!(taken.usage.peak_rss_bytes > 0);
    }

    #[test]
    fn instructions_are_counted_or_it_says_why_not() {
        match InstructionCounter::available() {
            Ok(counter) => {
                let program = Program::parse("true").unwrap().counting(counter);
                let taken = run_once(&program).unwrap();
                assert!(taken.instructions.is_some_and(|count| count > 1000), "{taken:?}");
            }
            Err(error) => assert!(error.contains("valgrind"), "{error}"),
        }
        assert_eq!(run("true").unwrap().instructions, None);
    }

    #[test]
    fn a_relative_program_is_that_of_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/bin/pwd", directory.path().join("here")).unwrap();
        let program = Program::parse("./here").unwrap();
        assert!(matches!(
            program.run(Stdio::null(), &|| false),
            Err(RunError::NotStarted(error)) if error.contains("./here")
        ));
        assert_eq!(program.executable(), None);
        let program = program.in_directory(directory.path().to_owned());
        run_once(&program).unwrap();
        assert_eq!(program.executable(), Some(directory.path().join("./here")));
        assert!(Program::parse("sh").unwrap().executable().is_some());
        assert_eq!(Program::parse("no-such-program").unwrap().executable(), None);
    }

    #[test]
    fn a_status_counts_if_it_is_said_so_and_a_signal_never_does() {
        let any = |line: &str| run_once(&Program::in_shell(line).unwrap().any_status(true));
        assert_eq!(any("exit 3").unwrap().status, 3);
        assert!(any("kill -9 $$").unwrap_err().contains("SIGKILL"));
        assert!(any("/no/such/program").unwrap_err().contains("exited with status 127"));
        assert!(any("sh -c 'kill -SEGV $$'; exit 3").is_err());
    }

    #[test]
    fn a_shell_runs_what_needs_one() {
        let program = Program::in_shell("test \"$SIDE\" = base | cat").unwrap();
        run_once(&program.with_variable("SIDE", "base")).unwrap();
        assert_eq!(Program::in_shell(" "), Err(ParseError::Empty));
        let fails = |line: &str| run_once(&Program::in_shell(line).unwrap()).is_err();
        assert!(fails("false; true"));
        // A shell without `pipefail` does not report this failure.
        assert!(fails("/no/such/program | cat") || !shell::has_bash());
    }

    #[test]
    fn what_goes_wrong_names_the_command() {
        assert_eq!(run("sh -c 'exit 3'").unwrap_err(), "`sh -c 'exit 3'` exited with status 3");
        assert!(run("/no/such/program").unwrap_err().contains("cannot be started"));
        assert!(Program::parse("sh -c 'open").is_err());
        assert!(Program::parse("  ").is_err());
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_its_group() {
        // If `sleep`, the shell's child, survived, it would keep the pipe open for long.
        let (mut from, to) = io::pipe().unwrap();
        let program = Program::parse("sh -c 'sleep 1000 & echo it has forked >&2; wait'").unwrap();
        let program = program.within(Some(Duration::from_secs(2)));
        let error = program.run(to.into(), &|| false).unwrap_err().to_string();
        assert!(error.ends_with("was ended, as it ran for longer than 2s"), "{error}");
        // The read ends only when no process holds the write end any more.
        let mut said = String::new();
        io::Read::read_to_string(&mut from, &mut said).unwrap();
        assert_eq!(said, "it has forked\n");
        let quick = Program::parse("true").unwrap().within(Some(Duration::from_secs(3600)));
        assert!(quick.run(Stdio::null(), &|| false).is_ok());
    }

    #[test]
    fn an_interrupt_ends_the_command() {
        let program = Program::parse("sleep 1000").unwrap();
        let error = program.run(Stdio::null(), &|| true).unwrap_err().to_string();
        assert_eq!(error, "`sleep 1000` killed by SIGKILL");
    }
}
