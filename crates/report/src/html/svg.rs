//! Marks of a picture as SVG text: the few elements that the figures need, styled by
//! classes of `style.css` only, so that light, dark and paper are the stylesheet's
//! affair.

use maud::{Markup, PreEscaped, html};

/// A picture under construction. Lengths are in units of which the page shows one
/// per pixel.
#[derive(Debug)]
pub(crate) struct Canvas {
    /// Its width.
    pub(crate) width: f64,
    /// Its height.
    pub(crate) height: f64,
    body: String,
}

/// On which side of its position a text lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// To the right of it.
    Start,
    /// Around it.
    Middle,
    /// To the left of it.
    End,
}

/// A tenth of a pixel is as fine as anyone sees, and keeps the file small.
fn r(length: f64) -> f64 {
    (length * 10.0).round() / 10.0
}

impl Canvas {
    /// An empty picture.
    pub(crate) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    fn add(&mut self, markup: Markup) {
        self.body.push_str(&markup.0);
    }

    /// A straight line.
    pub(crate) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.add(html! { line class=(class) x1=(r(x1)) y1=(r(y1)) x2=(r(x2)) y2=(r(y2)) {} });
    }

    /// A rectangle, by its upper left corner.
    pub(crate) fn rect(&mut self, class: &str, (x, y): (f64, f64), (w, h): (f64, f64)) {
        self.add(html! {
            rect class=(class) x=(r(x)) y=(r(y)) width=(r(w.max(0.0))) height=(r(h.max(0.0))) {}
        });
    }

    /// The label of a tick, below its place on a horizontal axis. Left out where it might be
    /// cut off at the right edge: of the fonts that a page may get, the widest counts.
    pub(crate) fn tick_label(&mut self, (x, y): (f64, f64), label: &str) {
        let half = label.chars().count() as f64 * WIDEST / 2.0;
        if x + half <= self.width {
            self.text("tick", Anchor::Middle, (x, y), label);
        }
    }

    /// Text at one side of a position; `y` is its base line.
    pub(crate) fn text(&mut self, class: &str, anchor: Anchor, (x, y): (f64, f64), text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.add(html! {
            text class=(class) text-anchor=(anchor) x=(r(x)) y=(r(y)) { (text) }
        });
    }

    /// A line through points.
    pub(crate) fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        let mut data = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            data.push_str(&format!("{}{},{}", if index == 0 { "M" } else { "L" }, r(*x), r(*y)));
        }
        self.add(html! { path class=(class) d=(data) {} });
    }

    /// The marker of a series, see [`marker`].
    pub(crate) fn marker(&mut self, class: &str, shape: usize, at: (f64, f64)) {
        self.add(marker(class, shape, at));
    }

    /// What `draw` draws as one mark: one data point, with `says` as its tool tip.
    pub(crate) fn mark(&mut self, class: &str, says: &str, draw: impl FnOnce(&mut Self)) {
        let before = std::mem::take(&mut self.body);
        draw(self);
        let inner = std::mem::replace(&mut self.body, before);
        let class = format!("mark {class}");
        self.add(html! { g class=(class) { title { (says) } (PreEscaped(inner)) } });
    }

    /// The whole element. `id` is unlike that of any other picture of the page;
    /// `title` and `desc` are what a screen reader reads.
    pub(crate) fn finish(self, id: &str, title: &str, desc: &str) -> Markup {
        let view = format!("0 0 {} {}", r(self.width), r(self.height));
        let labels = format!("{id}-t {id}-d");
        html! {
            svg role="img" aria-labelledby=(labels) viewBox=(view) width=(r(self.width))
                height=(r(self.height)) {
                title id={ (id) "-t" } { (title) }
                desc id={ (id) "-d" } { (desc) }
                (PreEscaped(self.body))
            }
        }
    }
}

/// One of six shapes, so that series differ by more than colour: circle, square,
/// diamond, triangle up, triangle down, cross.
pub(crate) fn marker(class: &str, shape: usize, (x, y): (f64, f64)) -> Markup {
    let s = 4.2;
    let corners: &[(f64, f64)] = match shape % 6 {
        1 => &[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        2 => &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
        3 => &[(0.0, -1.2), (1.15, 0.9), (-1.15, 0.9)],
        4 => &[(0.0, 1.2), (1.15, -0.9), (-1.15, -0.9)],
        5 => {
            return html! {
                path class={ (class) " stroked" }
                    d={ "M" (r(x - s)) "," (r(y - s)) "L" (r(x + s)) "," (r(y + s))
                        "M" (r(x - s)) "," (r(y + s)) "L" (r(x + s)) "," (r(y - s)) } {}
            };
        }
        _ => return html! { circle class=(class) cx=(r(x)) cy=(r(y)) r=(s) {} },
    };
    let points = corners.iter().map(|(dx, dy)| format!("{},{}", r(x + dx * s), r(y + dy * s)));
    html! { polygon class=(class) points=(points.collect::<Vec<_>>().join(" ")) {} }
}

/// Width of a character of a tick's label, 12 pixels high, in DejaVu Sans: "40 ms" has 7.4.
const WIDEST: f64 = 7.6;

/// About how wide a text of the figures is; their font is 13 pixels high.
pub(crate) fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * 6.9
}

/// As much of a text as fits into a width, with an ellipsis if it is cut.
pub(crate) fn fitted(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let keep = (width / 6.9 - 1.0).max(0.0) as usize;
    text.chars().take(keep).chain(['…']).collect()
}

/// Moves labels apart that would overlap: at least `gap` between two of them, near
/// where they wanted to be, none beyond `to`. Gives new places in the given order.
pub(crate) fn apart(wanted: &[f64], gap: f64, to: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut places = wanted.to_vec();
    let mut least = f64::NEG_INFINITY;
    for index in &order {
        places[*index] = places[*index].max(least);
        least = places[*index] + gap;
    }
    let mut most = to;
    for index in order.iter().rev() {
        places[*index] = places[*index].min(most);
        most = places[*index] - gap;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut canvas = Canvas::new(10.0, 10.0);
        canvas.text("label", Anchor::Start, (0.0, 1.0), "<script>\"&");
        canvas.mark("m", "a<b", |canvas| canvas.line("l", (0.0, 0.0), (1.06, 1.0)));
        let text = canvas.finish("f", "<t>", "d").0;
        assert!(text.contains("&lt;script&gt;&quot;&amp;") && text.contains("a&lt;b"), "{text}");
        assert!(text.contains("&lt;t&gt;") && text.contains("x2=\"1.1\""), "{text}");
        assert!(!text.contains("<script"), "{text}");
    }

    #[test]
    fn labels_move_apart_and_stay_inside() {
        assert_eq!(apart(&[10.0, 12.0, 50.0], 10.0, 60.0), [10.0, 20.0, 50.0]);
        assert_eq!(apart(&[58.0, 55.0], 10.0, 60.0), [60.0, 50.0]);
    }

    #[test]
    fn a_text_is_cut_to_its_place() {
        assert_eq!(fitted("short", 100.0), "short");
        assert_eq!(fitted("something long", 69.0), "something…");
    }
}
