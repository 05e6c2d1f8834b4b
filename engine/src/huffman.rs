//! The binary tree over a vocabulary with the shortest mean path: frequent words are near the root.
//!
//! A hierarchical softmax gives each of the V - 1 inner nodes a vector. The probability of a word is that of the path
//! from the root to it, a product of one sigmoid for each node. With Huffman's tree the mean path in a text is as many
//! nodes as the entropy of a word has bits, plus at most one, where a plain softmax has V outputs.
//!
//! The tree stores only the parents and children of nodes, 16 bytes a word, so it stays small for millions of words, as
//! their paths would not. Equal counts are joined in a fixed order, so a tree depends on nothing but the counts.
//!
//! Source: D. A. Huffman, "A Method for the Construction of Minimum-Redundancy Codes", 1952; by two queues, in linear
//! time after sorting, as by J. van Leeuwen, "On the Construction of Huffman Trees", 1976; for language models: F.
//! Morin and Y. Bengio, "Hierarchical Probabilistic Neural Network Language Model", 2005; Mikolov et al., 2013.

use crate::error::{Error, Result};

/// The most words: a node and a bit share 32 bits.
const MOST: usize = (1 << 31) - 1;

/// Marks a child that is a word, or the root's lack of a parent.
const TOP: u32 = 1 << 31;

/// Huffman's tree over the words `0..V`. Inner nodes are numbered `0..V - 1`; the root is 0, and a node's number is larger
/// than its parent's, so a pass over ascending numbers sees parents first and frequent nodes lie together.
#[derive(Clone, Debug)]
pub struct Huffman {
    /// (V) Of each word: its parent and which child it is, `parent << 1 | bit`.
    words: Vec<u32>,
    /// (V - 1) The same of each inner node; the root's is not used.
    nodes: Vec<u32>,
    /// (V - 1) Of each inner node: its children, words with the bit [`TOP`].
    children: Vec<[u32; 2]>,
}

/// A step of the way from a word to the root, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The inner node.
    pub node: u32,
    /// Which of the node's children the way goes through: the second (that of the larger count) if true.
    pub second: bool,
}

/// What stands below an inner node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// A word.
    Word(u32),
    /// An inner node.
    Node(u32),
}

impl Huffman {
    /// The tree for these counts of the words `0..counts.len()`, zeros too. Takes memory and time for 2,000,000 words as
    /// for sorting them, and no stack.
    ///
    /// ```
    /// use unroll::huffman::Huffman;
    /// let tree = Huffman::new(&[50, 10, 20, 5])?;
    /// let lengths: Vec<_> = (0..4).map(|word| tree.path(word).count()).collect();
    /// assert_eq!(lengths, [1, 3, 2, 3]);
    /// # Ok::<(), unroll::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When there is no word, or more than 2^31 - 1.
    pub fn new(counts: &[u64]) -> Result<Self> {
        let v = counts.len();
        if v == 0 || v > MOST {
            return Err(Error::usage(format!("a tree must have from 1 to {MOST} words, got {v}")));
        }
        let inner = v - 1;
        let mut order: Vec<u32> = (0..v as u32).collect();
        // Of words that are as frequent, the later ones (the rarer ones, where a vocabulary is sorted) are joined first.
        order.sort_unstable_by_key(|&word| (counts[word as usize], std::cmp::Reverse(word)));
        let mut tree = Self { words: vec![TOP; v], nodes: vec![TOP; inner], children: vec![[0; 2]; inner] };
        // Two queues, both ascending: words not yet joined, and nodes, which are made in the order of their sums. Sums of
        // more than 2^64 words do not come; if they did, the tree would only be no longer the best.
        let mut sums = vec![0u64; inner];
        let (mut word, mut node) = (0, 0);
        for made in 0..inner {
            let number = (inner - 1 - made) as u32;
            let mut take = |second: bool, tree: &mut Self| {
                let way = number << 1 | u32::from(second);
                // A word before a node of the same sum: no path is longer than it must be.
                let takes_word = word < v && (node >= made || counts[order[word] as usize] <= sums[node]);
                if takes_word {
                    let leaf = order[word];
                    word += 1;
                    tree.words[leaf as usize] = way;
                    (leaf | TOP, counts[leaf as usize])
                } else {
                    let below = (inner - 1 - node) as u32;
                    node += 1;
                    tree.nodes[below as usize] = way;
                    (below, sums[node - 1])
                }
            };
            let (first, a) = take(false, &mut tree);
            let (second, b) = take(true, &mut tree);
            sums[made] = a.saturating_add(b);
            tree.children[number as usize] = [first, second];
        }
        Ok(tree)
    }

    /// The tree whose words are as far from the root as those of [`Huffman::new`] for these counts and stand in this order from the
    /// side of first children to that of second ones, such as [`crate::text::alike::order`] finds.
    ///
    /// # Errors
    ///
    /// As [`Huffman::new`]; and when there is no such tree.
    pub fn ordered(counts: &[u64], order: &[u32]) -> Result<Self> {
        let plain = Self::new(counts)?;
        let wrong = || Error::usage("no Huffman tree of these counts has the words in this order");
        // The nodes in the order of their first words, with their distances from the root; then by these, so that no parent follows
        // its child and frequent nodes lie together.
        let (mut depths, mut children): (Vec<u32>, Vec<[u32; 2]>) = (Vec::new(), Vec::new());
        let mut open: Vec<(u32, usize)> = Vec::new();
        let mut seen = vec![false; plain.words()];
        for &word in order {
            let fresh = seen.get_mut(word as usize).is_some_and(|seen| !std::mem::replace(seen, true));
            let steps = if fresh { plain.path(word).count() } else { return Err(wrong()) };
            if steps < open.len() || open.is_empty() && !children.is_empty() {
                return Err(wrong());
            }
            while open.len() < steps {
                let node = children.len() as u32;
                if let Some(&(above, side)) = open.last() {
                    children[above as usize][side] = node;
                }
                depths.push(open.len() as u32);
                children.push([0; 2]);
                open.push((node, 0));
            }
            if let Some(&(above, side)) = open.last() {
                children[above as usize][side] = word | TOP;
            }
            while open.pop_if(|&mut (_, side)| side == 1).is_some() {}
            open.last_mut().into_iter().for_each(|(_, side)| *side = 1);
        }
        if !open.is_empty() || order.len() != plain.words() {
            return Err(wrong());
        }
        let mut by_depth: Vec<u32> = (0..children.len() as u32).collect();
        by_depth.sort_by_key(|&node| depths[node as usize]);
        let mut numbers = vec![0; by_depth.len()];
        by_depth.iter().enumerate().for_each(|(number, &node)| numbers[node as usize] = number as u32);
        let mut tree = plain;
        for (number, &node) in by_depth.iter().enumerate() {
            for side in 0..2 {
                let (child, way) = (children[node as usize][side], (number as u32) << 1 | side as u32);
                let below = if child & TOP == 0 { numbers[child as usize] } else { child };
                tree.children[number][side] = below;
                match below & TOP == 0 {
                    true => tree.nodes[below as usize] = way,
                    false => tree.words[(below & !TOP) as usize] = way,
                }
            }
        }
        Ok(tree)
    }

    /// V
    pub fn words(&self) -> usize {
        self.words.len()
    }

    /// The number of inner nodes, V - 1.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The way from `word` up to the root: its parent first, the root last. Empty where there is one word only.
    ///
    /// # Panics
    ///
    /// When `word` is not below V.
    pub fn path(&self, word: u32) -> Path<'_> {
        Path { tree: self, next: self.words[word as usize], done: self.nodes.is_empty() }
    }

    /// The step that leads to an inner node from its parent; `None` for the root.
    ///
    /// # Panics
    ///
    /// When there is no such node.
    pub fn parent(&self, node: u32) -> Option<Branch> {
        let way = self.nodes[node as usize];
        (node != 0).then_some(Branch { node: way >> 1, second: way & 1 == 1 })
    }

    /// The first and the second child of an inner node.
    ///
    /// # Panics
    ///
    /// When there is no such node.
    pub fn children(&self, node: u32) -> [Child; 2] {
        self.children[node as usize].map(
            |child| {
                if child & TOP == 0 { Child::Node(child) } else { Child::Word(child & !TOP) }
            },
        )
    }
}

/// The way of a word to the root: see [`Huffman::path`].
#[derive(Clone, Debug)]
pub struct Path<'a> {
    tree: &'a Huffman,
    next: u32,
    done: bool,
}

impl Iterator for Path<'_> {
    type Item = Branch;

    #[inline]
    fn next(&mut self) -> Option<Branch> {
        if self.done {
            return None;
        }
        let turn = Branch { node: self.next >> 1, second: self.next & 1 == 1 };
        self.done = turn.node == 0;
        self.next = self.tree.nodes[turn.node as usize];
        Some(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    /// Sum of counts times path lengths, by Huffman's own construction.
    fn shortest(counts: &[u64]) -> u64 {
        let mut heap: BinaryHeap<_> = counts.iter().map(|&c| Reverse(c)).collect();
        let mut cost = 0;
        while let (Some(Reverse(a)), Some(Reverse(b))) = (heap.pop(), heap.pop()) {
            cost += a + b;
            heap.push(Reverse(a + b));
        }
        cost
    }

    fn cost(tree: &Huffman, counts: &[u64]) -> u64 {
        counts.iter().enumerate().map(|(word, &c)| c * tree.path(word as u32).count() as u64).sum()
    }

    proptest! {
        #[test]
        fn no_tree_is_shorter(counts in prop::collection::vec(prop_oneof![0u64..10, 0..1_000_000u64], 2..120)) {
            let tree = Huffman::new(&counts).unwrap();
            prop_assert_eq!(cost(&tree, &counts), shortest(&counts));
        }

        #[test]
        fn ways_up_and_down_are_the_same(counts in prop::collection::vec(0u64..50, 1..120)) {
            let tree = Huffman::new(&counts).unwrap();
            let mut seen = vec![0; tree.nodes()];
            for word in 0..counts.len() as u32 {
                let mut below = Child::Word(word);
                for Branch { node, second } in tree.path(word) {
                    prop_assert_eq!(tree.children(node)[usize::from(second)], below);
                    if let Child::Node(number) = below {
                        prop_assert_eq!(tree.parent(number), Some(Branch { node, second }));
                        prop_assert!(number > node);
                    }
                    seen[node as usize] += 1;
                    below = Child::Node(node);
                }
                prop_assert!(below == Child::Node(0) || counts.len() == 1);
            }
            prop_assert!(seen.iter().all(|&n| n >= 2), "a node has two words below it at least");
            prop_assert_eq!(tree.nodes(), counts.len() - 1);
        }
    }

    /// The words from the first side to the second.
    fn leaves(tree: &Huffman) -> Vec<u32> {
        let (mut words, mut rest) = (Vec::new(), vec![if tree.nodes() == 0 { Child::Word(0) } else { Child::Node(0) }]);
        while let Some(child) = rest.pop() {
            match child {
                Child::Word(word) => words.push(word),
                Child::Node(node) => rest.extend(tree.children(node).into_iter().rev()),
            }
        }
        words
    }

    proptest! {
        #[test]
        fn an_ordered_tree_is_as_short_and_its_words_stand_so(
            counts in prop::collection::vec(0u64..50, 1..120),
            text in prop::collection::vec(any::<u32>(), 0..200),
        ) {
            use crate::text::alike::{Bigrams, order};
            let plain = Huffman::new(&counts).unwrap();
            let text: Vec<u32> = text.into_iter().map(|word| word % counts.len() as u32).collect();
            for wanted in [leaves(&plain), order(&Bigrams::count(counts.len(), &text), &plain)] {
                let tree = Huffman::ordered(&counts, &wanted).unwrap();
                prop_assert_eq!(leaves(&tree), wanted);
                prop_assert_eq!(cost(&tree, &counts), shortest(&counts));
                for word in 0..counts.len() as u32 {
                    prop_assert_eq!(tree.path(word).count(), plain.path(word).count());
                    let mut below = Child::Word(word);
                    for Branch { node, second } in tree.path(word) {
                        prop_assert_eq!(tree.children(node)[usize::from(second)], below);
                        prop_assert!(!matches!(below, Child::Node(number) if number <= node));
                        below = Child::Node(node);
                    }
                }
            }
        }
    }

    #[test]
    fn an_order_that_no_tree_has_is_refused() {
        // Ways of 1, 2, 3 and 3 steps.
        let counts = [8, 4, 2, 1];
        for order in [&[2, 0, 3, 1][..], &[0, 1, 2], &[0, 1, 2, 2], &[0, 1, 2, 3, 3], &[0, 1, 2, 4], &[]] {
            let error = Huffman::ordered(&counts, order).unwrap_err().to_string();
            assert!(error.contains("no Huffman tree"), "{order:?}: {error}");
        }
        assert!(Huffman::ordered(&counts, &[2, 3, 1, 0]).is_ok() && Huffman::ordered(&[1], &[0]).is_ok());
    }

    #[test]
    fn ties_are_joined_in_one_order() {
        let tree = Huffman::new(&[1; 5]).unwrap();
        let paths: Vec<Vec<_>> = (0..5).map(|w| tree.path(w).map(|t| (t.node, t.second)).collect()).collect();
        // 4 and 3 first, then 2 and 1, then 0 with the first pair.
        assert_eq!(paths[4], [(3, false), (1, true), (0, true)]);
        assert_eq!(paths[3], [(3, true), (1, true), (0, true)]);
        assert_eq!(paths[2], [(2, false), (0, false)]);
        assert_eq!(paths[1], [(2, true), (0, false)]);
        assert_eq!(paths[0], [(1, false), (0, true)]);
        assert_eq!(tree.parent(0), None);
    }

    #[test]
    fn two_million_words_have_a_tree() {
        let counts: Vec<u64> = (0..2_000_000u64).map(|i| 100_000_000 / (i + 1)).collect();
        let tree = Huffman::new(&counts).unwrap();
        let deepest = (0..2_000_000).step_by(997).map(|word| tree.path(word).count()).max().unwrap();
        assert!((21..40).contains(&deepest), "{deepest}");
        assert!(tree.path(0).count() < 6);
    }

    #[test]
    fn counts_that_double_make_a_chain() {
        let counts: Vec<u64> = (0..60).map(|i| 1 << i).collect();
        let tree = Huffman::new(&counts).unwrap();
        assert_eq!(tree.path(0).count(), 59);
        assert_eq!(tree.path(59).collect::<Vec<_>>(), [Branch { node: 0, second: true }]);
    }

    #[test]
    fn one_word_has_no_way_to_go() {
        let tree = Huffman::new(&[3]).unwrap();
        assert_eq!((tree.words(), tree.nodes(), tree.path(0).count()), (1, 0, 0));
        assert_eq!(Huffman::new(&[]).unwrap_err().exit_code(), 2);
    }
}
