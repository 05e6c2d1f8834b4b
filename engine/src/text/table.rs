//! A table of distinct strings with counts: entries in the order of arrival, their bytes in one arena, and an
//! open-addressing index with linear probing.
//!
//! Building a corpus takes two look-ups in this table a word, and a look-up is bound by the cache and by mispredicted
//! branches. So a string of up to 15 bytes, as nearly all words are, is one 16-byte number, read at once with whatever
//! stands behind it masked away, and compared within its entry: a look-up touches two cache lines, the slot's and the
//! entry's. When the bytes were compared in the arena, the same corpus of books took 1.4 times as long. Two further
//! ideas gained nothing: looking words up 32 at a time, so that their cache misses overlap, and a small table of recent
//! words in front (2026-11).

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// What a string is found by, and how often it was counted.
#[derive(Debug, Clone, Copy)]
struct Entry {
    key: Key,
    count: u64,
}

/// The string itself if it has at most 15 bytes, padded with zeros, and its length as the last byte; else two hashes, and
/// [`LONG`] as the last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    first: u64,
    last: u64,
}

/// Longest string that is its own key.
const INLINE: usize = 15;

/// Stands where a short string has its length.
const LONG: u64 = 0xff << 56;

/// A slot of the index: the upper half is the hash, whose high bits also choose the slot, the lower half is the entry's
/// index plus one. Zero is an empty slot. Growing needs no string hashed again, and goes through both indices in order.
type Slot = u64;

/// Distinct strings with counts, each with an index from 0 in the order of arrival.
#[derive(Clone)]
pub(crate) struct Table {
    seed: u64,
    slots: Vec<Slot>,
    entries: Vec<Entry>,
    /// Where each string ends in the arena; it starts where the one before it ends.
    ends: Vec<usize>,
    arena: Vec<u8>,
}

/// Most strings of one table: an index plus one must fit the half of a slot.
pub(crate) const MAX_ENTRIES: usize = u32::MAX as usize - 1;

impl Table {
    /// An empty table. Its hash is seeded anew each time, so that no text can be written to make it slow.
    pub(crate) fn new() -> Table {
        let seed = RandomState::new().hash_one(0_u64);
        Table { seed, slots: vec![0; 64], entries: Vec::new(), ends: Vec::new(), arena: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that are in use; some more may be set aside.
    pub(crate) fn memory(&self) -> usize {
        let entry = size_of::<Entry>() + size_of::<usize>();
        size_of::<Slot>() * self.slots.len() + entry * self.entries.len() + self.arena.len()
    }

    /// An empty table that can be added to this one by [`absorb`](Self::absorb).
    pub(crate) fn another(&self) -> Table {
        Table { seed: self.seed, ..Table::new() }
    }

    /// Adds all strings of a table that [`another`](Self::another) gave, with their counts.
    ///
    /// They are taken in the order of their hashes, so that the index of this table is gone through from its beginning to its
    /// end: adding them in the order of arrival, each in another place, took three times as long (2026-11).
    ///
    /// # Panics
    /// Panics if the tables hash differently.
    pub(crate) fn absorb(&mut self, other: &Table) {
        assert_eq!(self.seed, other.seed, "tables of different hashes");
        // In this order a full part of the index would meet all that is to come.
        while (self.len() + other.len()) * 3 > self.slots.len() * 2 {
            self.grow();
        }
        for &content in other.slots.iter().filter(|&&content| content != 0) {
            let (hash, index) = ((content >> 32) as u32, (content as u32 - 1) as usize);
            let (entry, bytes) = (other.entries[index], other.get_bytes(index));
            match self.probe(entry.key, hash, bytes, 0..bytes.len()) {
                Ok(index) => self.entries[index].count += entry.count,
                Err(slot) => _ = self.insert(slot, hash, entry, bytes),
            }
        }
    }

    /// Forgets every string and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.slots.fill(0);
        self.entries.clear();
        self.ends.clear();
        self.arena.clear();
    }

    /// The string with this index.
    ///
    /// # Panics
    /// Panics if there is none, or if it was added by [`add_bytes`](Self::add_bytes) and is not UTF-8.
    #[track_caller]
    pub(crate) fn get(&self, index: usize) -> &str {
        std::str::from_utf8(self.get_bytes(index)).unwrap_or_else(|_| unreachable!("bytes in a table of text"))
    }

    /// The bytes of the string with this index, in a table of strings that need not be text.
    ///
    /// # Panics
    /// Panics if there is none.
    #[track_caller]
    #[inline]
    pub(crate) fn get_bytes(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.arena[start..self.ends[index]]
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
        self.find_in(text, 0..text.len())
    }

    /// The index of the string that stands in this range of a text; faster than [`find`](Self::find) where 16 bytes of the
    /// text can be read from its start on.
    ///
    /// # Panics
    /// Panics if the range is not one of the text; that it is whole characters is checked with debug assertions only.
    #[inline]
    pub(crate) fn find_in(&self, text: &str, range: Range<usize>) -> Option<usize> {
        debug_assert!(text.is_char_boundary(range.start) && text.is_char_boundary(range.end));
        self.find_bytes(text.as_bytes(), range)
    }

    /// The same for bytes that need not be text.
    ///
    /// # Panics
    /// Panics if the range is not one of the bytes.
    #[inline]
    pub(crate) fn find_bytes(&self, bytes: &[u8], range: Range<usize>) -> Option<usize> {
        let key = Key::of(self.seed, bytes, range.clone());
        self.probe(key, key.hash(self.seed), bytes, range).ok()
    }

    /// Counts a string `count` more times, adding it if it is new; its index.
    #[inline]
    pub(crate) fn add(&mut self, text: &str, count: u64) -> usize {
        self.add_in(text, 0..text.len(), count)
    }

    /// Counts the string that stands in this range of a text; see [`add`](Self::add) and [`find_in`](Self::find_in).
    ///
    /// # Panics
    /// Panics if the range is not one of the text; that it is whole characters is checked with debug assertions only.
    #[inline]
    pub(crate) fn add_in(&mut self, text: &str, range: Range<usize>, count: u64) -> usize {
        debug_assert!(text.is_char_boundary(range.start) && text.is_char_boundary(range.end));
        self.add_bytes(text.as_bytes(), range, count)
    }

    /// The same for bytes that need not be text.
    ///
    /// # Panics
    /// Panics if the range is not one of the bytes.
    #[inline]
    pub(crate) fn add_bytes(&mut self, bytes: &[u8], range: Range<usize>, count: u64) -> usize {
        let key = Key::of(self.seed, bytes, range.clone());
        let hash = key.hash(self.seed);
        match self.probe(key, hash, bytes, range.clone()) {
            Ok(index) => {
                self.entries[index].count += count;
                index
            }
            Err(slot) => self.insert(slot, hash, Entry { key, count }, &bytes[range]),
        }
    }

    /// The index of the string, or the empty slot where it belongs.
    #[inline]
    fn probe(&self, key: Key, hash: u32, bytes: &[u8], range: Range<usize>) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = first_slot(hash, self.slots.len());
        loop {
            let content = self.slots[slot];
            if content == 0 {
                return Err(slot);
            }
            if (content >> 32) as u32 == hash {
                let index = (content as u32 - 1) as usize;
                if self.entries[index].key == key && (!key.is_long() || self.get_bytes(index) == &bytes[range.clone()])
                {
                    return Ok(index);
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    #[cold]
    fn insert(&mut self, slot: usize, hash: u32, entry: Entry, bytes: &[u8]) -> usize {
        let index = self.entries.len();
        assert!(index < MAX_ENTRIES, "more than {MAX_ENTRIES} distinct tokens");
        self.slots[slot] = (u64::from(hash) << 32) | (index as u64 + 1);
        // Large tables grow by a quarter, not to the double: with millions of words that decides what fits.
        if index == self.entries.capacity() && index >= 1 << 16 {
            self.entries.reserve_exact(index / 4);
            self.ends.reserve_exact(index / 4);
        }
        if self.arena.len() + bytes.len() > self.arena.capacity() && self.arena.len() >= 1 << 20 {
            self.arena.reserve_exact(self.arena.len() / 4 + bytes.len());
        }
        self.arena.extend_from_slice(bytes);
        self.ends.push(self.arena.len());
        self.entries.push(entry);
        if self.entries.len() * 3 > self.slots.len() * 2 {
            self.grow();
        }
        index
    }

    fn grow(&mut self) {
        let mut slots = vec![0; self.slots.len() * 2];
        let mask = slots.len() - 1;
        for &content in self.slots.iter().filter(|&&content| content != 0) {
            let mut slot = first_slot((content >> 32) as u32, slots.len());
            while slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            slots[slot] = content;
        }
        self.slots = slots;
    }
}

/// Where a string of this hash stands, if no other stands there.
#[inline]
fn first_slot(hash: u32, slots: usize) -> usize {
    ((u64::from(hash) * slots as u64) >> 32) as usize
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} strings)", self.len())
    }
}

/// The folded 128-bit product, the mixing step of wyhash (Wang Yi, public domain).
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The fractional digits of pi.
const PI: [u64; 3] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0];

impl Key {
    /// The key of the string in this range of a text.
    #[inline]
    fn of(seed: u64, text: &[u8], range: Range<usize>) -> Key {
        let len = range.len();
        if len > INLINE {
            let (first, last) = hash_long(seed, &text[range]);
            return Key { first, last: last | LONG };
        }
        let bytes = match text[range.start..].first_chunk() {
            Some(bytes) => *bytes,
            None => {
                let mut bytes = [0; 16];
                bytes[..len].copy_from_slice(&text[range]);
                bytes
            }
        };
        let own = u128::from_le_bytes(bytes) & !(u128::MAX << (8 * len));
        Key { first: own as u64, last: (own >> 64) as u64 | (len as u64) << 56 }
    }

    #[inline]
    fn is_long(self) -> bool {
        self.last & LONG == LONG
    }

    #[inline]
    fn hash(self, seed: u64) -> u32 {
        let state = mix(self.first ^ seed, self.last ^ PI[0]);
        (mix(state ^ PI[1], PI[2] ^ seed) >> 32) as u32
    }
}

/// Two hashes of a string of more than 15 bytes.
fn hash_long(seed: u64, bytes: &[u8]) -> (u64, u64) {
    let (words, _) = bytes.as_chunks::<8>();
    let last = bytes.last_chunk().map_or(0, |&last| u64::from_le_bytes(last));
    words
        .iter()
        .map(|&word| u64::from_le_bytes(word))
        .chain([last])
        .fold((seed, !seed), |(a, b), word| (mix(a ^ word, PI[0]), mix(b ^ word, PI[1] ^ seed)))
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
        // Two tables in one: what both have, what one has, and a large one into a small one and the reverse.
        let mut small = table.another();
        ["x", "never added", "x"].into_iter().for_each(|text| _ = small.add(text, 5));
        let mut sum = table.another();
        [&small, &table, &small].into_iter().for_each(|part| sum.absorb(part));
        assert_eq!(sum.len(), oracle.len() + 1);
        let counted = |text: &str| sum.find(text).map(|index| (sum.get(index).to_owned(), sum.count(index)));
        for (text, &count) in &oracle {
            let more = if text == "x" { 20 } else { 0 };
            assert_eq!(counted(text), Some((text.clone(), count + more)));
        }
        assert_eq!(counted("never added"), Some(("never added".to_owned(), 10)));
        sum.clear();
        assert_eq!((sum.len(), sum.find(&order[0])), (0, None));
        assert_eq!(sum.add("a", 1), 0);
    }

    /// The same string is found wherever it stands in a text, and what stands around it does not matter; strings that
    /// differ only in zeros at their end are different.
    #[test]
    fn the_place_in_a_text_does_not_matter() {
        let mut table = Table::new();
        let strings: Vec<String> = (0..40).map(|len| "a\u{0}é".chars().cycle().take(len).collect()).collect();
        let zeros: Vec<String> = (1..20).map(|len| "\u{0}".repeat(len)).collect();
        for text in strings.iter().chain(&zeros) {
            assert_eq!(table.add(text, 1), table.len() - 1, "{text:?} is new");
        }
        for (index, text) in strings.iter().chain(&zeros).enumerate() {
            for (before, after) in [("", ""), ("x", "y"), ("中", "long enough to be read"), ("", "\u{0}\u{0}")] {
                let whole = format!("{before}{text}{after}");
                let range = before.len()..before.len() + text.len();
                assert_eq!(table.find_in(&whole, range.clone()), Some(index), "{whole:?}");
                assert_eq!(table.add_in(&whole, range, 1), index);
            }
            assert_eq!((table.get(index), table.count(index)), (text.as_str(), 5));
        }
    }

    #[test]
    fn hashes_spread_over_the_slots() {
        // 2^16 words into 2^16 slots: a random function leaves 1/e = 36.8 % of them empty.
        let used: std::collections::HashSet<u32> = (0..1 << 16)
            .map(|i| Key::of(7, format!("w{i}").as_bytes(), 0..format!("w{i}").len()).hash(7) >> 16)
            .collect();
        assert!((40_500..42_300).contains(&used.len()), "{} slots used", used.len());
    }
}
