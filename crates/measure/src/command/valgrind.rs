//! Counts instructions with valgrind's cachegrind, for machines where the processor's counter is
//! not available.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub(super) struct Valgrind {
    /// Holds one count file per process of the run.
    counts: TempDir,
}

impl Valgrind {
    pub(super) fn is_installed() -> bool {
        let version = Command::new("valgrind").arg("--version").stdin(Stdio::null()).output();
        version.is_ok_and(|output| output.status.success())
    }

    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { counts: tempfile::Builder::new().prefix("brigade-count-").tempdir()? })
    }

    /// The valgrind command for `program`; the caller appends the program's arguments. Valgrind's
    /// own messages are discarded so that they do not mix with the program's.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut to = OsString::from("--cachegrind-out-file=");
        to.push(self.counts.path().join("%p"));
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=cachegrind", "--cache-sim=no", "--trace-children=yes", "--quiet"])
            .arg(to)
            .arg("--log-file=/dev/null")
            .arg(program);
        command
    }

    /// Total number of instructions of all processes of the run. A process that forks without
    /// `exec` passes its count on to the child, so the instructions before the fork count twice. In
    /// a comparison this affects both sides.
    pub(super) fn count(self) -> io::Result<u64> {
        let mut sum = None;
        for entry in fs::read_dir(self.counts.path())? {
            let text = fs::read_to_string(entry?.path())?;
            let count = summary(&text);
            let count = count.ok_or_else(|| io::Error::other("cachegrind wrote no summary"))?;
            sum = Some(sum.unwrap_or(0) + count);
        }
        sum.ok_or_else(|| io::Error::other("cachegrind counted nothing"))
    }
}

/// The first number of the line `summary: N`: instructions executed (cachegrind's event `Ir`).
fn summary(text: &str) -> Option<u64> {
    let line = text.lines().rev().find_map(|line| line.strip_prefix("summary:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn the_summary_of_cachegrind_is_read() {
        let text = "desc: x\ncmd: true\nevents: Ir\nfn=main\n1 20\nsummary: 104857\n";
        assert_eq!(summary(text), Some(104_857));
        assert_eq!(summary("summary: 7 8 9\n"), Some(7));
        assert_eq!(summary("events: Ir\n"), None);
    }
}
