//! Writing to standard output without dying of a closed pipe.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};

/// Standard output (or another sink) that goes quiet when its reader has gone.
///
/// A closed pipe (`unroll train | head`) is the reader's choice and no failure: what follows is thrown away, and
/// [`Out::closed`] tells. Any other failure, such as a full disk behind a redirection, is an error.
pub struct Out<W: Write> {
    sink: W,
    closed: bool,
}

impl Out<io::Stdout> {
    /// Standard output.
    pub fn stdout() -> Out<io::Stdout> {
        Out::new(io::stdout())
    }

    /// Whether a person is looking.
    pub fn is_terminal(&self) -> bool {
        self.sink.is_terminal()
    }
}

impl<W: Write> Out<W> {
    /// Writes to `sink`.
    pub fn new(sink: W) -> Out<W> {
        Out { sink, closed: false }
    }

    /// Whether the reader has gone.
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Writes `text` and hands it on at once.
    ///
    /// # Errors
    /// Where writing fails for another reason than a closed pipe.
    pub fn write(&mut self, text: &str) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        match self.sink.write_all(text.as_bytes()).and_then(|()| self.sink.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(Error::write("standard output", error)),
            Ok(()) => Ok(()),
        }
    }

    /// Writes `text` and a line break.
    ///
    /// # Errors
    /// As [`Out::write`].
    pub fn line(&mut self, text: &str) -> Result<()> {
        self.write(&format!("{text}\n"))
    }
}

/// `value` as one line of JSON.
///
/// # Errors
/// Where the value cannot be written as JSON, which is a mistake of this program.
pub fn json_line<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::run(format!("cannot write a result as JSON: {error}")))
}

/// Text as a terminal may show it: control characters other than line breaks and tabs are escaped, so that what a model
/// writes cannot steer the terminal.
///
/// ```
/// assert_eq!(unroll::report::visible("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\n");
/// ```
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() && letter != '\n' && letter != '\t' {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// A path as a shell takes it for one argument, in the commands that users are told to go on with.
///
/// ```
/// use unroll::report::argument;
///
/// assert_eq!(argument("runs/1".as_ref()), "runs/1");
/// assert_eq!(argument("it's mine".as_ref()), r"'it'\''s mine'");
/// ```
pub fn argument(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+,:@%=".contains(letter);
    match path.chars().all(plain) && !path.is_empty() {
        true => path,
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is() {
        let mut out = Out::new(Failing(io::ErrorKind::BrokenPipe));
        out.line("x").unwrap();
        assert!(out.closed());
        out.line("y").unwrap();
        let error = Out::new(Failing(io::ErrorKind::StorageFull)).line("x").unwrap_err();
        assert_eq!(error.exit_code(), 5);
    }

    #[test]
    fn lines_arrive_whole() {
        let mut sink = Vec::new();
        let mut out = Out::new(&mut sink);
        out.line("a").unwrap();
        out.write("b").unwrap();
        assert!(!out.closed());
        assert_eq!(sink, b"a\nb");
    }
}
