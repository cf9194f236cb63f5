//! Checks of resource limits that bound the number of workers and the size of their jobs.

use std::path::PathBuf;

use brigade_proto::count;
use brigade_sys::limits;
use brigade_sys::shortage::{DESCRIPTORS_BESIDES, DESCRIPTORS_PER_WORKER};
use rustix::process::{Resource, Rlimit};

use super::Finding;
use super::FindingGroup::Limits;
use super::Severity::{Good, Note, Warning};

/// Kernel tasks per worker: the worker's own threads, and the coordinator's threads that serve it.
const TASKS_PER_WORKER: u64 = 8;
/// A pool of worker processes needs shared-memory files of at least this size.
const LEAST_FILE: u64 = 4 << 20;
/// Kernel tasks reserved for the coordinator and for the user's other processes.
const TASKS_BESIDES: u64 = 64;

pub(super) fn examine() -> Vec<Finding> {
    let cores = brigade_sys::cores::usable().usable as u64;
    // A limit that cannot be read counts as unlimited.
    let limit = |resource| limits::get(resource).unwrap_or(Rlimit { current: None, maximum: None });
    vec![
        descriptors(limit(Resource::Nofile), cores),
        tasks(limit(Resource::Nproc).current, brigade_sys::cores::task_limit(), cores),
        runtime_directory(brigade_ipc::runtime_dir::chosen()),
        file_size(limit(Resource::Fsize)),
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

/// `RLIMIT_FSIZE` also applies to shared memory, because shared memory consists of unnamed files.
fn file_size(limit: Rlimit) -> Finding {
    let value = |bytes: Option<u64>| bytes.map_or("unlimited".into(), super::mib);
    let text = format!("{} (hard limit {})", value(limit.current), value(limit.maximum));
    let finding = |verdict, meaning| Finding::new(Limits, "file size", text, verdict, meaning);
    match limit.maximum {
        None => finding(Good, "Shared memory, which it counts too, may be of any size."),
        Some(most) if most >= LEAST_FILE => {
            finding(Note, "It counts shared memory too: a job with larger inputs or outputs fails.")
                .advise("raise ulimit -f")
        }
        Some(_) => finding(
            Warning,
            "It counts shared memory too, and a pool of worker processes needs more.",
        )
        .advise("raise ulimit -f, or use --backend threads"),
    }
}

/// Reports the runtime directory in use, and why better candidates were rejected. The caller tested
/// each candidate by creating a socket in it.
fn runtime_directory(chosen: std::io::Result<(PathBuf, Vec<String>)>) -> Finding {
    let finding = |value: String, verdict, meaning: String| {
        Finding::new(Limits, "runtime directory", value, verdict, meaning)
    };
    let advice = "set XDG_RUNTIME_DIR to a directory of yours that can be written and has a short \
                  name";
    match chosen {
        Ok((directory, refused)) if refused.is_empty() => finding(
            directory.display().to_string(),
            Good,
            "Worker processes connect through a socket there, which only you can reach.".to_owned(),
        ),
        Ok((directory, refused)) => finding(
            directory.display().to_string(),
            Note,
            format!("It is used because others cannot be: {}.", refused.join("; ")),
        )
        .advise(advice),
        Err(error) => finding(
            "none".to_owned(),
            Warning,
            format!("Worker processes cannot connect: {error}."),
        )
        .advise(advice),
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
    fn limits_of_file_sizes() {
        let verdict = |maximum| file_size(Rlimit { current: Some(4096), maximum }).verdict;
        assert_eq!(verdict(None), Good);
        assert_eq!(verdict(Some(1 << 30)), Note);
        assert_eq!(verdict(Some(4096)), Warning);
    }

    #[test]
    fn directories() {
        let here = PathBuf::from("/run/user/1000/brigade");
        assert_eq!(runtime_directory(Ok((here.clone(), Vec::new()))).verdict, Good);
        let refused = vec!["/run/user/0/brigade: Permission denied".to_owned()];
        let found = runtime_directory(Ok((here, refused)));
        assert_eq!(found.verdict, Note);
        assert!(found.meaning.contains("/run/user/0/brigade: Permission denied"));
        let found = runtime_directory(Err(std::io::Error::other("/tmp: full")));
        assert_eq!((found.verdict, found.value.as_str()), (Warning, "none"));
        assert!(found.meaning.contains("/tmp: full"));
    }
}
