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

/// Finds where the next turn begins in a text that goes on with one, and is seen piece by piece.
///
/// Behind a turn of one line it is the next line that begins with a name, behind one of several lines such a line behind an empty
/// one: whoever speaks, known or not.
#[derive(Debug, Clone)]
pub struct NextTurn {
    /// Whether what is said stands behind the name; none: it has not begun.
    one_line: Option<bool>,
}

impl NextTurn {
    /// The text goes on behind this first line of a turn, or a part of it.
    pub fn after(line: &str) -> NextTurn {
        let said = line.split_once([':', '：']).map_or("", |(_, said)| said.trim());
        NextTurn { one_line: (!said.is_empty()).then_some(true) }
    }

    /// Takes note of how what is said begins.
    pub fn look(&mut self, text: &str) {
        let first = text.chars().find(|c| *c == '\n' || !c.is_whitespace());
        self.one_line = self.one_line.or(first.map(|first| first != '\n'));
    }

    /// Where a text has come to the next turn: the place of the line ends before it.
    pub fn begins(&self, text: &str) -> Option<usize> {
        let runs = text.match_indices('\n').map(|(at, _)| at).filter(|&at| !text[..at].ends_with('\n'));
        runs.into_iter().find(|&at| {
            let line = text[at..].trim_start_matches('\n');
            let ends = text.len() - at - line.len();
            let line = line.split('\n').next().unwrap_or_default();
            (ends > 1 || self.one_line == Some(true)) && speaker_of(line).is_some()
        })
    }

    /// The bytes at the end of a text that may be the beginning of the next turn.
    pub fn held(&self, text: &str) -> usize {
        let Some((before, line)) = text.rsplit_once('\n') else { return 0 };
        let may_be = line.is_empty() || speaker_of(&format!("{line}:")).is_some() && !line.contains([':', '：']);
        if may_be { text.len() - before.trim_end_matches('\n').len() } else { 0 }
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
    fn the_next_turn_is_found_as_the_text_comes() {
        // What is shown of a text that comes letter by letter.
        let shown = |line: &str, text: &str| {
            let mut turn = NextTurn::after(line);
            let (mut pending, mut shown) = (String::new(), String::new());
            for letter in text.chars() {
                pending.push(letter);
                turn.look(&pending);
                if let Some(at) = turn.begins(&pending) {
                    return shown + &pending[..at];
                }
                let certain = pending.len() - turn.held(&pending);
                shown.extend(pending.drain(..certain));
            }
            shown + &pending
        };
        assert_eq!(shown("ROMEO:", "\nAy: me\nSoft: who\n\nGROWIO:\nNo"), "\nAy: me\nSoft: who");
        assert_eq!(shown("ROMEO:", "\nAy me\n\nand so: on\n\nA:"), "\nAy me\n\nand so: on");
        assert_eq!(shown("Joey:", " C'mon!\nof course\nMonica Geller: No"), " C'mon!\nof course");
        assert_eq!(shown("Joey: C", "'mon\nOkay, now: go\n영희：그래"), "'mon\nOkay, now: go");
        assert_eq!(shown("A:", " b\nC"), " b\nC");
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
