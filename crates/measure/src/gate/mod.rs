//! The comparison that `brigade ab` makes: base, base again and head take turns in
//! blocks until it is clear which verdict is right, or the time is up.
//!
//! In each block the three run in random order, so that what the machine does to one it
//! does to all, on average; the difference of their logarithms is then symmetric if
//! nothing differs, whatever the noise, and that is all that the interval assumes. The
//! runs of base again show what the machine makes of no difference at all.

mod judge;
mod looks;

use brigade_proto::count;
use std::time::{Duration, Instant};

pub use judge::{Judgement, Rules, judge};
use looks::{Looks, OVERTIME};

use crate::comparison::{EndedBy, Verdict};
use crate::context::{Block, Meter};
use crate::experiment::Rng;

/// Who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arm {
    /// What was there before.
    Base,
    /// The same once more.
    Again,
    /// What is to be judged.
    Head,
}

/// How long a round may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// No block begins that would probably end after this.
    pub budget: Duration,
    /// Blocks at most.
    pub blocks: usize,
    /// Of the order in which the arms take turns.
    pub seed: u64,
}

/// The figures of one metric, one for each block; NaN for a run that is missing because
/// the round was stopped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Of [`Arm::Base`].
    pub base: Vec<f64>,
    /// Of [`Arm::Again`].
    pub again: Vec<f64>,
    /// Of [`Arm::Head`].
    pub head: Vec<f64>,
}

impl Samples {
    /// Logarithm of head over base in each block that has both.
    pub fn differences(&self) -> Vec<f64> {
        log_ratios(&self.head, &self.base)
    }

    /// Logarithm of base again over base in each block that has both.
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

/// Why a round ended before it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Somebody wanted it to end.
    Interrupted,
    /// A run failed, and this is what it says.
    Failed(String),
}

/// What a round came to.
#[derive(Clone, Debug)]
pub struct Round {
    /// For each metric, what was measured.
    pub samples: Vec<Samples>,
    /// For each metric, what is said of it.
    pub judgements: Vec<Judgement>,
    /// What the machine was like in each block, also in one that was not finished.
    pub blocks: Vec<Block>,
    /// Why it is not whole; `None` if it is.
    pub stopped: Option<Stopped>,
}

impl Round {
    /// A round that was stopped before it began.
    pub fn none(metrics: usize, rules: &Rules, stopped: Stopped) -> Self {
        let samples = vec![Samples::default(); metrics];
        let judge = |samples| judge(samples, rules, rules.alpha / metrics as f64);
        let mut judgements: Vec<Judgement> = samples.iter().map(judge).collect();
        for judgement in &mut judgements {
            stop(judgement, &stopped);
        }
        Self { samples, judgements, blocks: Vec::new(), stopped: Some(stopped) }
    }

    /// Whether somebody ended it.
    pub fn is_interrupted(&self) -> bool {
        self.stopped == Some(Stopped::Interrupted)
    }
}

/// What a round asks and tells while it runs.
pub struct Hooks<'a> {
    /// Runs an arm once: its figure for each metric, all above 0. What it says while
    /// somebody wants the round to end is taken for a run that was cut short.
    pub run: &'a mut dyn FnMut(Arm) -> Result<Vec<f64>, String>,
    /// A block is over; how many there will be at most, once that is known.
    pub done: &'a mut dyn FnMut(usize, Option<usize>),
    /// Whether somebody wants it to end.
    pub is_interrupted: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooks")
    }
}

/// Blocks after which it is known how long one takes.
const PILOT: usize = 4;

/// Runs blocks until all metrics are judged, or the limits are reached. A run that fails
/// ends it: a comparison with something that does not work is none. What was measured
/// until then is kept all the same.
pub fn round(metrics: usize, rules: &Rules, limits: &Limits, hooks: &mut Hooks<'_>) -> Round {
    // Each metric has its share of the error: docs/verdicts.md says why not Holm's.
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

/// What is said of a metric whose round was stopped.
fn stop(judgement: &mut Judgement, stopped: &Stopped) {
    let blocks = count(judgement.blocks, "block");
    judgement.verdict = Verdict::Inconclusive;
    (judgement.ended_by, judgement.why) = match stopped {
        Stopped::Interrupted => (EndedBy::Interruption, format!("interrupted after {blocks}")),
        Stopped::Failed(error) => (EndedBy::Failure, format!("{error}, after {blocks}")),
    };
}

/// One block: for each metric the figures of base, base again and head, NaN for those that
/// did not run, and why they did not.
fn block(metrics: usize, rng: &mut Rng, hooks: &mut Hooks<'_>) -> (Vec<[f64; 3]>, Option<Stopped>) {
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
