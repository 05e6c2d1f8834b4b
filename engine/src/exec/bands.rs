//! Packing in the pass that updates: what has just been written is packed while it is in the cache.
//!
//! A pass over the parameter arena goes piece by piece ([`Pieces`]). For weights that products read packed, a piece is
//! a *band* of rows: as many as fill whole panels of the transpose, and whole tiles. The bits are those of packing
//! everything at once.
//!
//! The promise that pays for the `unsafe` here: a band is packed by the member that first claims it and by no other,
//! which is counted; and nothing reads the packed weights before the pass is over, since [`Packing`] borrows them.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use unroll_kernels::Mat;
use unroll_kernels::gemm::{Packed, PackedBands};
use unroll_kernels::profile::{self, Phase};

/// What becomes of parameters that a pass changes, piece by piece.
pub trait Pieces: Sync {
    /// The last place at or before `at` where the parameters may be cut.
    fn cut(&self, at: usize) -> usize;
    /// The end of the piece that begins at `at`, a place where they may be cut.
    fn end(&self, at: usize) -> usize;
    /// Is given the new values of the piece that begins at `at`.
    fn changed(&self, at: usize, values: &[f32]);
}

/// For a pass after which nothing is done.
impl Pieces for () {
    fn cut(&self, at: usize) -> usize {
        at
    }
    fn end(&self, _: usize) -> usize {
        usize::MAX
    }
    fn changed(&self, _: usize, _: &[f32]) {}
}

/// Some columns of weights, and the packed forms that they have.
pub(crate) struct Target<'a> {
    cols: Range<usize>,
    forward: PackedBands<'a>,
    transposed: Option<PackedBands<'a>>,
}

impl<'a> Target<'a> {
    pub(crate) fn new(cols: Range<usize>, forward: &'a mut Packed, transposed: Option<&'a mut Packed>) -> Self {
        Self { cols, forward: forward.bands(), transposed: transposed.map(Packed::bands) }
    }

    /// Rows of a band.
    fn rows(&self) -> usize {
        self.forward.rows().max(self.transposed.as_ref().map_or(1, PackedBands::transposed_rows))
    }
}

/// Weights in the arena, to be packed band by band, and their packed forms.
pub(crate) struct BandedWeights<'a> {
    /// Their elements in the arena.
    range: Range<usize>,
    /// Columns.
    cols: usize,
    /// Rows of a band.
    rows: usize,
    /// The number of their first band among those of all weights.
    first: usize,
    targets: [Option<Target<'a>>; 2],
}

impl<'a> BandedWeights<'a> {
    pub(crate) fn new(range: Range<usize>, cols: usize, targets: [Option<Target<'a>>; 2]) -> Self {
        let rows = targets.iter().flatten().map(Target::rows).max().unwrap_or(1);
        Self { range, cols, rows, first: 0, targets }
    }

    /// Elements of a band.
    fn band(&self) -> usize {
        self.rows * self.cols
    }

    fn bands(&self) -> usize {
        self.range.len().div_ceil(self.band().max(1))
    }

    /// Packs the band that begins at element `at` of the arena.
    ///
    /// # Safety
    ///
    /// Nobody else packs this band at the same time.
    unsafe fn pack(&self, at: usize, values: &[f32]) {
        let (row, rows) = ((at - self.range.start) / self.cols, values.len() / self.cols);
        let band = Mat::dense(values, rows, self.cols);
        for Target { cols, forward, transposed } in self.targets.iter().flatten() {
            let part = band.cols_range(cols.clone());
            // SAFETY: the caller's promise; a band of rows is a band of every target.
            unsafe {
                forward.pack(row, part);
                if let Some(transposed) = transposed {
                    transposed.pack_transposed(row, part);
                }
            }
        }
    }
}

/// The lists of [`Packing`], kept from pass to pass so that no pass allocates.
#[derive(Default)]
pub(crate) struct PackingRoom {
    weights: Vec<BandedWeights<'static>>,
    taken: Vec<AtomicBool>,
}

/// Packs weights band by band, as a pass changes them.
pub(crate) struct Packing<'a> {
    /// In the arena's order.
    weights: Vec<BandedWeights<'a>>,
    /// Which bands have been packed.
    taken: Vec<AtomicBool>,
}

impl<'a> Packing<'a> {
    pub(crate) fn new(room: PackingRoom, all: impl Iterator<Item = BandedWeights<'a>>) -> Self {
        let PackingRoom { weights, mut taken } = room;
        let mut weights = recycled(weights);
        weights.extend(all);
        weights.sort_unstable_by_key(|w| w.range.start);
        let mut bands = 0;
        for w in &mut weights {
            w.first = bands;
            bands += w.bands();
        }
        taken.clear();
        taken.resize_with(bands, AtomicBool::default);
        Self { weights, taken }
    }

    /// The room again, and whether every band has been packed.
    pub(crate) fn finish(self) -> (PackingRoom, bool) {
        let complete = self.taken.iter().all(|taken| taken.load(Ordering::Relaxed));
        (PackingRoom { weights: recycled(self.weights), taken: self.taken }, complete)
    }

    /// The first weights that do not end at or before `at`.
    fn after(&self, at: usize) -> Option<&BandedWeights<'a>> {
        self.weights.get(self.weights.partition_point(|w| w.range.end <= at))
    }
}

impl Pieces for Packing<'_> {
    fn cut(&self, at: usize) -> usize {
        match self.after(at) {
            Some(w) if w.range.start < at => at - (at - w.range.start) % w.band(),
            _ => at,
        }
    }

    fn end(&self, at: usize) -> usize {
        match self.after(at) {
            Some(w) if w.range.start <= at => w.range.end.min(at + w.band()),
            Some(w) => w.range.start,
            None => usize::MAX,
        }
    }

    fn changed(&self, at: usize, values: &[f32]) {
        let Some(w) = self.after(at).filter(|w| w.range.start <= at) else { return };
        let end = at + values.len();
        assert!(self.cut(at) == at && end == self.end(at), "elements {at}..{end} are no band");
        let _span = profile::enter(Phase::Packing);
        let taken = &self.taken[w.first + (at - w.range.start) / w.band()];
        assert!(!taken.swap(true, Ordering::Relaxed), "the band at {at} comes a second time");
        // SAFETY: no second comer reaches this.
        unsafe { w.pack(at, values) };
    }
}

/// The allocation of a vector, for elements that differ in a lifetime only.
fn recycled<'b>(mut all: Vec<BandedWeights<'_>>) -> Vec<BandedWeights<'b>> {
    all.clear();
    // The standard library collects in place what has the same size; `tests/allocations.rs` holds it to that.
    all.into_iter().map(|_| -> BandedWeights<'b> { unreachable!("no element is left") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use unroll_kernels::gemm::Precision;
    use unroll_kernels::isa::sets_under_test;

    /// 3 numbers, weights (70, 2 x 9) in two parts, 4 numbers.
    const ROWS: usize = 70;
    const COLS: usize = 18;

    #[test]
    fn bands_pack_what_packing_at_once_packs() {
        for (isa, precision) in
            sets_under_test().into_iter().flat_map(|isa| [(isa, Precision::F32), (isa, Precision::Bf16)])
        {
            let values: Vec<f32> = (0..3 + ROWS * COLS + 4).map(|i| (i as f32 * 0.37).sin()).collect();
            let range = 3..3 + ROWS * COLS;
            let whole = Mat::dense(&values[range.clone()], ROWS, COLS);
            let packed = |k, groups, cols| Packed::new(isa, precision, k, groups, cols);
            let fresh = || (packed(ROWS, 2, 5), packed(10, 1, ROWS), packed(ROWS, 1, 8));
            let (mut a, mut b, mut c) = fresh();
            a.pack(whole.cols_range(0..10));
            b.pack_transposed(whole.cols_range(0..10));
            c.pack(whole.cols_range(10..18));
            let (mut d, mut e, mut f) = fresh();
            let targets = [Some(Target::new(0..10, &mut d, Some(&mut e))), Some(Target::new(10..18, &mut f, None))];
            let weights = BandedWeights::new(range.clone(), COLS, targets);
            let packing = Packing::new(PackingRoom::default(), std::iter::once(weights));
            let (mut at, mut ends) = (0, Vec::new());
            while at < values.len() {
                assert_eq!(
                    (packing.cut(at), packing.cut(at + 1)),
                    (at, if at == 0 || at >= range.end { at + 1 } else { at })
                );
                let end = packing.end(at).min(values.len());
                packing.changed(at, &values[at..end]);
                ends.push(end);
                at = end;
            }
            assert!(ends.len() > 3 && ends.contains(&3) && ends.contains(&range.end), "{ends:?}");
            let (_, complete) = packing.finish();
            assert!(complete);
            assert!(a == d && b == e && c == f, "{isa} {precision}");
        }
    }

    #[test]
    #[should_panic(expected = "comes a second time")]
    fn a_band_is_packed_once() {
        let mut packed = Packed::new(unroll_kernels::Isa::PORTABLE, Precision::F32, 2, 1, 2);
        let weights = BandedWeights::new(0..4, 2, [Some(Target::new(0..2, &mut packed, None)), None]);
        let packing = Packing::new(PackingRoom::default(), std::iter::once(weights));
        packing.changed(0, &[1.0, 2.0]);
        packing.changed(0, &[1.0, 2.0]);
    }
}
