//! A directory per test, and the program run in it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use brigade_sys::event_fd::wait_readable;
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use tempfile::TempDir;

/// No test takes longer, unless something hangs.
const CAP: Duration = Duration::from_secs(120);

/// A fresh directory in which the program runs, and one for its sockets: tests, and another
/// Brigade of this user, do not come across each other.
pub(crate) struct TestDir {
    dir: TempDir,
    runtime: TempDir,
}

/// Has the programs that the tests start begin with the signals' default actions. The shell that
/// started the tests may ignore SIGINT (it does for jobs in the background), Brigade then ignores
/// it as well, and the tests that send it would wait in vain. A signal that this process catches is
/// at its default again in a program that it starts; here it still ends this process.
fn default_signals() {
    static DONE: Once = Once::new();
    DONE.call_once(|| {
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            let always = Arc::new(AtomicBool::new(true));
            signal_hook::flag::register_conditional_default(signal, always).unwrap();
        }
    });
}

/// What came of a run of the program.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl TestDir {
    pub(crate) fn new() -> Self {
        default_signals();
        // The path of a socket has to be short.
        Self { dir: tempfile::tempdir().unwrap(), runtime: tempfile::tempdir_in("/tmp").unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Names in a directory, sorted.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        list(&self.path(name))
    }

    /// Makes an image, by Brigade itself.
    pub(crate) fn image(&self, name: &str, size: &str) {
        self.run(&format!("run grayscale -b sync --jobs 1 --size {size} -o {name}")).expect(0);
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_brigade"));
        command.args(shell_words::split(line).unwrap());
        command
    }

    /// A shell that runs this, and can start Brigade.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let mut command = self.program("sh");
        command.args(["-c", script]);
        command
    }

    /// Any program, in the surroundings of this test.
    pub(crate) fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.dir.path())
            .env_remove("BRIGADE_LOG")
            .env("XDG_RUNTIME_DIR", self.runtime.path())
            .env("TMPDIR", self.runtime.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `brigade LINE` to its end.
    pub(crate) fn run(&self, line: &str) -> Done {
        finish(self.command(line).spawn().unwrap())
    }

    /// Runs `brigade LINE` with this standard input.
    pub(crate) fn feed(&self, line: &str, input: &str) -> Done {
        let mut child = self.command(line).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        // It may end before it has read everything.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let done = finish(child);
        feeder.join().unwrap();
        done
    }
}

/// Waits for the end, and reads both streams meanwhile.
pub(crate) fn finish(child: Child) -> Done {
    let pid = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output: Output = match receiver.recv_timeout(CAP) {
        Ok(output) => output.unwrap(),
        Err(_) => {
            signal(pid, "KILL");
            panic!("brigade still runs after {CAP:?}");
        }
    };
    Done {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The next line, empty at the end of the stream. It fails rather than wait for ever.
#[track_caller]
pub(crate) fn next_line<R: Read + AsFd>(from: &mut BufReader<R>) -> String {
    if from.buffer().is_empty() {
        let readable = wait_readable(&[from.get_ref().as_fd()], Some(CAP)).unwrap();
        assert!(readable[0], "no line after {CAP:?}");
    }
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line
}

/// Sends a signal by name.
pub(crate) fn signal(pid: u32, name: &str) {
    let kill = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(kill.unwrap().success());
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < CAP, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn list(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .map(|entries| {
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

impl Done {
    /// Checks the exit code, and shows everything if it is another.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(!self.stderr.contains("panicked at src"), "{self:#?}");
        self
    }

    /// Checks that something is said on standard error, in one line.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.lines().any(|line| line.contains(text)), "no {text:?} in {self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Standard output as lines of JSON.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:#?}"));
        self.stdout.lines().map(parse).collect()
    }
}

/// Digests of all jobs, by id.
pub(crate) fn digests(document: &Value) -> Vec<String> {
    let jobs = document["jobs"].as_array().unwrap();
    let mut rows: Vec<_> = jobs
        .iter()
        .map(|job| (job["id"].as_u64().unwrap(), job["digest"].as_str().unwrap().to_owned()))
        .collect();
    rows.sort();
    rows.into_iter().map(|(_, digest)| digest).collect()
}

/// Every backend.
pub(crate) const BACKENDS: [&str; 5] = ["sync", "async", "threads", "threads-gil", "processes"];
