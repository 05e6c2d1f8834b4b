//! Texts that are wanted as a whole: labelled samples, lines that are scored, what an inspection reads.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::chunks::invalid;
use super::source::{Input, Source};
use crate::error::{At, Result};
use crate::text::{EncodingErrors, decode_into};

/// How a text is read that is wanted as a whole.
#[derive(Debug, Clone, Copy, Default)]
pub struct Whole<'a> {
    /// What is done with bytes that are not UTF-8.
    pub errors: EncodingErrors,
    /// Ends the reading with [`crate::Error::Interrupted`] when it becomes true.
    pub cancel: Option<&'a AtomicBool>,
}

impl Whole<'_> {
    /// The text of a file or of standard input, gzip or not, without a byte order mark.
    ///
    /// # Errors
    /// [`crate::Error::Input`] where it is missing, a folder, damaged, or not UTF-8 and to be refused then, with the line;
    /// [`crate::Error::Io`] where reading fails.
    pub fn read(self, source: &Source) -> Result<String> {
        let mut input = Input::whole(source)?;
        let (mut bytes, mut text) = (Vec::new(), String::new());
        let read = input.open(None, self.cancel, self.errors)?.read_to_end(&mut bytes);
        read.map_err(|error| input.read_error(error))?;
        decode_into(&bytes, true, self.errors, &mut text).map_err(|bad| {
            let line = bytes[..bad.offset].iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
            invalid(&input.name, At::Line(line), 0, &bytes, bad.offset)
        })?;
        Ok(unmarked(text))
    }

    /// The text of a line of standard input, counted from 1, without what ends it; of the first also without a byte order mark.
    ///
    /// # Errors
    /// [`crate::Error::Input`] where it is not UTF-8 and to be refused then.
    pub fn line(self, number: u64, bytes: &[u8]) -> Result<String> {
        let mut text = String::new();
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        decode_into(bytes, true, self.errors, &mut text)
            .map_err(|bad| invalid(Path::new("standard input"), At::Line(number), number - 1, bytes, bad.offset))?;
        Ok(if number == 1 { unmarked(text) } else { text })
    }
}

fn unmarked(text: String) -> String {
    text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)
}
