//! The bytes of a table on their way to the CSV reader, which says nothing of a quote that is not closed.

use std::io::{self, Read};

/// A row that is not what it should be, on its way through a reader.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct TableError {
    pub(crate) line: u64,
    pub(crate) what: String,
    pub(crate) mend: &'static str,
}

impl TableError {
    /// The error of a field that begins at this line.
    fn unclosed(line: u64) -> io::Error {
        let (what, mend) =
            ("a quoted field is not closed".to_owned(), "close it, and double the quotes within a field");
        io::Error::other(TableError { line, what, mend })
    }

    /// What a failed read says of a table, if it does.
    pub(crate) fn of(error: &io::Error) -> Option<&TableError> {
        error.get_ref()?.downcast_ref()
    }
}

/// The bytes of a table: without the mark of the byte order, and with their quotes looked at unless there are none.
///
/// A field that is quoted and never closed would be the rest of the file, or all before the next quote. Both are an error: the end
/// within quotes, and a field of several lines that does not end with its second quote.
pub(crate) struct TableBytes<R> {
    raw: R,
    /// What was read to see whether it is the mark; none before.
    start: Option<Vec<u8>>,
    quotes: Option<Quotes>,
}

impl<R: Read> TableBytes<R> {
    pub(crate) fn new(raw: R, quoting: bool) -> TableBytes<R> {
        let quotes = Quotes { field: Field::Start, line: 1, began: 1 };
        TableBytes { raw, start: None, quotes: quoting.then_some(quotes) }
    }

    fn fill(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.start.is_none() {
            let mut start = Vec::new();
            self.raw.by_ref().take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut start)?;
            if start == BYTE_ORDER_MARK {
                start.clear();
            }
            self.start = Some(start);
        }
        match &mut self.start {
            Some(start) if !start.is_empty() => {
                let count = start.as_slice().read(out)?;
                start.drain(..count);
                Ok(count)
            }
            _ => self.raw.read(out),
        }
    }
}

impl<R: Read> Read for TableBytes<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill(out)?;
        if let Some(quotes) = &mut self.quotes {
            let ends = count == 0 && !out.is_empty() && quotes.field == Field::Quoted;
            if ends || !out[..count].iter().all(|&byte| quotes.goes_on(byte)) {
                return Err(TableError::unclosed(quotes.began));
            }
        }
        Ok(count)
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Where the bytes of CSV stand, as its reader sees them.
#[derive(Debug)]
struct Quotes {
    field: Field,
    line: u64,
    /// The line that the last quoted field began at.
    began: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Start,
    Plain,
    Quoted,
    /// Behind a quote within a quoted field: its end, or the first of two.
    Quote,
}

impl Quotes {
    /// Takes the next byte; false where a field of several lines does not end with its second quote.
    fn goes_on(&mut self, byte: u8) -> bool {
        self.field = match (self.field, byte) {
            (Field::Start, b'"') => {
                self.began = self.line;
                Field::Quoted
            }
            (Field::Quoted, b'"') => Field::Quote,
            (Field::Quoted, _) | (Field::Quote, b'"') => Field::Quoted,
            (_, b',' | b'\r' | b'\n') => Field::Start,
            (Field::Quote, other) if self.line > self.began && !other.is_ascii_whitespace() => return false,
            _ => Field::Plain,
        };
        self.line += u64::from(byte == b'\n');
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read, or the line that is refused.
    fn read(table: &[u8], quoting: bool) -> Result<Vec<u8>, u64> {
        let mut bytes = Vec::new();
        let read = TableBytes::new(table, quoting).read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(|error| TableError::of(&error).unwrap().line)
    }

    #[test]
    fn a_quoted_field_is_closed() {
        for whole in
            ["", "a", "a,b\n", "\"a\"", "x\"y,\"a \"\"b\"\"\",\n\"\"\n", "\"a\" b,c", "\"a\nb\" ,c", "\"a\"\r\n"]
        {
            assert_eq!(read(whole.as_bytes(), true), Ok(whole.as_bytes().to_vec()), "{whole}");
        }
        for (cut, line) in [
            ("ham,\"unclosed quote here\nspam,yes\n", 1),
            ("a,\"b\nc\"\nham,\"no\n", 3),
            ("a,b\nham,\"no\nspam,\"yes, so\"\n", 2),
            ("\"\"\"", 1),
        ] {
            assert_eq!(read(cut.as_bytes(), true), Err(line), "{cut}");
        }
        assert_eq!(read(b"ham\t\"no\n", false), Ok(b"ham\t\"no\n".to_vec()));
    }

    #[test]
    fn the_mark_of_the_byte_order_is_left_out() {
        assert_eq!(read("\u{feff}\"a\"".as_bytes(), true), Ok(b"\"a\"".to_vec()));
        assert_eq!(read("\u{feff}".as_bytes(), false), Ok(Vec::new()));
        assert_eq!(read(b"\xef\xbb", false), Ok(b"\xef\xbb".to_vec()));
    }
}
