//! Description of the machine that a result was measured on.

use serde::Serialize;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use crate::machine::Machine;

/// The facts about a machine that make its results comparable with others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Host {
    /// Version of Brigade.
    pub brigade: String,
    /// Build id of the executable, as in the handshake with its workers.
    pub build: String,
    /// Name and version of the operating system.
    pub os: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Model of the processor.
    pub cpu: String,
    /// Number of cores of the machine.
    pub cores_present: usize,
    /// Number of workers that each get a core of their own: see [`brigade_sys::cores`].
    pub cores_usable: usize,
    /// Total memory, or the control group's limit if that is less.
    pub memory_total_bytes: u64,
    /// Memory of the machine that is available without swapping.
    pub memory_available_bytes: u64,
    /// Frequency governor of the cores, if the kernel shows it.
    pub governor: Option<String>,
    /// Load average of the last minute, read at the start, before Brigade's own work adds to it.
    pub load1: f64,
    /// Kind of virtual machine: `none` for bare metal, `None` if it cannot be determined.
    pub virtual_machine: Option<String>,
}

impl Host {
    /// Describes the current state of this machine.
    ///
    /// Facts that cannot be determined are `unknown` or 0.
    pub fn read() -> Self {
        let machine = Machine::here();
        let cores = brigade_sys::cores::usable();
        let system = System::new_with_specifics(
            RefreshKind::nothing()
                .with_cpu(CpuRefreshKind::nothing())
                .with_memory(MemoryRefreshKind::nothing().with_ram()),
        )
        .ok();
        let total = system.as_ref().map_or(0, System::total_memory);
        let limit = brigade_sys::cores::memory_limit();
        let cpu =
            system.as_ref().and_then(|system| Some(system.cpus().first()?.brand().to_owned()));
        Self {
            brigade: env!("CARGO_PKG_VERSION").into(),
            build: brigade_ipc::build_id().into(),
            os: known(System::long_os_version().ok()),
            kernel: known(System::kernel_version().ok()),
            cpu: known(cpu),
            cores_present: cores.present,
            cores_usable: cores.usable,
            memory_total_bytes: limit.map_or(total, |limit| limit.min(total)),
            memory_available_bytes: system.as_ref().map_or(0, System::available_memory),
            governor: machine.governor(),
            load1: System::load_average().map_or(0.0, |load| load.one),
            virtual_machine: machine.virtual_machine(),
        }
    }
}

fn known(text: Option<String>) -> String {
    text.map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| "unknown".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        let host = Host::read();
        assert!(host.cores_usable >= 1 && host.cores_usable <= host.cores_present);
        assert!(host.memory_total_bytes > 0 && host.memory_available_bytes > 0);
        assert_ne!(host.kernel, "unknown");
        assert!(host.build.starts_with(&host.brigade));
    }

    #[test]
    fn what_is_not_known_says_so() {
        assert_eq!(known(None), "unknown");
        assert_eq!(known(Some(" \n".into())), "unknown");
        assert_eq!(known(Some(" Linux ".into())), "Linux");
    }

    #[test]
    fn it_serialises_with_units_in_the_names() {
        let json = serde_json::to_value(Host::read()).unwrap();
        for name in ["brigade", "build", "cores_usable", "memory_total_bytes", "load1"] {
            assert!(!json[name].is_null(), "{name} in {json}");
        }
        assert!(json.get("governor").is_some(), "null, but there");
    }
}
