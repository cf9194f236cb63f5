//! A process for each trial. Trials count processes, descriptors, threads, memory and warnings of
//! their process, and sockets in the runtime directory: each has its own of all that, so that they
//! can run side by side, and beside another Brigade of this user.

use std::fs::{self, File};
use std::os::unix::process::{ExitStatusExt, parent_id};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use brigade_sys::random;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// Something to try, in a process of its own.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) run: Box<dyn FnOnce() + Send>,
}

impl Case {
    pub(crate) fn new(name: String, run: impl FnOnce() + Send + 'static) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// The trial that this process is for.
const ENV: &str = "BRIGADE_TEST_TRIAL";
/// A variable of each trial's own that no worker is to learn of, with another value in each: it is
/// not in the program.
pub(crate) const SECRET_ENV: &str = "SECRET_OF_THE_TRIAL";
/// How a trial begins the line that says what it cannot try here.
const SKIPPED: &str = "skipped: ";
/// No trial takes longer, unless something hangs.
const LONGEST: Duration = Duration::from_secs(300);

/// Says that a trial cannot be done on this machine, as it lacks something. That is a failure where
/// the machine is known to have that, as in the continuous integration.
pub(crate) fn skip(what: &str, why: &str) {
    let required = std::env::var("BRIGADE_REQUIRE").unwrap_or_default();
    let is_required = required.split(' ').any(|name| [what, "all"].contains(&name));
    assert!(!is_required, "not tested, and BRIGADE_REQUIRE={required}: {why}");
    println!("{SKIPPED}{why}");
}

/// The name of the trial that this process is for, if it is for one.
pub(crate) fn requested() -> Option<String> {
    std::env::var(ENV).ok()
}

/// Runs one trial in this process. A failure is a panic.
pub(crate) fn try_one(cases: Vec<Case>, name: &str) -> ExitCode {
    // If the test run is killed, its trials end with it.
    brigade_sys::process::die_with_parent(parent_id()).unwrap();
    thread::spawn(|| {
        thread::sleep(LONGEST);
        eprintln!("it hangs");
        // Its workers end with it.
        std::process::abort();
    });
    let case = cases.into_iter().find(|case| case.name == name);
    (case.unwrap_or_else(|| panic!("there is no trial {name}")).run)();
    ExitCode::SUCCESS
}

/// Runs all trials that the command line asks for.
pub(crate) fn try_all(cases: Vec<Case>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of the time they wait.
    let side_by_side = thread::available_parallelism().map_or(1, usize::from) * 2;
    arguments.test_threads.get_or_insert(side_by_side);
    // The path of a socket has to be short.
    let home = Arc::new(tempfile::tempdir_in("/tmp").unwrap());
    let on_probation = cases.into_iter().map(|Case { name, .. }| {
        let home = Arc::clone(&home);
        Trial::ignorable_test(name.clone(), move || start(&name, home.path()))
    });
    libtest_mimic::run(&arguments, on_probation.collect()).exit_code()
}

/// Runs a trial in another process, with a private directory for its sockets and files.
fn start(name: &str, home: &Path) -> Result<Completion, Failed> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let place = home.join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
    fs::create_dir(&place)?;
    // Not a pipe: something that the trial has left behind could hold it open.
    let printed = place.join("printed");
    let output = File::create(&printed)?;
    let status = Command::new(std::env::current_exe()?)
        .env(ENV, name)
        .env(SECRET_ENV, format!("{:032x}", random::nonce()?))
        .env("XDG_RUNTIME_DIR", &place)
        .env("TMPDIR", &place)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()?;
    let printed = String::from_utf8_lossy(&fs::read(&printed)?).into_owned();
    if !status.success() {
        let signal = status.signal().map(|signal| format!("signal {signal}\n"));
        return Err(format!("{}{printed}", signal.unwrap_or_default()).into());
    }
    fs::remove_dir_all(&place)?;
    match printed.lines().find_map(|line| line.strip_prefix(SKIPPED)) {
        Some(why) => Ok(Completion::ignored_with(why)),
        None => Ok(Completion::Completed),
    }
}
