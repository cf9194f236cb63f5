//! Writes a fixed comparison and a fixed benchmark in every format into a directory, for
//! `scripts/check_formats.py`, which reads them as their readers do.

use std::error::Error;
use std::fs::{self, File};
use std::path::PathBuf;

use brigade_report::comparison_human;
use brigade_report::formats::{Document, Format};

#[path = "../tests/fixture/mod.rs"]
mod fixture;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from).ok_or("usage: formats DIR")?;
    fs::create_dir_all(&directory)?;
    let (comparison, ab, bench) =
        (fixture::comparison(), fixture::two_commands(), fixture::bench());
    let documents = [
        ("compare", Document::Comparison(&comparison)),
        ("ab", Document::Comparison(&ab)),
        ("bench", Document::Bench(&bench)),
    ];
    for (name, document) in documents {
        for format in Format::ALL.into_iter().filter(|format| format.supports(&document)) {
            let mut file = File::create(directory.join(format!("{name}.{format}")))?;
            format.write(&mut file, document)?;
        }
    }
    let mut file = File::create(directory.join("compare.human"))?;
    comparison_human::human(&mut file, &comparison)?;
    Ok(())
}
