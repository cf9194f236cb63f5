//! Checks of the machine's memory and of this process's memory limits.

use brigade_proto::count;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::FindingGroup::Memory;
use super::Severity::{Good, Note, Warning};
use super::{Finding, mib};
use crate::machine::Machine;

/// Comfortable memory per worker: its heap, one input frame and one output frame.
const PER_WORKER: u64 = 256 << 20;
/// With less memory per worker, the kernel is likely to kill a worker that handles a large image.
const LEAST_PER_WORKER: u64 = 64 << 20;

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let system = System::new_with_specifics(
        RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()),
    );
    let workers = brigade_sys::cores::usable().usable as u64;
    [
        system.ok().map(|system| {
            let limit = brigade_sys::cores::memory_limit();
            memory(system.total_memory(), system.available_memory(), limit, workers)
        }),
        Some(dev_shm(rustix::fs::statvfs("/dev/shm").ok().map(|shm| {
            (shm.f_blocks.saturating_mul(shm.f_frsize), shm.f_bavail.saturating_mul(shm.f_frsize))
        }))),
        Some(arena(brigade_sys::cores::arena_share())),
        overcommit(machine),
        huge_pages(machine),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn memory(total: u64, available: u64, limit: Option<u64>, workers: u64) -> Finding {
    let limit = limit.filter(|&limit| limit < total);
    let bound = limit.map_or(available, |limit| limit.min(available));
    let value = format!(
        "{} available of {}, {}",
        mib(available),
        mib(total),
        limit.map_or("no cgroup limit".into(), |limit| format!("cgroup limit {}", mib(limit)))
    );
    let each = bound / workers.max(1);
    let finding = |verdict, meaning| Finding::new(Memory, "memory", value, verdict, meaning);
    let share = format!("That is {} for each of {}", mib(each), count(workers, "worker"));
    if each >= PER_WORKER {
        finding(Good, format!("{share}, which is enough for any of the built-in kernels."))
    } else if each >= LEAST_PER_WORKER {
        finding(Note, format!("{share}, which large images and matrices may exceed."))
            .advise("fewer workers (-w), or a smaller --depth")
    } else {
        finding(Warning, format!("{share}: the kernel may kill workers for memory."))
            .advise("fewer workers (-w), or more memory")
    }
}

fn arena(share: u64) -> Finding {
    let value = format!("at most {}", mib(share));
    if share >= LEAST_PER_WORKER {
        let meaning = "A pool takes as much shared memory for payloads when it needs it; a job \
                       that does not fit goes by shm, and costs more. --arena-limit changes it.";
        return Finding::new(Memory, "arena", value, Good, meaning);
    }
    let meaning = "So little shared memory for payloads holds no large image: its job goes by shm.";
    Finding::new(Memory, "arena", value, Note, meaning).advise("a larger --arena-limit")
}

fn dev_shm(size_and_free: Option<(u64, u64)>) -> Finding {
    let finding =
        |value: &str, meaning: &str| Finding::new(Memory, "/dev/shm", value, Good, meaning);
    match size_and_free {
        // Docker's default size is 64 MiB. In programs that use /dev/shm, that is the usual reason
        // for a "bus error".
        Some((size, free)) => finding(
            &format!("{} free of {}", mib(free), mib(size)),
            "Brigade's shared memory is not a file there (memfd), so this size does not limit it; \
             what it is compared with may be limited.",
        ),
        None => finding(
            "not there",
            "Brigade does without it (memfd); programs that it is compared with may not.",
        ),
    }
}

fn overcommit(machine: &Machine) -> Option<Finding> {
    let mode = machine.number("proc/sys/vm/overcommit_memory")?;
    Some(if mode == 2 {
        let kib = |name| -> Option<u64> {
            let text = machine.entry("proc/meminfo", name)?;
            text.split(' ').next()?.parse().ok()
        };
        let left = kib("CommitLimit").zip(kib("Committed_AS"));
        let left = left.map(|(limit, used)| limit.saturating_sub(used) << 10);
        Finding::new(
            Memory,
            "overcommit",
            left.map_or("never".into(), |left| format!("never, {} left", mib(left))),
            Note,
            "Shared memory counts in full when it is made, not when it is used, so a pool may be \
             refused although memory is free.",
        )
        .advise("sysctl vm.overcommit_memory=0")
    } else {
        let value = if mode == 1 { "always" } else { "by estimate" };
        Finding::new(
            Memory,
            "overcommit",
            value,
            Good,
            "Memory counts when it is used, so a large reservation costs nothing.",
        )
    })
}

fn huge_pages(machine: &Machine) -> Option<Finding> {
    let choices = machine.text("sys/kernel/mm/transparent_hugepage/shmem_enabled")?;
    let chosen = choices.split(['[', ']']).nth(1)?;
    let meaning = match chosen {
        "always" | "within_size" | "force" => {
            "Shared memory may use pages of 2 MiB, which makes first use of large buffers faster, \
             and figures differ from a machine where it may not."
        }
        "advise" => "Shared memory uses huge pages only where a program asks for it.",
        _ => {
            "Shared memory uses pages of 4 KiB: first use of a buffer costs a page fault for each, \
             so buffers are filled at the start and used again."
        }
    };
    Some(Finding::new(Memory, "shared huge pages", chosen, Good, meaning))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tree;

    const GIB: u64 = 1 << 30;

    #[test]
    fn memory_for_each_worker() {
        let verdict =
            |available, limit, workers| memory(64 * GIB, available, limit, workers).verdict;
        assert_eq!(verdict(32 * GIB, None, 8), Good);
        assert_eq!(verdict(GIB, None, 8), Note);
        assert_eq!(verdict(32 * GIB, Some(GIB / 4), 8), Warning);
        let found = memory(4 * GIB, 2 * GIB, Some(1 << 50), 0);
        assert_eq!(found.value, "2048 MiB available of 4096 MiB, no cgroup limit");
    }

    #[test]
    fn the_arenas_limit() {
        assert_eq!(arena(6 * GIB).value, "at most 6144 MiB");
        assert_eq!((arena(6 * GIB).verdict, arena(GIB / 32).verdict), (Good, Note));
    }

    #[test]
    fn shared_memory_files() {
        assert_eq!(dev_shm(Some((64 << 20, 60 << 20))).value, "60 MiB free of 64 MiB");
        assert_eq!(dev_shm(None).value, "not there");
    }

    #[test]
    fn strict_accounting() {
        let (_root, machine) = tree(&[
            ("proc/sys/vm/overcommit_memory", "2\n"),
            ("proc/meminfo", "CommitLimit:  1048576 kB\nCommitted_AS:  524288 kB\n"),
        ]);
        let found = overcommit(&machine).unwrap();
        assert_eq!((found.value.as_str(), found.verdict), ("never, 512 MiB left", Note));
        let mode = |content| overcommit(&tree(&[("proc/sys/vm/overcommit_memory", content)]).1);
        assert_eq!(mode("0").unwrap().verdict, Good);
        assert_eq!(mode("2").unwrap().value, "never");
        assert_eq!(mode("x"), None);
    }

    #[test]
    fn the_choice_in_brackets() {
        let path = "sys/kernel/mm/transparent_hugepage/shmem_enabled";
        let chosen = |content| huge_pages(&tree(&[(path, content)]).1).map(|found| found.value);
        assert_eq!(chosen("always advise [never] deny\n").as_deref(), Some("never"));
        assert_eq!(chosen("[always] never").as_deref(), Some("always"));
        assert_eq!(chosen("nothing chosen"), None);
    }
}
