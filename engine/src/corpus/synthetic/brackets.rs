//! A language of nested brackets.
//!
//! At each step, with the chance `filler`, one of the filler symbols comes, each as likely as the others, and nothing
//! else changes. Otherwise a bracket comes: at depth 0 it opens, at the greatest depth it closes, between them it opens
//! with the chance `open`. Each kind of opening bracket is as likely as the others; a closing bracket is of the kind of
//! the one that it closes. To know it, a model must remember the kinds of all open brackets, across whatever stands
//! between.
//!
//! The depth is a birth-death chain, so its stationary distribution is known in closed form: with rates a(d) of opening
//! and b(d) of closing, p(d + 1) / p(d) = a(d) / b(d + 1). Whoever knows the past knows depth and kinds, so with h the
//! entropy of a coin the entropy rate is exactly h(filler) + filler ln(fillers) + (1 - filler) sum over d of p(d)
//! (h(a(d)) + a(d) ln(kinds)).

use super::{EntropyRate, SplitMix, SyntheticSource};
use crate::error::{Error, Result};

/// Most kinds of brackets, so that all symbols can be written as single characters.
const MAX_KINDS: usize = 26;

/// Most filler symbols.
const MAX_FILLERS: usize = 10;

/// Chances are multiples of this, so that the walk is the same on every machine.
const GRAIN: f64 = 1.0 / (1_u64 << 32) as f64;

/// Nested brackets with fillers; see the module's text.
#[derive(Debug, Clone)]
pub struct Brackets {
    kinds: u32,
    fillers: u32,
    max_depth: usize,
    /// Chances, as multiples of the grain.
    open: u64,
    filler: u64,
    seed: u64,
}

impl Brackets {
    /// A language with so many kinds of brackets (1 to 26), nested at most so deep (at least 1), which open with the chance
    /// `open` (more than 0, less than 1), and with so many filler symbols (0 to 10) that come with the chance `filler`
    /// (0 exactly where there are no filler symbols, less than 1).
    ///
    /// # Errors
    /// [`Error::Usage`] names the number that is out of range.
    pub fn new(
        kinds: usize,
        max_depth: usize,
        open: f64,
        (fillers, filler): (usize, f64),
        seed: u64,
    ) -> Result<Brackets> {
        if !(1..=MAX_KINDS).contains(&kinds) {
            return Err(Error::option("--kinds", format!("must be from 1 to {MAX_KINDS}, got {kinds}")));
        }
        if !(1..=1 << 20).contains(&max_depth) {
            return Err(Error::option("max-depth", format!("must be from 1 to {}, got {max_depth}", 1 << 20)));
        }
        if !(open > 0.0 && open < 1.0) {
            return Err(Error::option("--open", format!("must be more than 0 and less than 1, got {open}")));
        }
        if fillers > MAX_FILLERS {
            return Err(Error::option("--fillers", format!("must be from 0 to {MAX_FILLERS}, got {fillers}")));
        }
        if !(0.0..1.0).contains(&filler) || (filler > 0.0) != (fillers > 0) {
            return Err(Error::option(
                "filler",
                format!("must be from 0 to less than 1, and 0 exactly where there are no fillers, got {filler}"),
            ));
        }
        Ok(Brackets {
            kinds: kinds as u32,
            fillers: fillers as u32,
            max_depth,
            open: ((open / GRAIN) as u64).max(1),
            filler: (filler / GRAIN) as u64,
            seed,
        })
    }

    /// The chance that a bracket opens at this depth.
    fn opens(&self, depth: usize) -> f64 {
        match depth {
            0 => 1.0,
            _ if depth == self.max_depth => 0.0,
            _ => self.open as f64 * GRAIN,
        }
    }
}

/// Entropy of a coin, in nats.
fn coin(p: f64) -> f64 {
    let term = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
    term(p) + term(1.0 - p)
}

impl SyntheticSource for Brackets {
    fn symbols(&self) -> usize {
        (2 * self.kinds + self.fillers) as usize
    }

    fn entropy(&self) -> EntropyRate {
        // Weights of the depths, kept in range however steeply they rise or fall.
        let mut logs = vec![0.0];
        for depth in 1..=self.max_depth {
            let ratio = self.opens(depth - 1) / (1.0 - self.opens(depth));
            logs.push(logs[depth - 1] + ratio.ln());
        }
        let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut total, mut brackets) = (0.0, 0.0);
        for (depth, log) in logs.iter().enumerate() {
            let weight = (log - top).exp();
            let opens = self.opens(depth);
            total += weight;
            brackets += weight * (coin(opens) + opens * f64::from(self.kinds).ln());
        }
        let filler = self.filler as f64 * GRAIN;
        let fillers = if self.fillers > 0 { filler * f64::from(self.fillers).ln() } else { 0.0 };
        let nats = coin(filler) + fillers + (1.0 - filler) * brackets / total;
        EntropyRate { nats, standard_error: 0.0 }
    }

    fn walk(&self, number: u64) -> Box<dyn Iterator<Item = u32> + '_> {
        let mut random = SplitMix::keyed(self.seed ^ 0x4252_4143, number);
        let mut stack: Vec<u32> = Vec::new();
        Box::new(std::iter::from_fn(move || {
            if random.below(1 << 32) < self.filler {
                return Some(2 * self.kinds + random.below(u64::from(self.fillers)) as u32);
            }
            let opens = match stack.len() {
                0 => true,
                depth if depth == self.max_depth => false,
                _ => random.below(1 << 32) < self.open,
            };
            if opens {
                stack.push(random.below(u64::from(self.kinds)) as u32);
                return stack.last().copied();
            }
            stack.pop().map(|kind| self.kinds + kind)
        }))
    }

    /// Opening brackets are the letters a, b, c, closing ones A, B, C, fillers digits.
    fn text(&self, symbol: u32) -> String {
        let (first, index) = if symbol < self.kinds {
            (b'a', symbol)
        } else if symbol < 2 * self.kinds {
            (b'A', symbol - self.kinds)
        } else {
            (b'0', symbol - 2 * self.kinds)
        };
        char::from(first + index as u8).to_string()
    }
}
