//! Progress: one live line on a terminal, full lines elsewhere. Never a carriage return into a file.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::Result;

use super::Out;

/// How far a long work has come.
///
/// On a terminal a bar stands below the lines; elsewhere there are only the lines.
pub struct Progress {
    out: Out<std::io::Stdout>,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Progress to standard output over `length` steps. `live` asks for a bar, which a terminal gets.
    pub fn new(length: u64, live: bool) -> Progress {
        let out = Out::stdout();
        let bar = (live && out.is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stdout_with_hz(10));
            let template = "{bar:24} {percent:>3}% {pos}/{len}  {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        Progress { out, bar }
    }

    /// Whether there is a bar.
    pub fn is_live(&self) -> bool {
        self.bar.is_some()
    }

    /// Whether the reader of standard output has gone.
    pub fn closed(&self) -> bool {
        self.out.closed()
    }

    /// Moves the bar to a step, with a message behind it; nothing without a bar.
    pub fn at(&self, step: u64, message: impl Into<String>) {
        if let Some(bar) = &self.bar {
            bar.set_position(step);
            bar.set_message(message.into());
        }
    }

    /// Prints text above the bar, or simply prints it; a line break is added.
    ///
    /// # Errors
    /// Where standard output cannot be written, other than a reader that has gone.
    pub fn line(&mut self, text: &str) -> Result<()> {
        let Progress { out, bar } = self;
        match bar {
            Some(bar) => bar.suspend(|| out.line(text)),
            None => out.line(text),
        }
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
