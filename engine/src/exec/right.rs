//! The right operand of a product, plain, transposed or packed.

use std::ops::Range;
use unroll_kernels::gemm::{Packed, PackedRef};
use unroll_kernels::{Element, Mat};

/// The right operand of a product, in one of the forms that it may have in memory.
#[derive(Clone, Copy)]
pub(crate) enum Right<'a, E = f32> {
    /// (K, N)
    Plain(Mat<'a, E>),
    /// (N, K), used transposed.
    Transposed(Mat<'a, E>),
    /// (K, N), packed with one group.
    Packed(PackedRef<'a>),
}

impl<'a, E: Element> Right<'a, E> {
    /// Some terms of all columns; all of them where it is packed.
    pub(super) fn terms(self, terms: Range<usize>) -> Self {
        match self {
            Self::Plain(mat) => Self::Plain(mat.rows_range(terms)),
            Self::Transposed(mat) => Self::Transposed(mat.cols_range(terms)),
            Self::Packed(packed) => Self::Packed(packed),
        }
    }

    /// Some columns, packed: in `room`, where they are not packed already.
    pub(super) fn packed<'p>(self, room: &'p mut Packed, cols: Range<usize>) -> PackedRef<'p>
    where
        'a: 'p,
    {
        match self {
            Self::Packed(packed) => return packed.cols_range(cols),
            Self::Plain(mat) => {
                room.reshape(mat.rows(), cols.len());
                room.pack(mat.cols_range(cols));
            }
            Self::Transposed(mat) => {
                room.reshape(mat.cols(), cols.len());
                room.pack_transposed(mat.rows_range(cols));
            }
        }
        room.view()
    }
}
