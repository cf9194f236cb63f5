//! A figure: an answer in a sentence, a picture in two widths, and the same data as a
//! table.

use maud::{Markup, html};

use super::svg::{Canvas, marker};

/// Width of pictures where there is room.
pub(crate) const WIDE: f64 = 880.0;
/// Width of pictures on a telephone.
pub(crate) const NARROW: f64 = 344.0;

/// One figure of the page.
#[derive(Debug)]
pub(crate) struct Figure {
    /// What it shows.
    pub(crate) title: String,
    /// What it says, in one sentence; empty if nothing can be said.
    pub(crate) answer: String,
    /// How to read it, and what is doubtful about it.
    pub(crate) notes: Vec<String>,
    /// What marks mean.
    pub(crate) legend: Vec<Key>,
    /// For [`WIDE`] and [`NARROW`]: letters do not shrink with the page.
    pub(crate) pictures: [Canvas; 2],
    /// Everything that is drawn, in numbers.
    pub(crate) table: Table,
}

/// A line of the legend.
#[derive(Debug)]
pub(crate) struct Key {
    /// The sample.
    pub(crate) swatch: Swatch,
    /// What it stands for.
    pub(crate) text: String,
}

/// A sample of how something is drawn.
#[derive(Debug)]
pub(crate) enum Swatch {
    /// A line with a marker, of these classes and this shape.
    Line(String, Option<usize>),
    /// A filled box.
    Box(String),
}

/// Rows of text. The first column names the row.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Names of the columns.
    pub(crate) head: Vec<String>,
    /// So many columns from the left are names, the others numbers.
    pub(crate) names: usize,
    /// As many texts as `head` has.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(names: usize, head: &[&str]) -> Self {
        let head = head.iter().map(|text| (*text).to_owned()).collect();
        Self { head, names, rows: Vec::new() }
    }

    fn html(&self) -> Markup {
        let class = |column: usize| (column >= self.names).then_some("number");
        html! {
            div.scroll tabindex="0" {
                table {
                    thead { tr { @for (column, text) in self.head.iter().enumerate() {
                        th scope="col" class=[class(column)] { (text) }
                    } } }
                    tbody { @for row in &self.rows { tr {
                        @for (column, text) in row.iter().enumerate() {
                            @if column == 0 { th scope="row" { (text) } }
                            @else { td class=[class(column)] { (text) } }
                        }
                    } } }
                }
            }
        }
    }
}

impl Key {
    fn html(&self) -> Markup {
        html! {
            li {
                svg aria-hidden="true" viewBox="0 0 34 16" width="34" height="16" {
                    @match &self.swatch {
                        Swatch::Line(class, shape) => {
                            line class={ "line " (class) } x1="1" y1="8" x2="33" y2="8" {}
                            @if let Some(shape) = shape {
                                (marker(&format!("dot {class}"), *shape, (17.0, 8.0)))
                            }
                        }
                        Swatch::Box(class) => {
                            rect class=(class) x="3" y="1" width="28" height="14" {}
                        }
                    }
                }
                (self.text)
            }
        }
    }
}

impl Figure {
    /// The figure as HTML, the `number`th of the page.
    pub(crate) fn html(self, number: usize) -> Markup {
        let id = format!("figure-{number}");
        let caption = format!("{id}-caption");
        let desc = match self.answer.is_empty() {
            true => self.notes.join(" "),
            false => self.answer.clone(),
        };
        let desc = format!("{desc} The numbers are in the table below the figure.");
        let [wide, narrow] = self.pictures;
        html! {
            figure id=(id) aria-labelledby=(caption) {
                figcaption id=(caption) {
                    h3 { "Figure " (number) ": " (self.title) }
                    @if !self.answer.is_empty() { p.answer { (self.answer) } }
                }
                @if !self.legend.is_empty() {
                    ul.legend { @for key in &self.legend { (key.html()) } }
                }
                div.wide { (wide.finish(&format!("{id}-wide"), &self.title, &desc)) }
                div.narrow { (narrow.finish(&format!("{id}-narrow"), &self.title, &desc)) }
                @for note in &self.notes { p.note { (note) } }
                details {
                    summary { "The numbers of figure " (number) }
                    (self.table.html())
                }
            }
        }
    }
}
