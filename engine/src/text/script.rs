//! Scripts: lines that begin with who speaks them.
//!
//! ```text
//! NAME: what is said          a turn a line, or
//!
//! NAME:
//! what is said,               a turn behind each empty line,
//! in several lines            to the next one
//! ```
//!
//! Names are found in a text here; `turns.rs` knows them again in what a model reads and writes.

use std::cmp::Reverse;
use std::collections::HashMap;

/// The longest name, in characters and in words.
pub(super) const LONGEST: (usize, usize) = (40, 5);

/// The most names that are kept of a text.
const MOST: usize = 10_000;

/// The most that are counted at a time, so that a text of any length takes no more memory.
const MOST_COUNTED: usize = 4 * MOST;

/// How often a name has to come that only may be one.
const OFTEN: u64 = 2;

/// So many lines with names in a row are a turn each, though they stand where one speech of several lines is expected.
const IN_A_ROW: usize = 3;

/// What parts a name from what is said.
pub(super) const COLONS: [char; 2] = [':', '：'];

/// What a line begins with, up to a colon, if it may be a name: some words that do not begin in lower case, without the marks
/// of a sentence. What stands in brackets behind it is no part of it.
pub fn speaker_of(line: &str) -> Option<&str> {
    opening(line).map(|(name, _)| name).filter(|name| is_name(name))
}

/// What a line begins with, up to a colon, if it is as short as a name; and what stands behind the colon.
pub(super) fn opening(line: &str) -> Option<(&str, &str)> {
    let (name, said) = unmarked(line).split_once(COLONS)?;
    let name = without_aside(name.trim());
    let short = name.chars().count() <= LONGEST.0 && name.split_whitespace().count() <= LONGEST.1;
    // A letter that a model does not know may stand first.
    let letter = |first: char| first.is_alphanumeric() || first == char::REPLACEMENT_CHARACTER;
    let begins = name.starts_with(letter) && !said.starts_with("//");
    (short && begins && !name.contains(['!', '?', ';'])).then_some((name, said.trim()))
}

/// Whether what stands before a colon looks like a name, and not like the beginning of a sentence.
pub(super) fn is_name(name: &str) -> bool {
    !name.starts_with(char::is_lowercase) && !has_marks(name)
}

pub(super) fn has_marks(name: &str) -> bool {
    name.contains(['.', ',', '!', '?', ';', '"', '(', ')'])
}

/// A line without the mark of the byte order that a file may begin with.
pub(super) fn unmarked(line: &str) -> &str {
    line.trim_start_matches('\u{feff}')
}

/// `Ross (to Joey)` is Ross.
fn without_aside(name: &str) -> &str {
    match name.find(['(', '[']) {
        Some(at) if at > 0 && name.ends_with([')', ']']) => name[..at].trim_end(),
        _ => name,
    }
}

/// Whether a line tells what is done: `(They sit.)`.
fn is_direction(line: &str) -> bool {
    line.starts_with(['(', '[', '{', '*', '_', '<'])
}

/// Finds who speaks in a text.
///
/// A line begins a turn where it begins with a name ([`speaker_of`]) and stands at the start of the text, behind an empty line,
/// or behind a turn of one line; titles before the first turn and stage directions in brackets may stand between. A name that
/// stands elsewhere, or that is of another form (`Mr. Heckles`, `the waiter`), is one if it comes more than once. Within a speech
/// of several lines, which is one behind a line with nothing but a name, no turn begins but those of names that are certain: so a
/// colon within it makes no speaker.
#[derive(Debug, Default)]
pub struct SpeakerFinder {
    names: HashMap<String, Seen>,
    /// How many different names there were.
    count: usize,
    place: Place,
    /// What the last lines of a speech of several lines began with, where each began with a name.
    row: Vec<String>,
}

/// How often a name was seen.
#[derive(Debug, Clone, Copy)]
struct Seen {
    turns: u64,
    /// How many other names came before it.
    first: usize,
    /// Whether it is one even if it comes once.
    certain: bool,
}

/// Where a line stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// Where a turn may begin.
    #[default]
    Free,
    /// Behind a line that begins no turn.
    Behind,
    /// In a speech of several lines.
    Within,
}

impl SpeakerFinder {
    /// Takes the next line of the text.
    pub fn line(&mut self, line: &str) {
        let line = unmarked(line).trim();
        let opening = opening(line);
        if self.place == Place::Within && self.goes_on(opening) {
            return self.place = if line.is_empty() { Place::Free } else { Place::Within };
        }
        self.row.clear();
        self.place = match opening {
            _ if line.is_empty() => Place::Free,
            Some((name, said)) => {
                self.add(name, is_name(name) && self.place == Place::Free);
                match said {
                    "" => Place::Within,
                    _ if is_name(name) => Place::Free,
                    _ => self.place,
                }
            }
            None if self.names.is_empty() || is_direction(line) => self.place,
            None => Place::Behind,
        };
    }

    /// Takes a turn of someone whose name is certain.
    pub fn turn(&mut self, name: &str) {
        self.add(name, true);
    }

    /// Whether a speech of several lines goes on with a line that begins so.
    fn goes_on(&mut self, opening: Option<(&str, &str)>) -> bool {
        let turn = opening.filter(|(name, said)| is_name(name) && !said.is_empty());
        match (opening, turn) {
            (Some((name, _)), _) if self.names.get(name).is_some_and(|seen| seen.certain) => return false,
            (_, Some((name, _))) => self.row.push(name.to_owned()),
            _ => self.row.clear(),
        }
        if self.row.len() < IN_A_ROW {
            return true;
        }
        self.place = Place::Behind;
        self.row.pop();
        std::mem::take(&mut self.row).iter().for_each(|name| self.add(name, false));
        false
    }

    fn add(&mut self, name: &str, certain: bool) {
        if self.names.len() == MOST_COUNTED && !self.names.contains_key(name) {
            self.forget();
        }
        let first = self.count;
        let seen = self.names.entry(name.to_owned()).or_insert(Seen { turns: 0, first, certain: false });
        self.count += usize::from(seen.turns == 0);
        seen.turns += 1;
        seen.certain |= certain;
    }

    /// Forgets the half of the names with the fewest turns.
    fn forget(&mut self) {
        let mut names: Vec<_> = std::mem::take(&mut self.names).into_iter().collect();
        names.sort_unstable_by_key(|(_, seen)| seen.order());
        names.truncate(MOST_COUNTED / 2);
        self.names = names.into_iter().collect();
    }

    /// The names, those with the most turns first, and of equals those that came first.
    pub fn names(self) -> Vec<String> {
        let mut names: Vec<_> =
            self.names.into_iter().filter(|(_, seen)| seen.certain || seen.turns >= OFTEN).collect();
        names.sort_unstable_by_key(|(_, seen)| seen.order());
        names.truncate(MOST);
        names.into_iter().map(|(name, _)| name).collect()
    }
}

impl Seen {
    fn order(self) -> (Reverse<u64>, usize) {
        (Reverse(self.turns), self.first)
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
    fn directions_titles_and_marks_end_nothing() {
        assert_eq!(names("ROSS: hi\nJOEY: yo\n(They sit.)\nJOEY: so\n"), ["JOEY", "ROSS"]);
        assert_eq!(names("ROSS: hi\n(They sit: long.)\nJOEY: yo\n[Exit]\nMONICA: so\n"), ["ROSS", "JOEY", "MONICA"]);
        assert_eq!(names("\u{feff}The One With the Script\nby nobody\nROSS: hi\nJOEY: yo\n"), ["ROSS", "JOEY"]);
        assert_eq!(names("\u{feff}ROSS: hi\nJOEY: yo\nROSS: so\n"), ["ROSS", "JOEY"]);
        // The title looks like the name of a speech in several lines, which has no end.
        assert_eq!(names(&format!("Friends:\n{}", "ROSS: hi\nJOEY: yo\n".repeat(3))), ["ROSS", "JOEY", "Friends"]);
        // Behind a line that begins no turn, once is not enough.
        assert_eq!(
            names("ROSS: hi\nand more\nSo: no\nJOEY: yo\nand\nJOEY: so\nROSS: ah\nROSS: oh\n"),
            ["ROSS", "JOEY"]
        );
    }

    #[test]
    fn names_of_any_form_are_found_where_they_come_often() {
        let turns = "Monica: a\nMr. Heckles: b\nthe waiter: c\nRoss (to Joey): d\nJoey: e\nand so: f\n";
        assert_eq!(names(turns), ["Monica", "Ross", "Joey"]);
        let twice = format!("{turns}the waiter: http://x\nhttp://x: no\nhttp://x: no\nMr. Heckles: g\n");
        assert_eq!(names(&twice), ["Mr. Heckles", "the waiter", "Monica", "Ross", "Joey"]);
        assert_eq!(names("ross: hi\njoey: yo\nross: so\njoey: no\n"), ["ross", "joey"]);
    }

    #[test]
    fn a_text_of_any_length_takes_no_more_memory() {
        let mut finder = SpeakerFinder::default();
        for number in 0..3 * MOST_COUNTED {
            finder.line(&format!("N{number}: no"));
            finder.line("ROSS: hi");
            assert!(finder.names.len() <= MOST_COUNTED);
        }
        let names = finder.names();
        assert_eq!((names.len(), names[0].as_str()), (MOST, "ROSS"));
    }

    #[test]
    fn a_sentence_is_no_name() {
        assert_eq!(speaker_of("ROMEO: Ay me!"), Some("ROMEO"));
        assert_eq!(speaker_of("ROMEO (aside): Ay me!"), Some("ROMEO"));
        assert_eq!(speaker_of("wherefore: art thou"), None);
        assert_eq!(speaker_of("O Romeo, Romeo: wherefore"), None);
        assert_eq!(speaker_of("This is a line of more words: no"), None);
        assert_eq!(speaker_of(": no"), None);
    }
}
