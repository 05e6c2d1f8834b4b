//! A sparse Markov source.
//!
//! The next symbol depends on the last `order` symbols. After each context only `branching` symbols can come. One of
//! them is the symbol that follows the last one in the order of symbols (the first after the last), which ties all
//! contexts together: whatever the seed, every context leads to the same recurrent class, so the stationary
//! distribution is unique and the entropy rate one number. The others are drawn by Zipf's law, symbol r with a weight
//! of 1 / (r + 1)^zipf, and so frequent symbols stay frequent in the text. The chances of the successors of a context
//! are uniform random numbers, squared, divided by their sum.
//!
//! The entropy rate is the mean, over the stationary distribution of contexts, of the entropy of the next symbol
//! (Shannon 1948, section 7; Cover and Thomas, Elements of Information Theory, theorem 4.2.4).

use super::{EntropyRate, SplitMix, SyntheticSource};
use crate::error::{Error, Result};

/// Up to this many contexts the stationary distribution is computed; beyond it the entropy rate is estimated.
const MAX_EXACT: u64 = 1 << 22;

/// Tables of successors up to this many entries are kept, larger ones are made anew at each step.
const MAX_KEPT: u64 = 1 << 24;

/// Symbols simulated, in batches, where the entropy rate is estimated.
const ESTIMATE_BATCHES: usize = 64;
const ESTIMATE_BATCH: usize = 1 << 14;

/// Symbols passed over before a text begins, so that it does not show where the walk started.
const BURN_IN: usize = 1000;

/// A seeded sparse Markov source; see the module's text.
#[derive(Debug, Clone)]
pub struct Markov {
    symbols: u32,
    order: u32,
    branching: usize,
    seed: u64,
    contexts: u64,
    /// Sums of the symbols' weights in drawing successors.
    zipf: Vec<u64>,
    /// The successors of every context, if they are kept.
    pub(super) kept: Vec<Successor>,
    entropy: EntropyRate,
}

/// A symbol that can come next, with the sum of the weights up to its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Successor {
    symbol: u32,
    sum: u32,
}

impl Markov {
    /// A source of so many symbols (at least 2) and this order (at least 1), with `branching` possible successors of each
    /// context (at most the symbols, and at most 256), drawn by Zipf's law with this exponent (0 for uniformly).
    ///
    /// # Errors
    /// [`Error::Usage`] names the number that is out of range.
    pub fn new(symbols: usize, order: usize, branching: usize, zipf: f64, seed: u64) -> Result<Markov> {
        let limit = 1 << 24;
        if !(2..=limit).contains(&symbols) {
            return Err(Error::option("--symbols", format!("must be from 2 to {limit}, got {symbols}")));
        }
        if branching == 0 || branching > symbols.min(256) {
            let most = symbols.min(256);
            return Err(Error::option("--branching", format!("must be from 1 to {most}, got {branching}")));
        }
        if !(0.0..=10.0).contains(&zipf) {
            return Err(Error::option("--zipf", format!("must be from 0 to 10, got {zipf}")));
        }
        let contexts = u32::try_from(order).ok().filter(|&order| order > 0);
        let Some((order, contexts)) = contexts.and_then(|order| Some((order, (symbols as u64).checked_pow(order)?)))
        else {
            let what = format!("must be at least 1, with at most 2^64 contexts of {symbols} symbols, got {order}");
            return Err(Error::option("--order", what));
        };
        let mut sum = 0_u64;
        let weight = |rank: usize| (2_f64.powi(32) / ((rank + 1) as f64).powf(zipf)).max(1.0) as u64;
        let zipf = (0..symbols)
            .map(|rank| {
                sum += weight(rank);
                sum
            })
            .collect();
        let entropy = EntropyRate { nats: 0.0, standard_error: 0.0 };
        let mut source =
            Markov { symbols: symbols as u32, order, branching, seed, contexts, zipf, kept: Vec::new(), entropy };
        if contexts.saturating_mul(branching as u64) <= MAX_KEPT {
            source.kept = source.all_successors();
        }
        source.entropy = match source.exact_entropy() {
            Some(nats) => EntropyRate { nats, standard_error: 0.0 },
            None => source.estimated_entropy(),
        };
        Ok(source)
    }

    fn all_successors(&self) -> Vec<Successor> {
        let mut all = vec![Successor::default(); self.contexts as usize * self.branching];
        for (context, row) in all.chunks_exact_mut(self.branching).enumerate() {
            self.draw(context as u64, row);
        }
        all
    }

    /// The successors of a context, in the order in which they were drawn.
    fn successors<'a>(&'a self, context: u64, buffer: &'a mut [Successor; 256]) -> &'a [Successor] {
        if self.kept.is_empty() {
            let row = &mut buffer[..self.branching];
            self.draw(context, row);
            row
        } else {
            &self.kept[context as usize * self.branching..][..self.branching]
        }
    }

    fn draw(&self, context: u64, row: &mut [Successor]) {
        let mut random = SplitMix::keyed(self.seed, context);
        let next = (context % u64::from(self.symbols) + 1) % u64::from(self.symbols);
        let total = self.zipf[self.zipf.len() - 1];
        let mut sum = 0;
        for k in 0..row.len() {
            let mut symbol = next as u32;
            if k > 0 {
                let at = random.below(total);
                symbol = self.zipf.partition_point(|&sum| sum <= at) as u32;
                // A symbol that is there already gives way to the next one that is not.
                while row[..k].iter().any(|successor| successor.symbol == symbol) {
                    symbol = (symbol + 1) % self.symbols;
                }
            }
            // From 1 to 2^16, so that the sum of 256 fits.
            let uniform = random.below(1 << 16) as u32;
            sum += (u64::from(uniform * (uniform >> 1)) >> 15) as u32 + 1;
            row[k] = Successor { symbol, sum };
        }
    }

    fn after(&self, context: u64, symbol: u32) -> u64 {
        (context % (self.contexts / u64::from(self.symbols))) * u64::from(self.symbols) + u64::from(symbol)
    }

    /// The entropy rate by the stationary distribution, if there are few enough contexts and it is found.
    ///
    /// Power iteration with 0.9 P + 0.1, which has the same stationary distribution as P and no period.
    fn exact_entropy(&self) -> Option<f64> {
        if self.contexts > MAX_EXACT || self.kept.is_empty() {
            return None;
        }
        let n = self.contexts as usize;
        let mut now = vec![1.0 / n as f64; n];
        let mut next = vec![0.0; n];
        let work = n * self.branching;
        for _ in 0..(MAX_WORK / work).max(100) {
            next.iter_mut().zip(&now).for_each(|(next, now)| *next = 0.1 * now);
            for (context, row) in self.kept.chunks_exact(self.branching).enumerate() {
                let total = f64::from(row[row.len() - 1].sum);
                let mut before = 0;
                for successor in row {
                    let chance = f64::from(successor.sum - before) / total;
                    next[self.after(context as u64, successor.symbol) as usize] += 0.9 * now[context] * chance;
                    before = successor.sum;
                }
            }
            let sum: f64 = next.iter().sum();
            next.iter_mut().for_each(|p| *p /= sum);
            let moved: f64 = next.iter().zip(&now).map(|(a, b)| (a - b).abs()).sum();
            std::mem::swap(&mut now, &mut next);
            if moved < 1e-13 * (n as f64).sqrt() {
                let rows = self.kept.chunks_exact(self.branching);
                return Some(now.iter().zip(rows).map(|(p, row)| p * entropy_of(row)).sum());
            }
        }
        None
    }

    /// The mean entropy of the next symbol along a walk, with the standard error of the means of its batches.
    pub(super) fn estimated_entropy(&self) -> EntropyRate {
        let mut walk = Walk::new(self, u64::MAX);
        let mut buffer = [Successor::default(); 256];
        let means: Vec<f64> = (0..ESTIMATE_BATCHES)
            .map(|_| {
                let sum: f64 = (0..ESTIMATE_BATCH)
                    .map(|_| {
                        walk.step();
                        entropy_of(self.successors(walk.context, &mut buffer))
                    })
                    .sum();
                sum / ESTIMATE_BATCH as f64
            })
            .collect();
        let n = ESTIMATE_BATCHES as f64;
        let nats = means.iter().sum::<f64>() / n;
        let variance = means.iter().map(|mean| (mean - nats).powi(2)).sum::<f64>() / (n - 1.0);
        EntropyRate { nats, standard_error: (variance / n).sqrt() }
    }
}

/// Transitions that the power iteration may follow in all: some ten seconds.
const MAX_WORK: usize = 4_000_000_000;

/// Entropy of the next symbol, in nats.
fn entropy_of(row: &[Successor]) -> f64 {
    let total = f64::from(row[row.len() - 1].sum);
    let mut before = 0;
    let mut entropy = 0.0;
    for successor in row {
        let chance = f64::from(successor.sum - before) / total;
        entropy -= chance * chance.ln();
        before = successor.sum;
    }
    entropy
}

struct Walk<'a> {
    source: &'a Markov,
    context: u64,
    random: SplitMix,
}

impl<'a> Walk<'a> {
    fn new(source: &'a Markov, number: u64) -> Walk<'a> {
        let random = SplitMix::keyed(source.seed ^ 0x5741_4c4b, number);
        let mut walk = Walk { source, context: 0, random };
        for _ in 0..BURN_IN + source.order as usize {
            walk.step();
        }
        walk
    }

    fn step(&mut self) -> u32 {
        let mut buffer = [Successor::default(); 256];
        let row = self.source.successors(self.context, &mut buffer);
        let at = self.random.below(u64::from(row[row.len() - 1].sum)) as u32;
        let symbol = row[row.partition_point(|successor| successor.sum <= at)].symbol;
        self.context = self.source.after(self.context, symbol);
        symbol
    }
}

impl SyntheticSource for Markov {
    fn symbols(&self) -> usize {
        self.symbols as usize
    }

    fn entropy(&self) -> EntropyRate {
        self.entropy
    }

    fn walk(&self, number: u64) -> Box<dyn Iterator<Item = u32> + '_> {
        let mut walk = Walk::new(self, number);
        Box::new(std::iter::from_fn(move || Some(walk.step())))
    }
}
