//! Modified Kneser-Ney, interpolated or with back-off.
//!
//! The highest order works with counts, the lower ones with the number of different words that a sequence follows. With
//! c that count, c(h) the sum of those that go on from h, N_i(h) how many of them have count i (3: or more), and h' the
//! context without its oldest word:
//!
//! ```text
//! g(h)          = (D_1 N_1(h) + D_2 N_2(h) + D_3 N_3(h)) / c(h)
//! interpolated    p(w | h) = (c(h w) - D(c(h w))) / c(h) + g(h) p(w | h')
//! with back-off   p(w | h) = (c(h w) - D(c(h w))) / c(h)                                        if h w was seen
//!                            g(h) / (1 - sum of p(v | h') over the v seen after h) p(w | h')    else
//! ```
//!
//! Below single words stands the uniform distribution, which is added to theirs in both forms: of a text's words there
//! may be none that follows nothing, or one, the first, to which all that is taken from the others would go. The
//! discounts of each order come from n_i, the number of its sequences with count i: Y = n_1 / (n_1 + 2 n_2), D_i = i -
//! (i + 1) Y n_(i+1) / n_i.
//!
//! Source: S. Chen and J. Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", 1998, sections 3
//! and 4.

use super::counts::Counts;

/// What single words and longer sequences have of an order.
#[derive(Clone, Debug)]
struct Order {
    /// Of each sequence of the level: its count, or the words that it follows.
    counts: Vec<f64>,
    /// D_1, D_2, D_3.
    discounts: [f64; 3],
    /// Of each context, in the level above: what the lower order's probability is multiplied by, g or that of back-off; 0 where
    /// nothing is taken from the counts.
    lower: Vec<f64>,
    /// Of each context: the sum of the counts that go on from it.
    sums: Vec<f64>,
}

/// A modified Kneser-Ney model.
#[derive(Clone, Debug)]
pub(super) struct KneserNey {
    orders: Vec<Order>,
    backs_off: bool,
}

impl KneserNey {
    pub(super) fn new(counts: &Counts, backs_off: bool) -> Self {
        let highest = counts.levels.len();
        let mut model = Self { orders: Vec::new(), backs_off };
        for length in 1..=highest {
            let own = if length == highest {
                counts.levels[length - 1].counts.iter().map(|&c| c as f64).collect()
            } else {
                followed(counts, length)
            };
            let discounts = discounts(&own);
            let order = Order { counts: own, discounts, lower: Vec::new(), sums: Vec::new() };
            model.orders.push(order);
            model.close(counts, length);
        }
        model
    }

    /// Computes what contexts of `length` - 1 words leave to the lower order.
    fn close(&mut self, counts: &Counts, length: usize) {
        let contexts = if length == 1 { 1 } else { counts.levels[length - 2].words.len() };
        let (mut lower, mut sums) = (vec![1.0; contexts], vec![0.0; contexts]);
        let mut one = |context: &[u32], at: usize| {
            let Some(range) = counts.after(context) else { return };
            let order = &self.orders[length - 1];
            let sum: f64 = order.counts[range.clone()].iter().sum();
            // A sequence that stands only where the text begins follows nothing.
            if sum == 0.0 {
                return;
            }
            let left = range.clone().map(|i| discount(&order.discounts, order.counts[i])).sum::<f64>() / sum;
            let below = |i: usize| match context.split_first() {
                None => 1.0 / counts.vocabulary as f64,
                Some((_, rest)) => self.at(counts, rest, counts.levels[length - 1].words[i]),
            };
            let rest: f64 = if self.backs_off_from(context) {
                let seen = range.filter(|&i| order.counts[i] > 0.0);
                1.0 - seen.map(below).sum::<f64>()
            } else {
                1.0
            };
            // Where every word has been seen, none is backed off to.
            lower[at] = if rest > 1e-12 { left / rest } else { 0.0 };
            sums[at] = sum;
        };
        if length == 1 {
            one(&[], 0);
        } else {
            counts.for_each(length - 1, one);
        }
        let order = &mut self.orders[length - 1];
        (order.lower, order.sums) = (lower, sums);
    }

    /// Whether what was seen after a context leaves the lower order alone.
    fn backs_off_from(&self, context: &[u32]) -> bool {
        self.backs_off && !context.is_empty()
    }

    /// p(word | context), the last words of which count.
    pub(super) fn probability(&self, counts: &Counts, context: &[u32], word: u32) -> f64 {
        let first = context.len().saturating_sub(self.orders.len() - 1);
        self.at(counts, &context[first..], word)
    }

    /// The same for a context that is shorter than the order.
    fn at(&self, counts: &Counts, context: &[u32], word: u32) -> f64 {
        let below = || match context.split_first() {
            None => 1.0 / counts.vocabulary as f64,
            Some((_, rest)) => self.at(counts, rest, word),
        };
        let place = match context.split_last() {
            None => Some(0),
            Some((&last, before)) => counts.find(before, last),
        };
        let order = &self.orders[context.len()];
        let Some(place) = place.filter(|&place| order.sums[place] > 0.0) else { return below() };
        let count = counts.find(context, word).map_or(0.0, |at| order.counts[at]);
        let (sum, lower) = (order.sums[place], order.lower[place]);
        if lower == 0.0 {
            return count / sum;
        }
        let own = (count - discount(&order.discounts, count)) / sum;
        if self.backs_off_from(context) && count > 0.0 { own } else { own + lower * below() }
    }
}

/// How many different words each sequence of `length` words follows.
fn followed(counts: &Counts, length: usize) -> Vec<f64> {
    let mut all = vec![0.0; counts.levels[length - 1].words.len()];
    counts.for_each(length + 1, |words, _| {
        if let Some(at) = counts.find(&words[1..length], words[length]) {
            all[at] += 1.0;
        }
    });
    all
}

/// D_1, D_2, D_3 of an order with these counts.
fn discounts(counts: &[f64]) -> [f64; 3] {
    let n = [1.0, 2.0, 3.0, 4.0].map(|i| counts.iter().filter(|&&c| c == i).count() as f64);
    if n[0] == 0.0 {
        // Nothing that was seen once: nothing says how much an unseen one deserves.
        return [0.5; 3];
    }
    let y = n[0] / (n[0] + 2.0 * n[1]);
    std::array::from_fn(|i| {
        let count = (i + 1) as f64;
        let one = if n[i] > 0.0 { count - (count + 1.0) * y * n[i + 1] / n[i] } else { y };
        // Small texts have odd counts; no discount may take all, or nothing.
        one.clamp(0.05, 0.95 * count)
    })
}

fn discount(discounts: &[f64; 3], count: f64) -> f64 {
    match count {
        0.0 => 0.0,
        1.0 => discounts[0],
        2.0 => discounts[1],
        _ => discounts[2],
    }
}
