//! Benchmarks of two sides, base and head, that run alternately: what `ab` and `gate` measure.

mod cells;
mod measure;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use brigade_measure::command::{InstructionCounter, ParseError, Program, RunError};
use brigade_measure::comparison::Compared;
use brigade_measure::context::BlockContext;
use brigade_measure::gate::Stopped;
use serde_json::{Map, Value};

use crate::args::{AbMetric, Parameter};
use crate::exit::{Exit, Failure};
use crate::signals::Flag;

/// Beginning of the reason for a figure that was too small to be measured.
pub(super) const NOT_MEASURED: &str = "not measured";

/// Settings that both sides have in common.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    /// The name of its figures; `ab` or `gate` if the user gave none.
    pub(super) name: String,
    /// Whether a shell runs the commands.
    pub(super) shell: bool,
    /// How the user enables that, as in `--shell`.
    pub(super) shell_by: &'static str,
    /// Shell command for each side, before its first run.
    pub(super) setup: Option<String>,
    /// Shell command before each run.
    pub(super) prepare: Option<String>,
    /// Shell command for each side, after the last run.
    pub(super) cleanup: Option<String>,
    /// How many runs of each side are not counted.
    pub(super) warmup: u32,
    /// Whether an exit status other than 0 is allowed, provided that all runs have the same one.
    pub(super) ignore_failure: bool,
    pub(super) metrics: Vec<AbMetric>,
    pub(super) tolerance: f64,
    pub(super) budget: Duration,
    pub(super) timeout: Option<Duration>,
    pub(super) blocks: u32,
    pub(super) seed: u64,
}

/// One side: its command line and its working directory.
#[derive(Clone, Debug)]
pub(super) struct SideCommand {
    /// How messages name it: `--base`, or `base of NAME:` for a benchmark.
    pub(super) label: String,
    pub(super) command: String,
    /// `None` is Brigade's own working directory.
    pub(super) directory: Option<PathBuf>,
    /// Environment variables that are removed for its programs.
    pub(super) without: Vec<&'static str>,
}

/// A benchmark with all its programs.
pub(super) struct Pairing {
    settings: Settings,
    case: Map<String, Value>,
    base: Candidate,
    head: Candidate,
    counter: Option<InstructionCounter>,
}

/// The programs of one side.
struct Candidate {
    label: String,
    program: Program,
    setup: Option<Program>,
    prepare: Option<Program>,
    cleanup: Option<Program>,
}

/// The result of a benchmark.
pub(super) struct Paired {
    /// One per metric.
    pub(super) cells: Vec<Compared>,
    /// The state of the machine in each block.
    pub(super) blocks: Vec<BlockContext>,
    /// Why the benchmark is incomplete, if it is.
    pub(super) stopped: Option<Stopped>,
}

impl Pairing {
    /// One benchmark for each combination of the parameters' values.
    ///
    /// # Errors
    /// When a command line cannot be parsed, instructions cannot be counted, or a parameter is
    /// repeated or used in no command.
    pub(super) fn all(
        settings: &Settings,
        sides: &[SideCommand; 2],
        parameters: &[Parameter],
    ) -> Result<Vec<Self>, Failure> {
        let counter = match settings.metrics.contains(&AbMetric::Instructions) {
            true => Some(InstructionCounter::available().map_err(|error| {
                Failure::usage(format!("--metric instructions: {error}; --metric cpu is near"))
            })?),
            false => None,
        };
        for (at, Parameter { name, values }) in parameters.iter().enumerate() {
            let twice = parameters[..at].iter().any(|other| other.name == *name);
            let is_repeated = |(at, value): (usize, &String)| values[..at].contains(value);
            if twice || values.iter().enumerate().any(is_repeated) {
                return Err(Failure::usage(format!("--parameter {name}: it is there twice")));
            }
            let part = format!("{{{name}}}");
            let commands = sides.iter().map(|side| &side.command);
            let others = [&settings.setup, &settings.prepare, &settings.cleanup];
            if !commands.chain(others.into_iter().flatten()).any(|line| line.contains(&part)) {
                let error = format!("--parameter {name}: no command has {part} in it");
                return Err(Failure::usage(error));
            }
        }
        combinations(parameters)
            .into_iter()
            .map(|values| Self::new(settings, sides, &values, counter))
            .collect()
    }

    /// Checks that the programs of both sides exist.
    ///
    /// # Errors
    /// When one is missing.
    pub(super) fn check(&self) -> Result<(), Failure> {
        for Candidate { label, program, .. } in [&self.base, &self.head] {
            if program.executable().is_none() {
                let (text, name) = (program.text(), program.name());
                return Err(Failure::usage(format!(
                    "{label} `{text}`: cannot be started: there is no program {name}"
                )));
            }
        }
        Ok(())
    }

    /// Whether the two sides start different files with equal bytes.
    pub(super) fn are_alike(&self) -> bool {
        let files = [&self.base, &self.head].map(|candidate| candidate.program.executable());
        let [Some(base), Some(head)] = files else { return false };
        // The same file on both sides says nothing: it may be an interpreter that runs their
        // scripts.
        let read = |path: PathBuf| std::fs::read(path).ok();
        base != head && read(base).is_some_and(|bytes| read(head) == Some(bytes))
    }

    fn new(
        settings: &Settings,
        sides: &[SideCommand; 2],
        values: &[(&str, &str)],
        counter: Option<InstructionCounter>,
    ) -> Result<Self, Failure> {
        let [base, head] = sides;
        Ok(Self {
            settings: settings.clone(),
            case: values.iter().map(|(name, value)| ((*name).to_owned(), plain(value))).collect(),
            base: Candidate::new(settings, base, "base", values)?,
            head: Candidate::new(settings, head, "head", values)?,
            counter,
        })
    }
}

impl Candidate {
    fn new(
        settings: &Settings,
        side: &SideCommand,
        which: &str,
        values: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let within = |program: Program| {
            let program = program.within(settings.timeout).without_variables(&side.without);
            match &side.directory {
                Some(directory) => program.in_directory(directory.clone()),
                None => program,
            }
        };
        let wrong = |error: ParseError| {
            let hint = match error {
                ParseError::NeedsShell { .. } => {
                    format!("; {} has a shell run it, quotes pass it as it is", settings.shell_by)
                }
                _ => String::new(),
            };
            Failure::usage(format!("{} {error}{hint}", side.label))
        };
        let command = filled_in(&side.command, values);
        let program = match settings.shell {
            true => Program::in_shell(&command),
            false => Program::parse(&command),
        };
        let program = within(program.map_err(wrong)?).any_status(settings.ignore_failure);
        // These programs are not measured, so they may know which side they run for.
        let helper = |line: &Option<String>| -> Result<Option<Program>, Failure> {
            let Some(line) = line else { return Ok(None) };
            let program = Program::in_shell(&filled_in(line, values)).map_err(wrong)?;
            Ok(Some(within(program).with_variable("BRIGADE_SIDE", which)))
        };
        Ok(Self {
            label: side.label.clone(),
            program,
            setup: helper(&settings.setup)?,
            prepare: helper(&settings.prepare)?,
            cleanup: helper(&settings.cleanup)?,
        })
    }

    /// Runs a program that is not measured, and shows its standard error.
    fn help(&self, program: Option<&Program>, signal: &Flag) -> Result<(), RunError> {
        let Some(program) = program else { return Ok(()) };
        program.run(Stdio::inherit(), &|| signal.is_set()).map(drop)
    }
}

/// Why a comparison cannot begin or go on. A program that cannot be started is a mistake of the
/// user.
fn failure(label: &str, error: &RunError) -> Failure {
    let message = format!("{label} {error}");
    match error {
        RunError::NotStarted(_) | RunError::NotCounted(_) => Failure::usage(message),
        RunError::Failed(_) => Failure { exit: Exit::JobFailed, message },
    }
}

/// Replaces each parameter's name in braces by its value.
fn filled_in(line: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(line.len());
    let mut rest = line;
    // In one pass, because a value may look like another parameter.
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        let found = values.iter().find_map(|(name, value)| {
            let after = rest[1..].strip_prefix(name)?.strip_prefix('}')?;
            Some((*value, after))
        });
        let (put, after) = found.unwrap_or_else(|| rest.split_at(1));
        filled.push_str(put);
        rest = after;
    }
    filled + rest
}

/// All combinations of values; one empty combination if there is no parameter.
fn combinations(parameters: &[Parameter]) -> Vec<Vec<(&str, &str)>> {
    let mut all = vec![Vec::new()];
    for parameter in parameters {
        let longer = |values: &Vec<(_, _)>| {
            let values = values.clone();
            let each = parameter.values.iter().map(move |value| {
                let one = (parameter.name.as_str(), value.as_str());
                values.iter().copied().chain([one]).collect()
            });
            each.collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

/// A JSON number if the value is written like one, a string if not.
fn plain(value: &str) -> Value {
    match serde_json::from_str(value) {
        Ok(Value::Number(number)) => Value::Number(number),
        _ => Value::from(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &str, values: &[&str]) -> Parameter {
        let values = values.iter().map(|&value| value.to_owned()).collect();
        Parameter { name: name.to_owned(), values }
    }

    #[test]
    fn each_value_is_combined_with_each_and_filled_in() {
        assert_eq!(combinations(&[]), [vec![]]);
        let parameters = [parameter("n", &["1", "20"]), parameter("how", &["a b"])];
        let all = combinations(&parameters);
        assert_eq!(all, [[("n", "1"), ("how", "a b")], [("n", "20"), ("how", "a b")]]);
        assert_eq!(filled_in("x {n}{n} '{how}' {other}", &all[1]), "x 2020 'a b' {other}");
        assert_eq!(filled_in("{a}{{b}}{", &[("a", "{b}"), ("b", "1")]), "{b}{1}{");
        assert_eq!((plain("20"), plain("2.50"), plain("a")), (20.into(), 2.5.into(), "a".into()));
        assert_eq!(plain("true"), Value::from("true"));
    }
}
