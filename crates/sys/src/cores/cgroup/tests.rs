use tempfile::TempDir;

use super::*;

/// Creates a tree of files from their paths and contents.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

fn limits(files: &[(&str, &str)]) -> (Option<f64>, Option<u64>) {
    let root = tree(files);
    let groups = Groups::read(root.path());
    (groups.cpu_quota(), groups.memory_limit())
}

const MOUNT_V2: &str =
    "25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const MOUNTS_V1: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
32 25 0:28 / /sys/fs/cgroup/memory rw shared:10 - cgroup cgroup rw,memory
";

#[test]
fn v2_at_the_top() {
    let found = limits(&[
        ("proc/self/cgroup", "0::/\n"),
        ("proc/self/mountinfo", MOUNT_V2),
        ("sys/fs/cgroup/cpu.max", "150000 100000\n"),
        ("sys/fs/cgroup/memory.max", "536870912\n"),
    ]);
    assert_eq!(found, (Some(1.5), Some(512 << 20)));
}

#[test]
fn v2_max_is_no_limit() {
    let found = limits(&[
        ("proc/self/cgroup", "0::/app\n"),
        ("proc/self/mountinfo", MOUNT_V2),
        ("sys/fs/cgroup/app/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/app/memory.max", "max\n"),
    ]);
    assert_eq!(found, (None, None));
}

#[test]
fn v2_the_tightest_ancestor_counts() {
    let found = limits(&[
        ("proc/self/cgroup", "0::/a.slice/b.slice/c.scope\n"),
        ("proc/self/mountinfo", MOUNT_V2),
        ("sys/fs/cgroup/a.slice/cpu.max", "200000 100000"),
        ("sys/fs/cgroup/a.slice/memory.max", "1000"),
        ("sys/fs/cgroup/a.slice/b.slice/cpu.max", "max 100000"),
        ("sys/fs/cgroup/a.slice/b.slice/c.scope/cpu.max", "800000 100000"),
        ("sys/fs/cgroup/a.slice/b.slice/c.scope/memory.max", "3000"),
        // The limit of a sibling group does not apply.
        ("sys/fs/cgroup/a.slice/other/cpu.max", "10000 100000"),
    ]);
    assert_eq!(found, (Some(2.0), Some(1000)));
}

#[test]
fn v1_with_joined_controllers() {
    let found = limits(&[
        ("proc/self/cgroup", "5:memory:/job\n4:cpu,cpuacct:/job/inner\n1:name=systemd:/x\n"),
        ("proc/self/mountinfo", MOUNTS_V1),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000"),
        ("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "125000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "50000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/job/inner/cpu.cfs_quota_us", "-1\n"),
        ("sys/fs/cgroup/cpu,cpuacct/job/inner/cpu.cfs_period_us", "50000\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "4096\n"),
    ]);
    assert_eq!(found, (Some(2.5), Some(4096)));
}

#[test]
fn v1_without_limits() {
    let found = limits(&[
        ("proc/self/cgroup", "5:memory:/\n4:cpu,cpuacct:/\n"),
        ("proc/self/mountinfo", MOUNTS_V1),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
    ]);
    assert_eq!(found, (None, None));
}

#[test]
fn hybrid_takes_each_limit_where_it_is() {
    let mounts = format!(
        "{MOUNTS_V1}41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
    );
    let found = limits(&[
        ("proc/self/cgroup", "4:cpu,cpuacct:/old\n0::/new\n"),
        ("proc/self/mountinfo", &mounts),
        ("sys/fs/cgroup/cpu,cpuacct/old/cpu.cfs_quota_us", "300000"),
        ("sys/fs/cgroup/cpu,cpuacct/old/cpu.cfs_period_us", "100000"),
        ("sys/fs/cgroup/unified/new/memory.max", "77"),
    ]);
    assert_eq!(found, (Some(3.0), Some(77)));
}

#[test]
fn a_container_whose_mount_shows_only_its_own_group() {
    let found = limits(&[
        ("proc/self/cgroup", "4:cpu:/docker/1a2b/inner\n"),
        (
            "proc/self/mountinfo",
            "31 25 0:27 /docker/1a2b /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n",
        ),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "400000"),
        ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000"),
        ("sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "200000"),
        ("sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000"),
    ]);
    assert_eq!(found.0, Some(2.0));
}

#[test]
fn a_container_whose_names_are_of_another_namespace() {
    for (group, top) in [("/", "/.."), ("/../other", "/"), ("/", "/kubepods/pod1/c1")] {
        let found = limits(&[
            ("proc/self/cgroup", &format!("0::{group}\n")),
            (
                "proc/self/mountinfo",
                &format!("25 30 0:23 {top} /sys/fs/cgroup ro - cgroup2 cgroup rw\n"),
            ),
            ("sys/fs/cgroup/cpu.max", "100000 100000"),
        ]);
        assert_eq!(found.0, Some(1.0), "{group} in {top}");
    }
}

#[test]
fn a_mount_point_with_a_space() {
    let found = limits(&[
        ("proc/self/cgroup", "0::/\n"),
        ("proc/self/mountinfo", "25 30 0:23 / /my\\040groups rw - cgroup2 none rw\n"),
        ("my groups/cpu.max", "50000 100000"),
    ]);
    assert_eq!(found.0, Some(0.5));
}

#[test]
fn nonsense_is_no_limit() {
    assert_eq!(limits(&[]), (None, None));
    for content in
        ["", "x", "0 0", "1 0", "-5 100000", "1e5 100000", "max", "99999999999999999999 1"]
    {
        let found = limits(&[
            ("proc/self/cgroup", "0::/\nnonsense\n7::/x\n:\n"),
            ("proc/self/mountinfo", &format!("- - -\n - cgroup2\n1 2 - cgroup2\n{MOUNT_V2}")),
            ("sys/fs/cgroup/cpu.max", content),
            ("sys/fs/cgroup/memory.max", content),
        ]);
        assert_eq!(found, (None, None), "{content:?}");
    }
}

#[test]
fn limits_of_tasks() {
    let root = tree(&[
        ("proc/self/cgroup", "0::/a\n"),
        ("proc/self/mountinfo", MOUNT_V2),
        ("sys/fs/cgroup/a/pids.max", "100\n"),
    ]);
    assert_eq!(Groups::read(root.path()).task_limit(), Some(100));
}

#[test]
fn escapes() {
    assert_eq!(unescape(r"/a\040b\134c\\x\"), r"/a b\c\\x\");
    assert_eq!(unescape("/plain"), "/plain");
}

fn left(files: &[(&str, &str)]) -> Option<u64> {
    let root = tree(files);
    Groups::read(root.path()).memory_levels().iter().filter_map(MemoryLevel::left).min()
}

const STAT: &str =
    "anon 8000\ninactive_file_x 7\ninactive_file 400\nactive_file 300\nfile_mapped 100\n";

#[test]
fn v2_what_is_left_is_the_least_of_all_levels() {
    let found = left(&[
        ("proc/self/cgroup", "0::/a/b\n"),
        ("proc/self/mountinfo", MOUNT_V2),
        ("sys/fs/cgroup/a/memory.max", "10000\n"),
        ("sys/fs/cgroup/a/memory.current", "9000\n"),
        ("sys/fs/cgroup/a/memory.stat", STAT),
        ("sys/fs/cgroup/a/b/memory.max", "5000\n"),
        ("sys/fs/cgroup/a/b/memory.current", "1000\n"),
        // This group has no limit, so its usage does not matter.
        ("sys/fs/cgroup/memory.max", "max\n"),
        ("sys/fs/cgroup/memory.current", "1\n"),
    ]);
    assert_eq!(found, Some(1600));
}

#[test]
fn v1_what_is_left() {
    let group = [
        ("proc/self/cgroup", "5:memory:/job\n"),
        ("proc/self/mountinfo", MOUNTS_V1),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/memory.usage_in_bytes", "9223372036854771711\n"),
        ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "4096\n"),
        ("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "5000\n"),
        ("sys/fs/cgroup/memory/job/memory.stat", "total_inactive_file 2000\n"),
    ];
    assert_eq!(left(&group), Some(1096));
    let kills = [
        group[0],
        group[1],
        ("sys/fs/cgroup/memory/job/memory.oom_control", "under_oom 0\noom_kill 3\n"),
    ];
    assert_eq!(Groups::read(tree(&kills).path()).memory_kills(), Some(3));
    // The usage is above the limit, and no cached files can be taken back.
    assert_eq!(left(&group[..6]), Some(0));
    assert_eq!(left(&group[..5]), None);
}
