//! `brigade gate`: two commits, built and compared.

mod checkout;
mod config;
mod repository;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use brigade_measure::comparison::{self, COMPARE_SCHEMA, Compared, Comparison};
use brigade_measure::gate::Stopped;
use brigade_measure::host::Host;
use serde_json::{Value, json};

use checkout::Checkouts;
use config::{Benchmark, Config};
use repository::{Repository, Revision};

use super::pairing::{Pairing, Settings, Side};
use super::verdict;
use crate::args::{AbMetric, DEFAULT_TOLERANCE, GateArgs};
use crate::console;
use crate::exit::{Exit, Failure};
use crate::exports;
use crate::signals::Flag;

pub(crate) fn run(args: &GateArgs) -> Result<Exit, Failure> {
    let repository = Repository::of(&args.repository)?;
    let base = repository.commit(&args.base)?;
    let head = match &args.head {
        Some(head) => repository.commit(head)?,
        None => repository.working_tree()?,
    };
    if base.has_files_of(&head) {
        return Err(Failure::usage(format!(
            "base, {}, and head, {}, are the same: nothing would be compared",
            base.name, head.name
        )));
    }
    let mut warnings = Vec::new();
    let config = settled(args, config(args, &repository, [&base, &head], &mut warnings)?)?;
    let has_times = |benchmark: &Benchmark| {
        benchmark.metrics.iter().any(|of| matches!(of, AbMetric::Wall | AbMetric::Cpu))
    };
    let exported = &args.verdict.exports.export;
    exports::check_times(exported, config.benchmarks.iter().any(has_times))?;
    let mut results = verdict::open(&args.verdict, &[])?;
    warnings.extend(verdict::warnings());
    let signal = Flag::watch()?;
    let begin = Instant::now();
    let checkouts = Checkouts::open(&repository, args.cache.as_deref(), &signal)?;
    let directories = [checkouts.place(&base), checkouts.place(&head)];
    // What is written wrongly is told before anything is built.
    let mut pairings = Vec::new();
    for benchmark in &config.benchmarks {
        refuse_one_program_for_both(benchmark, &repository)?;
        pairings.push((benchmark, of_benchmark(args, benchmark, &directories)?));
    }
    let build = config.build.as_deref();
    checkouts.build("base", &base, build)?;
    checkouts.build("head", &head, build)?;
    let (mut cells, mut blocks, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for (benchmark, pairings) in &pairings {
        let (name, budget) = (&benchmark.name, benchmark.budget.as_secs_f64());
        for pairing in pairings {
            if signal.is_set() {
                break;
            }
            console::say(format_args!("{name}: base and head in turns, for up to {budget} s"));
            let paired = pairing.measure(&signal)?;
            if let Some(Stopped::Failed(error)) = paired.stopped {
                failures.push(format!("{}: {error}", benchmark.name));
            }
            cells.extend(paired.cells);
            blocks.extend(paired.blocks);
        }
    }
    if let Err(error) = checkouts.forget_old([&base, &head]) {
        console::say(format_args!("warning: old checkouts are not removed: {error}"));
    }
    let host = json!(Host::read());
    let comparison = Comparison {
        schema: COMPARE_SCHEMA.to_owned(),
        kind: "gate".to_owned(),
        base: side(&base, &host),
        head: side(&head, &host),
        tolerance: args.verdict.tolerance.unwrap_or(DEFAULT_TOLERANCE),
        seed: args.seed,
        took_s: begin.elapsed().as_secs_f64(),
        warnings,
        interrupted: signal.is_set(),
        verdict: verdict::worst(&cells),
        cells,
        blocks,
    };
    verdict::write(&comparison, &args.verdict, &mut results)?;
    if let Some(exit) = signal.exit() {
        return Ok(exit);
    }
    if let Some(message) = failures.into_iter().next() {
        return Err(Failure { exit: Exit::JobFailed, message });
    }
    exit(&comparison, args)
}

/// Green only if each figure was measured, and each could have been found to be worse.
fn exit(comparison: &Comparison, args: &GateArgs) -> Result<Exit, Failure> {
    let is_measured =
        |cell: &Compared| cell.blocks > 0 && cell.base.is_finite() && cell.head.is_finite();
    if comparison.cells.is_empty() || !comparison.cells.iter().all(is_measured) {
        let message = "not every figure was measured".to_owned();
        return Err(Failure { exit: Exit::JobFailed, message });
    }
    let exit = verdict::exit(comparison.verdict, args.verdict.fail_on);
    let is_blind = |cell: &Compared| !cell.detectable.is_finite();
    match exit {
        Exit::Ok if comparison.cells.iter().any(is_blind) => {
            console::say("no slowdown could have been found in so few blocks: raise --budget");
            Ok(Exit::Inconclusive)
        }
        exit => Ok(exit),
    }
}

/// What is built and measured: the command that was given, or what the file says.
fn config(
    args: &GateArgs,
    repository: &Repository,
    [base, head]: [&Revision; 2],
    warnings: &mut Vec<String>,
) -> Result<Config, Failure> {
    if let Some(command) = &args.command {
        return Ok(Config::of_command(command));
    }
    let (place, text) = match &args.config {
        Some(file) => {
            let text = fs::read_to_string(file)
                .map_err(|error| Failure::usage(format!("--config {}: {error}", file.display())))?;
            (file.display().to_string(), text)
        }
        None => {
            let text = repository.text(head, config::FILE).ok_or_else(|| {
                Failure::usage(format!(
                    "there is no {} in head, {}: it says what is measured (brigade gate --help \
                     shows one), or give --command",
                    config::FILE,
                    head.name
                ))
            })?;
            if repository.text(base, config::FILE).is_some_and(|of_base| of_base != text) {
                warnings.push(format!(
                    "{} differs between base and head: that of head is used",
                    config::FILE
                ));
            }
            (config::FILE.to_owned(), text)
        }
    };
    // An error of the file has several lines, with the place marked.
    Config::parse(&text).map_err(|error| {
        let error = error.trim_end().replace('\n', "; ");
        Failure::usage(format!("{place}: {error}"))
    })
}

/// With what the command line says in the place of the file.
fn settled(args: &GateArgs, mut config: Config) -> Result<Config, Failure> {
    for name in &args.only {
        if !config.benchmarks.iter().any(|benchmark| benchmark.name == *name) {
            let names = config.benchmarks.iter().map(|benchmark| benchmark.name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            let error = format!("--only {name}: there is no such benchmark; there are {names}");
            return Err(Failure::usage(error));
        }
    }
    if !args.only.is_empty() {
        config.benchmarks.retain(|benchmark| args.only.contains(&benchmark.name));
    }
    config.build = args.build.clone().or(config.build);
    for benchmark in &mut config.benchmarks {
        if !args.metric.is_empty() {
            benchmark.metrics.clone_from(&args.metric);
        }
        benchmark.budget = args.budget.unwrap_or(benchmark.budget);
        benchmark.tolerance = args.verdict.tolerance.unwrap_or(benchmark.tolerance);
    }
    Ok(config)
}

/// An absolute path into the repository names the program of the working tree, for both sides.
fn refuse_one_program_for_both(
    benchmark: &Benchmark,
    repository: &Repository,
) -> Result<(), Failure> {
    let program = benchmark.command.split_whitespace().next().unwrap_or_default();
    let program = program.trim_matches(['\'', '"']);
    match Path::new(program).starts_with(&repository.root) {
        true => Err(Failure::usage(format!(
            "benchmark {}: base and head would both run {program}: name it from the top of the \
             repository, as each side has a checkout of its own",
            benchmark.name
        ))),
        false => Ok(()),
    }
}

/// One for each combination of the benchmark's parameters.
fn of_benchmark(
    args: &GateArgs,
    benchmark: &Benchmark,
    directories: &[PathBuf; 2],
) -> Result<Vec<Pairing>, Failure> {
    let Benchmark { name, command, .. } = benchmark;
    let side = |which: &str, directory: &PathBuf| Side {
        label: format!("{which} of {name}:"),
        command: command.clone(),
        directory: Some(directory.clone()),
    };
    let sides = [side("base", &directories[0]), side("head", &directories[1])];
    Pairing::all(&settings(args, benchmark), &sides, &benchmark.parameters)
}

fn settings(args: &GateArgs, benchmark: &Benchmark) -> Settings {
    Settings {
        name: benchmark.name.clone(),
        shell: benchmark.shell,
        setup: benchmark.setup.clone(),
        prepare: benchmark.prepare.clone(),
        cleanup: benchmark.cleanup.clone(),
        warmup: benchmark.warmup,
        ignore_failure: benchmark.ignore_failure,
        metrics: benchmark.metrics.clone(),
        tolerance: benchmark.tolerance,
        budget: benchmark.budget,
        timeout: benchmark.timeout,
        blocks: benchmark.blocks,
        seed: args.seed,
    }
}

fn side(revision: &Revision, host: &Value) -> comparison::Side {
    comparison::Side {
        name: revision.name.clone(),
        name_bytes: None,
        command: None,
        commit: Some(revision.id.clone()),
        host: host.clone(),
    }
}

#[cfg(test)]
mod tests {
    use brigade_measure::comparison::{EndedBy, Estimate, Verdict};
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn comparison(verdict: Verdict, change: impl FnOnce(&mut Compared)) -> Comparison {
        let ratio = Estimate { estimate: 1.0, interval: [0.9, 1.1], confidence: 0.99 };
        let mut cell = Compared {
            experiment: "a".to_owned(),
            case: serde_json::Map::new(),
            metric: "wall".to_owned(),
            unit: "us".to_owned(),
            verdict,
            why: String::new(),
            blocks: 12,
            ended_by: Some(EndedBy::Budget),
            tolerance: Some(0.05),
            budget_s: Some(1.0),
            base: 1.0,
            head: 1.0,
            ratio,
            aa: Some(ratio),
            p: 1.0,
            p_holm: 1.0,
            detectable: 0.1,
            confirmed: None,
            second: None,
            base_samples: Vec::new(),
            again_samples: Vec::new(),
            head_samples: Vec::new(),
        };
        change(&mut cell);
        let side = |name: &str| comparison::Side {
            name: name.to_owned(),
            name_bytes: None,
            command: None,
            commit: None,
            host: Value::Null,
        };
        Comparison {
            schema: COMPARE_SCHEMA.to_owned(),
            kind: "gate".to_owned(),
            base: side("b"),
            head: side("h"),
            tolerance: 0.05,
            seed: 1,
            took_s: 1.0,
            warnings: Vec::new(),
            interrupted: false,
            verdict,
            cells: vec![cell],
            blocks: Vec::new(),
        }
    }

    #[test]
    fn green_is_only_what_was_measured_and_could_have_been_found() {
        let args = |policy: &str| {
            let cli = Cli::parse_from(["brigade", "gate", "main", "--policy", policy]);
            let Command::Gate(args) = cli.command else { panic!("no gate") };
            args
        };
        let code = |comparison: &Comparison, policy: &str| {
            let ended = exit(comparison, &args(policy));
            ended.unwrap_or_else(|failure| failure.exit)
        };
        let same = comparison(Verdict::Same, |_| {});
        assert_eq!(code(&same, "inconclusive"), Exit::Ok);
        let open = comparison(Verdict::Inconclusive, |_| {});
        assert_eq!(code(&open, "inconclusive"), Exit::Inconclusive);
        assert_eq!(code(&open, "worse"), Exit::Ok);
        let blind = comparison(Verdict::Inconclusive, |cell| cell.detectable = f64::INFINITY);
        assert_eq!(code(&blind, "worse"), Exit::Inconclusive);
        for lacks in [
            (|cell| cell.blocks = 0) as fn(&mut Compared),
            |cell| cell.base = f64::NAN,
            |cell| cell.head = f64::NAN,
        ] {
            assert_eq!(code(&comparison(Verdict::Inconclusive, lacks), "worse"), Exit::JobFailed);
        }
        let nothing = Comparison { cells: Vec::new(), ..same };
        assert_eq!(code(&nothing, "worse"), Exit::JobFailed);
    }
}
