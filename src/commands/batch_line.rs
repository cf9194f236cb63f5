//! One line of a batch: `{"id": any, "kernel": "blur", "params": {"sigma": 2},
//! "inputs": ["a.png"], "output": "b.png", "timeout_ms": 5000}`.

mod fields;
mod names;

use std::time::Duration;

use brigade_exec::{Backend, SubmitError};
use brigade_kernels::{Family, RegisteredKernel, Registry};
use brigade_proto::{JobSpec, Params, Source, Value, limits};
use brigade_report::Id;
use serde_json::value::RawValue;

use crate::finalize::JobInfo;
use crate::plan;
use fields::Fields;
use names::{LineFileName, NameBytes, merge};

/// The result of parsing a line: the job, or why the line is not a job. `info` holds what is known
/// of it in either case.
pub(crate) struct Parsed {
    pub(crate) info: JobInfo,
    pub(crate) job: Result<JobSpec, String>,
}

/// What a line may ask for.
#[derive(Clone, Copy)]
pub(crate) struct Allowed<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) backend: Backend,
    /// Whether lines may name kernels that fail on purpose.
    pub(crate) faults: bool,
    /// Whether the lines are not trusted (`--root`).
    pub(crate) is_confined: bool,
    /// The timeout of a job whose line sets none.
    pub(crate) timeout: Option<Duration>,
}

/// Parses line `number`. Does not access the files that it names.
pub(crate) fn parse(number: u64, text: &[u8], allowed: Allowed<'_>) -> Parsed {
    let mut info = JobInfo { id: number.into(), line: Some(number), ..JobInfo::default() };
    let job = read(text, &mut info, allowed);
    Parsed { info, job }
}

/// The fields that a line may have.
const KNOWN: [&str; 8] =
    ["id", "kernel", "params", "inputs", "input_bytes", "output", "output_bytes", "timeout_ms"];

fn read(text: &[u8], info: &mut JobInfo, allowed: Allowed<'_>) -> Result<JobSpec, String> {
    let Allowed { registry, backend, faults, is_confined, timeout } = allowed;
    let fields = Fields::read(text)?;
    // The id first, so that a job with a mistake in its line still has its id.
    if let Some(id) = fields.get("id") {
        info.id = Id::read(id).map_err(|error| format!("not a job: id: {error}"))?;
        info.is_named = true;
    }
    fields.check(&KNOWN)?;
    let kernel: String = fields.take("kernel")?.ok_or("not a job: missing field `kernel`")?;
    info.kernel.clone_from(&kernel);
    let inputs: Option<Vec<LineFileName>> = fields.take("inputs")?;
    let bytes: Option<NameBytes> = fields.take("input_bytes")?;
    info.inputs = merge(inputs.unwrap_or_default(), bytes, "input")?;
    let output: Option<LineFileName> = fields.take("output")?;
    let bytes: Option<NameBytes> = fields.take("output_bytes")?;
    let mut outputs = merge(output.into_iter().collect(), bytes, "output")?;
    if outputs.len() > 1 {
        return Err(format!("not a job: output_bytes has {} names; it has one", outputs.len()));
    }
    info.output = outputs.pop();

    let entry = registry.find(&kernel).map_err(|error| error.to_string())?;
    if entry.spec.family == Family::Fault && !faults {
        return Err(format!(
            "the kernel `{kernel}` goes wrong on purpose; --allow-fault-kernels lets lines name it"
        ));
    }
    if entry.spec.needs_isolation && backend.is_in_process() {
        let kernel = entry.spec.name;
        return Err(SubmitError::NeedsIsolation { kernel, backend }.to_string());
    }
    let mut params = Params::new();
    for (name, value) in fields.within("params")?.iter() {
        let value = param_value(entry, name, value)?;
        if is_confined {
            refuse_more(entry, name, &value)?;
        }
        params.set(name, value);
    }
    let inputs = info.inputs.len().min(limits::MAX_INPUTS + 1);
    // Before the format, whose error would hide a mistake in a parameter.
    entry.resolve(&params, inputs).map_err(|error| error.to_string())?;
    if let Some(extension) = info.output.as_ref().and_then(|output| output.extension()) {
        plan::choose_format(entry, &mut params, &extension.to_string_lossy())?;
    }
    let mut job = JobSpec::new(kernel);
    job.params = params;
    job.inputs = info.inputs.iter().cloned().map(Source::File).collect();
    job.timeout = match fields.take("timeout_ms")? {
        Some(0) => return Err("timeout_ms must be at least 1".to_owned()),
        other => other.map(Duration::from_millis),
    };
    if is_confined
        && let (Some(wanted), Some(most)) = (job.timeout, timeout)
        && wanted > most
    {
        return Err(format!(
            "timeout_ms is more than --timeout {most:?}, which a line under --root may not raise"
        ));
    }
    Ok(job)
}

/// A line that is not trusted may lower a parameter that bounds its memory, but not raise it above
/// the default.
fn refuse_more(entry: &RegisteredKernel, name: &str, value: &Value) -> Result<(), String> {
    let spec = entry.spec.params.iter().find(|spec| spec.name == name && spec.bounds_memory);
    let default = spec.and_then(|spec| Some((spec, spec.default.as_ref()?)));
    // Compare the value as the kernel will read it: 4e8 is an integer, too.
    match default.map(|(spec, default)| (spec.kind.check(value), default)) {
        Some((Some(Value::Int(wanted)), &Value::Int(most))) if wanted > most => {
            Err(format!("{name} is more than {most}, which a line under --root may not raise"))
        }
        _ => Ok(()),
    }
}

/// Parses the value of a parameter and checks its type and range.
fn param_value(entry: &RegisteredKernel, name: &str, json: &RawValue) -> Result<Value, String> {
    let text = json.get();
    let number = || {
        let whole = text.parse().map(Value::Int).ok();
        whole.or_else(|| text.parse().map(Value::Float).ok())
    };
    let (value, what) = match text.as_bytes().first() {
        Some(b'"') => (serde_json::from_str(text).map(Value::Text).ok(), "a string"),
        Some(b't' | b'f') => (Some(Value::Bool(text == "true")), "a truth value"),
        Some(b'[') => (None, "a list"),
        Some(b'{') => (None, "an object"),
        Some(b'n') => (None, "null"),
        // A number that is too large for f64 becomes infinite, which no kernel allows.
        _ => (number(), "a number"),
    };
    let text = limits::cut(text, 40);
    let checked = match value {
        // Keep the value as it was written: the journal's digest of the parameters covers it.
        Some(value) => entry.check_param(name, &value, text).map(|_| value),
        None => Err(entry.wrong_type(name, text, what)),
    };
    checked.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
