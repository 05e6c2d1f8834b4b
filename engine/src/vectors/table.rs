//! The table of words and their vectors.

use std::borrow::Cow;
use std::fmt;

use unroll_kernels::mat::padded;
use unroll_kernels::{Buffer, Mat};

use crate::text::{MAX_ENTRIES, Table};

/// V distinct words, each with a vector of D values, and how often each was seen where that is known.
///
/// The values are (V, D) f32, row-major, all finite. Rows begin on cache lines: they are
/// [`padded`](unroll_kernels::mat::padded) with zeros, so that the kernels take them as they are. Words are
/// bytes, none of them empty, and need not be UTF-8.
#[derive(Clone)]
pub struct WordVectors {
    words: Table,
    counted: bool,
    dim: usize,
    values: Buffer,
}

/// What cannot be a row of word vectors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// A word of no bytes.
    Empty,
    /// A word that an earlier row has.
    Duplicate {
        /// That row.
        first: usize,
    },
    /// A vector of another length than the others.
    Length {
        /// Its length.
        found: usize,
        /// That of the others.
        expected: usize,
    },
    /// A value that is not a number, or infinite.
    NotFinite {
        /// Which of the vector, from 0.
        column: usize,
        /// The value.
        value: f32,
    },
    /// More than 4,294,967,294 words, or values than the memory has addresses for.
    TooMany,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Fault::Empty => f.write_str("a word without a letter"),
            Fault::Duplicate { first } => write!(f, "the word stands here again; it was word {} before", first + 1),
            Fault::Length { found, expected } => {
                write!(f, "a vector of {found} values where the others have {expected}")
            }
            Fault::NotFinite { column, value } => write!(f, "value {} of the vector is {value}", column + 1),
            Fault::TooMany => f.write_str("more words than a table can hold"),
        }
    }
}

impl std::error::Error for Fault {}

impl WordVectors {
    /// No words yet, for vectors of `dim` values. `counted`: [`Self::push`] is told how often each word was seen.
    ///
    /// # Panics
    /// Panics if `dim` is 0.
    #[track_caller]
    pub fn new(dim: usize, counted: bool) -> WordVectors {
        assert!(dim > 0, "word vectors of no values");
        WordVectors { words: Table::new(), counted, dim, values: Buffer::default() }
    }

    /// A table of these words and vectors of `dim` values, without counts.
    ///
    /// # Errors
    /// The first fault of a row.
    ///
    /// # Panics
    /// Panics if `dim` is 0.
    pub fn from_rows<W: AsRef<[u8]>, R: AsRef<[f32]>>(
        dim: usize,
        rows: impl IntoIterator<Item = (W, R)>,
    ) -> Result<WordVectors, Fault> {
        let mut vectors = WordVectors::new(dim, false);
        for (word, row) in rows {
            vectors.push(word.as_ref(), 0, row.as_ref())?;
        }
        Ok(vectors)
    }

    /// A table of `words` that takes over their values, (V, D) with rows [`padded`](unroll_kernels::mat::padded)`(dim)` apart,
    /// which is how a matrix of parameters lies in memory. What pads the rows is set to 0.
    ///
    /// # Errors
    /// The first fault of a word, or of a row.
    ///
    /// # Panics
    /// Panics if `dim` is 0, or there are values for another number of words, or counts.
    #[track_caller]
    pub fn from_parts<W: AsRef<[u8]>>(
        words: impl IntoIterator<Item = W>,
        counts: Option<&[u64]>,
        dim: usize,
        values: Buffer,
    ) -> Result<WordVectors, Fault> {
        let mut vectors = WordVectors { values, ..WordVectors::new(dim, counts.is_some()) };
        for (row, word) in words.into_iter().enumerate() {
            let count = counts.map_or(0, |counts| counts[row]);
            vectors.add_word(word.as_ref(), count)?;
        }
        let (len, stride) = (vectors.len(), vectors.stride());
        assert_eq!(vectors.values.len(), len * stride, "{len} words of {dim} values, rows {stride} apart");
        assert!(counts.is_none_or(|counts| counts.len() == len), "a count for each of {len} words");
        for row in vectors.values.chunks_exact_mut(stride) {
            let (row, padding) = row.split_at_mut(dim);
            finite(row)?;
            padding.fill(0.0);
        }
        Ok(vectors)
    }

    /// Adds a word. Its count is kept where the table was made for counts.
    ///
    /// # Errors
    /// What is wrong with it; the table is then as it was.
    pub fn push(&mut self, word: &[u8], count: u64, row: &[f32]) -> Result<(), Fault> {
        if row.len() != self.dim {
            return Err(Fault::Length { found: row.len(), expected: self.dim });
        }
        finite(row)?;
        let end = self.stride().checked_mul(self.len() + 1).ok_or(Fault::TooMany)?;
        self.add_word(word, count)?;
        if end > self.values.len() {
            // By a quarter, so that adding is linear and a large table does not need twice its memory.
            let words = self.len().max(64);
            self.reserve(words / 4);
        }
        let start = end - self.stride();
        self.values[start..start + row.len()].copy_from_slice(row);
        Ok(())
    }

    /// Makes room for so many more words.
    pub fn reserve(&mut self, words: usize) {
        self.values.reserve(self.stride().saturating_mul(self.len().saturating_add(words)));
    }

    fn add_word(&mut self, word: &[u8], count: u64) -> Result<(), Fault> {
        let index = self.len();
        if word.is_empty() {
            return Err(Fault::Empty);
        }
        if let Some(first) = self.find(word) {
            return Err(Fault::Duplicate { first });
        }
        if index >= MAX_ENTRIES {
            return Err(Fault::TooMany);
        }
        self.words.add_bytes(word, 0..word.len(), if self.counted { count } else { 0 });
        Ok(())
    }

    /// V: how many words there are.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// D: how many values a vector has.
    pub fn dim(&self) -> usize {
        self.dim
    }

    fn stride(&self) -> usize {
        padded(self.dim)
    }

    /// The row of a word.
    pub fn find(&self, word: impl AsRef<[u8]>) -> Option<usize> {
        let word = word.as_ref();
        self.words.find_bytes(word, 0..word.len())
    }

    /// The word of a row.
    ///
    /// # Panics
    /// Panics if there is no such row.
    #[track_caller]
    pub fn word(&self, row: usize) -> &[u8] {
        self.words.get_bytes(row)
    }

    /// The word of a row as text to show: bytes that are not UTF-8 are replaced.
    ///
    /// # Panics
    /// Panics if there is no such row.
    #[track_caller]
    pub fn text(&self, row: usize) -> Cow<'_, str> {
        String::from_utf8_lossy(self.word(row))
    }

    /// The words, row by row.
    pub fn words(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|row| self.word(row))
    }

    /// How often the word of a row was seen, where that is known.
    ///
    /// # Panics
    /// Panics if there is no such row.
    #[track_caller]
    pub fn count(&self, row: usize) -> Option<u64> {
        let count = self.words.count(row);
        self.counted.then_some(count)
    }

    /// Whether it is known how often each word was seen.
    pub fn is_counted(&self) -> bool {
        self.counted
    }

    /// A word's vector: D values.
    ///
    /// # Panics
    /// Panics if there is no such row.
    #[track_caller]
    pub fn row(&self, row: usize) -> &[f32] {
        self.matrix().row(row)
    }

    /// All vectors, (V, D).
    pub fn matrix(&self) -> Mat<'_> {
        Mat::new(&self.values, self.len(), self.dim, self.stride())
    }
}

impl fmt::Debug for WordVectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WordVectors({} words, {} values each)", self.len(), self.dim)
    }
}

/// The same words in the same order, the same counts, and the same bits of every value.
impl PartialEq for WordVectors {
    fn eq(&self, other: &WordVectors) -> bool {
        let bits = |vectors: &WordVectors, row| vectors.row(row).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        self.len() == other.len()
            && self.dim == other.dim
            && self.counted == other.counted
            && self.words().eq(other.words())
            && (0..self.len()).all(|row| self.count(row) == other.count(row) && bits(self, row) == bits(other, row))
    }
}

fn finite(row: &[f32]) -> Result<(), Fault> {
    match row.iter().position(|value| !value.is_finite()) {
        Some(column) => Err(Fault::NotFinite { column, value: row[column] }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_and_rows_are_padded_with_zeros() {
        let mut vectors = WordVectors::new(17, true);
        for i in 0..1000_usize {
            let row: Vec<f32> = (0..17).map(|column| (i * 17 + column) as f32).collect();
            vectors.push(format!("w{i}").as_bytes(), 3 * i as u64, &row).unwrap();
        }
        vectors.push(b"\xff not text", 7, &[0.5; 17]).unwrap();
        assert_eq!((vectors.len(), vectors.dim(), vectors.is_counted()), (1001, 17, true));
        for i in 0..1000 {
            assert_eq!(vectors.find(format!("w{i}")), Some(i));
            assert_eq!((vectors.word(i), vectors.count(i)), (format!("w{i}").as_bytes(), Some(3 * i as u64)));
            assert_eq!(vectors.row(i)[16], (i * 17 + 16) as f32);
        }
        assert_eq!(vectors.find("w1000"), None);
        assert_eq!(vectors.find(b"\xff not text"), Some(1000));
        assert_eq!(vectors.text(1000), "\u{fffd} not text");
        let matrix = vectors.matrix();
        assert_eq!((matrix.rows(), matrix.cols(), matrix.stride()), (1001, 17, 32));
        assert!(vectors.values.chunks_exact(32).all(|row| row[17..] == [0.0; 15]));
    }

    #[test]
    fn parts_are_taken_over_without_a_copy() {
        let mut values = Buffer::new(3 * 16);
        values.fill(2.0);
        let place = values.as_ptr();
        let vectors = WordVectors::from_parts(["a", "b", "c"], Some(&[5, 4, 3]), 2, values).unwrap();
        assert_eq!((vectors.row(2), vectors.count(0)), (&[2.0, 2.0][..], Some(5)));
        assert_eq!(vectors.values.as_ptr(), place);
        assert_eq!(vectors.values[2..16], [0.0; 14]);
        let rows = [("a", [2.0; 2]), ("b", [2.0; 2]), ("c", [2.0; 2])];
        let uncounted = WordVectors::from_rows(2, rows).unwrap();
        assert_ne!(uncounted, vectors, "one has counts");
        assert_eq!(uncounted.count(1), None);
        let mut values = Buffer::new(16);
        values[1] = f32::INFINITY;
        let fault = WordVectors::from_parts(["a"], None, 2, values).unwrap_err();
        assert_eq!(fault, Fault::NotFinite { column: 1, value: f32::INFINITY });
    }

    #[test]
    fn faults_are_found_and_leave_the_table_as_it_was() {
        let mut vectors = WordVectors::from_rows(2, [("a", [1.0, 2.0]), ("b", [3.0, 4.0])]).unwrap();
        let before = vectors.clone();
        assert_eq!(vectors.push(b"a", 0, &[0.0; 2]), Err(Fault::Duplicate { first: 0 }));
        assert_eq!(vectors.push(b"", 0, &[0.0; 2]), Err(Fault::Empty));
        assert_eq!(vectors.push(b"c", 0, &[0.0; 3]), Err(Fault::Length { found: 3, expected: 2 }));
        let fault = vectors.push(b"c", 0, &[0.0, f32::NAN]).unwrap_err();
        assert_eq!(fault.to_string(), "value 2 of the vector is NaN");
        assert_eq!(vectors, before);
        assert_eq!(vectors.find("c"), None);
        vectors.push(b"c", 0, &[-0.0, 6.0]).unwrap();
        assert_ne!(vectors, before);
        assert_eq!(vectors.row(2)[0].to_bits(), (-0.0f32).to_bits());
    }

    #[test]
    #[should_panic(expected = "2 words of 2 values, rows 16 apart")]
    fn values_of_another_number_of_words_are_a_mistake_of_the_program() {
        let _ = WordVectors::from_parts(["a", "b"], None, 2, Buffer::new(16));
    }
}
