//! Source of the facts about a machine: the real file system, or a directory tree made by a test.

use std::fs;
use std::path::{Path, PathBuf};

/// Reads small files of the kernel, such as those in `/proc` and `/sys`.
#[derive(Debug)]
pub(crate) struct Machine {
    root: PathBuf,
}

impl Machine {
    /// This machine.
    pub(crate) fn here() -> Self {
        Self { root: "/".into() }
    }

    /// A machine whose files lie under `root`.
    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// Content of a file without surrounding white space; `None` if the file cannot be read.
    pub(crate) fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    /// Content of a file that holds one number.
    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// Value of the line `name: value` in a file of such lines.
    pub(crate) fn entry(&self, path: &str, name: &str) -> Option<String> {
        entry(&self.text(path)?, name)
    }

    /// The distinct frequency governors of the cores; `None` if the kernel shows none.
    pub(crate) fn governor(&self) -> Option<String> {
        let cores = fs::read_dir(self.root.join("sys/devices/system/cpu")).ok()?;
        let mut found: Vec<String> = cores
            .flatten()
            .filter_map(|core| self.text(core.path().join("cpufreq/scaling_governor")))
            .collect();
        found.sort();
        found.dedup();
        (!found.is_empty()).then(|| found.join(", "))
    }

    /// Kind of virtual machine: `none` for bare metal, `None` if it cannot be determined.
    pub(crate) fn virtual_machine(&self) -> Option<String> {
        let flags = self.entry("proc/cpuinfo", "flags");
        let virtual_flag =
            flags.map(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
        let dmi = |name: &str| self.text(format!("sys/class/dmi/id/{name}")).unwrap_or_default();
        let board = format!("{} {}", dmi("sys_vendor"), dmi("product_name"));
        match virtual_flag {
            Some(false) => Some("none".into()),
            // Only x86 has the flag. Elsewhere the board's vendor tells: these names belong to
            // hypervisors only.
            None => ["QEMU", "KVM", "VMware", "VirtualBox", "Xen", "Parallels", "Virtual Machine"]
                .iter()
                .any(|maker| board.contains(maker))
                .then(|| board.trim().to_owned()),
            Some(true) => Some(match board.trim() {
                "" => self.hypervisor_by_its_clock().into(),
                board => board.to_owned(),
            }),
        }
    }

    fn hypervisor_by_its_clock(&self) -> &'static str {
        let clocks = self.text("sys/devices/system/clocksource/clocksource0/available_clocksource");
        let clocks = clocks.unwrap_or_default();
        [("kvm", "KVM"), ("hyperv", "Hyper-V"), ("xen", "Xen")]
            .into_iter()
            .find(|(clock, _)| clocks.contains(clock))
            .map_or("unknown hypervisor", |(_, name)| name)
    }
}

/// Value of the first line `name: value`.
fn entry(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = rest.trim_start();
        Some(rest.strip_prefix(':')?.trim().to_owned())
    })
}

/// Creates a machine from files, given as path and content.
#[cfg(test)]
pub(crate) fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let machine = Machine::at(root.path());
    (root, machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCKS: &str = "sys/devices/system/clocksource/clocksource0/available_clocksource";

    #[test]
    fn entries() {
        let text = "model name\t: A B\nMemFree:  12 kB\nMemFreeish: 1\n";
        assert_eq!(entry(text, "model name").as_deref(), Some("A B"));
        assert_eq!(entry(text, "MemFree").as_deref(), Some("12 kB"));
        assert_eq!(entry(text, "model"), None);
        assert_eq!(entry("", "x"), None);
    }

    #[test]
    fn governors_of_all_cores() {
        let (_root, machine) = tree(&[
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "schedutil\n"),
            ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n"),
            ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "performance\n"),
        ]);
        assert_eq!(machine.governor().as_deref(), Some("performance, schedutil"));
        assert_eq!(tree(&[]).1.governor(), None);
    }

    #[test]
    fn virtual_machines() {
        let vm = |files: &[(&str, &str)]| tree(files).1.virtual_machine();
        let guest = ("proc/cpuinfo", "flags\t\t: fpu hypervisor sse\n");
        assert_eq!(vm(&[]), None);
        assert_eq!(vm(&[("proc/cpuinfo", "flags : fpu sse\n")]).as_deref(), Some("none"));
        assert_eq!(vm(&[guest]).as_deref(), Some("unknown hypervisor"));
        assert_eq!(vm(&[guest, (CLOCKS, "kvm-clock tsc")]).as_deref(), Some("KVM"));
        let (vendor, product) = ("sys/class/dmi/id/sys_vendor", "sys/class/dmi/id/product_name");
        let amazon = [guest, (vendor, "Amazon EC2\n"), (product, "m7i.large\n")];
        assert_eq!(vm(&amazon).as_deref(), Some("Amazon EC2 m7i.large"));
        let arm = [("proc/cpuinfo", "Features : fp\n"), (vendor, "QEMU")];
        assert_eq!(vm(&arm).as_deref(), Some("QEMU"));
        assert_eq!(vm(&[(vendor, "Ampere")]), None);
    }
}
