//! Any command, run once and measured from outside.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use brigade_sys::bell::wait_readable;
use brigade_sys::perf::{Counter, Event};
use brigade_sys::process::{Child, describe};
use brigade_sys::usage::Usage;

/// A command line, split into words as a shell does. There is no shell: variables,
/// wildcards and pipes need `sh -c '...'`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    text: String,
    words: Vec<String>,
    counts: bool,
    limit: Option<Duration>,
}

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// From the start of the process until it had ended.
    pub wall: Duration,
    /// What it used, and the children that it has waited for.
    pub usage: Usage,
    /// Instructions that it and its children carried out in user mode, if they were to be
    /// counted.
    pub instructions: Option<u64>,
}

/// How often it is asked whether somebody wants the run to end.
const TICK: Duration = Duration::from_millis(100);

impl Program {
    /// From a command line.
    ///
    /// # Errors
    /// When a quotation is open, or there is nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words = shell_words::split(text).map_err(|error| format!("`{text}`: {error}"))?;
        if words.is_empty() {
            return Err("an empty command".to_owned());
        }
        Ok(Self { text: text.to_owned(), words, counts: false, limit: None })
    }

    /// The same program, whose instructions are counted. Run it from one thread.
    #[must_use]
    pub fn counting(self) -> Self {
        Self { counts: true, ..self }
    }

    /// The same program, each run of which is ended, with its process group, after so long.
    #[must_use]
    pub fn within(self, limit: Option<Duration>) -> Self {
        Self { limit, ..self }
    }

    /// As it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Runs it once, without input, its output thrown away; what it writes to its
    /// standard error goes where `stderr` says.
    ///
    /// # Errors
    /// When it cannot be started, fails, runs for too long, or is ended because
    /// `is_interrupted` says so.
    pub fn run(&self, stderr: Stdio, is_interrupted: &dyn Fn() -> bool) -> Result<Taken, String> {
        let failed = |what: &str, error: &io::Error| format!("`{}`: {what}: {error}", self.text);
        let counter = self.counts.then(|| Counter::open(Event::Instructions)).transpose();
        let counter = counter.map_err(|error| {
            format!(
                "instructions cannot be counted here ({error}): a virtual machine without a \
                 counter, or /proc/sys/kernel/perf_event_paranoid above 2; --metric cpu is near"
            )
        })?;
        let begin = Instant::now();
        let child = Command::new(&self.words[0])
            .args(&self.words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .map_err(|error| failed("cannot be started", &error))?;
        let child =
            Child::watch(child.id()).map_err(|error| failed("cannot be watched", &error))?;
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
            return Err(format!("`{}` was ended, as it ran for longer than {limit:?}", self.text));
        }
        if !reaped.status.success() {
            return Err(format!("`{}` {}", self.text, describe(reaped.status)));
        }
        let instructions = counter.map(|counter| counter.count()).transpose();
        let instructions = instructions.map_err(|error| failed("cannot be counted", &error))?;
        Ok(Taken { wall, usage: reaped.usage, instructions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<Taken, String> {
        Program::parse(text).unwrap().run(Stdio::null(), &|| false)
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
        match Program::parse("true").unwrap().counting().run(Stdio::null(), &|| false) {
            Ok(taken) => assert!(taken.instructions.is_some_and(|count| count > 1000)),
            Err(error) => assert!(error.contains("--metric cpu"), "{error}"),
        }
        assert_eq!(run("true").unwrap().instructions, None);
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
        // The sleep of the shell's child would keep the pipe open for long.
        let (mut from, to) = io::pipe().unwrap();
        let program = Program::parse("sh -c 'sleep 1000 & echo it has forked >&2; wait'").unwrap();
        let program = program.within(Some(Duration::from_secs(2)));
        let error = program.run(to.into(), &|| false).unwrap_err();
        assert!(error.ends_with("was ended, as it ran for longer than 2s"), "{error}");
        // Ends only when nobody has the other end any more.
        let mut said = String::new();
        io::Read::read_to_string(&mut from, &mut said).unwrap();
        assert_eq!(said, "it has forked\n");
        let quick = Program::parse("true").unwrap().within(Some(Duration::from_secs(3600)));
        assert!(quick.run(Stdio::null(), &|| false).is_ok());
    }

    #[test]
    fn an_interrupt_ends_the_command() {
        let program = Program::parse("sleep 1000").unwrap();
        let error = program.run(Stdio::null(), &|| true).unwrap_err();
        assert_eq!(error, "`sleep 1000` killed by SIGKILL");
    }
}
