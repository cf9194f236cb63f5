//! `brigade ab`: two commands in turns.

use std::process::Stdio;
use std::time::{Duration, Instant};

use brigade_measure::command::{Program, Taken};
use brigade_measure::comparison::{COMPARE_SCHEMA, Compared, Comparison, Side, Verdict};
use brigade_measure::experiment::{Dice, median};
use brigade_measure::gate::{Arm, Hooks, Judgement, Limits, Round, Rules, Samples, round};
use brigade_measure::host::Host;
use brigade_measure::stats::{Tail, holm, sign_flip_test};
use clap::ValueEnum;
use serde_json::{Map, json};

use super::verdict;
use crate::args::{AbArgs, AbMetric};
use crate::console::{self, Progress};
use crate::exit::{Exit, Failure};
use crate::signals::Flag;

/// How often a comparison may err, over all looks and metrics, on either side.
const ALPHA: f64 = 0.01;

pub(crate) fn run(args: &AbArgs) -> Result<Exit, Failure> {
    let base = Program::parse(&args.base).map_err(|error| wrong("--base", &error))?;
    let head = Program::parse(&args.head).map_err(|error| wrong("--head", &error))?;
    let (base, head) = match args.metric.contains(&AbMetric::Instructions) {
        true => (base.counting(), head.counting()),
        false => (base, head),
    };
    let mut results = verdict::open(&args.verdict, &[])?;
    let host = json!(Host::read());
    let warnings = verdict::warnings();
    let signal = Flag::watch()?;
    let begin = Instant::now();
    for (program, flag) in [(&base, "--base"), (&head, "--head")] {
        // Loads both into memory, and shows what they complain of.
        let tried = program.run(Stdio::inherit(), &|| signal.is_set());
        tried.map_err(|error| wrong(flag, &error))?;
    }
    let bout = Bout { args, base: &base, head: &head, signal: &signal };
    let first = bout.round(args.seed)?;
    let is_worse = |judged: &Judgement| judged.verdict == Verdict::Worse;
    let second = if first.judgements.iter().any(is_worse) && !first.interrupted {
        console::say("head looks worse; once more, to be sure");
        Some(bout.round(args.seed ^ 0xa5a5_a5a5)?)
    } else {
        None
    };
    let cells = cells(args, &first, second.as_ref());
    let side = |program: &Program| Side { name: program.text().to_owned(), host: host.clone() };
    let comparison = Comparison {
        schema: COMPARE_SCHEMA.to_owned(),
        kind: "ab".to_owned(),
        base: side(&base),
        head: side(&head),
        tolerance: args.verdict.tolerance,
        seed: args.seed,
        took_s: begin.elapsed().as_secs_f64(),
        warnings,
        verdict: verdict::worst(&cells),
        cells,
    };
    verdict::write(&comparison, &args.verdict, &mut results)?;
    let judged = verdict::exit(comparison.verdict, args.verdict.fail_on);
    Ok(signal.exit().unwrap_or(judged))
}

fn wrong(flag: &str, error: &str) -> Failure {
    Failure::usage(format!("{flag} {error}"))
}

/// Two commands, and what is asked of them.
struct Bout<'a> {
    args: &'a AbArgs,
    base: &'a Program,
    head: &'a Program,
    signal: &'a Flag,
}

impl Bout<'_> {
    fn round(&self, seed: u64) -> Result<Round, Failure> {
        let is_interrupted = &|| self.signal.is_set();
        let metrics = &self.args.metric;
        let rules = Rules { tolerance: self.args.verdict.tolerance, alpha: ALPHA };
        let limits = Limits { budget: self.args.budget, blocks: self.args.blocks as usize, seed };
        let mut progress = Progress::of("blocks", None);
        let mut run = |arm: Arm| {
            let program = if arm == Arm::Head { self.head } else { self.base };
            let taken = program.run(Stdio::null(), is_interrupted)?;
            Ok(metrics.iter().map(|metric| figure(*metric, &taken)).collect())
        };
        let mut hooks =
            Hooks { run: &mut run, done: &mut |_, _| progress.job(true), is_interrupted };
        round(metrics.len(), &rules, &limits, &mut hooks).map_err(|error| {
            match self.signal.exit() {
                Some(exit) => Failure {
                    exit,
                    message: "interrupted before there was anything to compare".to_owned(),
                },
                // It worked the first time.
                None => Failure { exit: Exit::JobFailed, message: error },
            }
        })
    }
}

/// Above 0, so that there are ratios: the clock of processor time has a grain.
fn figure(metric: AbMetric, taken: &Taken) -> f64 {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let ns = |ns: u64| (ns as f64 / 1e3).max(1.0);
    match metric {
        AbMetric::Wall => us(taken.wall),
        AbMetric::User => ns(taken.usage.user_ns),
        AbMetric::System => ns(taken.usage.system_ns),
        AbMetric::Cpu => ns(taken.usage.user_ns + taken.usage.system_ns),
        AbMetric::Instructions => taken.instructions.unwrap_or(0).max(1) as f64,
        AbMetric::PeakMemory => taken.usage.peak_rss_bytes.max(1) as f64,
    }
}

fn cells(args: &AbArgs, first: &Round, second: Option<&Round>) -> Vec<Compared> {
    let tests = first.samples.iter().map(|samples| {
        let dice = &mut Dice::new(args.seed);
        sign_flip_test(&samples.differences(), 0.0, Tail::TwoSided, dice)
    });
    let tests: Vec<f64> = tests.collect();
    let corrected = holm(&tests);
    let rounds = first.samples.iter().zip(&first.judgements).enumerate();
    rounds
        .map(|(i, (samples, judged))| {
            let again = second.map(|second| &second.judgements[i]);
            let (verdict, why, confirmed) = confirm(judged, again);
            Compared {
                verdict,
                why,
                confirmed,
                p: tests[i],
                p_holm: corrected[i],
                ..compared(args.metric[i], samples, judged)
            }
        })
        .collect()
}

/// A slowdown counts if an independent second round finds it too.
fn confirm(first: &Judgement, second: Option<&Judgement>) -> (Verdict, String, Option<bool>) {
    match second {
        Some(second) if first.verdict == Verdict::Worse => match second.verdict {
            Verdict::Worse => (Verdict::Worse, String::new(), Some(true)),
            other => {
                let why = format!("the first round says worse, the second says {other}");
                (Verdict::Inconclusive, why, Some(false))
            }
        },
        _ => (first.verdict, first.why.clone(), None),
    }
}

fn compared(metric: AbMetric, samples: &Samples, judged: &Judgement) -> Compared {
    let name = metric.to_possible_value().map(|value| value.get_name().to_owned());
    Compared {
        experiment: "ab".to_owned(),
        case: Map::new(),
        metric: name.unwrap_or_default(),
        unit: match metric {
            AbMetric::PeakMemory => "bytes",
            AbMetric::Instructions => "instructions",
            _ => "us",
        }
        .to_owned(),
        verdict: judged.verdict,
        why: judged.why.clone(),
        blocks: judged.blocks,
        base: median(&samples.base),
        head: median(&samples.head),
        ratio: judged.ratio,
        aa: Some(judged.aa),
        p: 1.0,
        p_holm: 1.0,
        detectable: judged.detectable,
        confirmed: None,
        base_samples: samples.base.clone(),
        again_samples: samples.again.clone(),
        head_samples: samples.head.clone(),
    }
}
