//! What the user sees in the terminal: messages and a progress bar on standard error, results on
//! standard output.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use brigade_proto::printable;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::exit::{Exit, Failure};
use crate::write as files;

/// The progress bar on the screen, if there is one. It is suspended while text is written to
/// standard error.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Writes to standard error. Ignores an error: it is no reason to fail, and there is nowhere to
/// report it.
pub(crate) fn write(text: &[u8]) {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let write = || {
        drop(if cfg!(test) { Shown.write_all(text) } else { io::stderr().lock().write_all(text) });
    };
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// In unit tests: output that is shown only if the test fails.
struct Shown;

impl Write for Shown {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        eprint!("{}", String::from_utf8_lossy(text));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints a message on a line of its own on standard error. Escapes it, because file names and the
/// messages of workers may contain anything.
pub(crate) fn say(message: impl fmt::Display) {
    write(format!("brigade: {}\n", printable(&message.to_string())).as_bytes());
}

/// The progress of the run, on standard error if that is a terminal.
pub(crate) struct ProgressDisplay {
    bar: ProgressBar,
    failed: u64,
}

impl ProgressDisplay {
    /// A bar for `jobs` jobs, or a counter if their number is not known.
    pub(crate) fn start(jobs: Option<u64>, wanted: bool) -> Self {
        Self::bar("jobs", jobs, wanted)
    }

    /// The same for other things than jobs.
    pub(crate) fn of(things: &str, count: Option<u64>) -> Self {
        Self::bar(things, count, true)
    }

    fn bar(things: &str, jobs: Option<u64>, wanted: bool) -> Self {
        let target = if wanted && io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(jobs, target);
        let template = match jobs {
            Some(_) => {
                format!("{{bar:32}} {{pos}}/{{len}} {things}, {{rate}}, {{eta}} left{{msg}}")
            }
            None => format!("{{spinner}} {{pos}} {things}, {{rate}}{{msg}}"),
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            // indicatif writes four decimals, which are noise.
            let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
                // Writing to a string cannot fail.
                let _ = write!(out, "{:.0}/s", state.per_sec());
            };
            bar.set_style(style.progress_chars("##-").with_key("rate", rate));
        }
        *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Self { bar, failed: 0 }
    }

    /// A spinner with the elapsed time and the latest message.
    pub(crate) fn waiting() -> Self {
        let progress = Self::bar("", None, true);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}") {
            progress.bar.set_style(style);
        }
        progress
    }

    /// Shows the latest message, in one line.
    pub(crate) fn tell(&self, news: &str) {
        self.bar.set_message(news.to_owned());
        self.bar.tick();
    }

    /// Counts a job that has ended.
    pub(crate) fn job(&mut self, ok: bool) {
        if !ok {
            self.failed += 1;
            self.bar.set_message(format!(", {} not ok", self.failed));
        }
        self.bar.inc(1);
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        *BAR.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Standard output, and a file beside it if one is wanted.
///
/// A reader that closes standard output (`| head`) is no error: later output goes to the file
/// alone, or nowhere.
pub(crate) struct Results {
    stdout: Option<BufWriter<Box<dyn Write>>>,
    file: Option<TeeFile>,
    closed: bool,
}

/// The file beside standard output. The first write creates or empties it: a command that is
/// refused changes nothing.
struct TeeFile {
    path: PathBuf,
    /// Prevents a job's result from replacing this file.
    _reserved: files::FileReservation,
    open: Option<BufWriter<File>>,
}

impl TeeFile {
    fn writer(&mut self) -> io::Result<&mut BufWriter<File>> {
        let open = match self.open.take() {
            Some(open) => open,
            None => BufWriter::new(files::open_in_place(&self.path)?),
        };
        Ok(self.open.insert(open))
    }
}

impl Results {
    /// Standard output alone.
    pub(crate) fn stdout() -> Self {
        if cfg!(test) {
            return Self::to(Box::new(Shown));
        }
        Self::to(Box::new(io::stdout().lock()))
    }

    fn to(stream: Box<dyn Write>) -> Self {
        Self { stdout: Some(BufWriter::new(stream)), file: None, closed: false }
    }

    /// Writes to standard error instead of standard output, which holds the result of a job.
    pub(crate) fn on_stderr(self) -> Self {
        Self { file: self.file, ..Self::to(Box::new(io::stderr())) }
    }

    /// Writes to standard output itself, wherever the report goes, and not to the file.
    pub(crate) fn write_to_stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.flush()?;
        let mut alone = Self::stdout();
        alone.write_all(bytes)?;
        alone.flush()
    }

    /// A writer to standard output, without the file.
    pub(crate) fn stdout_only(&mut self) -> OutputWriter<'_> {
        OutputWriter { results: self, stdout: true }
    }

    /// A writer to the file, without standard output.
    pub(crate) fn file_only(&mut self) -> OutputWriter<'_> {
        OutputWriter { results: self, stdout: false }
    }

    /// Writes to `file` as well, which must not be one that the run reads or writes (`used`).
    pub(crate) fn open(file: Option<&Path>, used: &[PathBuf]) -> Result<Self, Failure> {
        if let Some(path) = file
            && let Some(other) =
                used.iter().find(|other| files::identity(other) == files::identity(path))
        {
            return Err(Failure::usage(format!(
                "--output {} would overwrite {}, which the run reads or writes",
                path.display(),
                other.display()
            )));
        }
        let file = match file {
            None => None,
            // Standard output already gets everything.
            Some(path) if files::is_stdout(path) => None,
            Some(path) => {
                files::try_in_place(path).map_err(|error| {
                    Failure::usage(format!("cannot write --output {}: {error}", path.display()))
                })?;
                let reserved = files::reserve(path, "the --output file of this run");
                Some(TeeFile { path: path.to_owned(), _reserved: reserved, open: None })
            }
        };
        Ok(Self { file, ..Self::stdout() })
    }

    /// Syncs the file beside standard output, once everything is written.
    ///
    /// # Errors
    /// When it cannot be written or synced.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        let Some(TeeFile { path, open: Some(open), .. }) = &self.file else { return Ok(()) };
        files::sync_in_place(path, open.get_ref())
            .map_err(|error| annotate(&path.display().to_string(), &error))
    }

    /// Whether all further output is lost: standard output is closed, and there is no file.
    pub(crate) fn is_pointless(&self) -> bool {
        self.closed && self.file.is_none()
    }

    fn on_stdout(
        &mut self,
        mut write: impl FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if let Some(stdout) = &mut self.stdout
            && let Err(error) = write(stdout)
        {
            // Dropping the writer would try to write again.
            let _ = self.stdout.take().map(BufWriter::into_parts);
            if error.kind() != io::ErrorKind::BrokenPipe {
                return Err(annotate("standard output", &error));
            }
            self.closed = true;
        }
        Ok(())
    }

    fn on_file(
        &mut self,
        mut write: impl FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if let Some(file) = &mut self.file
            && let Err(error) = file.writer().and_then(|file| write(file))
        {
            return Err(annotate(&file.path.display().to_string(), &error));
        }
        Ok(())
    }
}

/// A writer to one of the two outputs of [`Results`].
pub(crate) struct OutputWriter<'a> {
    results: &'a mut Results,
    stdout: bool,
}

impl OutputWriter<'_> {
    fn on(&mut self, write: impl FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        if self.stdout { self.results.on_stdout(write) } else { self.results.on_file(write) }
    }
}

impl Write for OutputWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.on(|to| to.write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.on(|to| to.flush())
    }
}

fn annotate(what: &str, error: &io::Error) -> io::Error {
    io::Error::other(format!("cannot write {what}: {error}"))
}

impl Write for Results {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.on_stdout(|to| to.write_all(bytes))?;
        self.on_file(|to| to.write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.on_stdout(|to| to.flush())?;
        self.on_file(|to| to.flush())
    }
}

impl From<io::Error> for Failure {
    /// Results could not be written, during the run or after it.
    fn from(error: io::Error) -> Self {
        Self { exit: Exit::JobFailed, message: error.to_string() }
    }
}
