//! The page around the figures: heading, answers, warnings, machine.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::input::{number, plain, text};
use super::{Content, ResultSource};
use crate::units::bytes;

/// What is the same in each page: no loading, no scripts, both colour schemes.
const HEAD: &str = include_str!("head.html");

const STYLE: &str = include_str!("style.css");

/// Patterns for areas, so that they differ by more than colour.
const PATTERNS: &str = include_str!("patterns.svg");

/// One result on a page.
pub(crate) struct ResultArticle<'a> {
    pub(crate) result: &'a Value,
    pub(crate) source: &'a ResultSource,
    pub(crate) content: Content,
}

/// A page of one result, or of several one after another, with links to each at the top. Figures
/// are numbered through.
pub(crate) fn page(parts: Vec<ResultArticle<'_>>) -> Markup {
    let link = |part: &ResultArticle<'_>| (part.content.title.clone(), part.source.file.clone());
    let (title, links): (String, Vec<_>) = match &parts[..] {
        [only] => (only.content.title.clone(), Vec::new()),
        parts => (format!("{} results", parts.len()), parts.iter().map(link).collect()),
    };
    let mut before = 0;
    let mut articles = Vec::with_capacity(parts.len());
    for (index, part) in parts.into_iter().enumerate() {
        let figures = part.content.figures.len();
        articles.push(article(part, index, before));
        before += figures;
    }
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                (PreEscaped(HEAD))
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (PreEscaped(PATTERNS))
                main {
                    @if !links.is_empty() {
                        nav aria-label="Results" {
                            ol { @for (index, (title, file)) in links.iter().enumerate() {
                                li { a href={ "#result-" (index + 1) } { (title) } " · " (file) }
                            } }
                        }
                    }
                    @for (index, article) in articles.into_iter().enumerate() {
                        article id={ "result-" (index + 1) } { (article) }
                    }
                    footer { "Made by " code { "brigade report" } ", version "
                        (env!("CARGO_PKG_VERSION")) "." }
                }
            }
        }
    }
}

/// The `index`th result of a page, after so many figures.
fn article(part: ResultArticle<'_>, index: usize, before: usize) -> Markup {
    let ResultArticle { result, source, content } = part;
    let schema = text(result, "schema").unwrap_or("");
    // An id may be there once.
    let id = |name: &str| match index {
        0 => name.to_owned(),
        index => format!("{name}-{}", index + 1),
    };
    html! {
        header {
            h1 { (content.title) }
            p.source { (source.file) @if !source.written.is_empty() {
                " · written " (source.written) } " · " (schema) }
            @if let Some(line) = summary(result) { p.source { (line) } }
        }
        (findings(&content, &id("answers"), before))
        @if !content.warnings.is_empty() {
            section.warnings aria-labelledby=(id("warnings")) {
                h2 id=(id("warnings")) { "Warnings" }
                ul { @for warning in &content.warnings { li { (warning) } } }
            }
        }
        @if !content.figures.is_empty() {
            section aria-labelledby=(id("figures")) {
                h2 id=(id("figures")) { "Figures" }
                @for (index, figure) in content.figures.into_iter().enumerate() {
                    (figure.html(before + index + 1))
                }
            }
        }
        @if !content.missing.is_empty() {
            section aria-labelledby=(id("missing")) {
                h2 id=(id("missing")) { "Not in this file" }
                ul { @for sentence in &content.missing {
                    li { "No picture of " (coded(sentence)) }
                } }
            }
        }
        (machines(result))
    }
}

/// So many findings are read at once; they come in the order in which they matter.
const MOST: usize = 10;

/// Answers before figures: what was found, and what each figure says.
fn findings(content: &Content, id: &str, before: usize) -> Markup {
    let figures = content.figures.iter().enumerate().filter(|_| content.answers);
    let answers: Vec<_> = figures.filter(|(_, figure)| !figure.answer.is_empty()).collect();
    let at_once = if content.findings.len() > MOST + 2 { MOST } else { content.findings.len() };
    let (first, rest) = content.findings.split_at(at_once);
    html! {
        @if !content.findings.is_empty() || !answers.is_empty() {
            section aria-labelledby=(id) {
                h2 id=(id) { "Answers" }
                ul.findings {
                    @for finding in first { li { (finding) } }
                    @for (index, figure) in answers {
                        li {
                            (figure.answer) " "
                            a href={ "#figure-" (before + index + 1) } {
                                "Figure " (before + index + 1) ": " (figure.title)
                            }
                        }
                    }
                }
                @if !rest.is_empty() {
                    details.more {
                        summary { (rest.len()) " more" }
                        ul.findings { @for finding in rest { li { (finding) } } }
                    }
                }
            }
        }
    }
}

/// The machine in one line; where a comparison has two, see the end of the page.
fn summary(result: &Value) -> Option<String> {
    let host = result.get("host").or_else(|| result.get("head")?.get("host"))?;
    let lines = host_lines(host);
    let said = |term: &str| Some(lines.iter().find(|(name, _)| *name == term)?.1.clone());
    let version = said("Brigade").map(|version| format!("Brigade {version}"));
    let cores = said("Cores")
        .map(|cores| if cores == "1" { "1 core".to_owned() } else { format!("{cores} cores") });
    let parts = [version, said("Processor"), cores, said("System")].into_iter().flatten();
    Some(parts.collect::<Vec<_>>().join(" · ")).filter(|line| !line.is_empty())
}

/// A sentence in which commands stand between back-quotes.
fn coded(sentence: &str) -> Markup {
    html! {
        @for (index, part) in sentence.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// The machine of a result, or those of both sides of a comparison.
fn machines(result: &Value) -> Markup {
    let side = |name: &str| result.get(name).and_then(|side| side.get("host"));
    if let Some(names) = super::history::machines(result) {
        return html! {
            section.machine {
                h2 { @if names.len() == 1 { "Machine" } @else { "Machines" } }
                @for name in names { p { (name) } }
            }
        };
    }
    let hosts = match (result.get("host"), side("base"), side("head")) {
        (Some(host), ..) => vec![("Machine", host)],
        (None, Some(base), Some(head)) if base == head => vec![("Machine of both sides", base)],
        (None, base, head) => [("Machine of base", base), ("Machine of head", head)]
            .into_iter()
            .filter_map(|(name, host)| Some((name, host?)))
            .collect(),
    };
    html! {
        @for (name, host) in &hosts {
            section.machine {
                h2 { (name) }
                dl { @for (term, said) in host_lines(host) { div { dt { (term) } dd { (said) } } } }
            }
        }
        @if hosts.is_empty() { section { h2 { "Machine" } p { "This file does not say." } } }
    }
}

fn host_lines(host: &Value) -> Vec<(&'static str, String)> {
    let known = |key: &str| host.get(key).filter(|value| !value.is_null()).map(plain);
    let cores = match (known("cores_usable"), known("cores_present")) {
        (Some(usable), Some(present)) => Some(format!("{usable} usable of {present}")),
        (usable, present) => usable.or(present),
    };
    let memory = number(host, "memory_total_bytes").map(|total| bytes(total as u64));
    let lines = [
        ("Brigade", known("brigade")),
        ("Build", known("build")),
        ("Processor", known("cpu")),
        ("Cores", cores),
        ("Memory", memory),
        ("System", known("os")),
        ("Kernel", known("kernel")),
        ("Governor", known("governor").or(Some("unknown".into()))),
        ("Load at the start", known("load1")),
        ("Virtual machine", known("virtual_machine").or(Some("unknown".into()))),
    ];
    lines.into_iter().filter_map(|(term, said)| Some((term, said?))).collect()
}
