//! What kernels there are: a table, one kernel in full, or JSON.

use std::io::{self, Write};

use brigade_kernels::{Inputs, OutputFormat, ParamKind, ParamSpec, RegisteredKernel, Spec};
use brigade_proto::{Params, Value};
use serde_json::{Value as Json, json};

use crate::run::ParamValues;

/// All kernels by family, with one line each.
///
/// # Errors
/// When `out` cannot be written.
pub fn table<'a>(
    out: &mut dyn Write,
    entries: impl Iterator<Item = &'a RegisteredKernel>,
) -> io::Result<()> {
    let mut specs: Vec<&Spec> = entries.map(|entry| &entry.spec).collect();
    // Stable: within a family the order of the registry.
    specs.sort_by_key(|spec| spec.family);
    let width = specs.iter().map(|spec| spec.name.len()).max().unwrap_or(0);
    let mut family = None;
    for spec in specs {
        if family != Some(spec.family) {
            if family.is_some() {
                writeln!(out)?;
            }
            writeln!(out, "{}", spec.family.title())?;
            family = Some(spec.family);
        }
        let isolated = if spec.needs_isolation { " (only with --backend processes)" } else { "" };
        writeln!(out, "  {:<width$}  {}{isolated}", spec.name, spec.summary)?;
    }
    writeln!(out, "\n`brigade kernels NAME` shows a kernel's parameters, inputs and output.")
}

/// One kernel in full.
///
/// # Errors
/// When `out` cannot be written.
pub fn detail(out: &mut dyn Write, spec: &Spec) -> io::Result<()> {
    writeln!(out, "{}: {}", spec.name, spec.summary)?;
    if !spec.details.is_empty() {
        writeln!(out)?;
        paragraph(out, 0, spec.details)?;
    }
    writeln!(out)?;
    let mut field = |name: &str, text: &str| {
        write!(out, "{name:<FIELD$}")?;
        paragraph(out, FIELD, text)
    };
    field("family", spec.family.title())?;
    field("inputs", &inputs(&spec.inputs))?;
    field("output", spec.output)?;
    field("output file", &output_file(spec.output_format))?;
    if spec.inputs.max > 0 {
        field("default size", &format!("{} (synthetic inputs; --size)", spec.default_size))?;
    }
    if spec.needs_isolation {
        field("backends", "processes only: it takes down the process that it runs in")?;
    }
    if !spec.params.is_empty() {
        writeln!(out, "\nparameters")?;
    }
    let width = spec.params.iter().map(|param| param.name.len()).max().unwrap_or(0);
    for param in &spec.params {
        let required = if param.default.is_none() { " (required)" } else { "" };
        writeln!(out, "  {:<width$}  {}", param.name, param.doc)?;
        writeln!(out, "  {:<width$}  {}{required}", "", param.allowed())?;
    }
    writeln!(out, "\nexamples")?;
    for example in examples(spec) {
        writeln!(out, "  {example}")?;
    }
    Ok(())
}

/// Width of a field's name.
const FIELD: usize = 14;

/// Wraps at 80 columns, with later lines indented.
fn paragraph(out: &mut dyn Write, indent: usize, text: &str) -> io::Result<()> {
    let mut column = indent;
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if column > indent && column + 1 + len > 80 {
            write!(out, "\n{:indent$}", "")?;
            column = indent;
        }
        if column > indent {
            write!(out, " ")?;
            column += 1;
        }
        write!(out, "{word}")?;
        column += len;
    }
    writeln!(out)
}

fn inputs(inputs: &Inputs) -> String {
    match (inputs.min, inputs.max) {
        (0, 0) => "none; each job is one of --jobs N".to_owned(),
        (1, 1) => format!("1 file per job: {}", inputs.doc),
        (min, max) if min == max => {
            format!("{min} files per job, taken in groups of {min}: {}", inputs.doc)
        }
        (min, max) => format!("{min} to {max} files, all in one job: {}", inputs.doc),
    }
}

fn output_file(format: OutputFormat) -> String {
    match format {
        OutputFormat::LikeInput => {
            "in the input's format; another by --ext, by the name after -o, or by format".to_owned()
        }
        OutputFormat::Fixed(extension) => format!(".{extension}"),
    }
}

/// Command lines that work as they stand, given the files.
fn examples(spec: &Spec) -> Vec<String> {
    let required = spec.params.iter().filter(|param| param.default.is_none());
    let first = spec.params.iter().find(|param| param.default.is_some());
    let params: Vec<String> = required
        .chain(first)
        .filter_map(|param| Some(format!(" -p {}={}", param.name, example_value(param)?)))
        .collect();
    let params = params.concat();
    let name = spec.name;
    if spec.inputs.max == 0 {
        return vec![format!("brigade run {name} --jobs 100{params}")];
    }
    let (files, out) = match (spec.output_format, spec.inputs.min) {
        (OutputFormat::LikeInput, _) => ("photos/*.jpg", "out/"),
        (OutputFormat::Fixed(_), 2..) => ("a.npy b.npy", "out/"),
        (OutputFormat::Fixed(_), _) => ("FILE...", "out/"),
    };
    vec![
        format!("brigade run {name} {files}{params} -o {out}"),
        format!("brigade run {name} --jobs 100 --size {}{params}", spec.default_size),
    ]
}

fn example_value(param: &ParamSpec) -> Option<String> {
    if let Some((_, example)) = &param.default_means {
        return Some(example.to_string());
    }
    if let Some(default) = &param.default {
        return Some(default.to_string());
    }
    match &param.kind {
        ParamKind::Int(range) => Some(range.start().max(&1).to_string()),
        ParamKind::Float(range) => Some(range.start().max(1.0).min(*range.end()).to_string()),
        ParamKind::Bool => Some("true".to_owned()),
        ParamKind::Choice(names) => names.first().map(|&name| name.to_owned()),
    }
}

/// All kernels as one JSON document, schema `brigade.kernels.v1`.
pub fn json<'a>(entries: impl Iterator<Item = &'a RegisteredKernel>) -> Json {
    let kernels: Vec<Json> = entries.map(|entry| kernel(&entry.spec)).collect();
    json!({"schema": "brigade.kernels.v1", "kernels": kernels})
}

fn kernel(spec: &Spec) -> Json {
    json!({
        "name": spec.name,
        "family": spec.family.title(),
        "summary": spec.summary,
        "details": spec.details,
        "inputs": {"min": spec.inputs.min, "max": spec.inputs.max, "doc": spec.inputs.doc},
        "output": spec.output,
        "output_format": match spec.output_format {
            OutputFormat::LikeInput => None,
            OutputFormat::Fixed(extension) => Some(extension),
        },
        "default_size": spec.default_size,
        "needs_isolation": spec.needs_isolation,
        "params": spec.params.iter().map(param).collect::<Vec<_>>(),
    })
}

fn param(param: &ParamSpec) -> Json {
    let (kind, range): (&str, Json) = match &param.kind {
        ParamKind::Int(range) => ("int", json!([range.start(), range.end()])),
        ParamKind::Float(range) => ("float", json!([range.start(), range.end()])),
        ParamKind::Bool => ("bool", json!([false, true])),
        ParamKind::Choice(names) => ("choice", json!(names)),
    };
    let default = param.default.clone().map(|value: Value| {
        let params: Params = [("v", value)].into_iter().collect();
        json!(ParamValues(params))["v"].take()
    });
    json!({"name": param.name, "type": kind, "allowed": range, "default": default, "doc": param.doc})
}
