//! How well classes are predicted.

use serde::Serialize;

use crate::config::TaskKind;
use crate::corpus::IGNORE;
use crate::report::{Align, Table};

use super::encoder::{Encoder, Sample};
use super::predict::Predictions;

/// How often each class was predicted for each true class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// The classes in their order.
    pub classes: Vec<String>,
    /// A row a true class, a column a predicted one.
    pub counts: Vec<Vec<u64>>,
}

/// The figures of one class against all others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassScore {
    /// Of what was predicted to be of the class, the share that is; 0 where nothing was.
    pub precision: f64,
    /// Of what is of the class, the share that was predicted to be; 0 where nothing is.
    pub recall: f64,
    /// 2 precision recall / (precision + recall); 0 where both are.
    pub f1: f64,
    /// How many are of the class.
    pub support: u64,
}

impl Confusion {
    /// Nothing predicted yet.
    pub fn new(classes: &[String]) -> Confusion {
        Confusion { classes: classes.to_vec(), counts: vec![vec![0; classes.len()]; classes.len()] }
    }

    /// One more.
    pub fn add(&mut self, truth: u32, predicted: u32) {
        self.counts[truth as usize][predicted as usize] += 1;
    }

    /// How many were predicted.
    pub fn total(&self) -> u64 {
        self.counts.iter().flatten().sum()
    }

    /// The share that was predicted rightly; 0 of none.
    pub fn accuracy(&self) -> f64 {
        let right: u64 = (0..self.classes.len()).map(|class| self.counts[class][class]).sum();
        ratio(right, self.total())
    }

    /// The figures of one class.
    pub fn class(&self, class: usize) -> ClassScore {
        let right = self.counts[class][class];
        let predicted = self.counts.iter().map(|row| row[class]).sum();
        let support = self.counts[class].iter().sum();
        ClassScore {
            precision: ratio(right, predicted),
            recall: ratio(right, support),
            f1: ratio(2 * right, predicted + support),
            support,
        }
    }

    /// The mean of the classes' F1.
    pub fn macro_f1(&self) -> f64 {
        (0..self.classes.len()).map(|class| self.class(class).f1).sum::<f64>() / self.classes.len() as f64
    }

    /// The class that precision, recall and F1 are of where there are two: the second.
    pub fn positive(&self) -> Option<usize> {
        (self.classes.len() == 2).then_some(1)
    }

    /// Precision, recall and F1 of every class, and the matrix, for people.
    pub fn tables(&self) -> Vec<String> {
        let right = Align::Right;
        let mut scores = Table::new(&[
            ("class", Align::Left),
            ("precision", right),
            ("recall", right),
            ("F1", right),
            ("samples", right),
        ]);
        for (place, name) in self.classes.iter().enumerate() {
            let ClassScore { precision, recall, f1, support } = self.class(place);
            let percent = |share: f64| format!("{:.2} %", 100.0 * share);
            scores.row([name.clone(), percent(precision), percent(recall), percent(f1), support.to_string()]);
        }
        let columns = self.classes.iter().map(|class| (class.as_str(), right));
        let mut matrix =
            Table::new(&std::iter::once(("true \\ predicted", Align::Left)).chain(columns).collect::<Vec<_>>());
        for (name, counts) in self.classes.iter().zip(&self.counts) {
            matrix.row(std::iter::once(name.clone()).chain(counts.iter().map(u64::to_string)));
        }
        let mut lines = scores.lines();
        lines.push(String::new());
        lines.extend(matrix.lines());
        lines
    }
}

fn ratio(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

/// Predictions beside what is true.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// The mean of -ln p of the true classes.
    pub loss: f64,
    /// Who was taken for whom.
    pub confusion: Confusion,
    /// Of sentences: words that no training sample has.
    pub tags: Option<TagScores>,
}

/// What is told of tags beside [`Confusion`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TagScores {
    /// Words that no training sample has.
    pub unknown: u64,
    /// The share of them with the right tag.
    pub unknown_accuracy: f64,
    /// The share of the other words with the right tag.
    pub known_accuracy: f64,
}

/// Numbers beside what is true.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct NumberScores {
    /// How many there are.
    pub count: u64,
    /// The mean of the squared errors: the loss.
    pub mean_squared_error: f64,
    /// The mean of the errors' magnitudes.
    pub mean_absolute_error: f64,
    /// 1 - the squared errors' sum by that of what always says the mean; 0 where all numbers are the same.
    pub r2: f64,
}

impl NumberScores {
    /// The scores of pairs of a prediction and what is true.
    fn new(pairs: &[(f64, f64)]) -> NumberScores {
        let over = |sum: f64| sum / pairs.len().max(1) as f64;
        let mean = over(pairs.iter().map(|(_, truth)| truth).sum());
        let squares: f64 = pairs.iter().map(|(y, truth)| (y - truth).powi(2)).sum();
        let around: f64 = pairs.iter().map(|(_, truth)| (truth - mean).powi(2)).sum();
        NumberScores {
            count: pairs.len() as u64,
            mean_squared_error: over(squares),
            mean_absolute_error: over(pairs.iter().map(|(y, truth)| (y - truth).abs()).sum()),
            r2: if around > 0.0 { 1.0 - squares / around } else { 0.0 },
        }
    }

    /// Scores an output whose labels are numbers.
    pub fn of(encoder: &Encoder, output: usize, samples: &[Sample], predictions: &Predictions) -> NumberScores {
        let mut pairs = Vec::new();
        for (place, sample) in samples.iter().enumerate() {
            let predicted = predicted(encoder, output, sample).zip(predictions.probabilities(place));
            let scored = predicted.filter_map(|((_, target), row)| Some((target, row?)).filter(|_| target != IGNORE));
            pairs.extend(scored.map(|(t, row)| (f64::from(row[0]), f64::from(f32::from_bits(t)))));
        }
        NumberScores::new(&pairs)
    }
}

/// The targets of an output that there are predictions for, with the place of the token of each: one for each word of a sentence, and
/// for each step of a row that is tagged.
fn predicted<'a>(encoder: &'a Encoder, output: usize, sample: &'a Sample) -> impl Iterator<Item = (usize, u32)> + 'a {
    let tags = encoder.kind() == TaskKind::Tag;
    let is_word = |at: usize| sample.tokens.get(at).is_some_and(|&token| encoder.is_word(token));
    let each = sample.targets.len() / encoder.outputs().len();
    let own = sample.targets[output * each..][..each].iter().copied().enumerate();
    own.filter(move |&(at, _)| !tags || is_word(at))
}

impl Scored {
    /// Scores predictions of samples by the first output.
    pub fn new(encoder: &Encoder, samples: &[Sample], predictions: &Predictions, threshold: f32) -> Scored {
        Scored::of(encoder, 0, samples, (predictions, threshold))
    }

    /// Scores an output whose labels are classes.
    pub fn of(
        encoder: &Encoder,
        output: usize,
        samples: &[Sample],
        (predictions, threshold): (&Predictions, f32),
    ) -> Scored {
        let mut confusion = Confusion::new(&encoder.outputs()[output].classes);
        let (mut nats, mut unknown, mut right) = (0.0, [0u64; 2], [0u64; 2]);
        let mut words = false;
        for (place, sample) in samples.iter().enumerate() {
            let tags = encoder.kind() == TaskKind::Tag;
            let rows = predictions.probabilities(place).zip(predictions.of(place, threshold));
            let predicted = predicted(encoder, output, sample).zip(rows);
            for ((at, target), (row, prediction)) in predicted.filter(|((_, target), _)| *target != IGNORE) {
                let (Some(row), Some(prediction)) = (row, prediction) else { continue };
                confusion.add(target, prediction.class);
                nats -= f64::from(row[target as usize]).max(f64::MIN_POSITIVE).ln();
                if tags && !encoder.is_of_arrays() {
                    words = true;
                    let kind = usize::from(encoder.is_unknown(sample.tokens[at]));
                    unknown[kind] += 1;
                    right[kind] += u64::from(prediction.class == target);
                }
            }
        }
        let tags = words.then(|| TagScores {
            unknown: unknown[1],
            unknown_accuracy: ratio(right[1], unknown[1]),
            known_accuracy: ratio(right[0], unknown[0]),
        });
        Scored { loss: nats / confusion.total().max(1) as f64, confusion, tags }
    }
}

/// The threshold with the best figure on samples of two classes, given as (probability of the second, whether it is of it): half
/// way between two probabilities that follow each other, and of equals the nearest to one half. `figure` takes the confusion's
/// true positives, false positives, false negatives and true negatives.
pub fn best_threshold(samples: &[(f32, bool)], figure: impl Fn([u64; 4]) -> f64) -> f32 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = sorted.iter().filter(|(_, second)| *second).count() as u64;
    let negatives = sorted.len() as u64 - positives;
    // Below the threshold: so many of the second class, so many of the first.
    let (mut missed, mut rejected) = (0, 0);
    let mut best = (f64::NEG_INFINITY, 0.5f32);
    for at in 0..=sorted.len() {
        let before = at.checked_sub(1).map_or(0.0, |before| sorted[before].0);
        let after = sorted.get(at).map_or(1.0, |after| after.0);
        if at == 0 || before < after {
            let found = figure([positives - missed, negatives - rejected, missed, rejected]);
            // One half itself, where it lies between the two.
            let threshold = if before < 0.5 && 0.5 <= after { 0.5 } else { before + (after - before) / 2.0 };
            let nearer = (threshold - 0.5).abs() < (best.1 - 0.5).abs();
            if found > best.0 || found == best.0 && nearer {
                best = (found, threshold);
            }
        }
        match sorted.get(at) {
            Some((_, true)) => missed += 1,
            Some((_, false)) => rejected += 1,
            None => {}
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_confusion_matrix() {
        let mut confusion = Confusion::new(&["ham".into(), "spam".into()]);
        for (truth, predicted, times) in [(0, 0, 90), (0, 1, 2), (1, 0, 3), (1, 1, 5)] {
            (0..times).for_each(|_| confusion.add(truth, predicted));
        }
        assert_eq!(confusion.accuracy(), 0.95);
        let spam = confusion.class(1);
        assert_eq!((spam.precision, spam.recall, spam.support), (5.0 / 7.0, 5.0 / 8.0, 8));
        assert!((spam.f1 - 2.0 / (7.0 / 5.0 + 8.0 / 5.0)).abs() < 1e-12);
        assert_eq!(
            Confusion::new(&["a".into(), "b".into()]).class(0),
            ClassScore { precision: 0.0, recall: 0.0, f1: 0.0, support: 0 }
        );
        insta::assert_snapshot!(confusion.tables().join("\n"), @r"
        class   precision    recall        F1   samples
        ===============================================
        ham       96.77 %   97.83 %   97.30 %        92
        spam      71.43 %   62.50 %   66.67 %         8

        true \ predicted   ham   spam
        =============================
        ham                 90      2
        spam                 3      5
        ");
    }

    #[test]
    fn numbers_are_scored_by_their_errors() {
        let scores = NumberScores::new(&[(1.0, 2.0), (3.0, 3.0), (7.0, 4.0)]);
        assert_eq!((scores.count, scores.mean_squared_error), (3, 10.0 / 3.0));
        assert_eq!(scores.mean_absolute_error, 4.0 / 3.0);
        assert_eq!(scores.r2, 1.0 - 10.0 / 2.0);
        assert_eq!(NumberScores::new(&[(1.0, 2.0), (1.0, 2.0)]).r2, 0.0);
        assert_eq!(NumberScores::new(&[]), NumberScores::default());
    }

    #[test]
    fn the_threshold_is_the_best_and_of_equals_the_nearest_to_a_half() {
        let accuracy = |[tp, fp, fne, tn]: [u64; 4]| ratio(tp + tn, tp + fp + fne + tn);
        let f1 = |[tp, fp, fne, _]: [u64; 4]| ratio(2 * tp, 2 * tp + fp + fne);
        assert_eq!(best_threshold(&[(0.1, false), (0.9, true)], accuracy), 0.5);
        assert_eq!(best_threshold(&[(0.5, false), (0.75, true), (0.25, false)], accuracy), 0.625);
        let hard = [(0.125, false), (0.25, true), (0.5, false), (0.75, true)];
        assert_eq!(best_threshold(&hard, f1), 0.1875);
        assert_eq!(best_threshold(&[(0.25, false), (0.25, true)], accuracy), 0.5, "equal probabilities are not parted");
        assert_eq!(best_threshold(&[], accuracy), 0.5);
    }
}
