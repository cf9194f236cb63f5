//! Limits of control groups, versions 1 and 2, found through `/proc`.
//!
//! `/proc/self/cgroup` says which group the process is in. `/proc/self/mountinfo` says where the
//! trees of groups are mounted. A limit of any ancestor applies to the process too, so this module
//! visits every directory from the process's group up to the mount. Ancestors above the mount are
//! not visible. Whatever cannot be read or parsed counts as no limit: a wrong guess must not keep a
//! program from starting.

use std::fs;
use std::path::{Path, PathBuf};

/// Limits from here on mean "no limit": version 1 says that with the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 62;

/// The groups that this process is in.
#[derive(Debug)]
pub(super) struct Groups {
    root: PathBuf,
    memberships: Vec<Membership>,
    mounts: Vec<Mount>,
}

/// A line of `/proc/self/cgroup`.
#[derive(Debug, PartialEq)]
struct Membership {
    /// Controllers of a version 1 hierarchy; empty for version 2.
    controllers: Vec<String>,
    group: PathBuf,
}

/// A mounted tree of groups.
#[derive(Debug, PartialEq)]
struct Mount {
    version: CgroupVersion,
    /// Mount options. In version 1 they include the controllers; in version 2 they are not used.
    options: Vec<String>,
    /// The group at the top of the mount.
    top: PathBuf,
    point: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum CgroupVersion {
    V1,
    V2,
}

impl Groups {
    /// Reads the files under `root`: `/`, or a tree that a test has created.
    pub(super) fn read(root: &Path) -> Self {
        // A path in these files need not be UTF-8.
        let text = |path| match fs::read(root.join(path)) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => String::new(),
        };
        Self {
            root: root.to_owned(),
            memberships: text("proc/self/cgroup").lines().filter_map(membership).collect(),
            mounts: text("proc/self/mountinfo").lines().filter_map(mount).collect(),
        }
    }

    /// The tightest processor quota, in cores.
    pub(super) fn cpu_quota(&self) -> Option<f64> {
        let v1 = self.levels(CgroupVersion::V1, "cpu").into_iter().filter_map(|level| {
            let period = fs::read_to_string(level.join("cpu.cfs_period_us")).ok()?;
            let quota = fs::read_to_string(level.join("cpu.cfs_quota_us")).ok()?;
            quota_in_cores(&quota, &period)
        });
        let v2 = self.levels(CgroupVersion::V2, "cpu").into_iter().filter_map(|level| {
            let text = fs::read_to_string(level.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            quota_in_cores(quota, period)
        });
        v1.chain(v2).reduce(f64::min)
    }

    /// The tightest memory limit, in bytes.
    pub(super) fn memory_limit(&self) -> Option<u64> {
        self.least("memory", "memory.limit_in_bytes", "memory.max")
    }

    /// The groups that limit this process's memory.
    pub(super) fn memory_levels(&self) -> Vec<MemoryLevel> {
        [CgroupVersion::V1, CgroupVersion::V2]
            .into_iter()
            .flat_map(|version| {
                let levels = self.levels(version, "memory").into_iter();
                levels.map(move |group| MemoryLevel { version, group })
            })
            .filter(|level| level.limit().is_some())
            .collect()
    }

    /// How many processes the OOM killer has killed in the innermost group that counts them.
    pub(super) fn memory_kills(&self) -> Option<u64> {
        [(CgroupVersion::V2, "memory.events"), (CgroupVersion::V1, "memory.oom_control")]
            .into_iter()
            .flat_map(|(version, file)| {
                self.levels(version, "memory").into_iter().map(move |level| level.join(file))
            })
            .find_map(|file| oom_kills(&file))
    }

    /// The tightest limit on the number of processes and threads.
    pub(super) fn task_limit(&self) -> Option<u64> {
        self.least("pids", "pids.max", "pids.max")
    }

    fn least(&self, controller: &str, v1: &str, v2: &str) -> Option<u64> {
        [(CgroupVersion::V1, v1), (CgroupVersion::V2, v2)]
            .into_iter()
            .flat_map(|(version, file)| {
                self.levels(version, controller).into_iter().map(move |level| level.join(file))
            })
            .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok())
            .filter(|&limit| limit < NO_LIMIT)
            .min()
    }

    /// The directories of this process's group and of its ancestors, as far as they are visible.
    fn levels(&self, version: CgroupVersion, controller: &str) -> Vec<PathBuf> {
        let Some(membership) = self.memberships.iter().find(|membership| match version {
            CgroupVersion::V1 => membership.controllers.iter().any(|name| name == controller),
            CgroupVersion::V2 => membership.controllers.is_empty(),
        }) else {
            return Vec::new();
        };
        let mut levels = Vec::new();
        let mut foreign = Vec::new();
        for mount in self.mounts.iter().filter(|mount| {
            mount.version == version
                && (version == CgroupVersion::V2
                    || mount.options.iter().any(|name| name == controller))
        }) {
            let point = self.root.join(mount.point.strip_prefix("/").unwrap_or(&mount.point));
            match membership.group.strip_prefix(&mount.top) {
                Ok(below) if !has_parent(&membership.group) => {
                    levels.extend(below.ancestors().map(|below| point.join(below)))
                }
                _ => foreign.push(point),
            }
        }
        // In some containers the name of the group and that of the mount come from different
        // namespaces. What is mounted is then the container's own group.
        if levels.is_empty() { foreign } else { levels }
    }
}

/// A group with a memory limit.
#[derive(Debug)]
pub(super) struct MemoryLevel {
    version: CgroupVersion,
    group: PathBuf,
}

/// Reads from a file of counters how many processes the OOM killer has killed.
pub(super) fn oom_kills(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

impl MemoryLevel {
    fn number(&self, v1: &str, v2: &str) -> Option<u64> {
        let file = match self.version {
            CgroupVersion::V1 => v1,
            CgroupVersion::V2 => v2,
        };
        fs::read_to_string(self.group.join(file)).ok()?.trim().parse().ok()
    }

    fn limit(&self) -> Option<u64> {
        self.number("memory.limit_in_bytes", "memory.max").filter(|&limit| limit < NO_LIMIT)
    }

    /// How much more memory the group may use, in bytes. Files that the kernel caches in memory
    /// count as unused, because the kernel takes their memory back when it is needed. Files that
    /// processes have mapped count as used: they are running programs.
    pub(super) fn left(&self) -> Option<u64> {
        let used = self.number("memory.usage_in_bytes", "memory.current")?;
        let [inactive, active, mapped] = match self.version {
            CgroupVersion::V1 => ["total_inactive_file", "total_active_file", "total_mapped_file"],
            CgroupVersion::V2 => ["inactive_file", "active_file", "file_mapped"],
        };
        let stat = fs::read_to_string(self.group.join("memory.stat")).unwrap_or_default();
        let value = |name: &str| -> u64 {
            let value =
                |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
            stat.lines().find_map(value).unwrap_or(0)
        };
        // Mapped files are among both the inactive and the active ones.
        let spare = value(inactive) + value(active).saturating_sub(value(mapped));
        Some(self.limit()?.saturating_sub(used.saturating_sub(spare)))
    }
}

/// Whether a group lies outside the namespace: `/../other`.
fn has_parent(group: &Path) -> bool {
    group.components().any(|part| part == std::path::Component::ParentDir)
}

fn quota_in_cores(quota: &str, period: &str) -> Option<f64> {
    // "max" and -1 mean no quota. Neither parses as an unsigned number.
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok()?;
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// Parses `4:cpu,cpuacct:/docker/1a2b` or `0::/user.slice`.
fn membership(line: &str) -> Option<Membership> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
    if controllers.is_empty() && number != "0" {
        return None;
    }
    Some(Membership {
        controllers: controllers
            .split(',')
            .filter(|name| !name.is_empty())
            .map(Into::into)
            .collect(),
        group: group.into(),
    })
}

/// Parses `31 23 0:28 /top /point rw,nosuid shared:4 - cgroup cgroup rw,cpu,cpuacct`.
fn mount(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let mut back = back.split(' ');
    let version = match back.next()? {
        "cgroup" => CgroupVersion::V1,
        "cgroup2" => CgroupVersion::V2,
        _ => return None,
    };
    let mut front = front.split(' ').skip(3);
    Some(Mount {
        version,
        top: unescape(front.next()?).into(),
        point: unescape(front.next()?).into(),
        options: back.nth(1).unwrap_or_default().split(',').map(Into::into).collect(),
    })
}

/// Undoes the octal escapes of mountinfo: `\040` is a space.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let escaped = rest.get(at + 1..at + 4);
        match escaped.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = &rest[at + 4..];
            }
            None => {
                plain.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests;
