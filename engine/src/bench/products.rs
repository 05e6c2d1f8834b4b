//! Single matrix products, as `bench gemm:MxKxN` times them.

use super::{CaseOptions, median};
use crate::error::{Error, Result};
use crate::exec::{Crew, Products, Right, Scratch, Start};
use crate::network::require_memory;
use crate::random::{Key, Purpose};
use std::str::FromStr;
use std::time::Duration;
use unroll_kernels::gemm::{Packed, Precision};
use unroll_kernels::{Bf16, Buffer, Element, Mat, MatMut};

/// The sizes of a product: (M, K) by (K, N).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of the left operand.
    pub m: usize,
    /// The common extent.
    pub k: usize,
    /// Columns of the right operand.
    pub n: usize,
}

impl FromStr for Shape {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<usize> = text.split('x').map_while(|part| part.parse().ok()).collect();
        match parts[..] {
            [m, k, n] if m > 0 && k > 0 && n > 0 && text.split('x').count() == 3 => Ok(Self { m, k, n }),
            _ => Err(Error::usage(format!("`{text}` is not the shape of a product"))
                .mend("write gemm:MxKxN, as in gemm:700x650x10000")),
        }
    }
}

/// Rows up to which weights are packed beforehand, as recurrent steps have them; larger products pack as they go.
const PREPACKED_ROWS: usize = 64;

/// The median time of the product, its operands in memory as the engine keeps what products alone read: in f32, or in
/// bf16 those and the result. Packing is within the time, but where weights are packed beforehand; there, what steps
/// multiply them with and what they leave are in f32 always, and rounding is within the time.
///
/// # Errors
///
/// [`Error::Run`] where the system refuses a thread; [`Error::Usage`] where the operands do not fit into memory.
pub fn time_product(shape: Shape, options: &CaseOptions) -> Result<Duration> {
    let Shape { m, k, n } = shape;
    let CaseOptions { threads, isa, precision, length, .. } = *options;
    // The operands and the result, and the right operand packed.
    let len = |rows: usize, cols: usize| (rows as u64).saturating_mul(cols as u64);
    let numbers = [len(m, k), len(k, n), len(m, n), len(k, n)].into_iter().fold(0, u64::saturating_add);
    require_memory("the product", numbers.saturating_mul(4))
        .map_err(|error| error.mend("choose a smaller one, as in gemm:700x650x10000"))?;
    let key = Key::new(1, Purpose::Bench);
    let values = |len: usize, layer: usize| {
        let mut buffer = Buffer::new(len);
        buffer.iter_mut().enumerate().for_each(|(i, x)| *x = key.layer(layer).uniform(i as u64) - 0.5);
        buffer
    };
    let (a, b, mut c) = (values(m * k, 1), values(k * n, 2), Buffer::new(m * n));
    let crew = if options.pin { Crew::pinned(threads, 1) } else { Crew::new(threads, 1) };
    let crew = crew.map_err(|e| Error::run(format!("cannot start {threads} threads: {e}")))?;
    let (team, scratch) = (crew.team(), Scratch::new(threads, isa, precision));
    let products = Products { team: &team, isa, precision, scratch: &scratch };
    let mut packed = Packed::new(isa, precision, k, 1, n);
    if m > PREPACKED_ROWS && precision == Precision::Bf16 {
        let [a, b] = [&a, &b].map(|x| x.iter().map(|&x| Bf16::of(x)).collect::<Vec<_>>());
        let (a, b) = (Mat::dense(&a, m, k), Mat::dense(&b, k, n));
        let c: &mut [Bf16] = &mut bytemuck::cast_slice_mut(&mut c)[..m * n];
        return Ok(median(length, || {
            products.pack(&mut packed, b, false);
            products.product_into(a, Right::Packed(packed.view()), Start::Zero, MatMut::dense(c, m, n));
        }));
    }
    let (a, b) = (Mat::dense(&a, m, k), Mat::dense(&b, k, n));
    if m > PREPACKED_ROWS && precision != Precision::Int8 {
        return Ok(median(length, || products.product(a, Right::Plain(b), Start::Zero, MatMut::dense(&mut c, m, n))));
    }
    packed.pack(b);
    let packed = packed.view();
    Ok(median(length, || products.packed_product(a, packed, Start::Zero, MatMut::dense(&mut c, m, n))))
}
