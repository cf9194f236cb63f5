//! The comparison that `brigade ab` makes: base, base again and head take turns in
//! blocks until it is clear which verdict is right, or the time is up.
//!
//! In each block the three run in random order, so that what the machine does to one it
//! does to all, on average; the difference of their logarithms is then symmetric if
//! nothing differs, whatever the noise, and that is all that the interval assumes. The
//! runs of base again show what the machine makes of no difference at all.

mod judge;
mod looks;

use std::time::{Duration, Instant};

pub use judge::{Judgement, Rules, judge};
use looks::Looks;

use crate::experiment::Dice;

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

/// The figures of one metric, one for each block.
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
    /// Logarithm of head over base in each block.
    pub fn differences(&self) -> Vec<f64> {
        log_ratios(&self.head, &self.base)
    }

    /// Logarithm of base again over base in each block.
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
    over.iter().zip(under).map(|(over, under)| (over / under).ln()).collect()
}

/// What a round came to.
#[derive(Clone, Debug)]
pub struct Round {
    /// For each metric, what was measured.
    pub samples: Vec<Samples>,
    /// For each metric, what is said of it.
    pub judgements: Vec<Judgement>,
    /// Whether somebody ended it.
    pub interrupted: bool,
}

/// What a round asks and tells while it runs.
pub struct Hooks<'a> {
    /// Runs an arm once: its figure for each metric, all above 0.
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

/// Runs blocks until all metrics are judged, or the limits are reached.
///
/// # Errors
/// What a run says that fails: a comparison with something that does not work is none.
pub fn round(
    metrics: usize,
    rules: &Rules,
    limits: &Limits,
    hooks: &mut Hooks<'_>,
) -> Result<Round, String> {
    let mut dice = Dice::new(limits.seed);
    let mut samples = vec![Samples::default(); metrics];
    let mut judged: Vec<Option<Judgement>> = vec![None; metrics];
    let mut looks: Option<Looks> = None;
    let begin = Instant::now();
    let mut blocks = 0;
    let mut interrupted = false;
    while blocks < limits.blocks && judged.iter().any(Option::is_none) {
        if (hooks.is_interrupted)() {
            interrupted = true;
            break;
        }
        let figures = block(metrics, &mut dice, hooks)?;
        for (samples, figures) in samples.iter_mut().zip(figures) {
            samples.push(figures);
        }
        blocks += 1;
        if blocks >= PILOT && looks.is_none() {
            let each = begin.elapsed() / blocks as u32;
            looks = Some(Looks::plan(each, limits, rules.alpha / metrics as f64));
        }
        (hooks.done)(blocks, looks.as_ref().map(Looks::last));
        let Some(looks) = &looks else {
            continue;
        };
        if let Some(level) = looks.level(blocks) {
            for (judged, samples) in judged.iter_mut().zip(&samples) {
                if judged.is_none() {
                    *judged = Some(judge(samples, rules, level)).filter(Judgement::is_final);
                }
            }
        }
        if blocks >= looks.last() || begin.elapsed() > limits.budget.mul_f64(1.2) {
            break;
        }
    }
    let level = looks.as_ref().map_or(rules.alpha, Looks::final_level);
    let judgements = judged.into_iter().zip(&samples);
    let judgements =
        judgements.map(|(judged, samples)| judged.unwrap_or_else(|| judge(samples, rules, level)));
    Ok(Round { judgements: judgements.collect(), samples, interrupted })
}

/// One block: for each metric the figures of base, base again and head.
fn block(metrics: usize, dice: &mut Dice, hooks: &mut Hooks<'_>) -> Result<Vec<[f64; 3]>, String> {
    let mut order = [Arm::Base, Arm::Again, Arm::Head];
    dice.shuffle(&mut order);
    let mut figures = vec![[f64::NAN; 3]; metrics];
    for arm in order {
        for (metric, figure) in (hooks.run)(arm)?.into_iter().enumerate() {
            figures[metric][arm as usize] = figure;
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests;
