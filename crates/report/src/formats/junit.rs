//! JUnit's XML, as Jenkins' junit-10.xsd has it: a test case per figure. Worse is a
//! failure, inconclusive is skipped, and a command that failed is an error.

use std::io::{self, Write};

use brigade_measure::comparison::{Compared, Comparison, EndedBy, Verdict};
use brigade_proto::is_printable;
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::Document;
use crate::comparison_words::{change, reason};
use crate::units::quantity;

pub(super) fn write(out: &mut dyn Write, comparison: &Comparison) -> io::Result<()> {
    let mut xml = Writer::new_with_indent(&mut *out, b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let is = |verdict| comparison.cells.iter().filter(|cell| cell.verdict == verdict).count();
    let tests = comparison.cells.len().to_string();
    let failures = is(Verdict::Worse).to_string();
    let errors = comparison.cells.iter().filter(|cell| has_failed(cell)).count();
    let skipped = (is(Verdict::Inconclusive) - errors).to_string();
    let errors = errors.to_string();
    let time = format!("{:.3}", comparison.took_s.max(0.0));
    let name = legal(&format!("brigade {}", comparison.kind));
    let attributes = [
        ("name", name.as_str()),
        ("tests", &tests),
        ("failures", &failures),
        ("errors", &errors),
        ("time", &time),
    ];
    xml.create_element("testsuites").with_attributes(attributes).write_inner_content(|xml| {
        xml.create_element("testsuite")
            .with_attributes(attributes)
            .with_attribute(("skipped", skipped.as_str()))
            .write_inner_content(|xml| suite(xml, comparison))?;
        Ok(())
    })?;
    out.write_all(b"\n")
}

fn suite<W: Write>(xml: &mut Writer<W>, comparison: &Comparison) -> io::Result<()> {
    let properties = [
        ("base", comparison.base.name.clone()),
        ("head", comparison.head.name.clone()),
        ("tolerance", comparison.tolerance.to_string()),
        ("seed", comparison.seed.to_string()),
    ];
    xml.create_element("properties").write_inner_content(|xml| {
        for (name, value) in &properties {
            let attributes = [("name", *name), ("value", &legal(value))];
            xml.create_element("property").with_attributes(attributes).write_empty()?;
        }
        Ok(())
    })?;
    let names = Document::Comparison(comparison).names();
    for (cell, name) in comparison.cells.iter().zip(&names) {
        let class = legal(&format!("brigade.{}.{}", comparison.kind, cell.experiment));
        let attributes = [("name", legal(name)), ("classname", class)];
        let attributes = attributes.iter().map(|(key, value)| (*key, value.as_str()));
        xml.create_element("testcase").with_attributes(attributes).write_inner_content(|xml| {
            let why = legal(&reason(cell, comparison.tolerance));
            let element = match cell.verdict {
                Verdict::Worse => Some("failure"),
                Verdict::Inconclusive if has_failed(cell) => Some("error"),
                Verdict::Inconclusive => Some("skipped"),
                Verdict::Better | Verdict::Same => None,
            };
            if let Some(element) = element {
                let attributes = [("type", cell.verdict.name()), ("message", &why)];
                xml.create_element(element).with_attributes(attributes).write_empty()?;
            }
            let figures = format!(
                "{}: {}; base {}, head {}, {}",
                cell.verdict,
                change(&cell.ratio),
                quantity(cell.base, &cell.unit),
                quantity(cell.head, &cell.unit),
                crate::units::count(cell.blocks, "block")
            );
            text(xml, "system-out", &figures)
        })?;
    }
    if comparison.warnings.is_empty() {
        return Ok(());
    }
    text(xml, "system-err", &comparison.warnings.join("\n"))
}

/// Whether there is no answer because a run failed.
fn has_failed(cell: &Compared) -> bool {
    cell.verdict == Verdict::Inconclusive && cell.ended_by == Some(EndedBy::Failure)
}

fn text<W: Write>(xml: &mut Writer<W>, element: &str, text: &str) -> io::Result<()> {
    xml.create_element(element).write_text_content(BytesText::new(&legal(text)))?;
    Ok(())
}

/// Without the characters that XML 1.0 cannot contain in any form (section 2.2), and with those
/// that are not shown as themselves as in a program.
fn legal(text: &str) -> String {
    let mut legal = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' | '\n' | '\r' => legal.push(c),
            ..' ' | '\u{fffe}' | '\u{ffff}' => legal.push('\u{fffd}'),
            _ if is_printable(c) => legal.push(c),
            _ => legal.extend(c.escape_default()),
        }
    }
    legal
}
