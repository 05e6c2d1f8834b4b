//! Products against the plain loops.

use super::input::{Input, cut_at};
use super::{Probe, TINY, U, Wanted};
use crate::check::{Framed, bits, on_every_set, wide};
use crate::gemm::{
    DirectProduct, Init, Left, OuterProduct, Packed, Precision, Product, direct_product, outer_product, product,
    reference,
};
use crate::isa::sets_under_test;
use crate::{Buffer, Isa};

/// Which entry computes C.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Entry {
    Packed,
    PackedTransposed,
    Direct,
    DirectTransposed,
    Outer,
}

/// What C starts from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Zero,
    Keep,
    Bias,
}

struct Case {
    entry: Entry,
    start: Start,
    m: usize,
    k: usize,
    groups: usize,
    /// Columns of one group.
    cols: usize,
    /// A (M, K), or (K, M) for the outer product.
    a: Vec<f32>,
    /// B (K, groups * cols), or its transpose.
    b: Vec<f32>,
    /// C before (M, groups * cols).
    c: Vec<f32>,
    bias: Vec<f32>,
    /// Chooses where the columns are cut.
    cut: u8,
    precision: Precision,
}

/// Reads a case, computes it whole and in two parts of the columns, and compares.
pub(super) fn run(data: &[u8], probe: Probe<'_>) {
    let mut input = Input::new(data);
    let entry =
        input.pick([Entry::Packed, Entry::PackedTransposed, Entry::Direct, Entry::DirectTransposed, Entry::Outer]);
    let start = input.pick([Start::Zero, Start::Keep, Start::Bias]);
    let packed = matches!(entry, Entry::Packed | Entry::PackedTransposed);
    let groups = if packed { input.size(4) } else { 1 };
    let m = input.up_to(26);
    // Mostly short sums; some cross the blocks along K.
    let k = if input.byte() < 224 { input.up_to(40) } else { 3 * input.up_to(255) };
    let cols = if groups == 1 { input.up_to(150) } else { input.up_to(40) };
    let whole = input.flag();
    let scale = if whole { 3.4 } else { input.pick([1.0, 1e-3, 100.0, 1e-22, 1e15]) };
    let width = groups * cols;
    let mut numbers = |n| {
        let values = input.values(n, scale);
        if whole { values.iter().map(|x| x.trunc()).collect() } else { values }
    };
    let (a, b, c, bias) = (numbers(m * k), numbers(k * width), numbers(m * width), numbers(width));
    let cut = input.byte();
    let precision = input.pick([Precision::F32, Precision::Bf16]);
    let case = Case { entry, start, m, k, groups, cols, a, b, c, bias, cut, precision };
    let compute = |isa| {
        let all = case.compute(isa, false);
        assert_eq!(bits(&all), bits(&case.compute(isa, true)), "{isa} {entry:?}: the bits depend on the cut");
        all
    };
    // Tiles take subnormal sums for zero, which the numbers here reach.
    let results = match precision {
        Precision::F32 => on_every_set("gemm", compute),
        Precision::Bf16 | Precision::Int8 => sets_under_test().into_iter().map(|isa| (isa, compute(isa))).collect(),
    };
    case.wanted(whole).compare("product", results, probe);
}

impl Case {
    /// C, in one part or in two.
    fn compute(&self, isa: Isa, cut: bool) -> Vec<f32> {
        let Self { entry, m, k, groups, cols, precision, .. } = *self;
        let width = groups * cols;
        let (a_shape, b_shape) = match entry {
            Entry::Outer => ([k, m], [k, width]),
            Entry::PackedTransposed | Entry::DirectTransposed => ([m, k], [width, k]),
            Entry::Packed | Entry::Direct => ([m, k], [k, width]),
        };
        let a = Framed::new(a_shape[0], a_shape[1], &self.a);
        let b = Framed::new(b_shape[0], b_shape[1], &self.b);
        let mut packed = Packed::new(isa, precision, k, groups, cols);
        let mut granule = 1;
        match entry {
            Entry::Packed => packed.pack(b.mat()),
            Entry::PackedTransposed => packed.pack_transposed(b.mat()),
            Entry::Direct | Entry::DirectTransposed | Entry::Outer => {}
        }
        if matches!(entry, Entry::Packed | Entry::PackedTransposed) {
            granule = packed.granule();
        }
        let middle = if cut { cut_at(self.cut, cols, granule) } else { cols };
        let start = if self.start == Start::Keep { self.c.clone() } else { vec![f32::NAN; m * width] };
        let mut c = Framed::new(m, width, &start);
        let [mut scratch, mut room] = [(); 2].map(|()| Buffer::default());
        for cols_range in [0..middle, middle..cols] {
            let init = match self.start {
                Start::Zero => Init::Zero,
                Start::Keep => Init::Keep,
                Start::Bias if groups == 1 => Init::Bias(&self.bias[cols_range.clone()]),
                Start::Bias => Init::GroupBias { bias: &self.bias[cols_range.start..], stride: cols },
            };
            let scratch = &mut scratch;
            match entry {
                Entry::Packed | Entry::PackedTransposed => product(Product {
                    a: Left::of(packed.view(), a.mat(), &mut room),
                    b: packed.view().cols_range(cols_range.clone()),
                    init,
                    c: c.mat_mut().into_groups(groups).cols_range(cols_range),
                }),
                Entry::Direct | Entry::DirectTransposed => {
                    let b_transposed = entry == Entry::DirectTransposed;
                    let b = b.mat();
                    let b =
                        if b_transposed { b.rows_range(cols_range.clone()) } else { b.cols_range(cols_range.clone()) };
                    let c = c.mat_mut().cols_range(cols_range);
                    direct_product(isa, DirectProduct { a: a.mat(), b, b_transposed, precision, init, c, scratch });
                }
                Entry::Outer => {
                    let (b, c) = (b.mat().cols_range(cols_range.clone()), c.mat_mut().cols_range(cols_range));
                    outer_product(isa, OuterProduct { a: a.mat(), b, precision, init, c, scratch });
                }
            }
        }
        c.values()
    }

    /// The reference on the operands as the precision rounds them, with the bounds that `gemm` and `gemm::bf16` state, and
    /// none in whole numbers.
    fn wanted(&self, whole: bool) -> Wanted {
        let magnitudes = self.reference(f64::abs);
        let k = self.k as f64;
        let bound = |m: f64| match self.precision {
            _ if whole => 0.0,
            // Int8, whose bound has the scales of rows and columns, is not drawn.
            Precision::F32 | Precision::Int8 => 2.0 * k * (U * m + TINY),
            Precision::Bf16 => (34.0 + k / 16.0) * U * m + 2.0 * k * f64::from(f32::MIN_POSITIVE),
        };
        Wanted { values: self.reference(|x| x), bounds: magnitudes.into_iter().map(bound).collect() }
    }

    fn reference(&self, of: fn(f64) -> f64) -> Vec<f64> {
        let Self { entry, m, k, groups, cols, .. } = *self;
        let width = groups * cols;
        let map = |x: &[f32]| wide(x).into_iter().map(of).collect::<Vec<_>>();
        let rounded = |x: &[f32]| map(&x.iter().map(|&x| self.precision.round(x)).collect::<Vec<_>>());
        let (a, b) = (rounded(&self.a), rounded(&self.b));
        let mut c = match self.start {
            Start::Zero => vec![0.0; m * width],
            Start::Keep => map(&self.c),
            Start::Bias => map(&self.bias).repeat(m),
        };
        let shape = [m, k, width];
        match entry {
            Entry::Packed | Entry::Direct => reference::product(shape, &a, &b, &mut c),
            Entry::PackedTransposed | Entry::DirectTransposed => {
                reference::transposed_product(shape, &a, &b, &mut c);
            }
            Entry::Outer => reference::outer_product(shape, &a, &b, &mut c),
        }
        c
    }
}
