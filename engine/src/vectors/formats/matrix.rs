//! A matrix of another program, NumPy's or in a safetensors file.

use std::io::Write;
use std::path::Path;

use super::input::{Input, LONGEST_LINE};
use super::list::List;
use super::text::require;
use super::{Format, Loaded, Out, ReadOptions, Rows};
use crate::error::{At, Error, Result};
use crate::interop::WeightFile;
use crate::labels::npy_header;
use crate::train::file_start;
use crate::vectors::WordVectors;

/// Values that are read at once.
const PIECE: usize = 1 << 18;

/// The tensor's name in files that are written here.
const TENSOR: &str = "vectors";

/// Reads NumPy's array, with the list of words at hand.
pub(super) fn numpy(mut input: Input<'_>, list: List<'_>, options: &ReadOptions) -> Result<Loaded> {
    let path = input.path();
    let refused = |what: String| {
        Error::input(path, what).mend("write it by numpy.save(file, numpy.ascontiguousarray(vectors, dtype='<f4'))")
    };
    let header = npy_header(input.peek(1 << 16)?);
    let header = header.map_err(|what| Error::input_at(path, At::Byte(0), what).mend("download or write it again"))?;
    let start = header.bytes;
    let [rows, dim] = header.axes[..] else {
        return Err(refused(format!("has the shape ({}), word vectors have (words, values)", header.shape)));
    };
    if header.kind != "<f4" {
        return Err(refused(format!("has numbers of the kind `{}`, word vectors are `<f4`", header.kind)));
    }
    let bytes = dim.checked_mul(rows).and_then(|values| values.checked_mul(4));
    let Some(bytes) = bytes.filter(|_| dim > 0 && dim <= LONGEST_LINE / 4) else {
        return Err(refused(format!("has the impossible shape ({rows}, {dim})")));
    };
    let (need, found) = (bytes as u64 + start as u64, input.size());
    if let Some(found) = found.filter(|&found| found != need) {
        let what = match found < need {
            true => format!("the file ends here, an array of the shape ({rows}, {dim}) ends at byte {need}"),
            false => format!("more bytes follow the {rows} rows"),
        };
        return Err(input.wrong(found.min(need), what).mend("download or write it again"));
    }
    input.consume(start);
    let wanted = options.limit.map_or(rows, |limit| limit.min(rows));
    let mut taken = Taken::new(path, dim, Some(rows), list, options);
    if found.is_some() {
        let most = options.most(wanted as u64);
        require(most, dim)?;
        taken.rows.vectors.reserve(most as usize);
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
        taken.row(&row, |column| At::Byte(at + 4 * column as u64))?;
        input.consume(4 * dim);
    }
    let at = input.at();
    if wanted == rows && !input.peek(1)?.is_empty() {
        return Err(input.wrong(at, format!("more bytes follow the {rows} rows")));
    }
    taken.end(Format::NumPy)
}

/// Reads the matrix of a safetensors file, with the list of words at hand.
pub(super) fn safetensors(input: Input<'_>, list: List<'_>, options: &ReadOptions) -> Result<Loaded> {
    let path = input.path();
    // A file as it lies on the disk is read piece by piece, what is packed or in memory is unpacked first.
    let mut file = match input.is_plain_file() {
        true => WeightFile::open(path)?,
        false => WeightFile::from_bytes(path, input.rest()?)?,
    };
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
            None => format!("does not have exactly one matrix; it has {}", all.join(", ")),
        };
        return Err(Error::input(path, what).mend("name that of the vectors with --tensor NAME"));
    };
    let name = name.to_owned();
    if rows == 0 || dim == 0 || dim > LONGEST_LINE / 4 {
        return Err(Error::input(path, format!("`{name}` has the shape [{rows}, {dim}]")));
    }
    let wanted = options.limit.map_or(rows, |limit| limit.min(rows));
    let most = options.most(wanted as u64);
    require(most, dim)?;
    let mut taken = Taken::new(path, dim, Some(rows), list, options);
    taken.rows.vectors.reserve(most as usize);
    let mut left = wanted;
    file.pieces(&name, PIECE.div_ceil(dim) * dim, |piece| {
        let rows = piece.chunks_exact(dim).take(left);
        left -= rows.len();
        rows.into_iter().try_for_each(|row| taken.row(row, |_| At::Whole))
    })?;
    taken.end(Format::Safetensors)
}

/// Rows with the words that a list has for them.
pub(super) struct Taken<'a> {
    pub(super) rows: Rows<'a>,
    list: List<'a>,
    /// Rows of the matrix, where that is known before they are read.
    all: Option<usize>,
    done: usize,
    whole: bool,
}

impl<'a> Taken<'a> {
    pub(super) fn new(
        path: &'a Path,
        dim: usize,
        all: Option<usize>,
        list: List<'a>,
        options: &ReadOptions,
    ) -> Taken<'a> {
        let rows = Rows::new(path, dim, list.is_counted(), options);
        Taken { rows, list, all, done: 0, whole: options.limit.is_none() }
    }

    /// Adds a row; `at` tells where in the file its value of a column stands.
    pub(super) fn row(&mut self, row: &[f32], at: impl Fn(usize) -> At) -> Result<()> {
        let line = self.list.at();
        let Some((word, count)) = self.list.next()? else {
            let rows = self.all.map_or_else(|| "more rows".to_owned(), |all| format!("{all} rows"));
            let what = format!("has {} words, the matrix {rows}", self.done);
            return Err(Error::input(self.list.path(), what).mend("name the list that belongs to the matrix"));
        };
        self.done += 1;
        // What is wrong with a word is wrong in its list, what is wrong with a value in the matrix.
        match row.iter().position(|value| !value.is_finite()) {
            Some(column) => {
                let what = format!("row {}, column {} is {}", self.done, column + 1, row[column]);
                Err(Error::input_at(self.rows.path, at(column), what))
            }
            None => {
                let path = std::mem::replace(&mut self.rows.path, self.list.path());
                let pushed = self.rows.push(&word, count, row, line);
                self.rows.path = path;
                pushed
            }
        }
    }

    pub(super) fn end(mut self, format: Format) -> Result<Loaded> {
        let line = self.list.at();
        if self.whole && self.list.next()?.is_some() {
            let what = format!("has more words than the matrix has rows, which are {}", self.done);
            return Err(Error::input_at(self.list.path(), line, what));
        }
        self.rows.loaded(format)
    }
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
