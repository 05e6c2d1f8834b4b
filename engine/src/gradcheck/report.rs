//! What a check found.

use crate::graph::ParamSpec;
use crate::network::LossScale;
use crate::report::{Align, Table, count};
use serde::Serialize;

/// One entry of a gradient beside what it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The element, in row-major order.
    pub index: usize,
    /// The derivative that the gradient claims.
    pub claimed: f64,
    /// What it is compared with.
    pub expected: f64,
    /// |claimed - expected| / tolerance: at most 1 where the entry is right; the largest f64 where it is no number.
    pub ratio: f64,
}

impl Finding {
    pub(super) fn new(index: usize, claimed: f64, expected: f64, tolerance: f64) -> Self {
        let error = (claimed - expected).abs();
        // 0 / 0 is right; a NaN never is.
        let ratio = if error == 0.0 { 0.0 } else { error / tolerance };
        Self { index, claimed, expected, ratio: if ratio.is_nan() { f64::MAX } else { ratio.min(f64::MAX) } }
    }
}

/// The comparison of one tensor's gradient.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorRow {
    /// `lstm_1/recurrent_kernel`
    pub tensor: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Entries that were compared.
    pub checked: u64,
    /// Entries that were left out, since a relu has its kink there.
    pub kinks: u64,
    /// Entries outside their tolerance.
    pub wrong: u64,
    /// The entry with the largest ratio; absent where none was compared.
    pub worst: Option<Finding>,
}

impl TensorRow {
    pub(super) fn new(spec: &ParamSpec) -> Self {
        let (tensor, shape) = (spec.name.clone(), spec.shape.clone());
        Self { tensor, shape, checked: 0, kinks: 0, wrong: 0, worst: None }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.checked += 1;
        self.wrong += u64::from(finding.ratio > 1.0);
        if self.worst.as_ref().is_none_or(|worst| finding.ratio > worst.ratio) {
            self.worst = Some(finding);
        }
    }

    fn ratio(&self) -> f64 {
        self.worst.as_ref().map_or(0.0, |worst| worst.ratio)
    }

    /// `lstm_1/recurrent_kernel[3, 17]`
    fn place(&self, index: usize) -> String {
        let mut rest = index;
        let mut at: Vec<String> = Vec::with_capacity(self.shape.len());
        for &n in self.shape.iter().rev() {
            at.push((rest % n).to_string());
            rest /= n;
        }
        at.reverse();
        format!("{}[{}]", self.tensor, at.join(", "))
    }
}

/// A gradient that was compared with another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// `f64`, or the instruction set of an f32 gradient.
    pub gradient: String,
    /// `central differences`, or `f64`.
    pub against: String,
    /// Whether the network ran with its fusions; absent for f64, which has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fused: Option<bool>,
    /// The loss of the last step.
    pub loss: f64,
    /// One a parameter tensor; and of f32, the losses of all steps as `loss`.
    pub tensors: Vec<TensorRow>,
}

impl Comparison {
    fn name(&self) -> String {
        match self.fused {
            Some(false) => format!("{} unfused", self.gradient),
            _ => self.gradient.clone(),
        }
    }

    /// The row with the largest ratio.
    pub fn worst(&self) -> Option<&TensorRow> {
        self.tensors.iter().max_by(|a, b| a.ratio().total_cmp(&b.ratio()))
    }
}

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Whether every entry was within its tolerance.
    pub passed: bool,
    /// Numbers that the model trains.
    pub parameters: u64,
    /// The size of the vocabulary.
    pub vocabulary: usize,
    /// T
    pub steps: usize,
    /// N
    pub rows: usize,
    /// Consecutive steps, the state being carried from each to the next.
    pub batches: usize,
    /// What everything was drawn from.
    pub seed: u64,
    /// What the gradient is of.
    pub loss_scale: LossScale,
    /// The relative tolerance of central differences.
    pub rtol: f64,
    /// What is added to that for the rounding of the differences, at their usual step.
    pub floor: f64,
    /// The tolerance of an f32 gradient, relative to the size of each entry.
    pub single: f64,
    /// The comparisons.
    pub comparisons: Vec<Comparison>,
}

impl Report {
    /// The worst parameter: the first comparison that failed, else the largest ratio; with where, what and by how much.
    pub fn worst(&self) -> Option<String> {
        let ratio = |c: &Comparison| c.worst().map_or(0.0, TensorRow::ratio);
        let failed = self.comparisons.iter().find(|c| ratio(c) > 1.0);
        let comparison = failed.or_else(|| self.comparisons.iter().max_by(|a, b| ratio(a).total_cmp(&ratio(b))))?;
        let row = comparison.worst()?;
        let worst = row.worst.as_ref()?;
        Some(format!(
            "{}: {} claims {:e}, {} give {:e}: {} times the tolerance",
            row.place(worst.index),
            comparison.name(),
            worst.claimed,
            comparison.against,
            worst.expected,
            ratio_text(worst.ratio),
        ))
    }

    /// The table that the command prints: a row a tensor, a column a comparison with its largest ratio.
    pub fn lines(&self) -> Vec<String> {
        let mut columns = vec![("parameter".to_owned(), Align::Left), ("shape".to_owned(), Align::Left)];
        columns.push(("entries".to_owned(), Align::Right));
        columns.extend(self.comparisons.iter().map(|c| (c.name(), Align::Right)));
        let columns: Vec<(&str, Align)> = columns.iter().map(|(name, align)| (name.as_str(), *align)).collect();
        let mut table = Table::new(&columns);
        let Some(differences) = self.comparisons.first() else { return Vec::new() };
        for (p, row) in differences.tensors.iter().enumerate() {
            let shape: Vec<String> = row.shape.iter().map(usize::to_string).collect();
            let mut entries = vec![row.tensor.clone(), shape.join(" x "), count(row.checked)];
            entries.extend(self.comparisons.iter().map(|c| ratio_text(c.tensors[p].ratio())));
            table.row(entries);
        }
        table.lines()
    }
}

fn ratio_text(ratio: f64) -> String {
    if ratio < 1e4 { format!("{ratio:.4}") } else { format!("{ratio:.1e}") }
}
