//! How many workers there can be.

use brigade_proto::count;
use std::path::{Path, PathBuf};

use brigade_sys::shortage::{DESCRIPTORS_BESIDES, DESCRIPTORS_PER_WORKER};
use rustix::fs::{Access, access};
use rustix::process::{Resource, Rlimit, getrlimit};

use super::Finding;
use super::Group::Limits;
use super::Verdict::{Good, Warning};

/// Threads that a worker costs, its own and the coordinator's for it.
const TASKS_PER_WORKER: u64 = 8;
/// Tasks of the coordinator, and what else the user runs.
const TASKS_BESIDES: u64 = 64;

pub(super) fn examine() -> Vec<Finding> {
    let cores = brigade_sys::cores::usable().usable as u64;
    let directory = brigade_ipc::runtime_dir::path();
    let ready = is_ready(&directory);
    vec![
        descriptors(getrlimit(Resource::Nofile), cores),
        tasks(getrlimit(Resource::Nproc).current, brigade_sys::cores::task_limit(), cores),
        runtime_directory(directory, ready),
    ]
}

fn number(limit: Option<u64>) -> String {
    limit.map_or("unlimited".into(), |limit| limit.to_string())
}

fn descriptors(limit: Rlimit, cores: u64) -> Finding {
    let workers = |limit: u64| limit.saturating_sub(DESCRIPTORS_BESIDES) / DESCRIPTORS_PER_WORKER;
    let value = format!("{} (hard limit {})", number(limit.current), number(limit.maximum));
    let room = limit.current.map(workers);
    let (verdict, meaning) = match room {
        None => (Good, "That is enough for any number of workers.".to_owned()),
        Some(room) if room < cores => (
            Warning,
            format!(
                "That is enough for about {}, fewer than the {cores} usable cores.",
                count(room, "worker")
            ),
        ),
        Some(room) => (Good, format!("That is enough for about {}.", count(room, "worker"))),
    };
    let finding = Finding::new(Limits, "open files", value, verdict, meaning);
    match verdict {
        Warning => {
            let needed = cores * DESCRIPTORS_PER_WORKER + DESCRIPTORS_BESIDES;
            finding.advise(format!("ulimit -n {}", needed.next_power_of_two()))
        }
        _ => finding,
    }
}

fn tasks(user: Option<u64>, group: Option<u64>, cores: u64) -> Finding {
    let value = format!(
        "{} for the user, {} for the cgroup",
        number(user),
        group.map_or("no limit".into(), |limit| limit.to_string())
    );
    let room = [user, group]
        .into_iter()
        .flatten()
        .min()
        .map(|limit| limit.saturating_sub(TASKS_BESIDES) / TASKS_PER_WORKER);
    let finding = |verdict, meaning| Finding::new(Limits, "processes", value, verdict, meaning);
    match room {
        Some(room) if room < cores => finding(
            Warning,
            format!(
                "With threads counted, that is enough for about {}, fewer than the {cores} usable \
                 cores.",
                count(room, "worker")
            ),
        )
        .advise("raise ulimit -u, or the container's --pids-limit"),
        Some(room) => finding(
            Good,
            format!("With threads counted, that is enough for about {}.", count(room, "worker")),
        ),
        None => finding(Good, "That is enough for any number of workers.".to_owned()),
    }
}

/// Whether sockets can be made in the directory, or it in the one above.
fn is_ready(directory: &Path) -> bool {
    let writable = |path: &Path| access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    if directory.exists() { writable(directory) } else { directory.parent().is_some_and(writable) }
}

fn runtime_directory(directory: PathBuf, ready: bool) -> Finding {
    let value = directory.display().to_string();
    let finding =
        |verdict, meaning: &str| Finding::new(Limits, "runtime directory", value, verdict, meaning);
    let advice = "set XDG_RUNTIME_DIR to a directory of yours with a short name";
    if brigade_ipc::runtime_dir::excess(&directory) > 0 {
        finding(Warning, "The path is too long for a socket, so worker processes cannot connect.")
            .advise(advice)
    } else if ready {
        finding(Good, "Worker processes connect through a socket there, which only you can reach.")
    } else {
        finding(Warning, "It cannot be written, so worker processes cannot connect.").advise(advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(current: u64) -> Rlimit {
        Rlimit { current: Some(current), maximum: Some(4096) }
    }

    #[test]
    fn descriptors_for_workers() {
        let found = descriptors(limit(1024), 2);
        assert_eq!((found.value.as_str(), found.verdict), ("1024 (hard limit 4096)", Good));
        assert_eq!(found.meaning, "That is enough for about 99 workers.");
        let found = descriptors(limit(256), 64);
        assert_eq!(found.verdict, Warning);
        assert_eq!(found.advice.as_deref(), Some("ulimit -n 1024"));
        assert_eq!(descriptors(limit(3), 1).verdict, Warning);
        let found = descriptors(Rlimit { current: None, maximum: None }, 1024);
        assert_eq!(
            (found.value.as_str(), found.verdict),
            ("unlimited (hard limit unlimited)", Good)
        );
    }

    #[test]
    fn the_tighter_limit_of_tasks() {
        assert_eq!(tasks(None, None, 64).verdict, Good);
        assert_eq!(tasks(Some(10_000), None, 64).verdict, Good);
        assert_eq!(tasks(Some(10_000), Some(100), 64).verdict, Warning);
        assert_eq!(tasks(Some(10), None, 1).verdict, Warning);
    }

    #[test]
    fn directories() {
        let verdict = |path: &str, ready| runtime_directory(path.into(), ready).verdict;
        assert_eq!(verdict("/run/user/1000/brigade", true), Good);
        assert_eq!(verdict("/run/user/1000/brigade", false), Warning);
        assert_eq!(verdict(&format!("/{}", "x".repeat(88)), true), Good);
        assert_eq!(verdict(&format!("/{}", "x".repeat(89)), true), Warning);
        let here = tempfile::tempdir().unwrap();
        assert!(is_ready(here.path()));
        assert!(is_ready(&here.path().join("new")));
        assert!(!is_ready(&here.path().join("no/new")));
    }
}
