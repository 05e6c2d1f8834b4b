//! Curves over distance as an SVG picture: the vertical axis is logarithmic. It needs nothing beside itself, and
//! follows the reader's choice of a light or a dark page.

use std::fmt::{Arguments, Write};

/// A curve and what it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// In the legend.
    pub name: String,
    /// The value at distance 0, 1, ...
    pub values: Vec<f64>,
}

/// Colours that stay apart for most kinds of colour blindness (M. Okabe and K. Ito 2008), between those of light and dark.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c"];

/// The picture and the place of the axes in it.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 600.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 430.0;
/// Decades that are shown below the largest value at most.
const DECADES: i32 = 12;

/// `text` where markup stands.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // Neither HTML nor XML can say it.
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Appends to a string, which cannot fail.
pub(super) fn write_to(out: &mut String, text: Arguments<'_>) {
    let _written = out.write_fmt(text);
}

/// Draws the curves. Values that are not positive, which have no logarithm, break their curve.
pub fn svg(title: &str, [x_label, y_label]: [&str; 2], lines: &[Line]) -> String {
    let drawn = |value: &&f64| **value > 0.0 && value.is_finite();
    let logs = lines.iter().flat_map(|line| line.values.iter().filter(drawn)).map(|value| value.log10());
    let (low, high) = logs.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
    let high = if high.is_finite() { high.ceil() } else { 0.0 };
    let low = if low.is_finite() { low.floor().max(high - f64::from(DECADES)).min(high - 1.0) } else { -1.0 };
    let longest = lines.iter().map(|line| line.values.len()).max().unwrap_or(0).saturating_sub(1).max(1);
    let x = |distance: usize| LEFT + (RIGHT - LEFT) * distance as f64 / longest as f64;
    let y = |log: f64| BOTTOM - (BOTTOM - TOP) * (log.max(low) - low) / (high - low);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<title>{}</title>\n<style>\nrect.page {{ fill: #fff }} text {{ fill: #222 }} .grid {{ stroke: #ddd }} \
         path {{ fill: none; stroke-width: 1.8 }}\n@media (prefers-color-scheme: dark) {{ rect.page {{ fill: #16181c }} \
         text {{ fill: #ddd }} .grid {{ stroke: #3a3d44 }} }}\n</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n<text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{}</text>\n",
        escape(title),
        escape(title),
    );
    let mut put = |text: Arguments<'_>| write_to(&mut out, text);
    let every = (((high - low) / 6.0).ceil() as usize).max(1);
    for decade in (low as i32..=high as i32).step_by(every) {
        let at = y(f64::from(decade));
        put(format_args!("<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{RIGHT}\" y2=\"{at:.1}\"/>\n"));
        put(format_args!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">1e{decade}</text>\n", LEFT - 8.0, at + 4.0));
    }
    for tick in 0..=5 {
        let distance = longest * tick / 5;
        let at = x(distance);
        put(format_args!("<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{BOTTOM}\"/>\n"));
        put(format_args!("<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{distance}</text>\n", BOTTOM + 18.0));
    }
    let [middle_x, middle_y] = [(LEFT + RIGHT) / 2.0, (TOP + BOTTOM) / 2.0];
    put(format_args!(
        "<text x=\"{middle_x}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n<text x=\"16\" y=\"{middle_y}\" \
         text-anchor=\"middle\" transform=\"rotate(-90 16 {middle_y})\">{}</text>\n",
        BOTTOM + 40.0,
        escape(x_label),
        escape(y_label),
    ));
    for (i, line) in lines.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        // Beyond so many curves colours come again, dashed.
        let dash = if i < COLOURS.len() { "" } else { " stroke-dasharray=\"6 3\"" };
        let (mut path, mut pen) = (String::new(), "M");
        for (distance, value) in line.values.iter().enumerate() {
            if drawn(&value) {
                write_to(&mut path, format_args!("{pen}{:.1} {:.1}", x(distance), y(value.log10())));
                pen = "L";
            } else {
                pen = "M";
            }
        }
        put(format_args!("<path d=\"{path}\" stroke=\"{colour}\"{dash}/>\n"));
        let at = TOP + 10.0 + 20.0 * i as f64;
        put(format_args!(
            "<path d=\"M{} {at}h24\" stroke=\"{colour}\"{dash}/><text x=\"{}\" y=\"{}\">{}</text>\n",
            RIGHT + 16.0,
            RIGHT + 46.0,
            at + 4.0,
            escape(&line.name),
        ));
    }
    out.push_str("</svg>\n");
    out
}
