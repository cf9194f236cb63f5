//! Turns the arguments of `run` into jobs that can start: checks parameters and inputs, and that
//! every output has a free place.

mod format;
mod outputs;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use brigade_exec::{Backend, SubmitError};
use brigade_kernels::{RegisteredKernel, Registry, Size};
use brigade_proto::{Buffer, JobSpec, Params, Source};

use crate::args::RunArgs;
use crate::exit::Failure;
use crate::{missing, write};

pub(crate) use format::choose as choose_format;
use outputs::Naming;

/// The jobs of a run.
#[derive(Debug)]
pub(crate) struct RunPlan {
    pub(crate) kernel: &'static str,
    /// Complete, with all defaults.
    pub(crate) params: Params,
    pub(crate) inputs: PlannedInputs,
    naming: Option<Naming>,
}

/// What the jobs read.
#[derive(Debug)]
pub(crate) enum PlannedInputs {
    /// For each job, its files.
    Files(Vec<Vec<PathBuf>>),
    /// The same generated inputs for every job.
    Synthetic { jobs: u64, buffers: Vec<Arc<Buffer>>, size: Option<Size>, seed: u64 },
}

impl RunPlan {
    /// How many jobs there are.
    pub(crate) fn len(&self) -> u64 {
        match &self.inputs {
            PlannedInputs::Files(jobs) => jobs.len() as u64,
            PlannedInputs::Synthetic { jobs, .. } => *jobs,
        }
    }

    /// The input files of a job.
    pub(crate) fn files(&self, job: u64) -> &[PathBuf] {
        match &self.inputs {
            PlannedInputs::Files(jobs) => &jobs[job as usize],
            PlannedInputs::Synthetic { .. } => &[],
        }
    }

    /// Where the result of a job goes, if it goes to a file.
    pub(crate) fn output(&self, job: u64) -> Option<PathBuf> {
        self.naming.as_ref().map(|naming| naming.output(job, self.files(job)))
    }

    /// Every file that is read, and the file that is written if there is only one job. Files in an
    /// output directory are not listed: their number has no bound.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let mut paths = match &self.inputs {
            PlannedInputs::Files(jobs) => jobs.concat(),
            PlannedInputs::Synthetic { .. } => Vec::new(),
        };
        paths.extend((self.len() == 1).then(|| self.output(0)).flatten());
        paths
    }

    /// Refuses a file that a result would replace. `option` is the option that names the file.
    pub(crate) fn check_apart(&self, option: &str, file: Option<&Path>) -> Result<(), Failure> {
        let Some(file) = file else { return Ok(()) };
        let place = write::identity(file);
        let is_named =
            |output: &PathBuf| output.file_name() == place.file_name() || output.is_symlink();
        let mut outputs = (0..self.len()).filter_map(|job| self.output(job));
        match outputs.find(|output| is_named(output) && write::identity(output) == place) {
            Some(output) => Err(Failure::usage(format!(
                "{option} {} is where the result {} would be written; name another file",
                file.display(),
                output.display()
            ))),
            None => Ok(()),
        }
    }

    /// A job, ready to be submitted.
    pub(crate) fn spec(&self, job: u64) -> JobSpec {
        let mut spec = JobSpec::new(self.kernel);
        spec.params = self.params.clone();
        spec.inputs = match &self.inputs {
            PlannedInputs::Files(jobs) => {
                jobs[job as usize].iter().cloned().map(Source::File).collect()
            }
            PlannedInputs::Synthetic { buffers, .. } => {
                buffers.iter().cloned().map(Source::from).collect()
            }
        };
        spec
    }

    /// Whether the result of the only job goes to standard output.
    pub(crate) fn is_on_stdout(&self) -> bool {
        matches!(&self.naming, Some(Naming::File(path)) if write::is_stdout(path))
    }

    /// Creates the output directory, if there is one to create. Called when all other checks have
    /// passed. Returns the directories that have a new entry.
    pub(crate) fn prepare(&self) -> Result<Vec<PathBuf>, Failure> {
        self.naming.as_ref().map_or(Ok(Vec::new()), Naming::prepare)
    }

    /// Where the results are, in words.
    pub(crate) fn results(&self) -> String {
        match &self.naming {
            Some(naming) => format!("written to {}", naming.target().display()),
            None => "computed and digested, not written; -o OUT writes them".to_owned(),
        }
    }
}

/// Checks everything that can be checked before a job starts, and changes nothing.
pub(crate) fn run(
    args: &RunArgs,
    registry: &Registry,
    backend: Backend,
) -> Result<RunPlan, Failure> {
    let entry = registry.find(&args.kernel).map_err(Failure::usage)?;
    if entry.spec.needs_isolation && backend.is_in_process() {
        let kernel = entry.spec.name;
        return Err(Failure::usage(SubmitError::NeedsIsolation { kernel, backend }));
    }
    let mut params = parse_params(args, entry)?;
    let inputs = if args.inputs.is_empty() {
        refuse_nothing(args, entry)?;
        synthetic(args, entry)?
    } else {
        PlannedInputs::Files(group_files(args, entry)?)
    };
    let naming = match &args.out {
        None => None,
        Some(out) => Some(outputs::plan(args, out, entry, &mut params, &inputs)?),
    };
    let per_job = match &inputs {
        PlannedInputs::Files(jobs) => jobs.first().map_or(0, Vec::len),
        PlannedInputs::Synthetic { buffers, .. } => buffers.len(),
    };
    let params = entry.resolve(&params, per_job).map_err(Failure::usage)?;
    let params = Arc::unwrap_or_clone(params);
    Ok(RunPlan { kernel: entry.spec.name, params, inputs, naming })
}

/// Refuses an empty list of files, as from a pattern that matches none: it must not silently mean
/// generated inputs.
fn refuse_nothing(args: &RunArgs, entry: &RegisteredKernel) -> Result<(), Failure> {
    let is_wanted = args.synthetic || args.jobs.is_some() || args.size.is_some();
    if is_wanted || entry.spec.inputs.min == 0 {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "no input files for `{}`; name them, or run it on made-up ones with --synthetic, --jobs N \
         or --size S",
        entry.spec.name
    )))
}

fn parse_params(args: &RunArgs, entry: &RegisteredKernel) -> Result<Params, Failure> {
    let mut params = Params::new();
    for (name, text) in &args.params {
        let value = entry.parse_param(name, text).map_err(Failure::usage)?;
        if params.set(name, value).is_some() {
            return Err(Failure::usage(format!("-p {name} is given twice")));
        }
    }
    if let Some(pixels) = args.max_pixels {
        let kernel = entry.spec.name;
        if !entry.spec.params.iter().any(|param| param.name == "max_pixels") {
            return Err(Failure::usage(format!(
                "--max-pixels is for kernels that read images; `{kernel}` does not"
            )));
        }
        let value = entry.parse_param("max_pixels", &pixels.to_string()).map_err(Failure::usage)?;
        if params.set("max_pixels", value).is_some() {
            return Err(Failure::usage("--max-pixels and -p max_pixels are the same; give one"));
        }
    }
    Ok(params)
}

/// Checks the input files, and groups as many as the kernel reads per job.
fn group_files(args: &RunArgs, entry: &RegisteredKernel) -> Result<Vec<Vec<PathBuf>>, Failure> {
    let given = [
        ("--synthetic", args.synthetic),
        ("--jobs", args.jobs.is_some()),
        ("--size", args.size.is_some()),
        ("--seed", args.seed.is_some()),
    ];
    if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
        return Err(Failure::usage(format!(
            "{flag} is for synthetic inputs, and there are input files; leave one of them out"
        )));
    }
    for path in &args.inputs {
        check_input(path)?;
    }
    let (min, max) = (entry.spec.inputs.min, entry.spec.inputs.max);
    let count = args.inputs.len();
    // A kernel that accepts several numbers of inputs takes all files as one job, if it can.
    let per_job = if min == max || count > max { min.max(1) } else { count };
    if max == 0 || count < min || !count.is_multiple_of(per_job) {
        // This error says how many inputs the kernel reads, and which.
        entry.resolve(&Params::new(), count).map_err(Failure::usage)?;
    }
    Ok(args.inputs.chunks(per_job).map(<[PathBuf]>::to_vec).collect())
}

/// Checks that the file exists and can be read. Its contents are for the kernel to check.
fn check_input(path: &Path) -> Result<(), Failure> {
    let name = path.display();
    let metadata = fs::metadata(path)
        .map_err(|error| Failure::usage(missing::cannot_read("input", path, &error)))?;
    if metadata.is_dir() {
        return Err(Failure::usage(format!(
            "cannot read input {name}: it is a directory; name its files, as in {}/*",
            name.to_string().trim_end_matches('/')
        )));
    }
    // Opening a pipe would wait for its writer.
    if metadata.is_file() {
        File::open(path)
            .map_err(|error| Failure::usage(format!("cannot read input {name}: {error}")))?;
    }
    Ok(())
}

fn synthetic(args: &RunArgs, entry: &RegisteredKernel) -> Result<PlannedInputs, Failure> {
    let name = entry.spec.name;
    let jobs = args.jobs.unwrap_or(1);
    let seed = args.seed.unwrap_or(0);
    if entry.spec.inputs.max == 0 {
        if args.size.is_some() {
            return Err(Failure::usage(format!("`{name}` reads no inputs; leave --size out")));
        }
        return Ok(PlannedInputs::Synthetic { jobs, buffers: Vec::new(), size: None, seed });
    }
    let size = match args.size {
        Some(size) => size,
        None => entry.spec.default_size.parse().map_err(|error| {
            Failure::usage(format!("the default size of `{name}` is wrong: {error}; give --size"))
        })?,
    };
    let buffers = entry.kernel.synthesize(size, seed).map_err(|error| {
        Failure::usage(format!("`{name}` cannot make inputs of --size {size}: {error}"))
    })?;
    let buffers = buffers.into_iter().map(Arc::new).collect();
    Ok(PlannedInputs::Synthetic { jobs, buffers, size: Some(size), seed })
}

#[cfg(test)]
mod tests;
