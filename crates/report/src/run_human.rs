//! A run's closing summary for a person.

use std::io::{self, Write};

use brigade_measure::summary::Summary;
use brigade_proto::{Status, printable};

use crate::clean;
use crate::run::{JobRow, RunEnd, RunReport};
use crate::units;

/// Failed jobs that are listed before the rest is counted.
const LISTED: usize = 20;
/// Width of a bar that stands for all of the workers' time.
const BAR: f64 = 40.0;

/// Failed jobs with one line each, then a summary.
#[derive(Debug)]
pub struct RunHuman {
    /// How to see the failed jobs that are not listed.
    more: &'static str,
    failed: Vec<JobRow>,
    unlisted: u64,
}

impl RunHuman {
    /// A summary that says in `more` how to see all failed jobs.
    pub fn new(more: &'static str) -> Self {
        Self { more, failed: Vec::new(), unlisted: 0 }
    }
}

impl RunReport for RunHuman {
    fn job(&mut self, _: &mut dyn Write, row: JobRow) -> io::Result<()> {
        match row.status {
            Status::Ok | Status::Cancelled => {}
            _ if self.failed.len() < LISTED => self.failed.push(row),
            _ => self.unlisted += 1,
        }
        Ok(())
    }

    fn end(&mut self, out: &mut dyn Write, end: &RunEnd<'_>) -> io::Result<()> {
        clean::lines(out, |out| self.write(out, end))
    }
}

impl RunHuman {
    fn write(&self, out: &mut dyn Write, end: &RunEnd<'_>) -> io::Result<()> {
        for row in &self.failed {
            let error = printable(row.error.as_deref().unwrap_or_default());
            match row.line {
                // The error names the line.
                Some(_) => writeln!(out, "{}: {error}", row.status)?,
                None => writeln!(out, "{}: {}: {error}", row.status, printable(&row.subject()))?,
            }
        }
        if self.unlisted > 0 {
            writeln!(out, "{} more; {}", self.unlisted, self.more)?;
        }
        if !self.failed.is_empty() {
            writeln!(out)?;
        }
        summary(out, end)
    }
}

fn summary(out: &mut dyn Write, end: &RunEnd<'_>) -> io::Result<()> {
    let summary = end.summary;
    writeln!(out, "{}", end.config.title())?;
    let mut line = |name: &str, text: &str| writeln!(out, "  {name:<14} {text}");
    line("jobs", &jobs(summary))?;
    if let Some(reason) = &end.ended_early {
        line("ended early", &printable(reason))?;
    }
    line("results", &printable(&end.results))?;
    line(
        "wall time",
        &format!(
            "{}, start-up {} of it; {} jobs/s",
            units::time(summary.wall),
            units::time(end.startup),
            units::digits(summary.jobs_per_s()),
        ),
    )?;
    line(
        "compute time",
        &format!(
            "{} in kernels, {} jobs at a time on average",
            units::time(summary.compute_sum()),
            units::digits(summary.jobs_in_kernel()),
        ),
    )?;
    line("processor time", &processor_time(end))?;
    if summary.workers > end.cores {
        let cores = units::count(end.cores as u64, "core");
        let what = "so time in kernels includes waiting for a core";
        line("", &format!("{} workers share {cores}, {what}", summary.workers))?;
    }
    line(
        "bytes",
        &format!("{} in, {} out", units::bytes(summary.bytes_in), units::bytes(summary.bytes_out)),
    )?;
    if let Some(text) = processes(summary) {
        line("processes", &text)?;
    }
    shares(out, summary)
}

fn jobs(summary: &Summary) -> String {
    let counts = &summary.counts;
    let mut text = format!("{} of {} ok", counts.ok, counts.total());
    if summary.resumed > 0 {
        text = format!("{text} ({} done earlier)", summary.resumed);
    }
    for (n, what) in [
        (counts.failed, "failed"),
        (counts.crashed, "crashed"),
        (counts.timed_out, "timed out"),
        (counts.cancelled, "cancelled"),
    ] {
        if n > 0 {
            text = format!("{text}, {n} {what}");
        }
    }
    text
}

/// How much the cores worked, which tells more than the time in kernels where workers share them.
fn processor_time(end: &RunEnd<'_>) -> String {
    let mut text = units::time(end.cpu);
    let known = end.workers.iter().filter_map(|worker| worker.cpu_ns);
    if let Some(cpu) = known.reduce(|a, b| a + b) {
        text = format!("{text}, {} of it in workers", units::time(cpu));
    }
    text
}

fn processes(summary: &Summary) -> Option<String> {
    let peak = summary.peak_rss_bytes?;
    let mut text = format!("peak memory {}", units::bytes(peak));
    if summary.restarts > 0 {
        text = format!("{text}, {}", units::count(summary.restarts, "restart"));
    }
    if summary.retries > 0 {
        text = format!("{text}, {}", units::count(summary.retries, "retried attempt"));
    }
    Some(text)
}

/// Where the time of all workers went.
fn shares(out: &mut dyn Write, summary: &Summary) -> io::Result<()> {
    let idle = if summary.restarts > 0 { "idle, restarts" } else { "idle" };
    let whose = match summary.workers {
        1 => "the worker's time".to_owned(),
        n => format!("the {n} workers' time"),
    };
    writeln!(out, "  where {whose} went")?;
    for (name, time) in [
        ("compute", summary.compute),
        ("communication", summary.communication),
        ("start-up", summary.startup),
        (idle, summary.idle),
    ] {
        let share = summary.share(time);
        let bar = "#".repeat((share * BAR).round() as usize);
        writeln!(out, "{}", format!("    {name:<14} {:>5.1} %  {bar}", share * 100.0).trim_end())?;
    }
    Ok(())
}
