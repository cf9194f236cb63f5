//! What `doctor` found, for a person and as JSON; schema `brigade.doctor.v1`.

use std::io::{self, Write};

use brigade_measure::doctor::{Finding, FindingGroup, Severity};
use brigade_measure::host::Host;
use serde::Serialize;

use crate::{clean, units};

/// Name and version of the JSON schema of `doctor`.
pub const DOCTOR_SCHEMA: &str = "brigade.doctor.v1";

/// Columns of a terminal that nobody has made wider.
const WIDTH: usize = 80;
/// Where the value of a finding starts; its topic stands before it.
const VALUE: usize = 30;
/// Where its meaning starts; its verdict stands before it.
const TEXT: usize = 11;

/// Writes the findings for a person: those of a group together, each with its
/// verdict in words, and a count at the end.
///
/// # Errors
/// When `out` cannot be written.
pub fn human(out: &mut dyn Write, host: &Host, findings: &[Finding]) -> io::Result<()> {
    clean::lines(out, |out| write_all(out, host, findings))
}

fn write_all(out: &mut dyn Write, host: &Host, findings: &[Finding]) -> io::Result<()> {
    machine(out, host)?;
    let mut group = None;
    for finding in findings {
        if group.replace(finding.group) != Some(finding.group) {
            writeln!(out, "\n{}", heading(finding.group))?;
        }
        write(out, finding)?;
    }
    let count = |verdict| findings.iter().filter(|f| f.verdict == verdict).count() as u64;
    writeln!(
        out,
        "\n{}, {}, {} good",
        units::count(count(Severity::Warning), "warning"),
        units::count(count(Severity::Note), "note"),
        count(Severity::Good),
    )
}

/// Writes host and findings as one JSON document.
///
/// # Errors
/// When `out` cannot be written.
pub fn json(out: &mut dyn Write, host: &Host, findings: &[Finding]) -> io::Result<()> {
    #[derive(Serialize)]
    struct DoctorDocument<'a> {
        schema: &'static str,
        host: &'a Host,
        findings: &'a [Finding],
    }
    let document = DoctorDocument { schema: DOCTOR_SCHEMA, host, findings };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

fn machine(out: &mut dyn Write, host: &Host) -> io::Result<()> {
    writeln!(out, "Machine")?;
    let cores = format!("{} usable of {}", host.cores_usable, host.cores_present);
    for (name, value) in [
        ("brigade", &host.brigade),
        ("system", &host.os),
        ("kernel", &host.kernel),
        ("processor", &host.cpu),
        ("cores", &cores),
        ("memory", &units::bytes(host.memory_total_bytes)),
    ] {
        writeln!(out, "  {name:<11}{value}")?;
    }
    Ok(())
}

fn heading(group: FindingGroup) -> &'static str {
    match group {
        FindingGroup::Processor => "Processor",
        FindingGroup::Memory => "Memory",
        FindingGroup::Limits => "Limits",
        FindingGroup::Kernel => "Kernel",
    }
}

fn write(out: &mut dyn Write, finding: &Finding) -> io::Result<()> {
    let verdict = match finding.verdict {
        Severity::Good => "good",
        Severity::Note => "note",
        Severity::Warning => "WARNING",
    };
    let topic = VALUE - TEXT;
    let front = format!("  {verdict:<9}{:<topic$}", finding.topic);
    wrap(out, &front, VALUE, &finding.value)?;
    let front = " ".repeat(TEXT);
    wrap(out, &front, TEXT, &finding.meaning)?;
    match &finding.advice {
        Some(advice) => wrap(out, &format!("{front}-> "), TEXT + 3, advice),
        None => Ok(()),
    }
}

/// Writes `text` behind `front`, and where it does not fit, on further lines from
/// column `indent`. A word that is too long for a line stays whole: it may be a
/// path that somebody wants to copy.
fn wrap(out: &mut dyn Write, front: &str, indent: usize, text: &str) -> io::Result<()> {
    let mut line = front.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        let space = usize::from(!empty);
        if !empty && line.chars().count() + space + word.chars().count() > WIDTH {
            writeln!(out, "{line}")?;
            line = " ".repeat(indent);
        } else if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            brigade: "0.1.0".into(),
            build: "0.1.0-1f".into(),
            os: "Linux (Debian 12)".into(),
            kernel: "6.1.0".into(),
            cpu: "Some Processor".into(),
            cores_present: 8,
            cores_usable: 2,
            memory_total_bytes: 3 << 30,
            memory_available_bytes: 1 << 30,
            governor: None,
            load1: 0.25,
            virtual_machine: Some("KVM".into()),
        }
    }

    fn finding(group: FindingGroup, topic: &'static str, verdict: Severity) -> Finding {
        Finding {
            group,
            topic,
            value: "a value".into(),
            verdict,
            meaning: "What it means for Brigade, in a sentence that is longer than a line of a \
                      terminal can be."
                .into(),
            advice: (verdict == Severity::Warning).then(|| "do this".into()),
        }
    }

    fn text(findings: &[Finding]) -> String {
        let mut out = Vec::new();
        human(&mut out, &host(), findings).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_person_reads_it() {
        let findings = [
            finding(FindingGroup::Processor, "cores", Severity::Warning),
            finding(FindingGroup::Processor, "SMT", Severity::Good),
            finding(FindingGroup::Kernel, "pidfd", Severity::Note),
        ];
        let expected = "\
Machine
  brigade    0.1.0
  system     Linux (Debian 12)
  kernel     6.1.0
  processor  Some Processor
  cores      2 usable of 8
  memory     3.00 GiB

Processor
  WARNING  cores              a value
           What it means for Brigade, in a sentence that is longer than a line
           of a terminal can be.
           -> do this
  good     SMT                a value
           What it means for Brigade, in a sentence that is longer than a line
           of a terminal can be.

Kernel
  note     pidfd              a value
           What it means for Brigade, in a sentence that is longer than a line
           of a terminal can be.

1 warning, 1 note, 1 good
";
        assert_eq!(text(&findings), expected);
    }

    #[test]
    fn this_machine_fits_a_terminal() {
        let mut findings = brigade_measure::doctor::examine();
        // A path is not broken.
        findings.retain(|finding| finding.topic != "runtime directory");
        for line in text(&findings).lines() {
            assert!(line.chars().count() <= WIDTH, "{line:?}");
        }
    }

    #[test]
    fn long_words_stay_whole() {
        let mut out = Vec::new();
        let path = "/x".repeat(50);
        wrap(&mut out, "  front ", 4, &format!("{path} and {path}")).unwrap();
        let expected = format!("  front {path}\n    and\n    {path}\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        wrap(&mut out, "  front ", 4, "").unwrap();
        assert_eq!(out, b"  front\n");
    }

    #[test]
    fn a_program_reads_it() {
        let mut out = Vec::new();
        json(&mut out, &host(), &[finding(FindingGroup::Limits, "x", Severity::Warning)]).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(read["schema"], DOCTOR_SCHEMA);
        assert_eq!(read["host"]["cores_usable"], 2);
        assert_eq!(read["findings"][0]["verdict"], "warning");
        assert_eq!(read["findings"][0]["advice"], "do this");
        assert!(out.ends_with(b"\n"));
    }
}
