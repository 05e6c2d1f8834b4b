//! How the same numbers lie here and in PyTorch: matrices turned over, the gates of a GRU in another order.

use crate::graph::Cell;

/// At place g of PyTorch's gates stands gate `[g]` of ours.
pub(super) fn torch_gates(cell: Cell) -> &'static [usize] {
    match cell {
        Cell::SimpleRnn => &[0],
        Cell::Lstm => &[0, 1, 2, 3],
        Cell::Gru => &[1, 0, 2],
    }
}

/// A kernel (D, G H) as PyTorch's weight (G H, D); `gates` of one entry turns a plain matrix over.
pub(super) fn to_torch(kernel: &[f32], gates: &[usize], inputs: usize) -> Vec<f32> {
    let columns = kernel.len() / inputs.max(1);
    let place = places(gates, columns);
    let mut weight = vec![0.0; kernel.len()];
    for (d, row) in kernel.chunks_exact(columns.max(1)).enumerate() {
        for (theirs, ours) in place.clone().enumerate() {
            weight[theirs * inputs + d] = row[ours];
        }
    }
    weight
}

/// A weight (G H, D) of PyTorch as a kernel (D, G H).
pub(super) fn from_torch(weight: &[f32], gates: &[usize], inputs: usize, kernel: &mut [f32]) {
    let columns = kernel.len() / inputs.max(1);
    let place = places(gates, columns);
    for (d, row) in kernel.chunks_exact_mut(columns.max(1)).enumerate() {
        for (theirs, ours) in place.clone().enumerate() {
            row[ours] = weight[theirs * inputs + d];
        }
    }
}

/// A bias (G H) as PyTorch's.
pub(super) fn bias_to_torch(bias: &[f32], gates: &[usize]) -> Vec<f32> {
    places(gates, bias.len()).map(|ours| bias[ours]).collect()
}

/// A bias (G H) of PyTorch as ours.
pub(super) fn bias_from_torch(theirs: &[f32], gates: &[usize], bias: &mut [f32]) {
    places(gates, bias.len()).zip(theirs).for_each(|(ours, &value)| bias[ours] = value);
}

/// The sum of two biases; where one of them is zero, the other to its bit.
pub(super) fn add(first: &mut [f32], second: &[f32]) {
    for (first, &second) in first.iter_mut().zip(second) {
        if second != 0.0 {
            *first += second;
        }
    }
}

/// Our column at each of PyTorch's places.
fn places(gates: &[usize], columns: usize) -> impl Iterator<Item = usize> + Clone {
    let units = columns / gates.len();
    gates.iter().flat_map(move |gate| gate * units..(gate + 1) * units)
}
