//! Scripts: lines that begin with who speaks them.
//!
//! ```text
//! NAME: what is said          a turn a line, or
//!
//! NAME:
//! what is said,               a turn behind each empty line,
//! in several lines            to the next one
//! ```

use std::collections::HashMap;

/// The longest name, in characters and in words.
const LONGEST: (usize, usize) = (40, 5);

/// The most names that are kept of a text.
const MOST: usize = 10_000;

/// What a line begins with, up to a colon, if it may be a name: some words that do not begin in lower case, without the marks
/// of a sentence.
pub fn speaker_of(line: &str) -> Option<&str> {
    let (name, _) = line.split_once([':', '：'])?;
    let name = name.trim();
    let fits = name.chars().count() <= LONGEST.0 && name.split_whitespace().count() <= LONGEST.1;
    let begins = name.chars().next().is_some_and(|first| first.is_alphanumeric() && !first.is_lowercase());
    (fits && begins && !name.contains(['.', ',', '!', '?', ';', '"', '(', ')'])).then_some(name)
}

/// Finds who speaks in a text.
///
/// A line begins a turn where it begins with a name and stands at the start of the text, behind an empty line, or behind a turn
/// of one line: so a colon within a speech of several lines makes no speaker.
#[derive(Debug, Default)]
pub struct SpeakerFinder {
    names: HashMap<String, (u64, usize)>,
    /// Whether the line before was part of a speech, so that no turn begins now.
    within: bool,
}

impl SpeakerFinder {
    /// Takes the next line of the text.
    pub fn line(&mut self, line: &str) {
        if line.trim().is_empty() {
            self.within = false;
            return;
        }
        let name = speaker_of(line).filter(|_| !self.within);
        // What is said stands on the lines below, or on this one.
        self.within = name.is_none() || line.trim_end().ends_with([':', '：']);
        let Some(name) = name else { return };
        let next = self.names.len();
        self.names.entry(name.to_owned()).or_insert((0, next)).0 += 1;
    }

    /// The names, those with the most turns first, and of equals those that came first.
    pub fn names(self) -> Vec<String> {
        let mut names: Vec<_> = self.names.into_iter().collect();
        names.sort_by_key(|(_, (turns, place))| (std::cmp::Reverse(*turns), *place));
        names.truncate(MOST);
        names.into_iter().map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let mut finder = SpeakerFinder::default();
        text.lines().for_each(|line| finder.line(line));
        finder.names()
    }

    #[test]
    fn speakers_are_found_in_both_forms() {
        let verses = "First Citizen:\nBefore we proceed:\nSoft: hear me speak.\n\nAll:\nSpeak, speak.\n\nFirst Citizen:\nYou: all\n";
        assert_eq!(names(verses), ["First Citizen", "All"]);
        let lines =
            "Monica: There's nothing to tell: he's some guy.\nJoey: C'mon!\n영희：그래\nJoey: You're going out.\n";
        assert_eq!(names(lines), ["Joey", "Monica", "영희"]);
    }

    #[test]
    fn a_sentence_is_no_name() {
        assert_eq!(speaker_of("ROMEO: Ay me!"), Some("ROMEO"));
        assert_eq!(speaker_of("wherefore: art thou"), None);
        assert_eq!(speaker_of("O Romeo, Romeo: wherefore"), None);
        assert_eq!(speaker_of("This is a line of more words: no"), None);
        assert_eq!(speaker_of(": no"), None);
    }
}
