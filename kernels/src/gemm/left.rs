//! The left operand: read in place for f32, its rows rounded first for bf16 and int8.

use super::bf16::{BLOCK_WORDS, Places, SIDE, Terms, blocks_of, convert};
use super::int8::Quantized;
use super::pack::plain;
use super::{PackedRef, Precision};
use crate::{Buffer, Element, Isa, Mat};
use std::ops::Range;

/// The left operand of products, in the form that a precision reads.
///
/// In f32 it is the matrix itself. In bf16 and int8 its rows are rounded once, by [`Left::new`], and then serve every product.
#[derive(Clone, Copy)]
pub struct Left<'a>(pub(super) Operand<'a>);

#[derive(Clone, Copy)]
pub(super) enum Operand<'a> {
    F32(Mat<'a>),
    Bf16(Rounded<'a>),
    Int8(Quantized<'a>),
}

/// Rows of bf16 in tiles: `high` rows by 32 terms are a block of 16 x 16 words, of which the rows beyond `high` are not
/// used; the blocks of a tile stand one after the other, then the next tile's. Terms beyond `k` are zero.
///
/// So a product reads one stream of memory, block after block. With rows as long as the matrix, a product of 256 rows with
/// 2,500 terms read its tiles from as many pages as it has rows, at a third of the rate.
#[derive(Clone, Copy)]
pub(super) struct Rounded<'a> {
    pub(super) words: &'a [u32],
    pub(super) rows: usize,
    pub(super) k: usize,
    /// Rows of a tile.
    pub(super) high: usize,
}

impl<'a> Rounded<'a> {
    /// Rounds `a` (M, K), or the transpose of `a` (K, M) where `transposed`, into `room`.
    pub(super) fn new<E: Element>(isa: Isa, a: Mat<'_, E>, transposed: bool, room: &'a mut [u32]) -> Self {
        let (rows, k) = if transposed { (a.cols(), a.rows()) } else { (a.rows(), a.cols()) };
        let high = tile_rows(rows);
        round_tiles(isa, a, transposed, high, room);
        Self { words: room, rows, k, high }
    }

    /// Words that [`Self::new`] needs for `rows` x `k`.
    pub(super) fn words(rows: usize, k: usize) -> usize {
        rows.div_ceil(SIDE) * blocks_of(k) * BLOCK_WORDS
    }

    /// Some of the rows; the first must be the first row of a tile.
    #[track_caller]
    fn rows_range(self, range: Range<usize>) -> Self {
        assert!(
            range.start.is_multiple_of(self.high) && range.end <= self.rows,
            "rows {range:?} of tiles of {}",
            self.high
        );
        Self { words: &self.words[range.start / self.high * self.tile()..], rows: range.len(), ..self }
    }

    /// Words from tile to tile.
    pub(super) fn tile(self) -> usize {
        blocks_of(self.k) * BLOCK_WORDS
    }
}

/// Rounds `a`, or its transpose where `transposed`, into tiles of `high` rows.
fn round_tiles<E: Element>(isa: Isa, a: Mat<'_, E>, transposed: bool, high: usize, room: &mut [u32]) {
    let tile = blocks_of(if transposed { a.rows() } else { a.cols() }) * BLOCK_WORDS;
    let (terms, steps) =
        if transposed { (Terms::Down, [BLOCK_WORDS, tile]) } else { (Terms::Along, [tile, BLOCK_WORDS]) };
    convert(isa, a, terms, room, Places { side: high, steps, transposed });
}

/// A left operand (M, K) in bf16 that several threads round together, each some tiles of its rows.
///
/// ```
/// use unroll_kernels::gemm::{Left, LeftTiles, Precision};
/// use unroll_kernels::{Buffer, Isa, Mat};
///
/// let a: Vec<f32> = (0..40 * 7).map(|i| i as f32).collect();
/// let (a, isa) = (Mat::dense(&a, 40, 7), Isa::best());
/// let tiles = LeftTiles::new(40, 7);
/// let mut room = vec![0.0; tiles.count() * tiles.len()];
/// for (tile, room) in room.chunks_mut(tiles.len()).enumerate() {
///     tiles.round(isa, a, false, tile..tile + 1, room); // by any thread
/// }
/// assert_eq!((tiles.left(&room).rows(), tiles.left(&room).k()), (40, 7));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LeftTiles {
    rows: usize,
    k: usize,
    high: usize,
}

impl LeftTiles {
    /// The tiles of a matrix (rows, k).
    pub fn new(rows: usize, k: usize) -> Self {
        Self { rows, k, high: tile_rows(rows) }
    }

    /// How many tiles there are.
    pub fn count(self) -> usize {
        self.rows.div_ceil(self.high)
    }

    /// Elements that the room of one tile has.
    #[expect(clippy::len_without_is_empty, reason = "the length of each, which is never empty unless k is 0")]
    pub fn len(self) -> usize {
        blocks_of(self.k) * BLOCK_WORDS
    }

    /// Rounds the rows of some tiles of `a` (M, K), or of the transpose of `a` (K, M) where `transposed`, into their room.
    ///
    /// # Panics
    ///
    /// When `a` has another shape, a tile does not exist, or the room is smaller than these tiles need.
    #[track_caller]
    pub fn round<E: Element>(self, isa: Isa, a: Mat<'_, E>, transposed: bool, tiles: Range<usize>, room: &mut [f32]) {
        let shape = if transposed { [a.cols(), a.rows()] } else { [a.rows(), a.cols()] };
        assert_eq!(shape, [self.rows, self.k], "the shape of A");
        assert!(tiles.start <= tiles.end && tiles.end <= self.count(), "tiles {tiles:?} of {}", self.count());
        let rows = tiles.start * self.high..(tiles.end * self.high).min(self.rows);
        let part = if transposed { a.cols_range(rows) } else { a.rows_range(rows) };
        round_tiles(isa, part, transposed, self.high, bytemuck::cast_slice_mut(room));
    }

    /// The whole operand, from the room of all tiles.
    ///
    /// # Panics
    ///
    /// When the room is smaller than all tiles need.
    #[track_caller]
    pub fn left(self, room: &[f32]) -> Left<'_> {
        let words = bytemuck::cast_slice(&room[..self.count() * self.len()]);
        Left(Operand::Bf16(Rounded { words, rows: self.rows, k: self.k, high: self.high }))
    }
}

/// Rows of one tile where `rows` are spread evenly over as few tiles as hold them: the time of a tile is proportional to its rows.
#[inline]
pub(crate) fn tile_rows(rows: usize) -> usize {
    rows.div_ceil(rows.div_ceil(SIDE).max(1)).max(1)
}

impl<'a> Left<'a> {
    /// `a` for products with a matrix of `precision` on `isa`; `scratch` grows at first use to [`Left::room`].
    ///
    /// # Panics
    ///
    /// When `a` is in bf16 and the precision is another.
    #[track_caller]
    #[inline]
    pub fn new<E: Element>(isa: Isa, precision: Precision, a: Mat<'a, E>, scratch: &'a mut Buffer) -> Self {
        match precision {
            Precision::F32 => plain(precision, a).into(),
            Precision::Bf16 => {
                scratch.reserve(Self::room(precision, a.rows(), a.cols()));
                let room = bytemuck::cast_slice_mut(scratch.as_mut_slice());
                Self(Operand::Bf16(Rounded::new(isa, a, false, room)))
            }
            Precision::Int8 => {
                scratch.reserve(Self::room(precision, a.rows(), a.cols()));
                Self(Operand::Int8(Quantized::new(isa, plain(precision, a), scratch.as_mut_slice())))
            }
        }
    }

    /// `a` as products with `b` read it.
    #[inline]
    pub fn of<E: Element>(b: PackedRef<'_>, a: Mat<'a, E>, scratch: &'a mut Buffer) -> Self {
        Self::new(b.isa(), b.precision(), a, scratch)
    }

    /// Elements of scratch that [`Left::new`] takes for (rows, k).
    pub fn room(precision: Precision, rows: usize, k: usize) -> usize {
        match precision {
            Precision::F32 => 0,
            Precision::Bf16 => Rounded::words(rows, k),
            Precision::Int8 => Quantized::room(rows, k),
        }
    }

    /// Some of the rows. In bf16 the start of the range must be a multiple of [`Left::granule`].
    #[track_caller]
    #[must_use]
    pub fn rows_range(self, range: Range<usize>) -> Self {
        Self(match self.0 {
            Operand::F32(a) => Operand::F32(a.rows_range(range)),
            Operand::Bf16(a) => Operand::Bf16(a.rows_range(range)),
            Operand::Int8(a) => Operand::Int8(a.rows_range(range)),
        })
    }

    /// Ranges of rows begin at multiples of this.
    pub fn granule(self) -> usize {
        if let Operand::Bf16(a) = self.0 { a.high } else { 1 }
    }

    /// M
    #[inline]
    pub fn rows(self) -> usize {
        match self.0 {
            Operand::F32(a) => a.rows(),
            Operand::Bf16(a) => a.rows,
            Operand::Int8(a) => a.rows(),
        }
    }

    /// K
    #[inline]
    pub fn k(self) -> usize {
        match self.0 {
            Operand::F32(a) => a.cols(),
            Operand::Bf16(a) => a.k,
            Operand::Int8(a) => a.k,
        }
    }

    /// The precision that it is in.
    #[inline]
    pub fn precision(self) -> Precision {
        match self.0 {
            Operand::F32(_) => Precision::F32,
            Operand::Bf16(_) => Precision::Bf16,
            Operand::Int8(_) => Precision::Int8,
        }
    }
}

impl<'a> From<Mat<'a>> for Left<'a> {
    fn from(a: Mat<'a>) -> Self {
        Self(Operand::F32(a))
    }
}
