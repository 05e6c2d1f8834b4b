//! The words whose vectors are nearest to some others, by the cosine.
//!
//! For queries q_i of length 1 and words w_j, cos(i, j) = (q_i . w_j) / |w_j|: products of blocks of queries with blocks of
//! the table as it lies in memory, divided by lengths that were computed once, and of each row the best few kept. It is exact,
//! and each product is one sum over the D values, so the answer does not depend on the threads.

use std::sync::{Mutex, PoisonError};

use unroll_kernels::gemm::Precision;
use unroll_kernels::mat::padded;
use unroll_kernels::{Buffer, Isa, Mat, MatMut};

use super::WordVectors;
use crate::best::Best;
use crate::error::{Error, Result};
use crate::exec::{Crew, Products, Right, Scratch, Start};

/// Queries and words of a block, whose products (2 MB) stay in the second-level cache.
const QUERIES: usize = 256;
const WORDS: usize = 2048;

/// Lengths of vectors whose values and products with others of length 1 are far from the ends of f32.
const LENGTHS: std::ops::Range<f64> = 1e-12..1e30;

/// A word and how near it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// The word's row.
    pub row: usize,
    /// The cosine of the angle between its vector and the query, from -1 to 1.
    pub cosine: f32,
}

/// Finds the nearest words of a table.
pub struct Neighbours<'a> {
    vectors: &'a WordVectors,
    /// 1 / |w| of each word that is searched; 0 of a vector of zeros, which is near to nothing, and 1 of those that follow.
    inverse: Vec<f32>,
    /// Rows whose products f32 could not hold, or not exactly, with their vectors at length 1.
    scaled: Vec<(usize, Vec<f32>)>,
    crew: Crew,
    scratch: Scratch,
    isa: Isa,
}

impl<'a> Neighbours<'a> {
    /// For searches among the first `words` of the table, or all, on so many threads.
    ///
    /// # Errors
    /// [`Error::Run`] where the system refuses a thread.
    pub fn new(vectors: &'a WordVectors, words: Option<usize>, threads: usize) -> Result<Neighbours<'a>> {
        let crew = Crew::new(threads, 1).map_err(|e| Error::run(format!("cannot start {threads} threads: {e}")))?;
        let words = words.map_or(vectors.len(), |words| words.min(vectors.len()));
        let mut inverse = vec![0.0; words];
        let scratch = Scratch::new(threads, Isa::best(), Precision::F32);
        let products = Products { team: &crew.team(), isa: Isa::best(), precision: Precision::F32, scratch: &scratch };
        products.by_rows(MatMut::dense(&mut inverse, words, 1), |rows, mut part| {
            for (i, row) in rows.enumerate() {
                let length = length(vectors.row(row));
                part.row_mut(i)[0] = match length {
                    0.0 => 0.0,
                    length if LENGTHS.contains(&length) => (1.0 / length) as f32,
                    _ => 1.0,
                };
            }
        });
        let extreme = |&(_, length): &(usize, f64)| length > 0.0 && !LENGTHS.contains(&length);
        let lengths = (0..words).map(|row| (row, length(vectors.row(row))));
        let unit = |(row, length)| (row, vectors.row(row).iter().map(|&x| (f64::from(x) / length) as f32).collect());
        let scaled = lengths.filter(extreme).map(unit).collect();
        Ok(Neighbours { vectors, inverse, scaled, crew, scratch, isa: Isa::best() })
    }

    /// The table.
    pub fn vectors(&self) -> &'a WordVectors {
        self.vectors
    }

    /// How many words are searched: the first of the table.
    pub fn words(&self) -> usize {
        self.inverse.len()
    }

    /// The direction of a sum of words, each as a vector of length 1 times its factor: of length 1 too, or zeros where they
    /// cancel out. `[(b, 1.0), (a, -1.0), (c, 1.0)]` asks for what is to c as b is to a.
    ///
    /// # Panics
    /// Panics if there is no such row.
    pub fn direction(&self, words: &[(usize, f64)]) -> Vec<f32> {
        let mut sum = vec![0.0_f64; self.vectors.dim()];
        for &(row, factor) in words {
            let vector = self.vectors.row(row);
            let length = length(vector);
            if length > 0.0 {
                sum.iter_mut().zip(vector).for_each(|(sum, &x)| *sum += f64::from(x) / length * factor);
            }
        }
        let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        sum.iter().map(|x| (x * scale) as f32).collect()
    }

    /// The `count` words nearest to each query, the nearest first and of equals the one of the lower row, without those that
    /// `skip(query, row)` names. A query is a vector of D values and length 1 (see [`direction`](Self::direction)).
    ///
    /// # Panics
    /// Panics if a query has another number of values.
    pub fn nearest<Q: AsRef<[f32]> + Sync>(
        &self,
        queries: &[Q],
        count: usize,
        skip: impl Fn(usize, usize) -> bool + Sync,
    ) -> Vec<Vec<Near>> {
        let (dim, stride) = (self.vectors.dim(), padded(self.vectors.dim()));
        let (most, wide) = (QUERIES.min(queries.len()), WORDS.min(self.words()));
        let (mut left, mut cosines) = (Buffer::new(most * stride), Buffer::new(most * padded(wide)));
        let best: Vec<Mutex<Best>> = queries.iter().map(|_| Mutex::new(Best::new(count))).collect();
        let team = self.crew.team();
        let products = Products { team: &team, isa: self.isa, precision: Precision::F32, scratch: &self.scratch };
        for (block, queries) in queries.chunks(QUERIES).enumerate() {
            for (row, query) in left.chunks_exact_mut(stride).zip(queries) {
                row[..dim].copy_from_slice(query.as_ref());
            }
            let left = Mat::new(&left, queries.len(), dim, stride);
            for start in (0..self.words()).step_by(WORDS) {
                let words = start..self.words().min(start + WORDS);
                let right = Right::Transposed(self.vectors.matrix().rows_range(words.clone()));
                let mut c = MatMut::new(&mut cosines, queries.len(), words.len(), padded(wide));
                products.product(left, right, Start::Zero, c.reborrow());
                let within = |row: usize| self.scaled.partition_point(|(other, _)| *other < row);
                let scaled = &self.scaled[within(words.start)..within(words.end)];
                products.by_rows(c, |rows, mut part| {
                    for (i, row) in rows.enumerate() {
                        let query = block * QUERIES + row;
                        let mut best = best[query].lock().unwrap_or_else(PoisonError::into_inner);
                        for (word, unit) in scaled {
                            let products = queries[row].as_ref().iter().zip(unit);
                            let cosine: f64 = products.map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
                            part.row_mut(i)[word - words.start] = cosine as f32;
                        }
                        for ((row, product), inverse) in
                            words.clone().zip(part.row_mut(i)).zip(&self.inverse[words.clone()])
                        {
                            let cosine = *product * inverse;
                            // A vector of zeros has no direction.
                            if best.wants(cosine) && *inverse > 0.0 && !skip(query, row) {
                                best.put(row as u32, cosine);
                            }
                        }
                    }
                });
            }
        }
        let near = |row, cosine| Near { row: row as usize, cosine };
        best.into_iter().map(|best| best.into_inner().unwrap_or_else(PoisonError::into_inner).finish(near)).collect()
    }
}

/// The length of a vector.
pub(super) fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Key, Purpose};

    fn table(words: usize, dim: usize) -> WordVectors {
        let key = Key::new(7, Purpose::Bench);
        let value = |i: usize| key.uniform(i as u64) - 0.5;
        let rows =
            (0..words).map(|row| (format!("w{row}"), (0..dim).map(|i| value(row * dim + i)).collect::<Vec<_>>()));
        WordVectors::from_rows(dim, rows).unwrap()
    }

    /// All cosines in f64, sorted.
    fn plain(vectors: &WordVectors, query: &[f32], words: usize) -> Vec<(usize, f64)> {
        let dot = |row: &[f32]| row.iter().zip(query).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let mut all: Vec<_> = (0..words).map(|row| (row, dot(vectors.row(row)) / length(vectors.row(row)))).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }

    #[test]
    fn the_nearest_are_those_of_plain_loops_on_any_number_of_threads() {
        let (dim, words) = (37, 5000);
        let vectors = table(words, dim);
        for (limit, queries) in [(None, 1), (Some(4999), 3), (Some(100), 300)] {
            let searched = limit.unwrap_or(words);
            let found: Vec<Vec<Vec<Near>>> = [1, 2, 3]
                .into_iter()
                .map(|threads| {
                    let near = Neighbours::new(&vectors, limit, threads).unwrap();
                    let queries: Vec<_> =
                        (0..queries).map(|q| near.direction(&[(q * 7, 1.0), (q + 1, -0.5)])).collect();
                    near.nearest(&queries, 10, |query, row| row == query * 7)
                })
                .collect();
            assert_eq!(found[0], found[1]);
            assert_eq!(found[0], found[2]);
            let near = Neighbours::new(&vectors, limit, 1).unwrap();
            for (query, found) in found[0].iter().enumerate() {
                let direction = near.direction(&[(query * 7, 1.0), (query + 1, -0.5)]);
                let expected = plain(&vectors, &direction, searched);
                let expected: Vec<_> = expected.into_iter().filter(|(row, _)| *row != query * 7).take(10).collect();
                for (found, (row, cosine)) in found.iter().zip(&expected) {
                    assert_eq!(found.row, *row);
                    assert!((f64::from(found.cosine) - cosine).abs() < 1e-6, "{found:?} {cosine}");
                }
                assert_eq!(found.len(), 10);
            }
        }
    }

    #[test]
    fn vectors_of_any_length_are_found() {
        let rows = [
            ("a", [1.0, 1.0]),
            ("b", [1e-39, 1e-39]),
            ("c", [3e38, 2.9e38]),
            ("d", [1e-39, -1e-39]),
            ("e", [1e-45, 0.0]),
        ];
        let vectors = WordVectors::from_rows(2, rows).unwrap();
        let near = Neighbours::new(&vectors, None, 2).unwrap();
        for query in 0..5 {
            let direction = near.direction(&[(query, 1.0)]);
            let found = &near.nearest(&[&direction], 9, |_, _| false)[0];
            assert_eq!(found.len(), 5);
            for found in found {
                let row = vectors.row(found.row);
                let cosine =
                    row.iter().zip(&direction).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>() / length(row);
                assert!((f64::from(found.cosine) - cosine).abs() < 1e-6, "{found:?}, not {cosine}");
            }
        }
    }

    #[test]
    fn equals_stand_by_row_and_zeros_are_near_to_nothing() {
        let rows = [("a", [2.0, 0.0]), ("b", [0.0, 0.0]), ("c", [1.0, 0.0]), ("d", [-1.0, 0.0]), ("e", [3.0, 0.0])];
        let vectors = WordVectors::from_rows(2, rows).unwrap();
        let near = Neighbours::new(&vectors, None, 2).unwrap();
        let rows = |count| -> Vec<_> {
            let found = near.nearest(&[near.direction(&[(2, 1.0)])], count, |_, row| row == 2);
            found[0].iter().map(|near| (near.row, near.cosine)).collect()
        };
        assert_eq!(rows(9), [(0, 1.0), (4, 1.0), (3, -1.0)]);
        assert_eq!(rows(1), [(0, 1.0)]);
        assert_eq!(rows(0), []);
        assert_eq!(near.direction(&[(0, 1.0), (3, 1.0)]), [0.0, 0.0], "they cancel out");
        assert_eq!(near.direction(&[(1, 1.0)]), [0.0, 0.0]);
    }
}
