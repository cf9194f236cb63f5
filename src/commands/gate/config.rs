//! `brigade-gate.toml`: what to build and measure.

use std::collections::BTreeMap;
use std::time::Duration;

use brigade_measure::comparison::in_percent;
use clap::ValueEnum;
use serde::Deserialize;

use crate::args::{self, AbMetric, Parameter};
use crate::commands::pairing::Settings;

/// The name of the file, at the top of the repository.
pub(super) const FILE: &str = "brigade-gate.toml";

const BUDGET: Duration = Duration::from_secs(30);
/// CPU time finds small slowdowns even while other processes use the machine. Wall time finds
/// slowdowns that are not work: waiting, or less parallelism.
const METRICS: [AbMetric; 2] = [AbMetric::Cpu, AbMetric::Wall];
const BLOCKS: u32 = 400;
/// A program that hangs must not hang the CI.
const TIMEOUT: Duration = Duration::from_secs(600);

/// What to build and measure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Config {
    /// The command that builds a checkout, if a build is needed.
    pub(super) build: Option<String>,
    pub(super) benchmarks: Vec<Benchmark>,
}

/// One benchmark, with all defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Benchmark {
    pub(super) command: String,
    pub(super) parameters: Vec<Parameter>,
    pub(super) settings: Settings,
}

/// The file as it is written, without defaults.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GateFile {
    build: Option<String>,
    metrics: Option<Vec<String>>,
    tolerance: Option<String>,
    budget: Option<String>,
    timeout: Option<String>,
    #[serde(default)]
    benchmark: Vec<BenchmarkTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BenchmarkTable {
    name: String,
    command: String,
    #[serde(default)]
    parameters: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    shell: bool,
    setup: Option<String>,
    prepare: Option<String>,
    cleanup: Option<String>,
    warmup: Option<u32>,
    #[serde(default)]
    ignore_failure: bool,
    metrics: Option<Vec<String>>,
    tolerance: Option<String>,
    budget: Option<String>,
    timeout: Option<String>,
    blocks: Option<u32>,
}

impl Config {
    /// Parses the text of the file.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let file: GateFile = toml::from_str(text).map_err(|error| error.to_string())?;
        if file.build.as_ref().is_some_and(|build| build.trim().is_empty()) {
            return Err("build is empty: leave it out if nothing is to be built".to_owned());
        }
        if file.benchmark.is_empty() {
            return Err("there is no [[benchmark]] in it, so nothing would be compared".to_owned());
        }
        let mut benchmarks: Vec<Benchmark> = Vec::new();
        for entry in &file.benchmark {
            let name = &entry.name;
            if name.trim().is_empty() {
                return Err("a [[benchmark]] has an empty name".to_owned());
            }
            if benchmarks.iter().any(|other| other.settings.name == *name) {
                return Err(format!("two benchmarks have the name {name:?}"));
            }
            let benchmark = benchmark(&file, entry);
            benchmarks.push(benchmark.map_err(|error| format!("benchmark {name:?}: {error}"))?);
        }
        Ok(Self { build: file.build, benchmarks })
    }

    /// What this configuration asks less than `other`: benchmarks and metrics that it lacks, and
    /// larger tolerances.
    pub(super) fn less_than(&self, other: &Self) -> Vec<String> {
        let mut less = Vec::new();
        for Settings { name, metrics, tolerance, .. } in other.settings() {
            let Some(own) = self.settings().find(|own| own.name == *name) else {
                less.push(format!("head has no benchmark {name} any more"));
                continue;
            };
            let missing = metrics.iter().filter(|metric| !own.metrics.contains(metric));
            less.extend(
                missing.map(|metric| {
                    format!("{name}: head does not measure {} any more", metric.name())
                }),
            );
            if own.tolerance > *tolerance {
                let [before, now] = [*tolerance, own.tolerance].map(in_percent);
                less.push(format!("{name}: head tolerates {now} %, base {before} %"));
            }
        }
        less
    }

    /// The settings of each benchmark.
    pub(super) fn settings(&self) -> impl Iterator<Item = &Settings> {
        self.benchmarks.iter().map(|benchmark| &benchmark.settings)
    }

    /// A configuration with one benchmark, which runs this command.
    pub(super) fn of_command(command: &str) -> Self {
        let command = command.to_owned();
        let settings = defaults("gate");
        Self {
            build: None,
            benchmarks: vec![Benchmark { command, parameters: Vec::new(), settings }],
        }
    }
}

fn defaults(name: &str) -> Settings {
    Settings {
        name: name.to_owned(),
        shell: false,
        shell_by: "shell = true",
        setup: None,
        prepare: None,
        cleanup: None,
        warmup: 1,
        ignore_failure: false,
        metrics: METRICS.to_vec(),
        tolerance: args::DEFAULT_TOLERANCE,
        budget: BUDGET,
        timeout: Some(TIMEOUT),
        blocks: BLOCKS,
        seed: 1,
    }
}

fn benchmark(file: &GateFile, entry: &BenchmarkTable) -> Result<Benchmark, String> {
    if entry.command.trim().is_empty() {
        return Err("its command is empty".to_owned());
    }
    let parameters = entry.parameters.iter().map(|(name, values)| match values.is_empty() {
        true => Err(format!("parameter {name:?} has no value")),
        false => Ok(Parameter { name: name.clone(), values: values.clone() }),
    });
    let duration = |what: &str, of: &Option<String>, default: &Option<String>| {
        let text = of.as_ref().or(default.as_ref());
        let read = text.map(|text| args::duration(text)).transpose();
        read.map_err(|error| format!("{what}: {error}"))
    };
    let tolerance = entry.tolerance.as_ref().or(file.tolerance.as_ref());
    let tolerance = tolerance.map(|text| args::percent(text)).transpose();
    let settings = Settings {
        shell: entry.shell,
        setup: entry.setup.clone(),
        prepare: entry.prepare.clone(),
        cleanup: entry.cleanup.clone(),
        warmup: positive("warmup", entry.warmup, 1, 1000)?,
        ignore_failure: entry.ignore_failure,
        metrics: metrics(entry.metrics.as_ref().or(file.metrics.as_ref()))?,
        tolerance: tolerance
            .map_err(|error| format!("tolerance: {error}"))?
            .unwrap_or(args::DEFAULT_TOLERANCE),
        budget: duration("budget", &entry.budget, &file.budget)?.unwrap_or(BUDGET),
        timeout: Some(duration("timeout", &entry.timeout, &file.timeout)?.unwrap_or(TIMEOUT)),
        blocks: positive("blocks", entry.blocks, BLOCKS, 2000)?,
        ..defaults(&entry.name)
    };
    let parameters = parameters.collect::<Result<_, _>>()?;
    Ok(Benchmark { command: entry.command.clone(), parameters, settings })
}

fn positive(what: &str, number: Option<u32>, default: u32, most: u32) -> Result<u32, String> {
    match number.unwrap_or(default) {
        number if (1..=most).contains(&number) => Ok(number),
        number => Err(format!("{what} = {number}: expected 1 to {most}")),
    }
}

fn metrics(names: Option<&Vec<String>>) -> Result<Vec<AbMetric>, String> {
    let Some(names) = names else { return Ok(METRICS.to_vec()) };
    if names.is_empty() {
        return Err("metrics is empty, so nothing would be compared".to_owned());
    }
    let known = || {
        let names = AbMetric::value_variants().iter().map(|metric| metric.name());
        names.collect::<Vec<_>>().join(", ")
    };
    let metric = |name: &String| {
        AbMetric::from_str(name, false)
            .map_err(|_| format!("there is no metric {name:?}; there are {}", known()))
    };
    let metrics: Vec<AbMetric> = names.iter().map(metric).collect::<Result<_, _>>()?;
    match metrics.iter().enumerate().find(|(at, metric)| metrics[..*at].contains(metric)) {
        Some((_, metric)) => Err(format!("the metric {} is there twice", metric.name())),
        None => Ok(metrics),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_benchmark_has_the_defaults_of_the_file_or_its_own() {
        let config = Config::parse(
            "build = 'make'\ntolerance = '2%'\nbudget = '5s'\n\
             [[benchmark]]\nname = 'a'\ncommand = './a'\n\
             [[benchmark]]\nname = 'b'\ncommand = './b {n}'\nshell = true\nbudget = '1m'\n\
             metrics = ['peak-memory']\nparameters = { n = ['1', '2'] }\ntolerance = '10%'\n",
        )
        .unwrap();
        assert_eq!(config.build.as_deref(), Some("make"));
        let [a, other] = &config.benchmarks[..] else { panic!("{config:?}") };
        let (parameters, a, b) = (&other.parameters, &a.settings, &other.settings);
        assert_eq!((a.name.as_str(), a.tolerance, a.budget.as_secs()), ("a", 0.02, 5));
        assert_eq!((&a.metrics[..], a.warmup, a.blocks), (&METRICS[..], 1, 400));
        assert_eq!(
            (b.metrics[0], b.tolerance, b.budget.as_secs()),
            (AbMetric::PeakMemory, 0.1, 60)
        );
        assert!(b.shell && !a.shell && parameters[0].values == ["1", "2"]);
    }

    #[test]
    fn what_would_compare_nothing_or_something_else_is_refused() {
        let one = "[[benchmark]]\nname = 'a'\ncommand = './a'\n";
        for (text, words) in [
            ("build = 'make'", "no [[benchmark]]"),
            ("", "no [[benchmark]]"),
            (&format!("build = ''\n{one}"), "build is empty"),
            (&format!("{one}metrics = ['cpu', 'cpu']"), "cpu is there twice"),
            ("[[benchmark]]\nname = 'a'\n", "missing field `command`"),
            ("[[benchmark]]\nname = 'a'\ncommand = ' '", "command is empty"),
            ("[[benchmark]]\nname = ''\ncommand = 'a'", "empty name"),
            (&format!("{one}blocks = 0"), "blocks = 0: expected 1 to 2000"),
            (&format!("{one}metrics = []"), "metrics is empty"),
            (&format!("{one}metrics = ['time']"), "there is no metric \"time\"; there are wall"),
            (&format!("{one}tolerance = '5'"), "tolerance: expected a percentage"),
            (&format!("{one}budget = 'soon'"), "benchmark \"a\": budget: "),
            (&format!("{one}comand = 'b'"), "unknown field `comand`"),
            (&format!("{one}{one}"), "two benchmarks have the name \"a\""),
            (&format!("{one}parameters = {{ n = [] }}"), "parameter \"n\" has no value"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn what_head_asks_less_is_told() {
        let read = |text: &str| Config::parse(text).unwrap();
        let base = read(
            "[[benchmark]]\nname = 'a'\ncommand = 'a'\ntolerance = '7%'\n\
             [[benchmark]]\nname = 'b'\ncommand = 'b'",
        );
        let head =
            read("[[benchmark]]\nname = 'a'\ncommand = 'a'\ntolerance = '29%'\nmetrics = ['wall']");
        assert_eq!(
            head.less_than(&base),
            [
                "a: head does not measure cpu any more",
                "a: head tolerates 29 %, base 7 %",
                "head has no benchmark b any more"
            ]
        );
        assert!(base.less_than(&head).is_empty());
    }
}
