//! One line of a batch: `{"id": any, "kernel": "blur", "params": {"sigma": 2},
//! "inputs": ["a.png"], "output": "b.png", "timeout_ms": 5000}`.

use std::path::PathBuf;
use std::time::Duration;

use brigade_exec::{Backend, SubmitError};
use brigade_kernels::Registry;
use brigade_proto::{JobSpec, Params, Source, Value, limits};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::plan;
use crate::settle::JobInfo;

/// A line that is a job, or why it is none. What is known of it either way.
pub(crate) struct Parsed {
    pub(crate) info: JobInfo,
    pub(crate) job: Result<JobSpec, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(rename = "id")]
    _id: Option<Json>,
    kernel: String,
    #[serde(default)]
    params: serde_json::Map<String, Json>,
    #[serde(default)]
    inputs: Vec<PathBuf>,
    output: Option<PathBuf>,
    timeout_ms: Option<u64>,
}

/// Reads line `number`. Paths are looked at later.
pub(crate) fn parse(number: u64, text: &[u8], registry: &Registry, backend: Backend) -> Parsed {
    let mut info = JobInfo { id: number.into(), line: Some(number), ..JobInfo::default() };
    let job = read(text, &mut info, registry, backend);
    Parsed { info, job }
}

fn read(
    text: &[u8],
    info: &mut JobInfo,
    registry: &Registry,
    backend: Backend,
) -> Result<JobSpec, String> {
    // In two steps, so that a job with a mistake in it still has its id.
    let json: Json = serde_json::from_slice(text).map_err(|error| {
        // Every text is its own first line: only the column tells something.
        let place = format!(" at line {} column {}", error.line(), error.column());
        let what = error.to_string().replace(&place, "");
        format!("not JSON: {what} (column {})", error.column())
    })?;
    let Json::Object(fields) = &json else {
        return Err("not a job: a JSON object with at least \"kernel\" is needed".to_owned());
    };
    if let Some(id) = fields.get("id") {
        info.id = id.clone();
        info.is_named = true;
    }
    if let Some(Json::String(kernel)) = fields.get("kernel") {
        info.kernel.clone_from(kernel);
    }
    let line: Line = serde_json::from_value(json).map_err(|error| format!("not a job: {error}"))?;
    info.inputs = line.inputs;
    info.output = line.output;

    let entry = registry.find(&line.kernel).map_err(|error| error.to_string())?;
    if entry.spec.needs_isolation && backend.is_in_process() {
        let kernel = entry.spec.name;
        return Err(SubmitError::NeedsIsolation { kernel, backend }.to_string());
    }
    let mut params = Params::new();
    for (name, value) in line.params {
        let value = param_value(value)
            .ok_or_else(|| format!("parameter {name} must be a number, a text, true or false"))?;
        params.set(name, value);
    }
    let inputs = info.inputs.len().min(limits::MAX_INPUTS + 1);
    // Before the format, which would hide a parameter's own mistake.
    entry.resolve(&params, inputs).map_err(|error| error.to_string())?;
    if let Some(extension) = info.output.as_ref().and_then(|output| output.extension()) {
        plan::choose_format(entry, &mut params, &extension.to_string_lossy())?;
    }
    let mut job = JobSpec::new(line.kernel);
    job.params = params;
    job.inputs = info.inputs.iter().cloned().map(Source::File).collect();
    job.timeout = match line.timeout_ms {
        Some(0) => return Err("timeout_ms must be at least 1".to_owned()),
        other => other.map(Duration::from_millis),
    };
    Ok(job)
}

fn param_value(json: Json) -> Option<Value> {
    match json {
        Json::Bool(value) => Some(Value::Bool(value)),
        Json::String(text) => Some(Value::Text(text)),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Some(Value::Int(whole)),
            None => number.as_f64().map(Value::Float),
        },
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Parsed {
        parse(7, text.as_bytes(), &Registry::builtin(), Backend::Threads)
    }

    #[test]
    fn a_whole_line_is_read() {
        let line = r#"{"id": {"a": [1]}, "kernel": "blur", "params": {"sigma": 2},
            "inputs": ["a.png"], "output": "b.jpg", "timeout_ms": 5000}"#;
        let parsed = parsed(line);
        let job = parsed.job.unwrap();
        assert_eq!(parsed.info.id, serde_json::json!({"a": [1]}));
        assert!(parsed.info.is_named);
        assert_eq!(job.params.get("sigma"), Some(&Value::Int(2)));
        assert_eq!(job.params.get("format"), Some(&Value::Text("jpeg".into())));
        assert_eq!(job.inputs, [Source::File("a.png".into())]);
        assert_eq!(job.timeout, Some(Duration::from_secs(5)));
    }

    #[test]
    fn every_mistake_is_told_and_the_id_kept() {
        for (line, expected) in [
            ("{", "not JSON"),
            ("[1]", "not a job"),
            (r#"{"id":7}"#, "missing field `kernel`"),
            (r#"{"id":7,"kernel":"blur","inptus":[]}"#, "unknown field `inptus`"),
            (r#"{"id":7,"kernel":"bulr"}"#, "did you mean `blur`"),
            (r#"{"id":7,"kernel":"blur"}"#, "reads 1 input"),
            (r#"{"id":7,"kernel":"blur","inputs":["a"],"params":{"sigma":"2"}}"#, "sigma"),
            (r#"{"id":7,"kernel":"blur","inputs":["a"],"params":{"sigma":[2]}}"#, "sigma"),
            (r#"{"id":7,"kernel":"blur","inputs":["a"],"output":"b.bmp"}"#, ".bmp"),
            (r#"{"id":7,"kernel":"blur","inputs":["a"],"timeout_ms":0}"#, "timeout_ms"),
            (r#"{"id":7,"kernel":"blur","inputs":["a"],"timeout_ms":-5}"#, "-5"),
            (r#"{"id":7,"kernel":"blur","inputs":"a"}"#, "sequence"),
        ] {
            let parsed = parsed(line);
            let error = parsed.job.unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
            assert_eq!(parsed.info.id, serde_json::json!(7));
        }
    }
}
