//! A matrix of another program, NumPy's or in a safetensors file, and the list of the words of its rows.

use std::io::Write;
use std::path::Path;

use super::input::{Input, LONGEST_LINE};
use super::text::require;
use super::{Format, Loaded, Out, ReadOptions, Rows, cannot_hold};
use crate::error::{At, Error, Result};
use crate::interop::WeightFile;
use crate::labels::npy_header;
use crate::train::file_start;
use crate::vectors::WordVectors;

/// Values that are read at once.
const PIECE: usize = 1 << 18;

/// The tensor's name in files that are written here.
const TENSOR: &str = "vectors";

pub(super) fn read_numpy(input: Input<'_>, options: &ReadOptions) -> Result<Loaded> {
    let path = input.path();
    let file = options.words.clone().unwrap_or_else(|| path.with_extension("words"));
    numpy(input, List::open(&file, path)?, options)
}

/// The same with the list at hand.
pub(super) fn numpy(mut input: Input<'_>, list: List<'_>, options: &ReadOptions) -> Result<Loaded> {
    let path = input.path();
    let refused = |what: String| {
        Error::input(path, what).mend("write it by numpy.save(file, numpy.ascontiguousarray(vectors, dtype='<f4'))")
    };
    let header = npy_header(input.peek(1 << 16)?).map_err(refused)?;
    let start = header.bytes;
    let [rows, dim] = header.axes[..] else {
        return Err(refused(format!("has the shape ({}), word vectors have (words, values)", header.shape)));
    };
    if header.kind != "<f4" {
        return Err(refused(format!("has numbers of the kind `{}`, word vectors are `<f4`", header.kind)));
    }
    let bytes = dim.checked_mul(rows).and_then(|values| values.checked_mul(4));
    if dim == 0 || dim > LONGEST_LINE / 4 || bytes.is_none() {
        return Err(refused(format!("has the impossible shape ({rows}, {dim})")));
    }
    let (need, found) = (bytes.map(|bytes| bytes as u64 + start as u64), input.size());
    if let Some(found) = found.filter(|found| need != Some(*found)) {
        let need = need.unwrap_or(u64::MAX);
        return Err(refused(format!("has {found} bytes, an array of the shape ({rows}, {dim}) has {need}")));
    }
    input.consume(start);
    let wanted = options.limit.map_or(rows, |limit| limit.min(rows));
    let mut taken = Taken::new(path, (rows, dim), list, options)?;
    if found.is_some() {
        require(wanted as u64, dim)?;
        taken.rows.vectors.reserve(wanted);
    }
    let mut row = vec![0.0_f32; dim];
    for number in 0..wanted {
        let at = input.at();
        let bytes = input.peek(4 * dim)?;
        if bytes.len() < 4 * dim {
            let end = at + bytes.len() as u64;
            return Err(input.wrong(end, format!("the file ends within row {} of {rows}", number + 1)));
        }
        let (values, _) = bytes[..4 * dim].as_chunks::<4>();
        row.iter_mut().zip(values).for_each(|(x, &four)| *x = f32::from_le_bytes(four));
        taken.row(&row)?;
        input.consume(4 * dim);
    }
    let at = input.at();
    if wanted == rows && !input.peek(1)?.is_empty() {
        return Err(input.wrong(at, format!("more bytes follow the {rows} rows")));
    }
    taken.end(Format::NumPy)
}

pub(super) fn read_safetensors(input: Input<'_>, options: &ReadOptions) -> Result<Loaded> {
    let path = input.path();
    let list = options.words.clone().unwrap_or_else(|| path.with_extension("words"));
    // A file as it lies on the disk is read piece by piece, what is packed or in memory is unpacked first.
    let file = match input.is_plain_file() {
        true => WeightFile::open(path)?,
        false => WeightFile::from_bytes(path, input.rest()?)?,
    };
    safetensors(path, file, List::open(&list, path)?, options)
}

/// The same with the list at hand.
pub(super) fn safetensors(path: &Path, mut file: WeightFile, list: List<'_>, options: &ReadOptions) -> Result<Loaded> {
    let matrices = || file.tensors().filter(|(_, shape)| shape.len() == 2);
    let named = |wanted: &str| matrices().find(|(name, _)| *name == wanted);
    let found = match &options.tensor {
        Some(wanted) => named(wanted),
        None if matrices().count() == 1 => matrices().next(),
        None => named(TENSOR),
    };
    let Some((name, &[rows, dim])) = found else {
        let all: Vec<String> = file.tensors().take(8).map(|(name, shape)| format!("{name} {shape:?}")).collect();
        let what = match &options.tensor {
            Some(wanted) => format!("has no matrix `{wanted}`; it has {}", all.join(", ")),
            None => format!("has no one matrix; it has {}", all.join(", ")),
        };
        return Err(Error::input(path, what).mend("name that of the vectors with --tensor NAME"));
    };
    let name = name.to_owned();
    if rows == 0 || dim == 0 || dim > LONGEST_LINE / 4 {
        return Err(Error::input(path, format!("`{name}` has the shape [{rows}, {dim}]")));
    }
    let wanted = options.limit.map_or(rows, |limit| limit.min(rows));
    require(wanted as u64, dim)?;
    let mut taken = Taken::new(path, (rows, dim), list, options)?;
    taken.rows.vectors.reserve(wanted);
    let mut left = wanted;
    file.pieces(&name, PIECE.div_ceil(dim) * dim, |piece| {
        let rows = piece.chunks_exact(dim).take(left);
        left -= rows.len();
        rows.into_iter().try_for_each(|row| taken.row(row))
    })?;
    taken.end(Format::Safetensors)
}

/// Rows with the words that a list has for them.
struct Taken<'a> {
    rows: Rows<'a>,
    list: List<'a>,
    /// Rows of the matrix.
    all: usize,
    done: usize,
    whole: bool,
}

impl<'a> Taken<'a> {
    fn new(path: &'a Path, (all, dim): (usize, usize), mut list: List<'a>, options: &ReadOptions) -> Result<Taken<'a>> {
        let counted = list.is_counted()?;
        Ok(Taken { rows: Rows::new(path, dim, counted, options), list, all, done: 0, whole: options.limit.is_none() })
    }

    fn row(&mut self, row: &[f32]) -> Result<()> {
        let at = At::Line(self.list.number);
        let Some((word, count)) = self.list.next()? else {
            let what = format!("has {} words, the matrix {} rows", self.done, self.all);
            return Err(Error::input(self.list.input.path(), what).mend("name the list that belongs to the matrix"));
        };
        self.done += 1;
        // What is wrong with a word is wrong in its list, what is wrong with a value in the matrix.
        let list = self.list.input.path();
        match row.iter().position(|value| !value.is_finite()) {
            Some(column) => {
                let what = format!("row {}, column {} is {}", self.done, column + 1, row[column]);
                Err(Error::input(self.rows.path, what))
            }
            None => {
                let path = std::mem::replace(&mut self.rows.path, list);
                let pushed = self.rows.push(&word, count, row, at);
                self.rows.path = path;
                pushed
            }
        }
    }

    fn end(mut self, format: Format) -> Result<Loaded> {
        if self.whole && self.list.next()?.is_some() {
            let what = format!("has more words than the matrix has rows, which are {}", self.all);
            return Err(Error::input_at(self.list.input.path(), At::Line(self.list.number - 1), what));
        }
        self.rows.loaded(format)
    }
}

/// A list of words: one a line, and behind a tab how often it was seen, if that is known.
pub(super) struct List<'a> {
    input: Input<'a>,
    /// The line that is read next, from 1.
    number: u64,
    counted: bool,
}

impl<'a> List<'a> {
    fn open(path: &'a Path, of: &Path) -> Result<List<'a>> {
        if !path.exists() {
            let what = "no such file: the list of the words of a matrix, one a line";
            return Err(Error::input(path, what).mend(format!("name that of {} with --words FILE", of.display())));
        }
        Ok(List::new(Input::open(path)?))
    }

    pub(super) fn new(input: Input<'a>) -> List<'a> {
        List { input, number: 1, counted: false }
    }

    /// Looks at the first line.
    fn is_counted(&mut self) -> Result<bool> {
        let length = self.input.until(b'\n', LONGEST_LINE)?.map(<[u8]>::len);
        let line = self.input.peek(length.unwrap_or(LONGEST_LINE))?;
        self.counted = counted(&line[..length.unwrap_or(line.len())]).is_some();
        Ok(self.counted)
    }

    fn next(&mut self) -> Result<Option<(Vec<u8>, u64)>> {
        let path = self.input.path();
        let Some(line) = self.input.line(self.number)? else { return Ok(None) };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let entry = match (self.counted, counted(line)) {
            (true, Some((word, count))) => (word.to_vec(), count),
            (false, _) => (line.to_vec(), 0),
            (true, None) => {
                let what = "has no tab and number behind the word, as the first line has";
                return Err(Error::input_at(path, At::Line(self.number), what));
            }
        };
        self.number += 1;
        Ok(Some(entry))
    }
}

/// A word, a tab and a number.
fn counted(line: &[u8]) -> Option<(&[u8], u64)> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let tab = line.iter().position(|&byte| byte == b'\t')?;
    let count = std::str::from_utf8(&line[tab + 1..]).ok()?.parse().ok()?;
    Some((&line[..tab], count))
}

pub(super) fn write_words<W: Write>(out: &mut Out<W>, vectors: &WordVectors) -> Result<()> {
    for (row, word) in vectors.words().enumerate() {
        if word.iter().any(|byte| b"\t\n\r".contains(byte)) {
            return Err(cannot_hold(vectors, row, "a list of words", "tabs and line breaks"));
        }
        out.put(word)?;
        if let Some(count) = vectors.count(row) {
            out.put(format!("\t{count}").as_bytes())?;
        }
        out.put(b"\n")?;
    }
    Ok(())
}

pub(super) fn write_numpy<W: Write>(out: &mut Out<W>, vectors: &WordVectors) -> Result<()> {
    let (rows, dim) = (vectors.len(), vectors.dim());
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    // The numbers begin at a multiple of 64, and a line feed stands before them.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header.extend(std::iter::repeat_n(' ', length - header.len() - 1));
    header.push('\n');
    out.put(b"\x93NUMPY\x01\x00")?;
    out.put(&(length as u16).to_le_bytes())?;
    out.put(header.as_bytes())?;
    values(out, vectors)
}

pub(super) fn write_safetensors<W: Write>(out: &mut Out<W>, vectors: &WordVectors) -> Result<()> {
    let shape = [vectors.len(), vectors.dim()];
    let start = file_start(std::iter::once((TENSOR, &shape[..]))).map_err(|error| Error::write(&out.name, error))?;
    out.put(&start)?;
    values(out, vectors)
}

fn values<W: Write>(out: &mut Out<W>, vectors: &WordVectors) -> Result<()> {
    let mut bytes = Vec::with_capacity(4 * vectors.dim());
    for row in 0..vectors.len() {
        bytes.clear();
        bytes.extend(vectors.row(row).iter().flat_map(|value| value.to_le_bytes()));
        out.put(&bytes)?;
    }
    Ok(())
}
