//! What training adds to the cross-entropy of a row: label smoothing and z-loss.
//!
//! ```text
//! L    = (1 - s) (ln Z - z_y) + s (ln Z - mean z) + c ln^2 Z
//! dz_j = p_j (1 + 2 c ln Z) - (1 - s) [j = y] - s / V
//! ```
//!
//! Sources: C. Szegedy et al., "Rethinking the inception architecture for computer vision", 2016; A. Chowdhery et al.,
//! "PaLM", 2022, section 5.

use unroll_kernels::softmax::{RowGradient, Tally};

/// The two factors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Shaping {
    /// s
    pub(crate) smoothing: f32,
    /// c
    pub(crate) z_loss: f32,
}

/// What is known of a row beside its gradient.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    /// ln Z
    pub(super) log_partition: f64,
    /// z_y
    pub(super) target: f64,
    /// The sum of all logits.
    pub(super) sum: f64,
}

impl Row {
    pub(super) fn of(tally: &Tally, sum: f64) -> Self {
        Self { log_partition: tally.log_partition(), target: f64::from(tally.target()), sum }
    }
}

impl Shaping {
    /// What makes the gradient of a row of `words` logits of their probabilities.
    pub(super) fn of_row(self, row: Row, words: usize, scale: f32) -> RowGradient {
        RowGradient {
            probabilities: scale * (1.0 + 2.0 * f64::from(self.z_loss) * row.log_partition) as f32,
            every: 0.0 - self.smoothing * scale / words as f32,
            target: scale * (1.0 - self.smoothing),
        }
    }

    /// Whether the cross-entropy stays as it is.
    pub(super) fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// The loss of a row of `words` logits.
    pub(super) fn loss(self, row: Row, words: usize) -> f32 {
        let (s, c) = (f64::from(self.smoothing), f64::from(self.z_loss));
        let Row { log_partition: z, target, sum } = row;
        ((1.0 - s) * (z - target) + s * (z - sum / words as f64) + c * z * z) as f32
    }

    /// Changes some columns of the cross-entropy's gradient, the `target`-th of which is the row's target if it is
    /// among them.
    pub(super) fn gradient(self, d: &mut [f32], target: Option<usize>, (row, words, scale): (Row, usize, f32)) {
        let factor = (1.0 + 2.0 * f64::from(self.z_loss) * row.log_partition) as f32;
        let all = self.smoothing * scale / words as f32;
        let own = target.map(|at| (at, (d[at] + scale) * factor - scale * (1.0 - self.smoothing) - all));
        d.iter_mut().for_each(|d| *d = *d * factor - all);
        own.into_iter().for_each(|(at, value)| d[at] = value);
    }
}
