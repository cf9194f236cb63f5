//! `brigade gate`: builds two commits and compares them.

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

use checkout::{Checkouts, Recipe};
use config::{Benchmark, Config};
use repository::{Repository, Revision};

use super::pairing::{NOT_MEASURED, Pairing, Settings, SideCommand};
use super::verdict;
use crate::args::GateArgs;
use crate::console;
use crate::exit::{Exit, Failure};
use crate::exports;
use crate::git;
use crate::signals::Flag;

/// The largest `detectable` slowdown with which a comparison may pass, +100 %. Beyond it, the
/// comparison would not find a program that takes twice as long.
const BLIND: f64 = 1.0;

pub(crate) fn run(args: &GateArgs) -> Result<Exit, Failure> {
    let repository = Repository::of(&args.repository)?;
    let base = repository.commit(&args.base)?;
    let head = match &args.head {
        Some(head) => repository.commit(head)?,
        None => repository.working_tree()?,
    };
    if Repository::are_same(&base, &head) {
        return Err(Failure::usage(format!(
            "base, {}, and head, {}, are the same: nothing would be compared",
            base.name, head.name
        )));
    }
    let mut warnings = Vec::new();
    if !repository.is_ancestor(&base, &head) {
        warnings.push(
            "head does not contain base: what base has that head lacks is compared, too \
             (`git merge-base` names the commit that both have)"
                .to_owned(),
        );
    }
    let config = settled(args, config(args, &repository, [&base, &head], &mut warnings)?)?;
    warnings.extend(left_out(args, &config));
    let benchmarks = chosen(args, &config);
    let mut metrics = benchmarks.iter().flat_map(|benchmark| &benchmark.settings.metrics);
    let has_times = metrics.any(|metric| metric.is_main_time());
    exports::check_times(&args.verdict.exports.export, has_times)?;
    let mut results = verdict::open(&args.verdict, &[])?;
    warnings.extend(verdict::warnings());
    let signal = Flag::watch()?;
    let begin = Instant::now();
    let checkouts = Checkouts::open(&repository, args.cache.as_deref(), &signal)?;
    let directories = [checkouts.place(&base), checkouts.place(&head)];
    // Report mistakes in the configuration before building anything.
    let mut pairings = Vec::new();
    for benchmark in &benchmarks {
        refuse_paths_into(&repository.root, benchmark)?;
        for pairing in of_benchmark(benchmark, &directories)? {
            pairings.push((&benchmark.settings, pairing));
        }
    }
    let recipe = Recipe::new(config.build.clone(), args.rebuild);
    checkouts.build("base", &base, &recipe)?;
    checkouts.build("head", &head, &recipe)?;
    for (_, pairing) in &pairings {
        pairing.check()?;
    }
    for (Settings { name, .. }, _) in pairings.iter().filter(|(_, pairing)| pairing.are_alike()) {
        warnings.push(format!("{name}: base and head run the same program, byte for byte"));
    }
    let (mut cells, mut blocks, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for (Settings { name, budget, .. }, pairing) in &pairings {
        if signal.is_set() {
            break;
        }
        let budget = budget.as_secs_f64();
        console::say(format_args!("{name}: base and head in turns, for up to {budget} s"));
        let paired = pairing.measure(&signal)?;
        if let Some(Stopped::Failed(error)) = paired.stopped {
            failures.push(format!("{name}: {error}"));
        }
        cells.extend(paired.cells);
        blocks.extend(paired.blocks);
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
        tolerance: benchmarks.iter().map(|of| of.settings.tolerance).fold(0.0, f64::max),
        seed: args.seed,
        took_s: begin.elapsed().as_secs_f64(),
        warnings,
        interrupted: signal.is_set(),
        verdict: verdict::worst(&cells),
        cells,
        blocks,
    };
    let exit = match (signal.exit(), failures.into_iter().next()) {
        (Some(exit), _) => Ok(exit),
        (None, Some(message)) => Err(Failure { exit: Exit::JobFailed, message }),
        (None, None) => exit(&comparison, args),
    };
    verdict::write(&comparison, &args.verdict, exit.as_ref().ok(), &mut results)?;
    exit
}

/// Passes only if every figure was measured, and a slowdown of each could have been found.
fn exit(comparison: &Comparison, args: &GateArgs) -> Result<Exit, Failure> {
    let is_measured = |cell: &Compared| {
        cell.blocks > 0
            && cell.base.is_finite()
            && cell.head.is_finite()
            && !cell.why.starts_with(NOT_MEASURED)
    };
    if comparison.cells.is_empty() || !comparison.cells.iter().all(is_measured) {
        let message = "not every figure was measured".to_owned();
        return Err(Failure { exit: Exit::JobFailed, message });
    }
    let exit = verdict::exit(comparison.verdict, args.verdict.fail_on);
    let is_blind = |cell: &Compared| cell.detectable.is_nan() || cell.detectable > BLIND;
    match exit {
        Exit::Ok if comparison.cells.iter().any(is_blind) => {
            console::say("so few blocks, with this noise, would not find what takes twice as long");
            Ok(Exit::Inconclusive)
        }
        exit => Ok(exit),
    }
}

/// What to build and measure: the command that was given, or what the file says.
fn config(
    args: &GateArgs,
    repository: &Repository,
    [base, head]: [&Revision; 2],
    warnings: &mut Vec<String>,
) -> Result<Config, Failure> {
    if let Some(command) = &args.command {
        return Ok(Config::of_command(command));
    }
    // A TOML error has several lines and marks the position.
    let wrong = |place: String, error: String| {
        Failure::usage(format!("{place}: {}", error.trim_end().replace('\n', "; ")))
    };
    if let Some(file) = &args.config {
        let place = file.display().to_string();
        let text = fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("--config {place}: {error}")))?;
        return Config::parse(&text).map_err(|error| wrong(place, error));
    }
    let text = repository.text(head, config::FILE).ok_or_else(|| {
        Failure::usage(format!(
            "there is no {} in head, {}: it says what is measured (brigade gate --help shows one), \
             or give --command",
            config::FILE,
            head.name
        ))
    })?;
    let config = Config::parse(&text).map_err(|error| wrong(config::FILE.to_owned(), error))?;
    // A change to the program may also change what is asked of it. A reviewer has to see that.
    if let Some(of_base) = repository.text(base, config::FILE).filter(|of_base| *of_base != text) {
        let file = config::FILE;
        warnings.push(format!("{file} differs between base and head: that of head is used"));
        if let Ok(of_base) = Config::parse(&of_base) {
            warnings.extend(config.less_than(&of_base));
        }
    }
    Ok(config)
}

/// A warning with the benchmarks that `--only` leaves out.
fn left_out(args: &GateArgs, config: &Config) -> Option<String> {
    let names = config.settings().map(|benchmark| benchmark.name.as_str());
    let names: Vec<&str> = names
        .filter(|name| !args.only.is_empty() && !args.only.iter().any(|of| of == name))
        .collect();
    (!names.is_empty()).then(|| format!("--only leaves out: {}", names.join(", ")))
}

fn chosen<'a>(args: &GateArgs, config: &'a Config) -> Vec<&'a Benchmark> {
    let all = config.benchmarks.iter();
    all.filter(|benchmark| args.only.is_empty() || args.only.contains(&benchmark.settings.name))
        .collect()
}

/// The configuration, with the options of the command line in place of the file's.
fn settled(args: &GateArgs, mut config: Config) -> Result<Config, Failure> {
    for name in &args.only {
        if !config.settings().any(|benchmark| benchmark.name == *name) {
            let names = config.settings().map(|benchmark| benchmark.name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            let error = format!("--only {name}: there is no such benchmark; there are {names}");
            return Err(Failure::usage(error));
        }
    }
    if args.build.as_ref().is_some_and(|build| build.trim().is_empty()) {
        return Err(Failure::usage("--build is empty: leave it out if nothing is to be built"));
    }
    config.build = args.build.clone().or(config.build);
    for Benchmark { settings, .. } in &mut config.benchmarks {
        if !args.metric.is_empty() {
            settings.metrics.clone_from(&args.metric);
        }
        settings.budget = args.budget.unwrap_or(settings.budget);
        settings.tolerance = args.verdict.tolerance.unwrap_or(settings.tolerance);
        settings.seed = args.seed;
    }
    Ok(config)
}

/// Refuses a path into the working tree: both sides would use the same program or file.
fn refuse_paths_into(root: &Path, benchmark: &Benchmark) -> Result<(), Failure> {
    let Benchmark { command, settings, .. } = benchmark;
    let lines = [&settings.setup, &settings.prepare, &settings.cleanup];
    let lines = lines.into_iter().flatten().chain([command]);
    let root = root.to_string_lossy();
    let names_it = |line: &&String| {
        line.match_indices(&*root).any(|(at, _)| {
            let after = line[at + root.len()..].chars().next();
            after.is_none_or(|c| !c.is_alphanumeric() && !"-_.".contains(c))
        })
    };
    match lines.into_iter().find(names_it) {
        Some(line) => Err(Failure::usage(format!(
            "benchmark {}: base and head would both use {root} in `{line}`: name files from the \
             top of the repository, as each side has a checkout of its own",
            settings.name
        ))),
        None => Ok(()),
    }
}

/// One pairing for each combination of the benchmark's parameters.
fn of_benchmark(
    benchmark: &Benchmark,
    directories: &[PathBuf; 2],
) -> Result<Vec<Pairing>, Failure> {
    let Benchmark { command, parameters, settings } = benchmark;
    let side = |which: &str, directory: &PathBuf| SideCommand {
        label: format!("{which} of {}:", settings.name),
        command: command.clone(),
        directory: Some(directory.clone()),
        without: surroundings(),
    };
    let sides = [side("base", &directories[0]), side("head", &directories[1])];
    Pairing::all(settings, &sides, parameters)
}

/// Variables that would make both sides use one build directory, or git another repository.
fn surroundings() -> Vec<&'static str> {
    ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"].into_iter().chain(git::VARIABLES).collect()
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
        for detectable in [f64::INFINITY, f64::NAN, 9.0] {
            let blind = comparison(Verdict::Inconclusive, |cell| cell.detectable = detectable);
            assert_eq!(code(&blind, "worse"), Exit::Inconclusive);
        }
        for lacks in [
            (|cell| cell.blocks = 0) as fn(&mut Compared),
            |cell| cell.base = f64::NAN,
            |cell| cell.head = f64::NAN,
            |cell| cell.why = "not measured: it is too small".to_owned(),
        ] {
            assert_eq!(code(&comparison(Verdict::Inconclusive, lacks), "worse"), Exit::JobFailed);
        }
        let nothing = Comparison { cells: Vec::new(), ..same };
        assert_eq!(code(&nothing, "worse"), Exit::JobFailed);
    }
}
