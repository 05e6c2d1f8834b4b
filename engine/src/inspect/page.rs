//! Activations of units over a text, as an HTML page: each token has a colour, blue above zero and red below, as strong
//! as the activation is large. The page needs nothing beside itself and follows the reader's choice of light or dark.

use super::plot::{escape, write_to};

/// What a unit did at each token.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// `lstm:5`
    pub name: String,
    /// One a token.
    pub values: Vec<f32>,
}

impl Unit {
    /// The largest magnitude; 0 where there is none.
    pub fn largest(&self) -> f32 {
        self.values.iter().fold(0.0, |max: f32, value| max.max(value.abs()))
    }
}

const STYLE: &str = "
:root { color-scheme: light dark; --above: 0, 114, 178; --below: 213, 94, 0 }
body { font: 16px/1.7 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
@media (prefers-color-scheme: light) { body { background: #fff; color: #111 } }
@media (prefers-color-scheme: dark) { body { background: #16181c; color: #e6e6e6 } }
pre { font: 15px/1.8 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
i { font-style: normal; border-radius: 2px } .gone { opacity: 0.45 }
h2 { font-size: 1.05rem; margin-bottom: 0 } small { opacity: 0.7 }
.key i { padding: 0 0.6em }
";

/// A page on what `units` did over a text; `tokens` are what stands for each, `spaced` whether a space stands between them.
///
/// # Panics
///
/// Where a unit has not one value a token.
pub fn html(title: &str, tokens: &[String], spaced: bool, units: &[Unit]) -> String {
    let title = escape(title);
    let mut out = format!(
        "<!DOCTYPE html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <p class=\"key\">{} above zero {} below; as strong as the activation is large, the largest of each unit at full strength. \
         Point at a token for its number.</p>\n",
        coloured("&nbsp;", 1.0, "1"),
        coloured("&nbsp;", -1.0, "-1"),
    );
    for unit in units {
        assert_eq!(unit.values.len(), tokens.len(), "values of {} for {} tokens", unit.name, tokens.len());
        let largest = unit.largest();
        let name = escape(&unit.name);
        let head = format_args!("<section>\n<h2>{name}</h2>\n<small>largest magnitude {largest:.4}</small>\n<pre>");
        write_to(&mut out, head);
        for (i, (token, value)) in tokens.iter().zip(&unit.values).enumerate() {
            if spaced && i > 0 && tokens[i - 1] != "\n" {
                out.push(' ');
            }
            let strength = if largest > 0.0 { value / largest } else { 0.0 };
            let number = format!("{value:.4}");
            if token == "\n" {
                // A line feed has a colour too.
                out.push_str(&coloured("<span class=\"gone\">\u{21b5}</span>", strength, &number));
                out.push('\n');
            } else {
                out.push_str(&coloured(&escape(token), strength, &number));
            }
        }
        out.push_str("</pre>\n</section>\n");
    }
    out.push_str("</body>\n</html>\n");
    out
}

/// Marked-up text behind a colour of this strength, -1 to 1.
fn coloured(text: &str, strength: f32, title: &str) -> String {
    let side = if strength < 0.0 { "below" } else { "above" };
    let alpha = 0.85 * strength.abs().min(1.0);
    format!("<i title=\"{title}\" style=\"background:rgba(var(--{side}),{alpha:.2})\">{text}</i>")
}
