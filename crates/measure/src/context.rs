//! State of the machine while something was measured.

use std::fs;

use brigade_sys::{clock, usage};
use serde::{Deserialize, Serialize};

/// State of the machine during one replication block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockContext {
    /// Experiment that the block belongs to.
    pub experiment: String,
    /// Number of the block, from 0.
    pub block: usize,
    /// Start of the block on `CLOCK_MONOTONIC`, in nanoseconds.
    pub began_ns: u64,
    /// Duration in milliseconds.
    pub took_ms: f64,
    /// Load average of the last minute, at the end of the block.
    pub load1: f64,
    /// Steal time in milliseconds, summed over all cores: cores of the machine were ready to run,
    /// but the hypervisor ran other guests. The resolution is one tick.
    pub steal_ms: f64,
    /// Voluntary context switches of this process's threads, and of children that ended during the
    /// block.
    pub voluntary_switches: u64,
    /// Involuntary context switches of the same threads and children.
    pub involuntary_switches: u64,
    /// Their page faults that needed no I/O.
    pub minor_faults: u64,
    /// Their page faults that had to read from a device.
    pub major_faults: u64,
    /// Mean frequency of the cores at the end of the block in MHz, if the kernel shows it.
    pub mhz: Option<f64>,
}

/// Values read at the start of a block, to be compared with those at its end.
#[derive(Debug)]
pub struct Meter {
    began_ns: u64,
    steal_ticks: u64,
    usage: usage::Usage,
}

impl Meter {
    /// Starts the measurement of a block.
    pub fn start() -> Self {
        Self { began_ns: clock::now(), steal_ticks: steal_ticks(), usage: usage::with_children() }
    }

    /// Ends the measurement and returns the block's data.
    pub fn stop(self, experiment: &str, block: usize) -> BlockContext {
        let took_ms = clock::since(self.began_ns).as_secs_f64() * 1e3;
        let (before, after) = (self.usage, usage::with_children());
        BlockContext {
            experiment: experiment.to_owned(),
            block,
            began_ns: self.began_ns,
            took_ms,
            load1: load1(),
            steal_ms: steal_ticks().saturating_sub(self.steal_ticks) as f64 * MS_PER_TICK,
            voluntary_switches: after.voluntary_switches - before.voluntary_switches,
            involuntary_switches: after.involuntary_switches - before.involuntary_switches,
            minor_faults: after.minor_faults - before.minor_faults,
            major_faults: after.major_faults - before.major_faults,
            mhz: mhz(),
        }
    }
}

/// USER_HZ is 100 on every architecture that Linux still has.
const MS_PER_TICK: f64 = 10.0;

/// The eighth number of the first line of /proc/stat (proc(5)).
fn steal_ticks() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let steal = text.lines().next().and_then(|line| line.split_whitespace().nth(8));
    steal.and_then(|steal| steal.parse().ok()).unwrap_or(0)
}

fn load1() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

fn mhz() -> Option<f64> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let cores: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with("cpu MHz"))
        .filter_map(|line| line.split(':').nth(1)?.trim().parse().ok())
        .collect();
    (!cores.is_empty()).then(|| cores.iter().sum::<f64>() / cores.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_says_what_went_on_in_it() {
        let meter = Meter::start();
        let pages = vec![1_u8; 4 << 20];
        let block = meter.stop("latency", 3);
        assert_eq!((block.experiment.as_str(), block.block), ("latency", 3));
        assert!(block.took_ms > 0.0 && block.steal_ms >= 0.0);
        assert!(block.minor_faults > 0, "{} bytes touched", pages.len());
    }
}
