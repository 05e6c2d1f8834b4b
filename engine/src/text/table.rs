//! A table of distinct strings with counts: one arena of bytes, entries in the order of arrival, and an
//! open-addressing index with linear probing at most half full.
//!
//! Building a corpus of words is one look-up in this table a word, twice; the standard map with an owned `String` a
//! key costs several times as much in memory and time.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// Where an entry's bytes lie in the arena, and how often it was counted.
#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: u64,
    len: u32,
    count: u64,
}

/// A slot of the index: the upper half is the hash, whose low bits also choose the slot, the lower half is the entry's
/// index plus one. Zero is an empty slot. Growing needs no string hashed again.
type Slot = u64;

/// Distinct strings with counts, each with an index from 0 in the order of arrival.
#[derive(Clone)]
pub(crate) struct Table {
    seed: u64,
    slots: Vec<Slot>,
    entries: Vec<Entry>,
    arena: String,
}

/// Most strings of one table: an index plus one must fit the half of a slot.
pub(crate) const MAX_ENTRIES: usize = u32::MAX as usize - 1;

impl Table {
    /// An empty table. Its hash is seeded anew each time, so that no text can be written to make it slow.
    pub(crate) fn new() -> Table {
        let seed = RandomState::new().hash_one(0_u64);
        Table { seed, slots: vec![0; 64], entries: Vec::new(), arena: String::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The string with this index.
    ///
    /// # Panics
    /// Panics if there is none.
    #[track_caller]
    pub(crate) fn get(&self, index: usize) -> &str {
        let entry = self.entries[index];
        &self.arena[entry.offset as usize..entry.offset as usize + entry.len as usize]
    }

    /// How often the string with this index was counted.
    #[track_caller]
    pub(crate) fn count(&self, index: usize) -> u64 {
        self.entries[index].count
    }

    /// Every string with its count, in the order of arrival.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        (0..self.len()).map(|index| (self.get(index), self.count(index)))
    }

    /// The index of a string.
    #[inline]
    pub(crate) fn find(&self, text: &str) -> Option<usize> {
        let tag = hash(self.seed, text.as_bytes());
        self.probe(tag, text).ok()
    }

    /// Counts a string `count` more times, adding it if it is new; its index.
    #[inline]
    pub(crate) fn add(&mut self, text: &str, count: u64) -> usize {
        let tag = hash(self.seed, text.as_bytes());
        match self.probe(tag, text) {
            Ok(index) => {
                self.entries[index].count += count;
                index
            }
            Err(slot) => self.insert(slot, tag, text, count),
        }
    }

    /// Forgets every string and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.slots.fill(0);
        self.entries.clear();
        self.arena.clear();
    }

    /// The index of the string, or the empty slot where it belongs.
    #[inline]
    fn probe(&self, tag: u32, text: &str) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = tag as usize & mask;
        loop {
            let content = self.slots[slot];
            if content == 0 {
                return Err(slot);
            }
            if (content >> 32) as u32 == tag {
                let index = (content as u32 - 1) as usize;
                let entry = self.entries[index];
                let start = entry.offset as usize;
                if &self.arena.as_bytes()[start..start + entry.len as usize] == text.as_bytes() {
                    return Ok(index);
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    #[cold]
    fn insert(&mut self, slot: usize, tag: u32, text: &str, count: u64) -> usize {
        let index = self.entries.len();
        assert!(index < MAX_ENTRIES, "more than {MAX_ENTRIES} distinct tokens");
        self.slots[slot] = (u64::from(tag) << 32) | (index as u64 + 1);
        self.entries.push(Entry { offset: self.arena.len() as u64, len: text.len() as u32, count });
        self.arena.push_str(text);
        if self.entries.len() * 2 > self.slots.len() {
            self.grow();
        }
        index
    }

    fn grow(&mut self) {
        let mut slots = vec![0; self.slots.len() * 2];
        let mask = slots.len() - 1;
        for &content in self.slots.iter().filter(|&&content| content != 0) {
            let mut slot = (content >> 32) as usize & mask;
            while slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            slots[slot] = content;
        }
        self.slots = slots;
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} strings)", self.len())
    }
}

/// The upper half of a folded 128-bit product, the mixing step of wyhash (Wang Yi, public domain).
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

// Odd 64-bit constants with as many ones as zeros: the fractional digits of pi.
const PI: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];

#[inline]
fn hash(seed: u64, bytes: &[u8]) -> u32 {
    let read8 = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let read4 = |at: usize| {
        let mut word = [0; 4];
        word.copy_from_slice(&bytes[at..at + 4]);
        u64::from(u32::from_le_bytes(word))
    };
    let len = bytes.len();
    let mut state = seed ^ len as u64;
    let (a, b) = match len {
        0 => (0, 0),
        1..=3 => {
            let three = (u64::from(bytes[0]) << 16) | (u64::from(bytes[len / 2]) << 8) | u64::from(bytes[len - 1]);
            (three, 0)
        }
        4..=8 => (read4(0), read4(len - 4)),
        9..=16 => (read8(0), read8(len - 8)),
        _ => {
            let mut at = 0;
            while at + 16 < len {
                state = mix(read8(at) ^ PI[0] ^ state, read8(at + 8) ^ PI[1]);
                at += 16;
            }
            (read8(len - 16), read8(len - 8))
        }
    };
    (mix(mix(a ^ PI[0] ^ state, b ^ PI[1]), PI[0] ^ len as u64) >> 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn counts_as_the_standard_map_does() {
        let mut table = Table::new();
        let mut oracle: HashMap<String, u64> = HashMap::new();
        let mut order = Vec::new();
        for i in 0_u64..200_000 {
            // Strings of every length from 0 to 40, with many repetitions.
            let n = i.wrapping_mul(i).wrapping_mul(0x9e37_79b9) % 30_011;
            let text = "x".repeat((n % 41) as usize) + &(n / 41).to_string()[..usize::from(n % 3 != 0)];
            table.add(&text, 1 + i % 3);
            if !oracle.contains_key(&text) {
                order.push(text.clone());
            }
            *oracle.entry(text).or_default() += 1 + i % 3;
        }
        assert_eq!(table.len(), oracle.len());
        for (index, text) in order.iter().enumerate() {
            assert_eq!(table.find(text), Some(index));
            assert_eq!((table.get(index), table.count(index)), (text.as_str(), oracle[text]));
        }
        assert_eq!(table.find("never added"), None);
        table.clear();
        assert_eq!((table.len(), table.find(&order[0])), (0, None));
        assert_eq!(table.add("a", 1), 0);
    }

    #[test]
    fn hashes_spread_over_the_slots() {
        // 2^16 words into 2^16 slots: a random function leaves 1/e = 36.8 % of them empty.
        let used: std::collections::HashSet<u32> =
            (0..1 << 16).map(|i| hash(7, format!("w{i}").as_bytes()) & 0xffff).collect();
        assert!((40_500..42_300).contains(&used.len()), "{} slots used", used.len());
    }
}
