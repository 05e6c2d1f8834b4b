//! What can go wrong for the user, and the exit code each kind of failure ends the command with.
//!
//! A message says what is wrong, where (file, line, byte, option) and how to mend it. The programmer's own mistakes
//! (a wrong shape into a kernel) are panics and never come here.
//!
//! ```
//! use unroll::error::{At, Error};
//! let error = Error::input_at("corpus.txt", At::Byte(17), "byte 0xff is not valid UTF-8")
//!     .mend("use --encoding-errors replace, or convert the file to UTF-8");
//! assert_eq!(error.exit_code(), 3);
//! assert_eq!(
//!     error.to_string(),
//!     "corpus.txt, byte 17: byte 0xff is not valid UTF-8 (use --encoding-errors replace, or convert the file to UTF-8)"
//! );
//! ```

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure that the user can read and act on.
///
/// | kind | exit code |
/// |---|---|
/// | [`Error::Run`] | 1 |
/// | [`Error::Usage`] | 2 |
/// | [`Error::Input`] | 3 |
/// | [`Error::Diverged`] | 4 |
/// | [`Error::Io`] | 5 |
/// | [`Error::Interrupted`] | 130 |
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The run failed for a reason other than those below: a check that did not hold, a thread that died.
    #[error("{0}")]
    Run(Message),

    /// A bad option, configuration value or combination; a model that does not fit the data or the machine.
    #[error("{0}")]
    Usage(Message),

    /// A file that was read is missing, unreadable, damaged, or not what it should be.
    #[error("{place}: {message}")]
    Input {
        /// The file, and where in it.
        place: Place,
        /// What is wrong there.
        message: Message,
    },

    /// A loss, gradient or parameter is no longer finite.
    #[error("{0}")]
    Diverged(Message),

    /// The system failed to read or write: a full disk, a broken device, a folder that cannot be made.
    #[error("{}: {message}: {}", path.display(), describe(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done ("cannot write").
        message: Message,
        /// The error of the system.
        source: io::Error,
    },

    /// The user asked to stop.
    #[error("{0}")]
    Interrupted(Message),
}

/// What is wrong, and how to fix it if that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What is wrong.
    pub what: String,
    /// How to fix it.
    pub mend: Option<String>,
}

/// A file, and a place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Where in the file.
    pub at: At,
}

/// Where in a file something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The file as a whole.
    Whole,
    /// A line, counted from 1.
    Line(u64),
    /// A line and the column in it, both counted from 1.
    LineColumn(u64, u64),
    /// A byte offset, counted from 0.
    Byte(u64),
}

impl Error {
    /// The run failed (exit code 1).
    pub fn run(what: impl Into<String>) -> Error {
        Error::Run(Message::new(what))
    }

    /// A bad option, configuration value or combination (exit code 2).
    pub fn usage(what: impl Into<String>) -> Error {
        Error::Usage(Message::new(what))
    }

    /// A bad value of the option or configuration key `name`, such as `--temperature` (exit code 2).
    pub fn option(name: &str, what: impl fmt::Display) -> Error {
        Error::usage(format!("{name}: {what}"))
    }

    /// A bad input file (exit code 3).
    pub fn input(path: impl Into<PathBuf>, what: impl Into<String>) -> Error {
        Error::input_at(path, At::Whole, what)
    }

    /// A bad input file, with the place in it (exit code 3).
    pub fn input_at(path: impl Into<PathBuf>, at: At, what: impl Into<String>) -> Error {
        Error::Input { place: Place { path: path.into(), at }, message: Message::new(what) }
    }

    /// A value that is no longer finite (exit code 4).
    pub fn diverged(what: impl Into<String>) -> Error {
        Error::Diverged(Message::new(what))
    }

    /// The user asked to stop (exit code 130).
    pub fn interrupted(what: impl Into<String>) -> Error {
        Error::Interrupted(Message::new(what))
    }

    /// The error of the system while `doing` ("cannot write") something with `path` (exit code 5).
    pub fn io(path: impl Into<PathBuf>, doing: impl Into<String>, source: io::Error) -> Error {
        Error::Io { path: path.into(), message: Message::new(doing), source }
    }

    /// A failure to open or read a file that the user named. A file that is missing, a folder or not permitted is a bad
    /// input (exit code 3); any other error of the system is an I/O failure (exit code 5).
    pub fn read(path: impl AsRef<Path>, source: io::Error) -> Error {
        let path = path.as_ref();
        match source.kind() {
            io::ErrorKind::NotFound => Error::input(path, "no such file").mend("check the path"),
            io::ErrorKind::PermissionDenied => {
                Error::input(path, "the file may not be read").mend("check its permissions")
            }
            io::ErrorKind::IsADirectory => Error::input(path, "is a folder, not a file").mend("name a file in it"),
            _ => Error::io(path, "cannot read", source),
        }
    }

    /// A failure to create or write a file (exit code 5).
    pub fn write(path: impl Into<PathBuf>, source: io::Error) -> Error {
        Error::io(path, "cannot write", source)
    }

    /// Adds how to fix it, shown in brackets after what is wrong.
    #[must_use]
    pub fn mend(mut self, how: impl Into<String>) -> Error {
        match &mut self {
            Error::Run(message) | Error::Usage(message) | Error::Diverged(message) | Error::Interrupted(message) => {
                message.mend = Some(how.into());
            }
            Error::Input { message, .. } | Error::Io { message, .. } => message.mend = Some(how.into()),
        }
        self
    }

    /// The exit code that the command ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Run(_) => 1,
            Error::Usage(_) => 2,
            Error::Input { .. } => 3,
            Error::Diverged(_) => 4,
            Error::Io { .. } => 5,
            Error::Interrupted(_) => 130,
        }
    }
}

impl Message {
    fn new(what: impl Into<String>) -> Message {
        Message { what: what.into(), mend: None }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.mend {
            Some(how) => write!(f, " ({how})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match self.at {
            At::Whole => Ok(()),
            At::Line(line) => write!(f, ", line {line}"),
            At::LineColumn(line, column) => write!(f, ", line {line}, column {column}"),
            At::Byte(byte) => write!(f, ", byte {byte}"),
        }
    }
}

/// The error of the system, with how to fix it where that is clear.
fn describe(source: &io::Error) -> String {
    // What this program found out itself, such as how many bytes are missing.
    let detail = source.get_ref().map_or_else(String::new, |detail| format!(": {detail}"));
    match source.kind() {
        io::ErrorKind::StorageFull => format!("the disk is full{detail}; free some space and run the command again"),
        io::ErrorKind::QuotaExceeded => {
            "the disk quota is used up; free some space and run the command again".to_owned()
        }
        io::ErrorKind::NotFound => "there is no such folder; make it first, or choose another".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder; name a file".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only; choose another folder".to_owned(),
        _ => source.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_exit_code() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let codes = [
            Error::run("x").exit_code(),
            Error::usage("x").exit_code(),
            Error::input("f", "x").exit_code(),
            Error::diverged("x").exit_code(),
            Error::write("f", full).exit_code(),
            Error::interrupted("x").exit_code(),
        ];
        assert_eq!(codes, [1, 2, 3, 4, 5, 130]);
    }

    #[test]
    fn a_full_disk_is_told_with_what_is_missing() {
        let full = io::Error::new(io::ErrorKind::StorageFull, "it needs 9 bytes and the disk has 3 free");
        assert_eq!(
            Error::write("f", full).to_string(),
            "f: cannot write: the disk is full: it needs 9 bytes and the disk has 3 free; free some space and run the \
             command again"
        );
    }

    #[test]
    fn messages_say_what_where_and_how_to_mend_it() {
        let line = Error::input_at("a/b.toml", At::LineColumn(3, 7), "unknown key `lerning_rate`");
        assert_eq!(
            line.mend("did you mean `learning_rate`?").to_string(),
            "a/b.toml, line 3, column 7: unknown key `lerning_rate` (did you mean `learning_rate`?)"
        );
        assert_eq!(
            Error::option("--top-p", "must be in (0, 1], got 2").to_string(),
            "--top-p: must be in (0, 1], got 2"
        );
        let full = Error::write("run/model", io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(
            full.to_string(),
            "run/model: cannot write: the disk is full; free some space and run the command again"
        );
    }

    #[test]
    fn a_missing_file_is_bad_input_and_a_broken_device_is_not() {
        let missing = Error::read("nowhere.txt", io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(missing.exit_code(), 3);
        assert_eq!(missing.to_string(), "nowhere.txt: no such file (check the path)");
        assert_eq!(Error::read("disk.txt", io::Error::other("device error")).exit_code(), 5);
    }
}
