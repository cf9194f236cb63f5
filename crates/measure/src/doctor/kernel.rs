//! What the kernel offers to supervise, confine and observe workers.

use rustix::process::{PidfdFlags, getpid, pidfd_open};

use super::Finding;
use super::Group::Kernel;
use super::Verdict::{Good, Note, Warning};
use crate::machine::Machine;

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    vec![
        pidfd(
            pidfd_open(getpid(), PidfdFlags::empty()).map(drop).map_err(|error| error.to_string()),
        ),
        landlock(machine),
        seccomp(machine.text("proc/sys/kernel/seccomp/actions_avail")),
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
            "The death of a worker is seen at once, and no signal hits a stranger.",
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

fn landlock(machine: &Machine) -> Finding {
    let finding = |value: &str, verdict, meaning: &str| {
        Finding::new(Kernel, "Landlock", value, verdict, meaning)
    };
    match machine.text("sys/kernel/security/lsm") {
        Some(modules) if modules.split(',').any(|module| module == "landlock") => {
            finding("on", Good, "A sandbox can keep workers away from the file system.")
        }
        Some(_) => finding("off", Note, "A sandbox cannot keep workers away from the file system.")
            .advise("start the kernel with lsm=landlock in front of the other modules"),
        None => finding(
            "unknown",
            Note,
            "The list of security modules is not mounted here, so only a try will tell whether a \
             sandbox can keep workers away from the file system.",
        ),
    }
}

fn seccomp(actions: Option<String>) -> Finding {
    // What is forbidden in the sandbox returns an error instead of ending the worker.
    if actions.is_some_and(|actions| actions.split_whitespace().any(|action| action == "errno")) {
        Finding::new(
            Kernel,
            "seccomp",
            "on",
            Good,
            "A sandbox can keep workers from the network and from starting programs.",
        )
    } else {
        Finding::new(
            Kernel,
            "seccomp",
            "not visible",
            Note,
            "A sandbox can probably not keep workers from the network and from starting programs.",
        )
    }
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
    use crate::machine::tree;

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
    fn security_modules() {
        let value = |content| landlock(&tree(&[("sys/kernel/security/lsm", content)]).1).value;
        assert_eq!(value("lockdown,landlock,yama\n"), "on");
        assert_eq!(value("lockdown,landlockish"), "off");
        assert_eq!(landlock(&tree(&[]).1).value, "unknown");
        assert_eq!(seccomp(Some("kill_process errno log allow".into())).verdict, Good);
        assert_eq!(seccomp(Some("kill".into())).verdict, Note);
        assert_eq!(seccomp(None).verdict, Note);
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
