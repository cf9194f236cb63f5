//! Derives a verdict from the measured values.

use super::Samples;
use crate::comparison::{EndedBy, Estimate, Verdict, in_percent};
use crate::stats::{
    detectable_by_rank, hodges_lehmann, signed_rank_blocks_needed, signed_rank_interval,
};
use brigade_proto::count;

/// Tolerance and error rate of a verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Changes up to this size count as the same: 0.05 is 5 %.
    pub tolerance: f64,
    /// Permitted error rate of a comparison, two-sided, over all its interim analyses and metrics.
    pub alpha: f64,
}

impl Rules {
    fn limit(&self) -> f64 {
        self.tolerance.ln_1p()
    }
}

/// The judgement of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Why the verdict is inconclusive; otherwise empty.
    pub why: String,
    /// Number of blocks that it is based on.
    pub blocks: usize,
    /// What ended the measurement.
    pub ended_by: EndedBy,
    /// Head over base.
    pub ratio: Estimate,
    /// Base again over base.
    pub aa: Estimate,
    /// The smallest change beyond the tolerance that this analysis would detect in 80 of 100
    /// comparisons with the same number of blocks and the same noise: 0.02 is 2 %. Infinite if
    /// there are too few blocks for a verdict.
    pub detectable: f64,
}

impl Judgement {
    pub(super) fn is_final(&self) -> bool {
        self.verdict != Verdict::Inconclusive
    }
}

/// Judges one metric at a two-sided `level`.
pub fn judge(samples: &Samples, rules: &Rules, level: f64) -> Judgement {
    let (differences, noise) = (samples.differences(), samples.noise());
    let confidence = 1.0 - level;
    let (ratio, aa) = (estimate(&differences, confidence), estimate(&noise, confidence));
    let detectable = match differences.iter().all(|difference| difference.is_finite()) {
        true => detectable_by_rank(&differences, level, 0.8),
        false => f64::INFINITY,
    };
    let (verdict, why) = match (ratio, aa) {
        (Some(ratio), Some(aa)) => verdict(ratio, aa, rules),
        _ => (Verdict::Inconclusive, too_few(differences.len(), confidence)),
    };
    let why = match verdict {
        Verdict::Inconclusive if why.is_empty() => too_noisy(ratio, rules),
        _ => why,
    };
    let unknown = |differences: &[f64]| Estimate {
        estimate: hodges_lehmann(differences),
        interval: [f64::NEG_INFINITY, f64::INFINITY],
        confidence,
    };
    Judgement {
        verdict,
        why,
        blocks: differences.len(),
        ended_by: EndedBy::Verdict,
        ratio: as_ratio(ratio.unwrap_or_else(|| unknown(&differences))),
        aa: as_ratio(aa.unwrap_or_else(|| unknown(&noise))),
        detectable,
    }
}

fn estimate(differences: &[f64], confidence: f64) -> Option<Estimate> {
    if differences.iter().any(|difference| !difference.is_finite()) {
        return None;
    }
    let interval = signed_rank_interval(differences, confidence)?;
    Some(Estimate { estimate: hodges_lehmann(differences), interval, confidence })
}

fn as_ratio(log: Estimate) -> Estimate {
    Estimate { estimate: log.estimate.exp(), interval: log.interval.map(f64::exp), ..log }
}

/// The verdict for two estimates of log ratios.
fn verdict(ratio: Estimate, aa: Estimate, rules: &Rules) -> (Verdict, String) {
    let limit = rules.limit();
    let [low, high] = ratio.interval;
    // The A/A control shows a significant difference that is larger than half the tolerance. A
    // change counts only if it exceeds the largest difference that the machine may have caused.
    if (aa.interval[0] > 0.0 || aa.interval[1] < 0.0) && aa.estimate.abs() > limit / 2.0 {
        let machine = aa.interval[0].abs().max(aa.interval[1].abs());
        if low > limit + machine {
            return (Verdict::Worse, String::new());
        }
        if high < -limit - machine {
            return (Verdict::Better, String::new());
        }
        let percent = aa.estimate.exp_m1() * 100.0;
        let why = format!("the machine is not steady: base differs from itself by {percent:+.1} %");
        return (Verdict::Inconclusive, why);
    }
    let verdict = if low > limit {
        Verdict::Worse
    } else if high < -limit {
        Verdict::Better
    } else if low >= -limit && high <= limit {
        Verdict::Same
    } else {
        Verdict::Inconclusive
    };
    (verdict, String::new())
}

fn too_few(blocks: usize, confidence: f64) -> String {
    let needed = signed_rank_blocks_needed(confidence);
    format!("{} run, and a verdict needs {needed}", count(blocks, "block"))
}

fn too_noisy(ratio: Option<Estimate>, rules: &Rules) -> String {
    let [low, high] = ratio.map_or([f64::NAN; 2], |ratio| ratio.interval);
    let (low, high) = (low.exp_m1() * 100.0, high.exp_m1() * 100.0);
    let tolerance = in_percent(rules.tolerance);
    format!(
        "the true change is somewhere from {low:+.1} % to {high:+.1} %, and {tolerance} % are \
         tolerated"
    )
}
