//! The comparison that `brigade ab` runs. Base, base again and head take turns in blocks until the
//! verdict is clear or the time budget is spent.
//!
//! Within a block, the three arms run in random order, so a disturbance of the machine affects all
//! three equally on average. If nothing differs, the difference of the logarithms of two arms is
//! therefore symmetric, whatever the noise looks like. The interval assumes nothing else. The
//! second runs of base show how large a difference the machine produces where there is none.

mod judge;
mod looks;

use brigade_proto::count;
use std::time::{Duration, Instant};

pub use judge::{Judgement, Rules, judge};
use looks::{Looks, OVERTIME};

use crate::comparison::{EndedBy, Verdict};
use crate::context::{BlockContext, Meter};
use crate::rng::Rng;

/// One of the three variants that run in each block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm {
    /// The reference build or command.
    Base,
    /// Base a second time (A/A control).
    Again,
    /// The build or command under test.
    Head,
}

/// Limits of a round.
#[derive(Clone, Copy, Debug)]
pub struct RoundLimits {
    /// Time budget. After the first blocks, the round plans as many blocks as fit in it. It stops
    /// at the latest after the first block that ends beyond 1.5 times the budget.
    pub budget: Duration,
    /// Maximum number of blocks.
    pub blocks: usize,
    /// Seed of the random order in which the arms run.
    pub seed: u64,
}

/// The values of one metric, one per block. A value is NaN if its run is missing because the round
/// was stopped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Values of [`Arm::Base`].
    pub base: Vec<f64>,
    /// Values of [`Arm::Again`].
    pub again: Vec<f64>,
    /// Values of [`Arm::Head`].
    pub head: Vec<f64>,
}

impl Samples {
    /// Logarithm of head over base, for each block that has both values.
    pub fn differences(&self) -> Vec<f64> {
        log_ratios(&self.head, &self.base)
    }

    /// Logarithm of base again over base, for each block that has both values.
    pub fn noise(&self) -> Vec<f64> {
        log_ratios(&self.again, &self.base)
    }

    fn push(&mut self, figures: [f64; 3]) {
        let [base, again, head] = figures;
        self.base.push(base);
        self.again.push(again);
        self.head.push(head);
    }
}

fn log_ratios(over: &[f64], under: &[f64]) -> Vec<f64> {
    let both = over.iter().zip(under).filter(|(over, under)| !over.is_nan() && !under.is_nan());
    both.map(|(over, under)| (over / under).ln()).collect()
}

/// Why a round ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The user interrupted it.
    Interrupted,
    /// A run failed with this message.
    Failed(String),
}

/// Result of a round.
#[derive(Clone, Debug)]
pub struct Round {
    /// The values of each metric.
    pub samples: Vec<Samples>,
    /// The judgement of each metric.
    pub judgements: Vec<Judgement>,
    /// State of the machine during each block, including an unfinished last block.
    pub blocks: Vec<BlockContext>,
    /// Why the round is incomplete; `None` if it is complete.
    pub stopped: Option<Stopped>,
}

impl Round {
    /// Result of a round that was stopped before its first block.
    pub fn none(metrics: usize, rules: &Rules, stopped: Stopped) -> Self {
        let samples = vec![Samples::default(); metrics];
        let judge = |samples| judge(samples, rules, rules.alpha / metrics as f64);
        let mut judgements: Vec<Judgement> = samples.iter().map(judge).collect();
        for judgement in &mut judgements {
            stop(judgement, &stopped);
        }
        Self { samples, judgements, blocks: Vec::new(), stopped: Some(stopped) }
    }

    /// Whether the user interrupted it.
    pub fn is_interrupted(&self) -> bool {
        self.stopped == Some(Stopped::Interrupted)
    }
}

/// Callbacks of a round.
pub struct RoundHooks<'a> {
    /// Runs an arm once and returns its value for each metric; all values are above 0. If it
    /// returns an error while `is_interrupted` is true, the round counts as interrupted, not as
    /// failed.
    pub run: &'a mut dyn FnMut(Arm) -> Result<Vec<f64>, String>,
    /// Called after each block with the number of finished blocks and, once it is known, the
    /// maximum number of blocks.
    pub done: &'a mut dyn FnMut(usize, Option<usize>),
    /// Whether the user wants the round to end.
    pub is_interrupted: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for RoundHooks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RoundHooks")
    }
}

/// Number of blocks that are timed before the interim analyses are planned.
const PILOT: usize = 4;

/// Runs blocks until every metric has a verdict or a limit is reached. A failed run ends the round,
/// because a comparison with a program that does not work is meaningless. Values measured until
/// then are kept.
pub fn round(
    metrics: usize,
    rules: &Rules,
    limits: &RoundLimits,
    hooks: &mut RoundHooks<'_>,
) -> Round {
    // Each metric gets an equal share of the error. docs/verdicts.md explains why not Holm's
    // correction.
    let alpha = rules.alpha / metrics as f64;
    let mut rng = Rng::new(limits.seed);
    let mut samples = vec![Samples::default(); metrics];
    let mut judged: Vec<Option<Judgement>> = vec![None; metrics];
    let mut looks: Option<Looks> = None;
    let begin = Instant::now();
    let (mut blocks, mut contexts) = (0, Vec::new());
    let mut stopped = None;
    let mut is_out_of_time = false;
    while blocks < limits.blocks && judged.iter().any(Option::is_none) {
        if (hooks.is_interrupted)() {
            stopped = Some(Stopped::Interrupted);
            break;
        }
        let meter = Meter::start();
        let (figures, cut) = block(metrics, &mut rng, hooks);
        contexts.push(meter.stop("ab", blocks));
        if cut.is_none() || figures.iter().flatten().any(|figure| figure.is_finite()) {
            for (samples, figures) in samples.iter_mut().zip(figures) {
                samples.push(figures);
            }
        }
        if cut.is_some() {
            stopped = cut;
            break;
        }
        blocks += 1;
        if blocks >= PILOT && looks.is_none() {
            let each = begin.elapsed() / blocks as u32;
            looks = Some(Looks::plan(each, limits, alpha));
        }
        (hooks.done)(blocks, looks.as_ref().map(Looks::last));
        let Some(looks) = &looks else {
            if begin.elapsed() > limits.budget.mul_f64(OVERTIME) {
                is_out_of_time = true;
                break;
            }
            continue;
        };
        if let Some(level) = looks.level(blocks) {
            for (judged, samples) in judged.iter_mut().zip(&samples) {
                if judged.is_none() {
                    *judged = Some(judge(samples, rules, level)).filter(Judgement::is_final);
                }
            }
        }
        if blocks >= looks.last() || begin.elapsed() > limits.budget.mul_f64(OVERTIME) {
            is_out_of_time = blocks < limits.blocks;
            break;
        }
    }
    let level = looks.as_ref().map_or(alpha, Looks::final_level);
    let judgements = judged.into_iter().zip(&samples).map(|(judged, samples)| {
        let is_open = judged.is_none();
        let mut judgement = judged.unwrap_or_else(|| judge(samples, rules, level));
        if !judgement.is_final() {
            judgement.ended_by = if is_out_of_time { EndedBy::Budget } else { EndedBy::Blocks };
        }
        if let Some(stopped) = &stopped
            && (is_open || *stopped != Stopped::Interrupted)
        {
            stop(&mut judgement, stopped);
        }
        judgement
    });
    Round { judgements: judgements.collect(), samples, blocks: contexts, stopped }
}

/// Sets the judgement of a metric whose round was stopped.
fn stop(judgement: &mut Judgement, stopped: &Stopped) {
    let blocks = count(judgement.blocks, "block");
    judgement.verdict = Verdict::Inconclusive;
    (judgement.ended_by, judgement.why) = match stopped {
        Stopped::Interrupted => (EndedBy::Interruption, format!("interrupted after {blocks}")),
        Stopped::Failed(error) => (EndedBy::Failure, format!("{error}, after {blocks}")),
    };
}

/// Runs one block. Returns, for each metric, the values of base, base again and head, with NaN for
/// arms that did not run, and the reason if the block is incomplete.
fn block(
    metrics: usize,
    rng: &mut Rng,
    hooks: &mut RoundHooks<'_>,
) -> (Vec<[f64; 3]>, Option<Stopped>) {
    let mut order = [Arm::Base, Arm::Again, Arm::Head];
    rng.shuffle(&mut order);
    let mut figures = vec![[f64::NAN; 3]; metrics];
    for arm in order {
        match (hooks.run)(arm) {
            Ok(run) => {
                for (figures, figure) in figures.iter_mut().zip(run) {
                    figures[arm as usize] = figure;
                }
            }
            Err(_) if (hooks.is_interrupted)() => return (figures, Some(Stopped::Interrupted)),
            Err(error) => return (figures, Some(Stopped::Failed(error))),
        }
    }
    (figures, None)
}

#[cfg(test)]
mod tests;
