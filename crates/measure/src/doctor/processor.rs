//! Checks of cores, clocks, and other load on the cores.

use brigade_proto::count;
use brigade_sys::cores::Cores;
use sysinfo::System;

use super::FindingGroup::Processor;
use super::Severity::{Good, Note, Warning};
use super::{Finding, Severity};
use crate::machine::Machine;

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let found = brigade_sys::cores::usable();
    [
        Some(cores(found)),
        System::load_average().ok().map(|average| load(average.one, found)),
        machine.text("proc/stat").and_then(|stat| steal(&stat)),
        Some(virtualisation(machine.virtual_machine())),
        Some(governor(machine.governor())),
        turbo(machine),
        smt(machine),
        Some(clock(
            machine.text("sys/devices/system/clocksource/clocksource0/current_clocksource"),
            cost_of_a_reading(),
        )),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn cores(cores: Cores) -> Finding {
    let quota = cores.quota.map_or("no quota".into(), |quota| format!("quota {quota:.2}"));
    let value = format!(
        "{} usable of {} ({} by affinity, {quota})",
        cores.usable, cores.present, cores.affinity
    );
    let finding =
        |verdict, meaning: &str| Finding::new(Processor, "cores", value, verdict, meaning);
    match cores.quota {
        Some(quota) if quota < cores.affinity as f64 => finding(
            Warning,
            "Over its quota a container is stopped until the next period, which shows as long \
             outliers; Brigade starts no more workers than the quota feeds.",
        )
        .advise("measure without a quota, on cores given by --cpuset-cpus"),
        _ if cores.usable == 1 => finding(
            Note,
            "Coordinator and worker take turns on the only core, so nothing runs in parallel and \
             every round trip includes a switch.",
        ),
        _ if cores.usable < cores.present => finding(
            Note,
            "Brigade starts as many workers as it may use cores, not as many as there are.",
        ),
        _ => finding(Good, "Brigade starts as many workers as there are cores."),
    }
}

fn load(load: f64, cores: Cores) -> Finding {
    let share = load / cores.present as f64;
    let value = format!("{load:.2} in the last minute, {}", count(cores.present, "core"));
    let finding = |verdict, meaning: &str| Finding::new(Processor, "load", value, verdict, meaning);
    if share < 0.1 {
        finding(Good, "Nothing else competes for the cores.")
    } else if share < 0.5 {
        finding(
            Note,
            "Other work takes some of the cores' time, so figures vary more than they need to.",
        )
        .advise("compare only runs that take turns, as brigade ab does")
    } else {
        finding(Warning, "Other work takes the cores away in the middle of a measurement.")
            .advise("wait until it has finished, or stop it")
    }
}

/// Steal time: the share of all time since boot in which the hypervisor ran other guests.
fn steal(stat: &str) -> Option<Finding> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|tick| tick.parse().ok()).collect();
    // The next two fields, guest and guest_nice, are already included in user and nice.
    let (all, stolen) = (ticks.get(..8)?.iter().sum::<u64>(), ticks[7]);
    let share = if all == 0 { 0.0 } else { stolen as f64 / all as f64 };
    let value = format!("{:.2} % since the start", share * 100.0);
    let finding =
        |verdict, meaning: &str| Finding::new(Processor, "steal time", value, verdict, meaning);
    Some(if share < 0.001 {
        finding(Good, "The host gives this machine the cores that it asks for.")
    } else if share < 0.01 {
        finding(Note, "The host sometimes runs others on these cores; expect outliers.")
    } else {
        finding(Warning, "The host runs others on these cores so often that times mean little.")
            .advise("use dedicated cores, or repeat the measurement at another time")
    })
}

fn virtualisation(kind: Option<String>) -> Finding {
    let (verdict, meaning) = match kind.as_deref() {
        Some("none") => (Good, "Nothing lies between the kernel and the cores."),
        Some(_) => (
            Note,
            "Waking another core, page faults and system calls cost more than on bare metal, so \
             latencies are not to be compared with those of such a machine.",
        ),
        None => (Note, "Whether this is a virtual machine cannot be seen here."),
    };
    let value = kind.unwrap_or_else(|| "unknown".into());
    Finding::new(Processor, "virtual machine", value, verdict, meaning)
}

fn governor(governor: Option<String>) -> Finding {
    let value = governor.as_deref().unwrap_or("not visible").to_owned();
    let finding =
        |verdict, meaning: &str| Finding::new(Processor, "governor", value, verdict, meaning);
    match governor.as_deref() {
        Some("performance") => finding(Good, "The cores keep their highest frequency."),
        Some(_) => finding(
            Note,
            "The cores slow down while they wait, so short jobs and idle latencies look worse than \
             busy ones.",
        )
        .advise("cpupower frequency-set -g performance, while measuring"),
        None => finding(
            Note,
            "Somebody else, often the host, decides on the frequency of the cores; it may change \
             within a measurement.",
        ),
    }
}

fn turbo(machine: &Machine) -> Option<Finding> {
    let on = match machine.number("sys/devices/system/cpu/intel_pstate/no_turbo") {
        Some(off) => off == 0,
        None => machine.number("sys/devices/system/cpu/cpufreq/boost")? != 0,
    };
    let (value, verdict, meaning) = if on {
        (
            "on",
            Note,
            "One busy core runs faster than all of them, which makes scaling look worse than it is.",
        )
    } else {
        ("off", Good, "A core is as fast alone as with all others busy.")
    };
    Some(Finding::new(Processor, "turbo", value, verdict, meaning))
}

fn smt(machine: &Machine) -> Option<Finding> {
    Some(match machine.number("sys/devices/system/cpu/smt/active")? {
        0 => Finding::new(Processor, "SMT", "off", Good, "Each core is one of its own."),
        _ => Finding::new(
            Processor,
            "SMT",
            "on",
            Note,
            "Two of the cores listed share one, so the second half of the workers adds far less \
             than the first.",
        ),
    })
}

/// Cost of one clock reading in nanoseconds: the best of five rounds.
fn cost_of_a_reading() -> f64 {
    const READINGS: u32 = 256;
    let round = || {
        let start = brigade_sys::clock::now();
        for _ in 0..READINGS {
            std::hint::black_box(brigade_sys::clock::now());
        }
        brigade_sys::clock::since(start).as_nanos() as f64 / f64::from(READINGS)
    };
    (0..5).map(|_| round()).fold(f64::INFINITY, f64::min)
}

fn clock(source: Option<String>, ns: f64) -> Finding {
    let source = source.unwrap_or_else(|| "unknown".into());
    let value = format!("{source}, {ns:.0} ns a reading");
    let verdict: Severity = if ns < 150.0 {
        Good
    } else if ns < 500.0 {
        Note
    } else {
        Warning
    };
    let finding = |meaning: &str| Finding::new(Processor, "clock", value, verdict, meaning);
    match verdict {
        Good => finding("Time stamps cost next to nothing beside what they measure."),
        Note => finding("Some ten time stamps a job add a few microseconds to short jobs."),
        Warning => finding(
            "Reading the clock is a system call here: time stamps slow short jobs down.",
        )
        .advise(
            "choose another: /sys/devices/system/clocksource/clocksource0/available_clocksource",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tree;

    fn of(present: usize, affinity: usize, quota: Option<f64>, usable: usize) -> Cores {
        Cores { present, affinity, quota, usable }
    }

    #[test]
    fn verdicts_on_cores() {
        assert_eq!(cores(of(8, 8, None, 8)).verdict, Good);
        assert_eq!(cores(of(8, 4, None, 4)).verdict, Note);
        assert_eq!(cores(of(1, 1, None, 1)).verdict, Note);
        assert_eq!(cores(of(8, 8, Some(9.0), 8)).verdict, Good);
        let throttled = cores(of(8, 8, Some(1.5), 1));
        assert_eq!(throttled.verdict, Warning);
        assert_eq!(throttled.value, "1 usable of 8 (8 by affinity, quota 1.50)");
    }

    #[test]
    fn verdicts_on_load() {
        let verdict = |average| load(average, of(4, 4, None, 4)).verdict;
        assert_eq!([verdict(0.0), verdict(1.0), verdict(2.0)], [Good, Note, Warning]);
    }

    #[test]
    fn steal_from_proc_stat() {
        let found = steal("cpu  100 0 0 880 0 0 0 20 7 7\ncpu0 1 1\n").unwrap();
        assert_eq!((found.value.as_str(), found.verdict), ("2.00 % since the start", Warning));
        assert_eq!(steal("cpu  100 0 0 9895 0 0 0 5 0 0\n").unwrap().verdict, Good);
        assert_eq!(steal("cpu  0 0 0 995 0 0 0 5 0 0\n").unwrap().verdict, Note);
        assert_eq!(steal("cpu  0 0 0 0 0 0 0 0\n").unwrap().verdict, Good);
        for nonsense in ["", "cpu", "cpu  1 2 3", "cpu  a b c d e f g h", "cpu0 1 1 1 1 1 1 1 1"] {
            assert_eq!(steal(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn frequency() {
        assert_eq!(governor(Some("performance".into())).verdict, Good);
        assert_eq!(governor(Some("powersave".into())).verdict, Note);
        assert_eq!(governor(None).verdict, Note);
        let turbo_of = |path, content| turbo(&tree(&[(path, content)]).1).map(|f| f.value);
        let intel = "sys/devices/system/cpu/intel_pstate/no_turbo";
        let other = "sys/devices/system/cpu/cpufreq/boost";
        assert_eq!(turbo_of(intel, "0\n").as_deref(), Some("on"));
        assert_eq!(turbo_of(intel, "1\n").as_deref(), Some("off"));
        assert_eq!(turbo_of(other, "1\n").as_deref(), Some("on"));
        assert_eq!(turbo_of(other, "x\n"), None);
    }

    #[test]
    fn shared_cores() {
        let smt_of = |content| smt(&tree(&[("sys/devices/system/cpu/smt/active", content)]).1);
        assert_eq!(smt_of("1").unwrap().verdict, Note);
        assert_eq!(smt_of("0").unwrap().verdict, Good);
        assert_eq!(smt(&tree(&[]).1), None);
    }

    #[test]
    fn clocks_by_their_cost() {
        assert_eq!(clock(Some("tsc".into()), 24.3).value, "tsc, 24 ns a reading");
        assert_eq!(clock(Some("tsc".into()), 24.3).verdict, Good);
        assert_eq!(clock(Some("hpet".into()), 1500.0).verdict, Warning);
        assert_eq!(clock(None, 300.0).verdict, Note);
    }

    #[test]
    fn kinds_of_machines() {
        assert_eq!(virtualisation(Some("none".into())).verdict, Good);
        assert_eq!(virtualisation(Some("KVM".into())).verdict, Note);
        assert_eq!(virtualisation(None).value, "unknown");
    }
}
