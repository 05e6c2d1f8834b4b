//! The nearest valid word to one that was not understood.

/// The candidate nearest to `word`, if one is near enough to be what was meant: at most a third of the letters
/// (and at least one) changed, inserted, removed or swapped with a neighbour. Case and `-` against `_` do not count.
/// Of equally near candidates the first wins.
///
/// ```
/// use unroll::config::nearest;
/// assert_eq!(nearest("learning-rat", ["learning_rate", "clip"]), Some("learning_rate"));
/// assert_eq!(nearest("zebra", ["learning_rate", "clip"]), None);
/// ```
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = plain(word);
    candidates
        .into_iter()
        .map(|candidate| (distance(&plain, &self::plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= plain.len().max(candidate.chars().count()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The letters that count.
fn plain(word: &str) -> Vec<char> {
    word.chars().flat_map(char::to_lowercase).map(|c| if c == '-' { '_' } else { c }).collect()
}

/// Optimal string alignment distance: Levenshtein's with swaps of neighbours (Damerau 1964).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1; b.len() + 1];
        for j in 0..b.len() {
            let changed = last[j] + usize::from(a[i] != b[j]);
            row[j + 1] = changed.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(a: &str, b: &str) -> usize {
        distance(&plain(a), &plain(b))
    }

    #[test]
    fn distances_count_each_edit_once() {
        assert_eq!(between("", "abc"), 3);
        assert_eq!(between("hidden", "hidden"), 0);
        assert_eq!(between("hiden", "hidden"), 1);
        assert_eq!(between("hdiden", "hidden"), 1, "a swap of neighbours is one edit");
        assert_eq!(between("kitten", "sitting"), 3);
        assert_eq!(between("Batch-Size", "batch_size"), 0);
    }

    #[test]
    fn only_near_words_are_offered() {
        assert_eq!(nearest("lsmt", ["gru", "lstm", "rnn"]), Some("lstm"));
        assert_eq!(nearest("adma", ["sgd", "adam", "adamw"]), Some("adam"));
        assert_eq!(nearest("xyzzy", ["gru", "lstm", "rnn"]), None);
        assert_eq!(nearest("anything", []), None);
    }
}
