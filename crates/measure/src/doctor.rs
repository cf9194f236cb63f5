//! What this machine offers to Brigade, and what would distort a measurement on it.
//!
//! Each check is a function of the values that were read, so a test can feed it the values of any
//! machine. A check that does not apply to this machine returns no finding.

mod kernel;
mod limits;
mod memory;
mod processor;

use serde::Serialize;

use crate::machine::Machine;

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// No problem.
    Good,
    /// Keep it in mind when you read measurements. Also used where a fact cannot be determined.
    Note,
    /// It distorts measurements, or part of Brigade does not work.
    Warning,
}

/// Topic area of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingGroup {
    /// Cores, clocks, and other load on the cores.
    Processor,
    /// Memory of the machine and of this process.
    Memory,
    /// Limits on the number of workers.
    Limits,
    /// Kernel features for supervising, confining and profiling workers.
    Kernel,
}

/// One fact about this machine, with its assessment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Topic area.
    pub group: FindingGroup,
    /// Short name, at most 18 characters.
    pub topic: &'static str,
    /// The value found.
    pub value: String,
    /// Severity.
    pub verdict: Severity,
    /// One sentence: what the value means for Brigade or for a measurement.
    pub meaning: String,
    /// How to improve it, if there is a way.
    pub advice: Option<String>,
}

impl Finding {
    fn new(
        group: FindingGroup,
        topic: &'static str,
        value: impl Into<String>,
        verdict: Severity,
        meaning: impl Into<String>,
    ) -> Self {
        let (value, meaning) = (value.into(), meaning.into());
        Self { group, topic, value, verdict, meaning, advice: None }
    }

    fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// Runs all checks on this machine. Findings of one group are adjacent.
///
/// ```
/// let findings = brigade_measure::doctor::examine();
/// assert!(findings.iter().any(|finding| finding.topic == "cores"));
/// ```
pub fn examine() -> Vec<Finding> {
    let machine = Machine::here();
    let mut findings = processor::examine(&machine);
    findings.extend(memory::examine(&machine));
    findings.extend(limits::examine());
    findings.extend(kernel::examine(&machine));
    findings
}

/// Formats a byte count: MiB below 10 GiB, GiB from there on.
fn mib(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes / MIB {
        0..10_240 => format!("{} MiB", bytes / MIB),
        more => format!("{} GiB", more / 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_is_whole() {
        let findings = examine();
        for finding in &findings {
            assert!(!finding.value.is_empty(), "{finding:?}");
            assert!(finding.meaning.ends_with('.'), "{finding:?}");
            assert!(finding.topic.len() <= 18, "fits its column: {finding:?}");
            if finding.verdict == Severity::Warning {
                assert!(finding.advice.is_some(), "{finding:?}");
            }
        }
        assert!(findings.is_sorted_by_key(|finding| finding.group));
        let mut topics: Vec<_> = findings.iter().map(|finding| finding.topic).collect();
        topics.sort();
        assert!(topics.windows(2).all(|pair| pair[0] != pair[1]), "{topics:?}");
    }

    #[test]
    fn json_has_the_words() {
        let finding =
            Finding::new(FindingGroup::Kernel, "x", "y", Severity::Note, "Z.").advise("w");
        assert_eq!(
            serde_json::to_value(finding).unwrap(),
            serde_json::json!({
                "group": "kernel", "topic": "x", "value": "y", "verdict": "note",
                "meaning": "Z.", "advice": "w",
            })
        );
    }

    #[test]
    fn sizes() {
        assert_eq!(mib(64 << 20), "64 MiB");
        assert_eq!(mib(16 << 30), "16 GiB");
        assert_eq!(mib(0), "0 MiB");
    }
}
