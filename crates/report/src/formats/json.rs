//! `brigade.compare.v1` and `brigade.bench.v1`: whole, or one object per figure.

use std::io::{self, Write};

use serde::Serialize;

use super::Document;
use crate::clean;

pub(super) fn whole(out: &mut dyn Write, document: Document<'_>) -> io::Result<()> {
    match document {
        Document::Comparison(comparison) => line(out, comparison),
        Document::Bench(bench) => line(out, bench),
    }
}

/// A figure that says by itself what it is.
#[derive(Serialize)]
struct NamedCell<'a, T> {
    schema: &'a str,
    name: &'a str,
    #[serde(flatten)]
    cell: &'a T,
}

pub(super) fn lines(out: &mut dyn Write, document: Document<'_>) -> io::Result<()> {
    let names = document.names();
    match document {
        Document::Comparison(comparison) => {
            comparison.cells.iter().zip(&names).try_for_each(|(cell, name)| {
                line(out, &NamedCell { schema: &comparison.schema, name, cell })
            })
        }
        Document::Bench(bench) => {
            bench.experiments.iter().zip(&names).try_for_each(|(cell, name)| {
                line(out, &NamedCell { schema: bench.schema, name, cell })
            })
        }
    }
}

fn line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    clean::json(out, value)?;
    out.write_all(b"\n")
}
