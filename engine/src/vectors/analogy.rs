//! Analogies: what is to c as b is to a.
//!
//! Mikolov, Chen, Corrado and Dean, "Efficient Estimation of Word Representations in Vector Space" (2013): the answer is the
//! word nearest by the cosine to b - a + c, vectors of length 1, that is none of the three. A question of which a word is
//! unknown is not asked. Sections whose names begin with `gram` are syntactic, the others semantic.

use std::path::Path;

use super::fold::Folded;
use super::formats::MARK;
use super::near::{Near, Neighbours};
use crate::corpus::read_file;
use crate::error::{At, Error, Result};

/// A part of a file of questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Its questions: a, b, c and the answer.
    pub questions: Vec<[String; 4]>,
}

/// How a section, or several, were answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Answers {
    /// The section, or which sections.
    pub name: String,
    /// Questions that were answered as expected.
    pub correct: u64,
    /// Questions whose words are all known.
    pub asked: u64,
    /// Questions with a word that is not.
    pub unknown: u64,
}

impl Answers {
    /// The share of the questions asked that were answered as expected, if any was asked.
    pub fn accuracy(&self) -> Option<f64> {
        (self.asked > 0).then(|| self.correct as f64 / self.asked as f64)
    }

    fn add(&mut self, other: &Answers) {
        self.correct += other.correct;
        self.asked += other.asked;
        self.unknown += other.unknown;
    }
}

/// What [`evaluate`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// Section by section.
    pub sections: Vec<Answers>,
    /// Those whose names do not begin with `gram`.
    pub semantic: Answers,
    /// Those whose names do.
    pub syntactic: Answers,
    /// All.
    pub total: Answers,
}

/// Reads a file of questions such as word2vec's `questions-words.txt`: four words a line, `: NAME` before each section.
///
/// # Errors
/// [`Error::Input`] with the line that is none.
pub fn read_questions(path: &Path) -> Result<Vec<Section>> {
    parse_questions(path, &read_file(path)?)
}

/// The same of bytes, which bear the name `path` in messages.
///
/// # Errors
/// As [`read_questions`].
pub fn parse_questions(path: &Path, bytes: &[u8]) -> Result<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    let bytes = bytes.strip_prefix(MARK).unwrap_or(bytes);
    for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let wrong = |what: String| Error::input_at(path, At::Line(number), what);
        let line = std::str::from_utf8(line).map_err(|_| wrong("is not UTF-8".to_owned()))?.trim();
        if let Some(name) = line.strip_prefix(':') {
            sections.push(Section { name: name.trim().to_owned(), questions: Vec::new() });
            continue;
        }
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() {
            continue;
        }
        let found = words.len();
        let Ok(question) = <[String; 4]>::try_from(words) else {
            return Err(wrong(format!("has {found} words, a question has four")));
        };
        if sections.is_empty() {
            sections.push(Section { name: "questions".to_owned(), questions: Vec::new() });
        }
        if let Some(section) = sections.last_mut() {
            section.questions.push(question);
        }
    }
    if sections.iter().all(|section| section.questions.is_empty()) {
        return Err(Error::input(path, "has no question").mend("name a file such as questions-words.txt"));
    }
    Ok(sections)
}

/// Answers all questions by the words that `near` searches. With `fold`, case does not count: of words that differ in case
/// alone the first of the table is meant, and the others are no other answer.
pub fn evaluate(near: &Neighbours<'_>, sections: &[Section], fold: bool) -> Evaluation {
    let words = Folded::new(near.vectors(), near.words(), fold);
    let mut asked = Vec::new();
    let mut answers: Vec<Answers> = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let mut score = Answers { name: section.name.clone(), ..Answers::default() };
        for question in &section.questions {
            let [a, b, c, d] = question.each_ref().map(|word| words.find(word));
            match (a, b, c, d) {
                (Some(a), Some(b), Some(c), Some(d)) => asked.push((index, [a, b, c, d])),
                _ => score.unknown += 1,
            }
        }
        answers.push(score);
    }
    let directions: Vec<Vec<f32>> =
        asked.iter().map(|(_, [a, b, c, _])| near.direction(&[(*b, 1.0), (*a, -1.0), (*c, 1.0)])).collect();
    let skip = |query: usize, row| asked[query].1[..3].contains(&words.class(row));
    let found = near.nearest(&directions, 1, skip);
    for ((section, [.., d]), found) in asked.iter().zip(found) {
        answers[*section].asked += 1;
        answers[*section].correct += u64::from(found.first().is_some_and(|near| words.class(near.row) == *d));
    }
    let sum = |name: &str, of: &dyn Fn(&Answers) -> bool| {
        let mut sum = Answers { name: name.to_owned(), ..Answers::default() };
        answers.iter().filter(|answers| of(answers)).for_each(|answers| sum.add(answers));
        sum
    };
    let syntactic = |answers: &Answers| answers.name.starts_with("gram");
    Evaluation {
        semantic: sum("semantic", &|answers| !syntactic(answers)),
        syntactic: sum("syntactic", &syntactic),
        total: sum("total", &|_| true),
        sections: answers,
    }
}

/// The words that are to c as b is to a, the likeliest first.
pub fn answer(near: &Neighbours<'_>, [a, b, c]: [usize; 3], count: usize) -> Vec<Near> {
    let direction = near.direction(&[(b, 1.0), (a, -1.0), (c, 1.0)]);
    near.nearest(&[direction], count, |_, row| [a, b, c].contains(&row)).pop().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors::WordVectors;

    fn capitals() -> WordVectors {
        let rows = [
            ("Paris", [1.0, 0.0, 1.0]),
            ("france", [1.0, 0.0, 0.0]),
            ("rome", [0.0, 1.0, 1.0]),
            ("Italy", [0.0, 1.0, 0.0]),
            ("PARIS", [0.9, 0.1, 1.0]),
            ("italy", [-0.3, 0.9, -0.2]),
            ("other", [-1.0, -1.0, 0.0]),
        ];
        WordVectors::from_rows(3, rows).unwrap()
    }

    const QUESTIONS: &str = ": capitals\r\nparis France Rome Italy\nRome Italy Paris France\nRome Italy Paris nowhere\n\n\
                             : gram1\nfrance paris italy other\n";

    #[test]
    fn questions_are_answered_by_section_in_either_case() {
        let vectors = capitals();
        let sections = parse_questions(Path::new("q"), QUESTIONS.as_bytes()).unwrap();
        let near = Neighbours::new(&vectors, None, 2).unwrap();
        let Evaluation { sections: by_section, semantic, syntactic, total } = evaluate(&near, &sections, true);
        let figures = |a: &Answers| (a.correct, a.asked, a.unknown);
        assert_eq!(by_section.iter().map(figures).collect::<Vec<_>>(), [(2, 2, 1), (0, 1, 0)]);
        assert_eq!([figures(&semantic), figures(&syntactic), figures(&total)], [(2, 2, 1), (0, 1, 0), (2, 3, 1)]);
        assert_eq!(total.accuracy(), Some(2.0 / 3.0));
        // In its own case, no question has four words that are known.
        let total = evaluate(&near, &sections, false).total;
        assert_eq!(figures(&total), (0, 0, 4));
        // Among the first two words alone no question can be asked.
        let few = Neighbours::new(&vectors, Some(2), 1).unwrap();
        assert_eq!(figures(&evaluate(&few, &sections, true).total), (0, 0, 4));
        assert_eq!(evaluate(&few, &sections, true).total.accuracy(), None);
        let found = answer(&near, [0, 1, 2], 2);
        assert_eq!(vectors.text(found[0].row), "Italy");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn lines_that_are_no_questions_are_refused() {
        let refused = |text: &str| parse_questions(Path::new("q"), text.as_bytes()).unwrap_err().to_string();
        insta::assert_snapshot!(refused(": a\nb c d\n"), @"q, line 2: has 3 words, a question has four");
        insta::assert_snapshot!(refused(": a\n"), @"q: has no question (name a file such as questions-words.txt)");
        let bare = parse_questions(Path::new("q"), b"\xef\xbb\xbfa b c d\n").unwrap();
        assert_eq!(bare[0].questions[0][0], "a");
        assert_eq!((bare.len(), bare[0].name.as_str()), (1, "questions"));
    }
}
