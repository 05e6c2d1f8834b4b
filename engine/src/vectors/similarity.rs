//! How well cosines agree with what people say of the similarity of words.
//!
//! Spearman's coefficient is Pearson's of the ranks, equal values having the mean of their ranks.

use std::path::Path;

use super::WordVectors;
use super::fold::Folded;
use super::formats::MARK;
use super::near::length;
use crate::corpus::read_file;
use crate::error::{At, Error, Result};

/// Two words and how similar people find them.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The words.
    pub words: [String; 2],
    /// The judgement.
    pub score: f64,
}

/// What [`correlate`] found.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Correlation {
    /// Spearman's rank coefficient; none where fewer than two pairs are known, or all cosines or judgements are equal.
    pub spearman: Option<f64>,
    /// Pearson's coefficient.
    pub pearson: Option<f64>,
    /// Pairs of which both words are known.
    pub covered: u64,
    /// All pairs.
    pub pairs: u64,
}

/// Reads a file of pairs such as WordSim-353 and SimLex-999: two words and a number a line, between tabs, commas or blanks.
/// Lines that begin with `#` and one line of headings are left out; where the headings name a column `SimLex999`, that is
/// the number.
///
/// # Errors
/// [`Error::Input`] with the line that is none.
pub fn read_pairs(path: &Path) -> Result<Vec<Pair>> {
    parse_pairs(path, &read_file(path)?)
}

/// The same of bytes, which bear the name `path` in messages.
///
/// # Errors
/// As [`read_pairs`].
pub fn parse_pairs(path: &Path, bytes: &[u8]) -> Result<Vec<Pair>> {
    let (mut pairs, mut column, mut headed) = (Vec::new(), 2, false);
    let bytes = bytes.strip_prefix(MARK).unwrap_or(bytes);
    for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let wrong = |what: String| Error::input_at(path, At::Line(number), what);
        let line = std::str::from_utf8(line).map_err(|_| wrong("is not UTF-8".to_owned()))?.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields: Vec<String> = match ['\t', ','].into_iter().find(|&separator| line.contains(separator)) {
            Some(separator) => split(line, separator),
            None => line.split_whitespace().map(str::to_owned).collect(),
        };
        let begins_as_number =
            |field: &String| field.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
        let heading = fields.get(column).is_some_and(|field| field.parse::<f64>().is_err() && !begins_as_number(field));
        let score = fields.get(column).and_then(|field| field.parse::<f64>().ok()).filter(|score| score.is_finite());
        match (score, pairs.is_empty() && !headed) {
            (Some(score), _) => pairs.push(Pair { words: [fields[0].clone(), fields[1].clone()], score }),
            (None, true) if heading => {
                headed = true;
                column = fields.iter().position(|field| *field == "SimLex999").unwrap_or(column);
            }
            _ => return Err(wrong(format!("two words and a number are expected, found {line:?}"))),
        }
    }
    if pairs.is_empty() {
        return Err(Error::input(path, "has no pair of words").mend("name a file such as wordsim353.tsv"));
    }
    Ok(pairs)
}

/// The fields of a line; one between quotes may have separators, and quotes that stand twice.
fn split(line: &str, separator: char) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted || field.trim().is_empty() => quoted = !quoted,
            letter if letter == separator && !quoted => fields.push(std::mem::take(&mut field).trim().to_owned()),
            letter => field.push(letter),
        }
    }
    fields.push(field.trim().to_owned());
    fields
}

/// Compares the cosines of the pairs' words with the judgements. With `fold`, case does not count. Words beyond the first
/// `words` of the table are unknown.
pub fn correlate(vectors: &WordVectors, pairs: &[Pair], words: Option<usize>, fold: bool) -> Correlation {
    let known = Folded::new(vectors, words.unwrap_or(usize::MAX), fold);
    let both = |pair: &Pair| {
        let [a, b] = pair.words.each_ref().map(|word| known.find(word));
        Some((cosine(vectors.row(a?), vectors.row(b?)), pair.score))
    };
    let (cosines, scores): (Vec<f64>, Vec<f64>) = pairs.iter().filter_map(both).unzip();
    Correlation {
        spearman: pearson(&ranks(&cosines), &ranks(&scores)),
        pearson: pearson(&cosines, &scores),
        covered: cosines.len() as u64,
        pairs: pairs.len() as u64,
    }
}

/// The cosine of the angle between two vectors, 0 where one is of zeros.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let lengths = length(a) * length(b);
    if lengths > 0.0 { dot / lengths } else { 0.0 }
}

/// The rank of each value from 1, the mean rank of equal ones.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let (mut ranks, mut before) = (vec![0.0; values.len()], 0);
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = before as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|&i| ranks[i] = rank);
        before += equal.len();
    }
    ranks
}

/// Pearson's coefficient of two lists of the same length.
fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let moments = a.iter().zip(b).fold([0.0; 3], |[ab, aa, bb], (a, b)| {
        let (a, b) = (a - mean_a, b - mean_b);
        [ab + a * b, aa + a * a, bb + b * b]
    });
    let [ab, aa, bb] = moments;
    let coefficient = ab / (aa * bb).sqrt();
    coefficient.is_finite().then(|| coefficient.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_the_mean_of_their_ranks() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0, 3.0]), [4.0, 1.0, 4.0, 2.0, 4.0]);
        assert_eq!(ranks(&[0.0, -0.0, 1.0]), [1.5, 1.5, 3.0]);
        assert_eq!(ranks(&[]), [] as [f64; 0]);
    }

    /// Figures by scipy.stats 1.17: `pearsonr` and `spearmanr` of these lists.
    #[test]
    fn coefficients_are_those_of_scipy() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 5.0, 2.0], [5.0, 6.0, 7.0, 8.0, 7.0, 6.5]);
        assert!((pearson(&a, &b).unwrap() - 0.809_862_286_488_834_4).abs() < 1e-12, "{:?}", pearson(&a, &b));
        let spearman = pearson(&ranks(&a), &ranks(&b)).unwrap();
        assert!((spearman - 0.882_352_941_176_470_6).abs() < 1e-12, "{spearman}");
        assert_eq!(pearson(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(pearson(&[], &[]), None);
    }

    #[test]
    fn pairs_are_found_in_either_case() {
        let rows = [("a", [1.0, 0.0]), ("b", [1.0, 0.1]), ("C", [0.0, 1.0]), ("d", [0.5, 0.5])];
        let vectors = WordVectors::from_rows(2, rows).unwrap();
        let text = "# notes\na\tB\t9.5\na\tc\t1\nd\tc\t5\nd\tzzz\t3\n";
        let pairs = parse_pairs(Path::new("p"), text.as_bytes()).unwrap();
        let found = correlate(&vectors, &pairs, None, true);
        assert_eq!((found.covered, found.pairs, found.spearman), (3, 4, Some(1.0)));
        assert!(found.pearson.unwrap() > 0.9);
        assert_eq!(correlate(&vectors, &pairs, None, false).covered, 0);
        assert_eq!(correlate(&vectors, &pairs, Some(2), true).covered, 1);
        assert_eq!(correlate(&vectors, &pairs, Some(2), true).spearman, None);
    }

    #[test]
    fn files_of_several_forms_are_read_and_others_refused() {
        let parse = |text: &str| parse_pairs(Path::new("p"), text.as_bytes());
        let simlex = "word1\tword2\tPOS\tSimLex999\tconc(w1)\nold\tnew\tA\t1.58\t2.72\n";
        let expected = [Pair { words: ["old".to_owned(), "new".to_owned()], score: 1.58 }];
        assert_eq!(parse(simlex).unwrap(), expected);
        assert_eq!(parse("Word 1,Word 2,Human (mean)\r\nold,new,1.58\r\n").unwrap(), expected);
        assert_eq!(parse("old new 1.58").unwrap(), expected);
        assert_eq!(parse("\u{feff}\"old\",\"new\",\"1.58\"\n").unwrap(), expected);
        assert_eq!(parse("a,\"b, \"\"c\"\"\",1\n").unwrap()[0].words, ["a", "b, \"c\""]);
        insta::assert_snapshot!(parse("old\tnew\t1,58\n").unwrap_err(), @r#"p, line 1: two words and a number are expected, found "old\tnew\t1,58""#);
        insta::assert_snapshot!(parse("a\tb\t1\na\tb\n").unwrap_err(), @r#"p, line 2: two words and a number are expected, found "a\tb""#);
        insta::assert_snapshot!(parse("a\tb\tx\na\tb\tinf\n").unwrap_err(), @r#"p, line 2: two words and a number are expected, found "a\tb\tinf""#);
        insta::assert_snapshot!(parse("# nothing\n").unwrap_err(), @"p: has no pair of words (name a file such as wordsim353.tsv)");
    }
}
