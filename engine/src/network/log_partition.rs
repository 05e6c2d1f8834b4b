//! What the scores of heads that learn without their sum came to.

use serde::{Serialize, Serializer};

use crate::graph::Output;
use crate::heads::LogPartitionSums;

/// ln Z of the rows of an output that were evaluated, Z the sum of the exponentials of a row's scores over the
/// vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct LogPartition {
    /// The name of the output.
    pub output: String,
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub deviation: f64,
}

/// The [`LogPartition`] of each output whose training does not compute ln Z (sampled softmax, NCE), if any row was
/// evaluated.
///
/// Serialised, a single one is `[mean, deviation]`, several are an object with the names of the outputs as keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogPartitions(Vec<LogPartition>);

impl LogPartitions {
    /// By what each output's heads have noted, replica after replica.
    pub(super) fn new(outputs: &[Output], noted: impl Iterator<Item = Vec<Option<LogPartitionSums>>>) -> Self {
        let mut sums = vec![[0.0; 3]; outputs.len()];
        for replica in noted {
            for ([count, sum, squares], partition) in sums.iter_mut().zip(replica) {
                let partition = partition.unwrap_or_default();
                *count += partition.count as f64;
                *sum += partition.sum;
                *squares += partition.squares;
            }
        }
        let of_rows = outputs.iter().zip(sums).filter(|(_, [count, ..])| *count > 0.0);
        let each = of_rows.map(|(output, [count, sum, squares])| {
            let mean = sum / count;
            let deviation = (squares / count - mean * mean).max(0.0).sqrt();
            LogPartition { output: output.name().to_owned(), mean, deviation }
        });
        Self(each.collect())
    }

    /// Each.
    pub fn iter(&self) -> std::slice::Iter<'_, LogPartition> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each behind `what`, and behind the name of its output where there are several.
    pub fn named(&self, what: &str) -> impl Iterator<Item = (String, &LogPartition)> {
        let name = move |of: &LogPartition| match self.0.len() {
            1 => what.to_owned(),
            _ => format!("{what} of {}", of.output),
        };
        self.iter().map(move |of| (name(of), of))
    }
}

impl Serialize for LogPartitions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [LogPartition { mean, deviation, .. }] => (mean, deviation).serialize(serializer),
            several => serializer.collect_map(several.iter().map(|of| (&of.output, (of.mean, of.deviation)))),
        }
    }
}
