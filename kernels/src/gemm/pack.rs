//! B in panels: for each block of columns, row after row, what one register tile reads.
//!
//! ```text
//! groups = 1    a panel is (K, NV * LANES): 64 columns on AVX-512, 16 elsewhere; the last panel has only the vectors
//!               that its columns need
//! groups > 1    a panel is (K, groups * LANES): the same LANES units of every group side by side
//! ```
//!
//! In bf16, on every set, a panel is one column tile of 16 columns for each group, (K / 2, 16) words of two terms, which
//! stand in two elements' room for four; see `bf16`. In int8 the tiles have lines of four terms, see `int8`.
//!
//! Columns beyond the matrix are zero. Panels stand one after the other, so panel p of a full matrix begins at
//! `p * K * width`.

use super::bands::PackedBands;
use super::transpose::transpose;
use super::{Precision, bf16, int8};
use crate::simd::{Kernel, Simd};
use crate::{Buffer, Element, Isa, Mat};
use std::ops::Range;

/// Vectors of a panel with one group. Six rows of four AVX-512 vectors, or of two AVX2 vectors, fill the registers.
pub(super) const fn vectors(lanes: usize) -> usize {
    if lanes == 16 { 4 } else { 2 }
}

/// How the columns of a packed matrix lie in panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) precision: Precision,
    pub(super) k: usize,
    pub(super) groups: usize,
    pub(super) cols: usize,
    pub(super) lanes: usize,
}

impl Layout {
    /// Columns of a group in one panel.
    #[inline]
    pub(super) fn granule(self) -> usize {
        match self.precision {
            Precision::F32 if self.groups == 1 => vectors(self.lanes) * self.lanes,
            _ => self.lanes,
        }
    }

    /// Rows of a panel: in bf16 of words, filled up to whole blocks; in int8 lines.
    #[inline]
    pub(super) fn depth(self) -> usize {
        match self.precision {
            Precision::F32 => self.k,
            Precision::Bf16 => bf16::blocks_of(self.k) * bf16::SIDE,
            Precision::Int8 => int8::depth_of(self.k),
        }
    }

    /// The panel that holds column `col`, and the columns of a group before `col` in that panel. Granules are powers of two,
    /// so that shifts replace a division, for which a small step would wait.
    #[inline]
    fn place(self, col: usize) -> (usize, usize) {
        let granule = self.granule();
        (col >> granule.trailing_zeros(), col & (granule - 1))
    }

    #[inline]
    pub(super) fn panels(self) -> usize {
        self.panel_at(self.cols)
    }

    /// Elements of one row of panel `p`.
    #[inline]
    pub(super) fn width(self, p: usize) -> usize {
        if self.groups == 1 {
            let cols = (self.cols - p * self.granule()).min(self.granule());
            (cols + self.lanes - 1) & !(self.lanes - 1)
        } else {
            self.groups * self.lanes
        }
    }

    /// The element at which panel `p` begins. With `p` = the number of panels, the size of all panels.
    #[inline]
    pub(super) fn offset(self, p: usize) -> usize {
        if p == 0 { 0 } else { self.depth() * ((p - 1) * self.groups * self.granule() + self.width(p - 1)) }
    }

    #[track_caller]
    #[inline]
    pub(super) fn check_range(self, range: &Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.cols, "columns {range:?} of {}", self.cols);
        let aligned = |c: usize| self.place(c).1 == 0 || c == self.cols;
        let granule = self.granule();
        assert!(aligned(range.start) && aligned(range.end), "columns {range:?} do not fall on panels of {granule}");
    }

    /// The first panel from column `col` on.
    #[inline]
    pub(super) fn panel_at(self, col: usize) -> usize {
        let (panel, within) = self.place(col);
        panel + usize::from(within > 0)
    }
}

/// The right operand of a product, packed for one instruction set and precision.
#[derive(Clone)]
pub struct Packed {
    isa: Isa,
    layout: Layout,
    data: Buffer,
}

/// Equal where the elements, the instruction set and the precision are.
impl PartialEq for Packed {
    fn eq(&self, other: &Self) -> bool {
        (self.isa, self.layout) == (other.isa, other.layout) && *self.data == *other.data
    }
}

impl Packed {
    /// Room for B (k, groups * cols), zero at first.
    ///
    /// # Panics
    ///
    /// When `groups` is not 1 to 4.
    #[track_caller]
    pub fn new(isa: Isa, precision: Precision, k: usize, groups: usize, cols: usize) -> Self {
        assert!((1..=4).contains(&groups), "{groups} groups: there are kernels for 1 to 4");
        let lanes = match precision {
            Precision::F32 => isa.lanes(),
            Precision::Bf16 => bf16::SIDE,
            Precision::Int8 => int8::SIDE,
        };
        let layout = Layout { precision, k, groups, cols, lanes };
        Self { isa, layout, data: Buffer::new(layout.offset(layout.panels())) }
    }

    /// Changes the shape to that of a B (k, cols) with one group, whose elements are undefined until it is packed. Allocates
    /// only to grow.
    pub fn reshape(&mut self, k: usize, cols: usize) {
        self.layout = Layout { k, groups: 1, cols, ..self.layout };
        self.data.reserve(self.layout.offset(self.layout.panels()));
    }

    /// Packs B (K, groups * cols): column c of group g is column `g * cols + c`.
    #[track_caller]
    pub fn pack<E: Element>(&mut self, b: Mat<'_, E>) {
        self.view_mut().pack(b);
    }

    /// Packs B from its transpose, (groups * cols, K).
    #[track_caller]
    pub fn pack_transposed<E: Element>(&mut self, b: Mat<'_, E>) {
        self.view_mut().pack_transposed(b);
    }

    /// Columns of a group in one panel: the ends of [`PackedRef::cols_range`] are multiples of it.
    pub fn granule(&self) -> usize {
        self.layout.granule()
    }

    /// The whole matrix, read.
    #[inline]
    pub fn view(&self) -> PackedRef<'_> {
        PackedRef { isa: self.isa, layout: self.layout, data: &self.data }
    }

    /// The whole matrix, to be packed in parts.
    pub fn view_mut(&mut self) -> PackedMut<'_> {
        PackedMut { isa: self.isa, layout: self.layout, whole: self.layout.cols, first: 0, data: &mut self.data }
    }

    /// The whole matrix, to be packed band by band.
    ///
    /// # Panics
    ///
    /// In int8, which has no bands.
    pub fn bands(&mut self) -> PackedBands<'_> {
        PackedBands::new(self.isa, self.layout, &mut self.data)
    }

    /// The instruction set that it is packed for.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

/// Packed columns that are read.
#[derive(Clone, Copy)]
pub struct PackedRef<'a> {
    isa: Isa,
    layout: Layout,
    data: &'a [f32],
}

impl<'a> PackedRef<'a> {
    /// Columns `range` within each group. Both ends must be multiples of [`Self::granule`] or the number of columns.
    #[track_caller]
    #[inline]
    pub fn cols_range(self, range: Range<usize>) -> Self {
        self.layout.check_range(&range);
        let first = self.layout.offset(self.layout.panel_at(range.start));
        let last = self.layout.offset(self.layout.panel_at(range.end));
        let layout = Layout { cols: range.len(), ..self.layout };
        Self { layout, data: &self.data[first.min(last)..last], ..self }
    }

    /// Rows of B.
    #[inline]
    pub fn k(self) -> usize {
        self.layout.k
    }
    /// Groups (gates).
    #[inline]
    pub fn groups(self) -> usize {
        self.layout.groups
    }
    /// Columns (units) of one group.
    #[inline]
    pub fn cols(self) -> usize {
        self.layout.cols
    }
    /// Columns of a group in one panel.
    #[inline]
    pub fn granule(self) -> usize {
        self.layout.granule()
    }
    /// The instruction set that it is packed for.
    #[inline]
    pub fn isa(self) -> Isa {
        self.isa
    }
    /// The precision that it is packed in.
    #[inline]
    pub fn precision(self) -> Precision {
        self.layout.precision
    }

    /// All panels, one after the other.
    #[inline]
    pub(super) fn data(self) -> &'a [f32] {
        self.data
    }

    /// The number of panels.
    #[inline]
    pub(crate) fn panels(self) -> usize {
        self.layout.panels()
    }

    /// Panel `p`: K rows of the panel's width.
    #[inline(always)]
    pub(crate) fn panel(self, p: usize) -> &'a [f32] {
        &self.data[self.layout.offset(p)..self.layout.offset(p + 1)]
    }
}

/// An operand of a product in a precision that does not read bf16.
#[track_caller]
pub(super) fn plain<E: Element>(precision: Precision, x: Mat<'_, E>) -> Mat<'_> {
    E::plain(x).unwrap_or_else(|| panic!("an operand in bf16 of a product in {precision}"))
}

/// Packed columns that are written: parts can be packed by several threads.
pub struct PackedMut<'a> {
    isa: Isa,
    layout: Layout,
    /// Columns of a group in the whole matrix, and the first of this part.
    whole: usize,
    first: usize,
    data: &'a mut [f32],
}

impl<'a> PackedMut<'a> {
    /// A matrix of these columns alone, as if there were no others.
    pub(super) fn band(isa: Isa, layout: Layout, data: &'a mut [f32]) -> Self {
        Self { isa, layout, whole: layout.cols, first: 0, data }
    }

    /// Columns `..c` and `c..` of every group; `c` must be a multiple of the granule or the number of columns.
    #[track_caller]
    pub fn split_cols_at(self, c: usize) -> (Self, Self) {
        self.layout.check_range(&(0..c));
        let (left, right) = self.data.split_at_mut(self.layout.offset(self.layout.panel_at(c)));
        let part = |cols| Layout { cols, ..self.layout };
        (
            Self { layout: part(c), data: left, ..self },
            Self { layout: part(self.layout.cols - c), first: self.first + c, data: right, ..self },
        )
    }

    /// Columns (units) of one group in this part.
    pub fn cols(&self) -> usize {
        self.layout.cols
    }

    /// Packs this part of B; `b` is the whole (K, groups * whole columns).
    ///
    /// # Panics
    ///
    /// When the shape is another, or `b` is in bf16 and the precision is not.
    #[track_caller]
    pub fn pack<E: Element>(&mut self, b: Mat<'_, E>) {
        assert_eq!([b.rows(), b.cols()], [self.layout.k, self.layout.groups * self.whole], "the shape of B");
        if self.layout.precision != Precision::F32 {
            return self.pack_tiles(b, false);
        }
        let b = plain(self.layout.precision, b);
        let isa = self.isa;
        self.each_run(|panel, width, at, col, cols| copy(isa, &mut panel[at..], width, b.cols_range(col..col + cols)));
    }

    /// Packs this part of B from its transpose; `b` is the whole (groups * whole columns, K).
    ///
    /// # Panics
    ///
    /// As [`Self::pack`].
    #[track_caller]
    pub fn pack_transposed<E: Element>(&mut self, b: Mat<'_, E>) {
        assert_eq!([b.cols(), b.rows()], [self.layout.k, self.layout.groups * self.whole], "the shape of B transposed");
        if self.layout.precision != Precision::F32 {
            return self.pack_tiles(b, true);
        }
        let b = plain(self.layout.precision, b);
        let isa = self.isa;
        self.each_run(|panel, width, at, col, cols| {
            transpose(isa, &mut panel[at..], width, b.rows_range(col..col + cols));
        });
    }

    /// Packs this part into column tiles, a group after the other.
    #[track_caller]
    fn pack_tiles<E: Element>(&mut self, b: Mat<'_, E>, transposed: bool) {
        let Layout { precision, groups, cols, .. } = self.layout;
        let tile = self.layout.depth() * bf16::SIDE;
        let words: &mut [u32] = bytemuck::cast_slice_mut(self.data);
        for g in 0..groups {
            let range = g * self.whole + self.first..g * self.whole + self.first + cols;
            let part = if transposed { b.rows_range(range) } else { b.cols_range(range) };
            let words = words.get_mut(g * tile..).unwrap_or_default();
            if precision == Precision::Int8 {
                int8::pack_tiles(plain(precision, part), transposed, words, groups * tile);
            } else {
                bf16::pack_tiles(self.isa, part, transposed, words, groups * tile);
            }
        }
    }

    /// Calls `f(panel, width, place in the row, column of B, columns)` for each run of neighbouring columns.
    fn each_run(&mut self, f: impl Fn(&mut [f32], usize, usize, usize, usize)) {
        let layout = self.layout;
        if layout.k == 0 {
            return;
        }
        for p in 0..layout.panels() {
            let panel = &mut self.data[layout.offset(p)..layout.offset(p + 1)];
            let col = p * layout.granule();
            let cols = layout.granule().min(layout.cols - col);
            for g in 0..layout.groups {
                f(panel, layout.width(p), g * layout.lanes, g * self.whole + self.first + col, cols);
            }
        }
    }
}

/// Copies `b` (k, cols) into rows of `width`.
pub(super) fn copy(isa: Isa, to: &mut [f32], width: usize, b: Mat) {
    isa.run(Copy { to, width, b });
}

struct Copy<'a> {
    to: &'a mut [f32],
    width: usize,
    b: Mat<'a>,
}

impl Kernel for Copy<'_> {
    type Output = ();

    /// A vector at a time: a call of memcpy for each row's rest would cost more than the copy.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { to, width, b } = self;
        for k in 0..b.rows() {
            let (from, to) = (b.row(k), &mut to[k * width..k * width + b.cols()]);
            let mut whole = to.chunks_exact_mut(S::LANES);
            let parts = from.chunks_exact(S::LANES);
            let rest = parts.remainder();
            for (to, from) in (&mut whole).zip(parts) {
                s.store(to, s.load(from));
            }
            s.store_partial(whole.into_remainder(), s.load_partial(rest));
        }
    }
}
