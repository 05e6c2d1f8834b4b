//! Columns of a table read as a text: a line a row, `NAME: line` of two columns.

use std::io::{self, Read};

use super::chunks::NOT_UTF8;
use super::quotes::{TableBytes, TableError};
use super::source::Raw;
use crate::text::{EncodingErrors, decode_into};

/// Which columns of a table make a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The text, or the speaker and the text. Numbers count columns from 0; where one is a name, the first row names the columns.
    pub names: Vec<String>,
    /// Whether the columns are parted by tabs and nothing is quoted; else it is CSV (RFC 4180).
    pub tabs: bool,
}

/// The rows of a table as lines of text. Line ends within a field become spaces; a row without text is left out.
pub(super) struct TableReader<'a> {
    rows: csv::Reader<TableBytes<Raw<'a>>>,
    columns: Columns,
    /// What is done with bytes that are not UTF-8.
    errors: EncodingErrors,
    places: Option<Vec<usize>>,
    /// The row as it was read, and as text.
    bytes: csv::ByteRecord,
    row: csv::StringRecord,
    /// Who speaks in the row, where that is told.
    speaker: String,
    text: Vec<u8>,
    /// How much of the text was read.
    at: usize,
}

impl<'a> TableReader<'a> {
    pub(super) fn new(raw: Raw<'a>, columns: Columns, errors: EncodingErrors) -> TableReader<'a> {
        let mut builder = csv::ReaderBuilder::new();
        builder.has_headers(false).flexible(true);
        if columns.tabs {
            builder.delimiter(b'\t').quoting(false);
        }
        let rows = builder.from_reader(TableBytes::new(raw, !columns.tabs));
        let (bytes, row) = (csv::ByteRecord::new(), csv::StringRecord::new());
        TableReader { rows, columns, errors, places: None, bytes, row, speaker: String::new(), text: Vec::new(), at: 0 }
    }

    /// Calls this with the speaker of every row that has one.
    pub(super) fn each_speaker(mut self, mut each: impl FnMut(&str)) -> io::Result<()> {
        while self.next_row()? {
            if !self.speaker.is_empty() {
                each(&self.speaker);
            }
        }
        Ok(())
    }

    /// Makes the text of the next row; false at the end.
    fn next_row(&mut self) -> io::Result<bool> {
        self.text.clear();
        self.speaker.clear();
        self.at = 0;
        let read = self.rows.read_byte_record(&mut self.bytes).map_err(|error| match error.kind() {
            csv::ErrorKind::Io(_) => match error.into_kind() {
                csv::ErrorKind::Io(error) => error,
                other => io::Error::other(format!("{other:?}")),
            },
            _ => wrong(
                error.position().map_or(1, csv::Position::line),
                format!("is not a valid row of a table: {error}"),
            ),
        })?;
        if !read {
            return Ok(false);
        }
        let line = self.bytes.position().map_or(1, csv::Position::line);
        self.decode(line)?;
        let Some(places) = &self.places else {
            let (places, named) = self.find(line)?;
            self.places = Some(places);
            return if named { Ok(true) } else { self.write(line).map(|()| true) };
        };
        debug_assert_eq!(places.len(), self.columns.names.len());
        self.write(line).map(|()| true)
    }

    /// Makes text of the row that was read.
    fn decode(&mut self, line: u64) -> io::Result<()> {
        self.row.clear();
        let mut field = String::new();
        for bytes in &self.bytes {
            field.clear();
            decode_into(bytes, true, self.errors, &mut field).map_err(|bad| {
                let what = format!("the byte 0x{:02x} is not valid UTF-8 here", bad.byte);
                io::Error::other(TableError { line, what, mend: NOT_UTF8 })
            })?;
            self.row.push_field(&field);
        }
        Ok(())
    }

    /// The places of the columns, and whether the first row names them.
    fn find(&self, line: u64) -> io::Result<(Vec<usize>, bool)> {
        let numbers: Vec<Option<usize>> = self.columns.names.iter().map(|name| name.parse().ok()).collect();
        let named = numbers.contains(&None);
        let place = |(name, number): (&String, Option<usize>)| {
            let found = self.row.iter().position(|field| named && field.trim() == name);
            found.or(number).ok_or_else(|| {
                let all = self.row.iter().collect::<Vec<_>>().join(", ");
                wrong(line, format!("there is no column `{name}` for data.columns; there are {all}"))
            })
        };
        Ok((self.columns.names.iter().zip(numbers).map(place).collect::<io::Result<_>>()?, named))
    }

    fn write(&mut self, line: u64) -> io::Result<()> {
        let places = self.places.as_deref().unwrap_or_default();
        let mut fields = Vec::with_capacity(2);
        for &place in places {
            let field = self.row.get(place).ok_or_else(|| {
                wrong(line, format!("the row has {} fields and none is column {place} of data.columns", self.row.len()))
            })?;
            fields.push(field.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        if fields.last().is_none_or(String::is_empty) {
            return Ok(());
        }
        if let [speaker, _] = &fields[..] {
            self.speaker.clone_from(speaker);
        }
        let line = fields.join(": ");
        self.text.extend(line.strip_prefix(": ").unwrap_or(&line).as_bytes());
        self.text.push(b'\n');
        Ok(())
    }
}

impl Read for TableReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.text.len() {
            if !self.next_row()? {
                return Ok(0);
            }
        }
        let count = out.len().min(self.text.len() - self.at);
        out[..count].copy_from_slice(&self.text[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn wrong(line: u64, what: String) -> io::Error {
    let mend = "name columns by the words of the first row, or by numbers from 0 where it has none";
    io::Error::other(TableError { line, what, mend })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(names: &[&str], tabs: bool, table: &'static str) -> io::Result<String> {
        read_bytes(names, tabs, table.as_bytes(), EncodingErrors::Strict)
    }

    fn read_bytes(names: &[&str], tabs: bool, table: &'static [u8], errors: EncodingErrors) -> io::Result<String> {
        let columns = Columns { names: names.iter().map(|name| (*name).to_owned()).collect(), tabs };
        let mut text = String::new();
        TableReader::new(Box::new(table), columns, errors).read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn bytes_that_are_not_utf8_are_handled_as_asked() {
        let table = b"who,line\nRen\xe9,\"caf\xe9, please\"\n";
        let read = |errors| read_bytes(&["who", "line"], false, table, errors);
        assert_eq!(read(EncodingErrors::Replace).unwrap(), "Ren\u{fffd}: caf\u{fffd}, please\n");
        assert_eq!(read(EncodingErrors::Skip).unwrap(), "Ren: caf, please\n");
        let error = read(EncodingErrors::Strict).unwrap_err();
        let error = TableError::of(&error).unwrap();
        assert_eq!((error.line, error.mend), (2, NOT_UTF8));
    }

    #[test]
    fn columns_become_lines() {
        let table = "id,line,who\n1,\"Hello,\r\nthere\",Ann\n2,,Bob\n3,\"Say \"\"hi\"\"\",Bob\n4,Exeunt,\n";
        let script = "Ann: Hello, there\nBob: Say \"hi\"\nExeunt\n";
        assert_eq!(read(&["who", "line"], false, table).unwrap(), script);
        assert_eq!(read(&["line"], false, table).unwrap(), "Hello, there\nSay \"hi\"\nExeunt\n");
        let marked = "\u{feff}who,line\nMr. X,\"a, b\"\n";
        assert_eq!(read(&["who", "line"], false, marked).unwrap(), "Mr. X: a, b\n");
        assert_eq!(read(&["who", "1"], false, marked).unwrap(), "Mr. X: a, b\n");
        assert_eq!(read(&["0", "1"], false, marked).unwrap(), "who: line\nMr. X: a, b\n");
        assert_eq!(read(&["0", "1"], true, "Ann\tHi \"you\nBob\tYes\n").unwrap(), "Ann: Hi \"you\nBob: Yes\n");
    }

    #[test]
    fn a_bad_table_says_where() {
        let refused = |names: &[&str], table| {
            let error = read(names, false, table).unwrap_err();
            let error = error.get_ref().unwrap().downcast_ref::<TableError>().unwrap();
            format!("{}: {error}", error.line)
        };
        insta::assert_snapshot!(refused(&["who"], "a,b\nc,d\n"), @"1: there is no column `who` for data.columns; there are a, b");
        insta::assert_snapshot!(refused(&["0", "1"], "a,b\nc\n"), @"2: the row has 1 fields and none is column 1 of data.columns");
        insta::assert_snapshot!(refused(&["a", "b"], "a,b\nc,\"d\ne,f\n"), @"2: a quoted field is not closed");
    }
}
