//! Operands packed or rounded in parts have the bits of those packed or rounded at once.

use super::*;

#[test]
fn packing_in_parts_equals_packing_at_once() {
    for (isa, precision) in sets_under_test().into_iter().flat_map(|isa| PRECISIONS.map(|p| (isa, p))) {
        for groups in 1..=4 {
            let (k, n) = (19, 2 * Packed::new(isa, precision, 1, groups, 1).granule() + 3);
            let b = Padded::new(k, groups * n, 2, |r, c| noise(2, r, c));
            let turned = Padded::new(groups * n, k, 2, |r, c| noise(2, c, r));
            let [mut whole, mut parts] = [(); 2].map(|()| Packed::new(isa, precision, k, groups, n));
            whole.pack(b.view());
            let granule = parts.granule();
            let (mut left, right) = parts.view_mut().split_cols_at(granule);
            let (mut middle, mut right) = right.split_cols_at(granule);
            assert_eq!([left.cols(), middle.cols(), right.cols()], [granule, granule, 3]);
            right.pack_transposed(turned.view());
            left.pack(b.view());
            middle.pack_transposed(turned.view());
            for p in 0..whole.view().panels() {
                let bits = |packed: &Packed| packed.view().panel(p).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&whole), bits(&parts), "{isa} {precision:?}, {groups} groups, panel {p}");
            }
        }
    }
}

#[test]
fn rounding_tile_by_tile_equals_rounding_at_once() {
    for isa in sets_under_test() {
        for (m, k) in [(1, 1), (13, 31), (16, 32), (17, 33), (50, 70), (700, 65)] {
            let a = Padded::new(m, k, 3, |r, c| noise(0, r, c));
            let turned = Padded::new(k, m, 5, |r, c| noise(0, c, r));
            let mut room = Buffer::new(0);
            let whole = Left::new(isa, Precision::Bf16, a.view(), &mut room);
            let Operand::Bf16(whole) = whole.0 else { panic!("not rounded") };
            let tiles = LeftTiles::new(m, k);
            for (a, is_turned) in [(a.view(), false), (turned.view(), true)] {
                let mut room = vec![f32::NAN; tiles.count() * tiles.len()];
                // The last first, by twos.
                for first in (0..tiles.count()).step_by(2).rev() {
                    let part = first..tiles.count().min(first + 2);
                    let own = &mut room[part.start * tiles.len()..part.end * tiles.len()];
                    tiles.round(isa, a, is_turned, part, own);
                }
                let Operand::Bf16(found) = tiles.left(&room).0 else { panic!("not rounded") };
                let words = found.words.len();
                assert_eq!((found.rows, found.k, found.high), (whole.rows, whole.k, whole.high));
                assert!(found.words == &whole.words[..words], "{m} x {k}, turned: {is_turned}, {isa}");
            }
        }
    }
}

#[test]
fn packing_in_bands_equals_packing_at_once() {
    for (isa, precision) in
        sets_under_test().into_iter().flat_map(|isa| [Precision::F32, Precision::Bf16].map(|p| (isa, p)))
    {
        for groups in 1..=4 {
            let (k, n) = (2 * 32 + 7, 2 * Packed::new(isa, precision, 1, groups, 1).granule() + 3);
            let b = Padded::new(k, groups * n, 2, |r, c| noise(2, r, c));
            let turned = Padded::new(n, k, 2, |r, c| noise(2, c, r));
            let [mut whole, mut parts] = [(); 2].map(|()| Packed::new(isa, precision, k, groups, n));
            let bits = |packed: &Packed| -> Vec<_> {
                let panels = 0..packed.view().panels();
                panels.flat_map(|p| packed.view().panel(p).iter().map(|x| x.to_bits()).collect::<Vec<_>>()).collect()
            };
            whole.pack(b.view());
            let bands = parts.bands();
            let step = bands.rows().max(5);
            for first in (0..k).step_by(step).collect::<Vec<_>>().into_iter().rev() {
                let rows = first..k.min(first + step);
                // SAFETY: one after the other.
                unsafe { bands.pack(first, b.view().rows_range(rows)) };
            }
            assert!(bits(&whole) == bits(&parts), "{isa} {precision:?}, {groups} groups");
            if groups == 1 {
                let mut parts = Packed::new(isa, precision, k, 1, n);
                let bands = parts.bands();
                for first in (0..n).step_by(bands.transposed_rows()) {
                    let rows = first..n.min(first + bands.transposed_rows());
                    // SAFETY: one after the other.
                    unsafe { bands.pack_transposed(first, turned.view().rows_range(rows)) };
                }
                assert!(bits(&whole) == bits(&parts), "{isa} {precision:?}, transposed");
            }
        }
    }
}
