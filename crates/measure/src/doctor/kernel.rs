//! Checks of kernel features for supervising, confining and profiling workers.

use brigade_sys::sandbox::{self, SandboxPart};
use rustix::process::{PidfdFlags, getpid, pidfd_open};

use super::Finding;
use super::FindingGroup::Kernel;
use super::Severity::{Good, Note, Warning};
use crate::machine::Machine;

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let missing = sandbox::missing();
    vec![
        pidfd(
            pidfd_open(getpid(), PidfdFlags::empty()).map(drop).map_err(|error| error.to_string()),
        ),
        confinement(SandboxPart::Landlock, missing.contains(&SandboxPart::Landlock)),
        confinement(SandboxPart::Seccomp, missing.contains(&SandboxPart::Seccomp)),
        perf(machine.text("proc/sys/kernel/perf_event_paranoid")),
    ]
}

fn pidfd(opened: Result<(), String>) -> Finding {
    match opened {
        Ok(()) => Finding::new(
            Kernel,
            "pidfd",
            "works",
            Good,
            "Worker exits are detected immediately; signals cannot hit a reused PID.",
        ),
        Err(error) => Finding::new(
            Kernel,
            "pidfd",
            format!("refused: {error}"),
            Warning,
            "Worker processes cannot be supervised, so the processes backend does not start.",
        )
        .advise("Linux 5.3 or later, and a container whose seccomp profile allows pidfd_open"),
    }
}

fn confinement(part: SandboxPart, lacks: bool) -> Finding {
    let (topic, keeps_from) = match part {
        SandboxPart::Landlock => ("Landlock", "the file system"),
        SandboxPart::Seccomp => ("seccomp", "the network and from starting programs"),
    };
    if lacks {
        let meaning = format!("--sandbox cannot keep workers from {keeps_from}, and refuses.");
        return Finding::new(Kernel, topic, "not there", Note, meaning).advise(part.needs());
    }
    Finding::new(
        Kernel,
        topic,
        "works",
        Good,
        format!("--sandbox keeps workers from {keeps_from}."),
    )
}

fn perf(paranoid: Option<String>) -> Finding {
    let level: Option<i64> = paranoid.as_deref().and_then(|text| text.parse().ok());
    let (verdict, meaning) = match level {
        Some(..=1) => (Good, "Any user can profile workers with perf, the kernel's part included."),
        Some(2) => (Good, "Any user can profile workers with perf, without the kernel's part."),
        Some(_) => (Note, "Only root can profile workers with perf."),
        None => (Note, "This kernel has no perf events, so workers cannot be profiled with perf."),
    };
    let value = level.map_or("not there".into(), |level| format!("paranoid level {level}"));
    Finding::new(Kernel, "perf events", value, verdict, meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supervision() {
        assert_eq!(pidfd(Ok(())).verdict, Good);
        let refused = pidfd(Err("Function not implemented".into()));
        assert_eq!(
            (refused.value.as_str(), refused.verdict),
            ("refused: Function not implemented", Warning)
        );
    }

    #[test]
    fn parts_of_the_sandbox() {
        assert_eq!(confinement(SandboxPart::Landlock, false).verdict, Good);
        let lacking = confinement(SandboxPart::Seccomp, true);
        assert_eq!((lacking.topic, lacking.verdict), ("seccomp", Note));
        assert!(lacking.advice.unwrap().contains("Linux"));
    }

    #[test]
    fn profiling() {
        let verdict = |text: &str| perf(Some(text.into())).verdict;
        assert_eq!(
            [verdict("-1"), verdict("1"), verdict("2"), verdict("4")],
            [Good, Good, Good, Note]
        );
        assert_eq!(perf(None).value, "not there");
        assert_eq!(perf(Some("x".into())).value, "not there");
    }
}
