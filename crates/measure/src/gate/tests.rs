use std::cell::{Cell, RefCell};

use super::*;

const RULES: Rules = Rules { tolerance: 0.05, alpha: 0.01 };

fn limits(blocks: usize, seed: u64) -> RoundLimits {
    RoundLimits { budget: Duration::from_secs(3600), blocks, seed }
}

/// Simulates a command that takes `1 + slower` times as long in head. The noise is skewed, as on
/// real machines: mostly small, sometimes large.
fn simulate(rules: &Rules, slower: f64, noise: f64, blocks: usize, seed: u64) -> Round {
    let rng = RefCell::new(Rng::new(seed ^ 0x9e37_79b9));
    let mut run = |arm: Arm| {
        let mut rng = rng.borrow_mut();
        let mut uniform = || rng.roll(1 << 20) as f64 / f64::from(1 << 20);
        let mut noisy = 1.0 + noise * (uniform() + uniform());
        if uniform() < 0.05 {
            noisy *= 1.0 + uniform();
        }
        let factor = if arm == Arm::Head { 1.0 + slower } else { 1.0 };
        Ok(vec![1000.0 * factor * noisy])
    };
    let mut hooks = RoundHooks { run: &mut run, done: &mut |_, _| {}, is_interrupted: &|| false };
    round(1, rules, &limits(blocks, seed), &mut hooks)
}

fn verdicts(rules: &Rules, slower: f64, noise: f64, rounds: u64) -> Vec<Verdict> {
    (0..rounds).map(|seed| simulate(rules, slower, noise, 60, seed).judgements[0].verdict).collect()
}

fn count(verdicts: &[Verdict], wanted: Verdict) -> usize {
    verdicts.iter().filter(|verdict| **verdict == wanted).count()
}

#[test]
fn no_difference_is_the_same_and_ends_early() {
    let verdicts = verdicts(&RULES, 0.0, 0.01, 100);
    assert_eq!(count(&verdicts, Verdict::Worse) + count(&verdicts, Verdict::Better), 0);
    assert!(count(&verdicts, Verdict::Same) > 95, "{verdicts:?}");
    let round = simulate(&RULES, 0.0, 0.001, 60, 1);
    assert!(round.samples[0].base.len() <= 30, "{}", round.samples[0].base.len());
}

#[test]
fn slowdowns_are_found_and_speedups_too() {
    let found = verdicts(&RULES, 0.10, 0.01, 100);
    assert!(count(&found, Verdict::Worse) >= 99, "{found:?}");
    let found = verdicts(&RULES, -0.12, 0.01, 100);
    assert!(count(&found, Verdict::Better) >= 99, "{found:?}");
}

/// At the edge of the tolerance, about half of the estimates lie on each side of it. The interval
/// must not exclude the true value.
#[test]
fn at_the_tolerance_a_verdict_is_rarely_wrong() {
    let rounds = 200;
    let wrong = count(&verdicts(&RULES, 0.05, 0.01, rounds), Verdict::Worse);
    // The permitted error is 1 of 100 in total, half of it on this side.
    assert!(wrong <= 5, "{wrong} of {rounds}");
}

#[test]
fn noise_makes_it_inconclusive_and_not_worse() {
    let verdicts = verdicts(&Rules { tolerance: 0.01, ..RULES }, 0.0, 0.5, 100);
    assert!(count(&verdicts, Verdict::Worse) <= 2, "{verdicts:?}");
    assert!(count(&verdicts, Verdict::Inconclusive) >= 95, "{verdicts:?}");
    let judgement = &simulate(&RULES, 0.0, 0.5, 60, 3).judgements[0];
    assert!(judgement.why.starts_with("the true change is somewhere from -"), "{}", judgement.why);
    assert_eq!(judgement.ended_by, EndedBy::Blocks);
    assert!(judgement.detectable > 0.05);
}

#[test]
fn a_base_that_differs_from_itself_is_no_base() {
    let mut samples = Samples::default();
    for i in 0..20 {
        let noise = 1.0 + 0.001 * f64::from(i % 5);
        samples.push([100.0 * noise, 110.0 * noise, 113.0 * noise]);
    }
    let judgement = judge(&samples, &RULES, 0.01);
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert!(judgement.why.contains("differs from itself by +10.0 %"), "{}", judgement.why);
    // The machine cannot cause a change that is far larger than its own drift.
    let mut far = samples.clone();
    far.head.iter_mut().for_each(|head| *head *= 2.0);
    assert_eq!(judge(&far, &RULES, 0.01).verdict, Verdict::Worse);
    samples.again.clone_from(&samples.base);
    assert_eq!(judge(&samples, &RULES, 0.01).verdict, Verdict::Worse);
}

#[test]
fn too_few_blocks_say_how_many_are_needed() {
    let judgement = &simulate(&RULES, 0.5, 0.01, 5, 1).judgements[0];
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert_eq!(judgement.why, "5 blocks run, and a verdict needs 8");
    assert_eq!(judgement.ended_by, EndedBy::Blocks);
}

#[test]
fn what_ended_the_runs_is_told() {
    let mut run = |arm: Arm| {
        std::thread::sleep(Duration::from_millis(1));
        Ok(vec![if arm == Arm::Head { 2.0 } else { 1.0 }])
    };
    let mut ended_by = |limits| {
        let mut hooks =
            RoundHooks { run: &mut run, done: &mut |_, _| {}, is_interrupted: &|| false };
        round(1, &RULES, &limits, &mut hooks).judgements[0].ended_by
    };
    let none = RoundLimits { budget: Duration::ZERO, ..limits(100, 1) };
    assert_eq!(ended_by(none), EndedBy::Budget);
    // The budget is too short even for the four pilot blocks.
    let short = RoundLimits { budget: Duration::from_micros(1), ..limits(100, 1) };
    assert_eq!(ended_by(short), EndedBy::Budget);
    assert_eq!(ended_by(limits(7, 1)), EndedBy::Blocks);
    assert_eq!(ended_by(limits(100, 1)), EndedBy::Verdict);
}

#[test]
fn a_run_that_fails_ends_the_comparison_and_what_was_measured_is_kept() {
    let runs = Cell::new(0);
    let mut run = |arm: Arm| {
        runs.set(runs.get() + 1);
        match arm {
            Arm::Head if runs.get() > 9 => Err("`x` exited with status 1".to_owned()),
            _ => Ok(vec![1.0]),
        }
    };
    let mut hooks = RoundHooks { run: &mut run, done: &mut |_, _| {}, is_interrupted: &|| false };
    let round = round(1, &RULES, &limits(10, 1), &mut hooks);
    assert_eq!(round.stopped, Some(Stopped::Failed("`x` exited with status 1".to_owned())));
    assert_eq!(round.judgements[0].verdict, Verdict::Inconclusive);
    assert_eq!(round.judgements[0].why, "`x` exited with status 1, after 3 blocks");
    assert_eq!((round.judgements[0].blocks, round.samples[0].differences().len()), (3, 3));
    assert_eq!(round.blocks.len(), 4);
    // The fourth block's arms that ran before head failed are included.
    let measured = |of: &[f64]| of.iter().filter(|figure| figure.is_finite()).count();
    let Samples { base, again, head } = &round.samples[0];
    assert_eq!(measured(base) + measured(again) + measured(head), runs.get() - 1);
}

#[test]
fn a_command_that_fails_is_never_judged() {
    // The first metric is clear after 12 blocks; the second is not.
    let runs = Cell::new(0);
    let mut run = |arm: Arm| {
        runs.set(runs.get() + 1);
        let noisy = 1.0 + f64::from(runs.get() * 7919 % 13);
        let slow = if arm == Arm::Head { 2.0 } else { 1.0 };
        if runs.get() > 50 { Err("no".to_owned()) } else { Ok(vec![slow, noisy]) }
    };
    let mut hooks = RoundHooks { run: &mut run, done: &mut |_, _| {}, is_interrupted: &|| false };
    let round = round(2, &RULES, &limits(30, 1), &mut hooks);
    assert!(round.judgements.iter().all(|said| said.verdict == Verdict::Inconclusive));
    assert!(round.judgements.iter().all(|said| said.why.starts_with("no, after")));
}

#[test]
fn an_interrupted_round_keeps_its_blocks() {
    let blocks = Cell::new(0);
    let mut run = |_| Ok(vec![1.0, 2.0]);
    let mut done = |block: usize, _| blocks.set(block);
    let mut hooks =
        RoundHooks { run: &mut run, done: &mut done, is_interrupted: &|| blocks.get() == 3 };
    let round = round(2, &RULES, &limits(100, 1), &mut hooks);
    assert!(round.is_interrupted());
    assert!(round.samples.iter().all(|samples| samples.head.len() == 3));
    assert!(round.judgements.iter().all(|said| said.verdict == Verdict::Inconclusive));
    assert!(round.judgements.iter().all(|said| said.why == "interrupted after 3 blocks"));
    assert_eq!(round.blocks.len(), 3);
}

#[test]
fn an_interrupt_in_the_middle_of_a_run_is_no_failure() {
    let ended = Cell::new(false);
    let mut run = |_| {
        ended.set(true);
        Err("killed by SIGKILL".to_owned())
    };
    let mut hooks =
        RoundHooks { run: &mut run, done: &mut |_, _| {}, is_interrupted: &|| ended.get() };
    let round = round(1, &RULES, &limits(100, 1), &mut hooks);
    assert!(round.is_interrupted());
    // No run finished, so no empty block is stored.
    assert!(round.samples[0].base.is_empty());
    assert_eq!(round.judgements[0].why, "interrupted after 0 blocks");
    let none = Round::none(2, &RULES, Stopped::Interrupted);
    assert_eq!(none.judgements[1].why, "interrupted after 0 blocks");
}

#[test]
fn what_is_detectable_is_what_the_look_would_find() {
    let mut samples = Samples::default();
    for i in 0..20 {
        let noise = |by: i32| 100.0 * (1.0 + 0.01 * f64::from((i * by) % 7));
        samples.push([noise(3), noise(5), noise(2)]);
    }
    let at = |level| judge(&samples, &RULES, level).detectable;
    assert!(at(0.001) > at(0.01) && at(0.01) > at(0.05), "{} {}", at(0.001), at(0.01));
    assert_eq!(at(1e-9), f64::INFINITY);
}
