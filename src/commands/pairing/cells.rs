//! Turns the rounds of a benchmark into cells of a comparison.

use brigade_measure::comparison::{Compared, EndedBy, SecondRound, Verdict};
use brigade_measure::context::BlockContext;
use brigade_measure::experiment::median;
use brigade_measure::gate::{Judgement, Round, Samples, Stopped};
use brigade_measure::rng::Rng;
use brigade_measure::stats::{holm, sign_flip_test};

use super::{NOT_MEASURED, Pairing};
use crate::args::AbMetric;

/// One cell per metric. The second round measured only the metrics with these numbers.
pub(super) fn of(
    pairing: &Pairing,
    first: &Round,
    second: Option<&(Vec<usize>, Round)>,
) -> Vec<Compared> {
    let seed = pairing.settings.seed;
    let tests = first.samples.iter().map(|samples| {
        let rng = &mut Rng::new(seed);
        sign_flip_test(&samples.differences(), 0.0, rng)
    });
    let tests: Vec<f64> = tests.collect();
    let corrected = holm(&tests);
    let stopped = [Some(first), second.map(|(_, round)| round)].into_iter().flatten();
    let stopped: Vec<&Stopped> = stopped.filter_map(|round| round.stopped.as_ref()).collect();
    let failure = stopped.iter().find_map(|stopped| match stopped {
        Stopped::Failed(why) => Some(why),
        Stopped::Interrupted => None,
    });
    let interrupted = stopped.contains(&&Stopped::Interrupted);
    let rounds = first.samples.iter().zip(&first.judgements).enumerate();
    rounds
        .map(|(i, (samples, judged))| {
            let again = second.and_then(|(metrics, round)| {
                let at = metrics.iter().position(|&metric| metric == i)?;
                Some((&round.samples[at], &round.judgements[at]))
            });
            let (verdict, why, confirmed) = confirm(judged, again.map(|(_, judged)| judged));
            let metric = pairing.settings.metrics[i];
            let (verdict, why) = match failure {
                // If a command failed, nothing is decided.
                Some(why) if verdict != Verdict::Inconclusive => {
                    (Verdict::Inconclusive, why.clone())
                }
                _ => measurable(metric, samples, verdict, why),
            };
            // If a metric is undecided, the last round left it so.
            let last = again.map_or(judged, |(_, judged)| judged);
            let is_open = verdict == Verdict::Inconclusive;
            let ended_by = match (is_open, failure.is_some(), interrupted) {
                (true, true, _) => EndedBy::Failure,
                (true, _, true) => EndedBy::Interruption,
                (true, ..) => last.ended_by,
                _ => judged.ended_by,
            };
            Compared {
                verdict,
                why,
                confirmed,
                ended_by: Some(ended_by),
                detectable: if is_open { last.detectable } else { judged.detectable },
                second: again
                    .map(|(samples, judged)| second_round(pairing.second_seed(), samples, judged)),
                p: tests[i],
                p_holm: corrected[i],
                ..compared(pairing, metric, samples, judged)
            }
        })
        .collect()
}

/// The state of the machine in each block of both rounds.
pub(super) fn blocks(name: &str, first: Round, second: Option<Round>) -> Vec<BlockContext> {
    let named = |blocks: Vec<BlockContext>, name: String| {
        blocks.into_iter().map(move |block| BlockContext { experiment: name.clone(), ..block })
    };
    let second = second.map_or_else(Vec::new, |round| round.blocks);
    let second = named(second, format!("{name}, second round"));
    named(first.blocks, name.to_owned()).chain(second).collect()
}

/// A figure that is too small to be measured is unknown, not the same on both sides.
fn measurable(
    metric: AbMetric,
    samples: &Samples,
    verdict: Verdict,
    why: String,
) -> (Verdict, String) {
    let (floor, what) = match metric {
        // The peak memory of a child process is at least that of its parent.
        AbMetric::PeakMemory => (
            brigade_sys::usage::peak_rss_bytes() as f64,
            "it needs no more memory than Brigade itself",
        ),
        AbMetric::User | AbMetric::System => (1.0, "the clock of processor time shows nothing"),
        _ => return (verdict, why),
    };
    let is_at_floor = |of: &[f64]| middle(of) <= floor;
    match is_at_floor(&samples.base) || is_at_floor(&samples.head) {
        true if verdict != Verdict::Inconclusive => {
            (Verdict::Inconclusive, format!("{NOT_MEASURED}: {what}"))
        }
        _ => (verdict, why),
    }
}

fn middle(of: &[f64]) -> f64 {
    median(&of.iter().copied().filter(|figure| figure.is_finite()).collect::<Vec<_>>())
}

/// A slowdown counts only if an independent second round finds it, too.
fn confirm(first: &Judgement, second: Option<&Judgement>) -> (Verdict, String, Option<bool>) {
    let said = |why| (Verdict::Inconclusive, why);
    let (verdict, why) = match second {
        _ if first.verdict != Verdict::Worse => {
            return (first.verdict, first.why.clone(), None);
        }
        Some(Judgement { verdict: Verdict::Worse, .. }) => {
            return (Verdict::Worse, String::new(), Some(true));
        }
        Some(Judgement { verdict, why, .. }) if why.is_empty() => {
            said(format!("the first round says worse, the second says {verdict}"))
        }
        Some(Judgement { verdict, why, .. }) => {
            said(format!("the first round says worse, the second says {verdict}: {why}"))
        }
        None => {
            let why = "it says worse, and was interrupted before a second round could confirm it";
            return (Verdict::Inconclusive, why.to_owned(), None);
        }
    };
    (verdict, why, Some(false))
}

fn second_round(seed: u64, samples: &Samples, judged: &Judgement) -> SecondRound {
    SecondRound {
        seed,
        verdict: judged.verdict,
        why: judged.why.clone(),
        blocks: judged.blocks,
        ratio: judged.ratio,
        aa: judged.aa,
        detectable: judged.detectable,
        base_samples: samples.base.clone(),
        again_samples: samples.again.clone(),
        head_samples: samples.head.clone(),
    }
}

fn compared(
    pairing: &Pairing,
    metric: AbMetric,
    samples: &Samples,
    judged: &Judgement,
) -> Compared {
    Compared {
        experiment: pairing.settings.name.clone(),
        case: pairing.case.clone(),
        metric: metric.name(),
        unit: match metric {
            AbMetric::PeakMemory => "bytes",
            AbMetric::Instructions => "instructions",
            _ => "us",
        }
        .to_owned(),
        verdict: judged.verdict,
        why: judged.why.clone(),
        blocks: judged.blocks,
        ended_by: Some(judged.ended_by),
        tolerance: Some(pairing.settings.tolerance),
        budget_s: Some(pairing.settings.budget.as_secs_f64()),
        base: middle(&samples.base),
        head: middle(&samples.head),
        ratio: judged.ratio,
        aa: Some(judged.aa),
        p: 1.0,
        p_holm: 1.0,
        detectable: judged.detectable,
        confirmed: None,
        second: None,
        base_samples: samples.base.clone(),
        again_samples: samples.again.clone(),
        head_samples: samples.head.clone(),
    }
}

#[cfg(test)]
mod tests {
    use brigade_measure::comparison::Estimate;

    use super::*;

    fn judged(verdict: Verdict, why: &str) -> Judgement {
        let ratio = Estimate { estimate: 1.2, interval: [1.1, 1.3], confidence: 0.99 };
        let why = why.to_owned();
        let ended_by = EndedBy::Verdict;
        Judgement { verdict, why, blocks: 12, ended_by, ratio, aa: ratio, detectable: 0.1 }
    }

    #[test]
    fn a_slowdown_counts_only_if_a_second_round_finds_it() {
        let (worse, same) = (judged(Verdict::Worse, ""), judged(Verdict::Same, ""));
        let cut = judged(Verdict::Inconclusive, "interrupted after 3 blocks");
        let said = |first, second| confirm(first, second);
        assert_eq!(said(&same, Some(&cut)), (Verdict::Same, String::new(), None));
        assert_eq!(said(&worse, Some(&worse)), (Verdict::Worse, String::new(), Some(true)));
        let (verdict, why, confirmed) = said(&worse, Some(&same));
        assert_eq!((verdict, confirmed), (Verdict::Inconclusive, Some(false)));
        assert_eq!(why, "the first round says worse, the second says same");
        let (verdict, why, _) = said(&worse, Some(&cut));
        assert_eq!(verdict, Verdict::Inconclusive);
        assert!(why.ends_with("inconclusive: interrupted after 3 blocks"), "{why}");
        // A slowdown that no second round has confirmed fails no build.
        let (verdict, why, confirmed) = said(&worse, None);
        assert_eq!((verdict, confirmed), (Verdict::Inconclusive, None));
        assert!(why.contains("interrupted before"), "{why}");
    }
}
