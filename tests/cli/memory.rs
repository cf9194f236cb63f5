//! Batches in a control group that is too small for all their workers at once.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::skip::skip;
use crate::util::{TestDir, finish};

/// A control group with a limit of memory, as long as it lives.
struct MemoryCgroup(PathBuf);

impl MemoryCgroup {
    fn new(bytes: u64) -> io::Result<Self> {
        let (parent, is_v1) = parent().ok_or_else(|| io::Error::other("none is mounted"))?;
        let group = Self(parent.join(format!("brigade-test-{}", std::process::id())));
        fs::create_dir(&group.0)?;
        let (limit, swap) = match is_v1 {
            true => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
            false => ("memory.max", "memory.swap.max"),
        };
        fs::write(group.0.join(limit), bytes.to_string())?;
        // Where there is no swap there is no such file.
        let _ = fs::write(group.0.join(swap), if is_v1 { bytes } else { 0 }.to_string());
        Ok(group)
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Where groups with a limit of memory can be made, and whether they are of version 1.
fn parent() -> Option<(PathBuf, bool)> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let point = Path::new(front.split(' ').nth(4)?);
        let mut back = back.split(' ');
        match (back.next()?, back.nth(1)?) {
            ("cgroup", options) => {
                options.split(',').any(|name| name == "memory").then(|| (point.to_owned(), true))
            }
            ("cgroup2", _) => {
                fs::write(point.join("cgroup.subtree_control"), "+memory").ok()?;
                Some((point.to_owned(), false))
            }
            _ => None,
        }
    })
}

/// Jobs of 90 MiB in 250 MiB, with four workers: two have room, and the kernel ends workers.
#[test]
fn a_batch_in_a_small_control_group_loses_no_line() {
    const LINES: usize = 12;
    let group = match MemoryCgroup::new(250 << 20) {
        Ok(group) => group,
        Err(error) => return skip("cgroup", &format!("no control group can be made: {error}")),
    };
    let dir = TestDir::new();
    dir.write("jobs", "{\"kernel\":\"hog\",\"params\":{\"mib\":90}}\n".repeat(LINES));
    let enter = group.0.join("cgroup.procs");
    for start in ["spawn", "forkserver"] {
        let script = format!(
            "echo $$ > '{}'; exec {} batch jobs -w 4 --allow-fault-kernels --start-method {start}",
            enter.display(),
            env!("CARGO_BIN_EXE_brigade")
        );
        let done = finish(dir.shell(&script).spawn().unwrap()).expect(0);
        let lines = done.lines();
        assert_eq!(lines.len(), LINES);
        assert!(lines.iter().all(|line| line["status"] == "ok"), "{lines:?}");
        assert!(!done.stderr.contains("broke the protocol"), "{}", done.stderr);
        io::stderr().flush().unwrap();
    }
}
