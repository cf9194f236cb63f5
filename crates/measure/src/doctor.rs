//! What this machine offers, and what would spoil a measurement.
//!
//! Each check is a function of what was read, so that a test can feed it any
//! machine; one that finds nothing to say here says nothing.

mod kernel;
mod limits;
mod memory;
mod processor;

use serde::Serialize;

use crate::machine::Machine;

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Worth to know when one reads figures, or not to be found out.
    Note,
    /// It spoils figures, or something will not work.
    Warning,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Cores, clocks, and who else uses them.
    Processor,
    /// Memory of the machine and of this process.
    Memory,
    /// How many workers there can be.
    Limits,
    /// What the kernel offers to supervise, confine and observe workers.
    Kernel,
}

/// One thing about this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub group: Group,
    /// Its name, in a few words.
    pub topic: &'static str,
    /// What was found.
    pub value: String,
    /// How good that is.
    pub verdict: Verdict,
    /// What it means for Brigade or for a measurement, in one sentence.
    pub meaning: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Finding {
    fn new(
        group: Group,
        topic: &'static str,
        value: impl Into<String>,
        verdict: Verdict,
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

/// Looks at this machine. Findings of one group follow each other.
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

/// Bytes as a finding shows them.
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
            if finding.verdict == Verdict::Warning {
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
        let finding = Finding::new(Group::Kernel, "x", "y", Verdict::Note, "Z.").advise("w");
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
