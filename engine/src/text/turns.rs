//! Turns of a script in the text that a model reads and writes: whose each line is, and where the next one begins.

use std::convert::Infallible;

use super::script::{COLONS, LONGEST, has_marks, is_name, opening, unmarked};
use super::words::{Piece, Splitter};
use super::{Level, TextOptions, Tokenizer, UNKNOWN};

/// Who speaks in a script, by their names as the tokens of a model spell them.
#[derive(Debug, Clone, PartialEq)]
pub struct Cast {
    speakers: Vec<String>,
    /// The names as they are spelt, in the order of their bytes, each with its place among the speakers.
    names: Vec<(String, usize)>,
    /// The length of the longest of these names in bytes.
    longest: usize,
    /// Whether every line is a turn of its own.
    lines: bool,
    lower: bool,
    /// Whether words of a name may have become `<unk>`.
    unknown: bool,
}

/// Whose a turn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The speaker at this place.
    Known(usize),
    /// Somebody else.
    Other,
    /// Somebody else, if it is a turn: what it begins with is short, and does not look like a name.
    Perhaps,
}

impl Cast {
    /// These speakers, whose names may be of any form, in texts that are cut into tokens by these options. `lines` says that every
    /// line is a turn of its own, as the rows of a table are.
    pub fn new(speakers: &[String], options: &TextOptions, lines: bool) -> Cast {
        let spelt = speakers.iter().enumerate().map(|(place, name)| (spelt(name, options), place));
        let mut names: Vec<(String, usize)> = spelt.filter(|(name, _)| !name.is_empty()).collect();
        names.sort_unstable();
        names.dedup_by(|next, name| next.0 == name.0);
        let longest = names.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let unknown = options.level == Level::Word && options.has_unknown();
        Cast { speakers: speakers.to_vec(), names, longest, lines, lower: options.lowercase, unknown }
    }

    /// The speakers.
    pub fn speakers(&self) -> &[String] {
        &self.speakers
    }

    /// Whether a line begins with one of their names.
    pub fn knows(&self, line: &str) -> bool {
        matches!(self.opens(line), Some((Who::Known(_), _)))
    }

    /// Whose turn this line is, if it begins one; and what is said behind the name.
    fn opens<'l>(&self, line: &'l str) -> Option<(Who, &'l str)> {
        let line = unmarked(line).trim();
        let parts = line.match_indices(COLONS).map(|(at, colon)| (line[..at].trim_end(), &line[at + colon.len()..]));
        // A name may have a colon in it.
        let known = parts
            .take_while(|(name, _)| name.len() <= self.longest)
            .filter_map(|(name, said)| Some((Who::Known(self.place(name)?), said.trim())))
            .last();
        known.or_else(|| self.unknown_words(line)).or_else(|| {
            let (name, said) = opening(line)?;
            Some((self.place(name).map_or_else(|| self.other(name), Who::Known), said))
        })
    }

    /// The same where words of the name, maybe with its colon, have become `<unk>`.
    fn unknown_words<'l>(&self, line: &'l str) -> Option<(Who, &'l str)> {
        let (before, said) = line.split_once(UNKNOWN).filter(|_| self.unknown)?;
        let before = before.trim();
        let short = before.split_whitespace().count() < LONGEST.1 && !before.contains(COLONS);
        short.then(|| (self.other(before), said.trim_start_matches(|c: char| c == ' ' || COLONS.contains(&c))))
    }

    fn other(&self, name: &str) -> Who {
        // In lower case all that is short and no sentence may be a name.
        let looks = if self.lower { !has_marks(name) } else { is_name(name) };
        if looks { Who::Other } else { Who::Perhaps }
    }

    /// The place of the speaker with this name.
    fn place(&self, name: &str) -> Option<usize> {
        let at = self.names.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some(self.names[at].1)
    }

    /// Whether a line that goes on from this may begin a turn.
    fn may_open(&self, start: &str) -> bool {
        let start = start.trim();
        if start.is_empty() || self.unknown && UNKNOWN.starts_with(start) {
            return true;
        }
        let next = self.names.partition_point(|(name, _)| name.as_str() < start);
        let begins = self.names.get(next).is_some_and(|(name, _)| name.starts_with(start));
        let name = start.split(['(', '[']).next().unwrap_or_default().trim_end();
        let open = || opening(&format!("{name}:")).is_some_and(|(name, _)| self.other(name) == Who::Other);
        begins || !start.contains(COLONS) && (self.place(name).is_some() || open())
    }
}

/// A name as the text of the tokens spells it.
fn spelt(name: &str, options: &TextOptions) -> String {
    if options.level != Level::Word {
        return name.trim().to_owned();
    }
    let mut words = String::new();
    let Ok(()) = Splitter::new(options).split(name, |piece| {
        if let Piece::Word(word) = piece {
            words.push_str(&word.buffer[word.range]);
            words.push(' ');
        }
        Ok::<(), Infallible>(())
    });
    words.trim_end().to_owned()
}

/// How a turn of this speaker begins, where the vocabulary has all of it: the name and a colon.
pub fn turn_of(name: &str, tokenizer: &Tokenizer) -> Option<String> {
    let known = |text: &String| {
        let unknown = tokenizer.vocabulary().unknown();
        tokenizer.encode(text).is_ok_and(|tokens| unknown.is_none_or(|unknown| !tokens.contains(&unknown)))
    };
    COLONS.map(|colon| format!("{name}{colon}")).into_iter().find(known)
}

/// Tells line by line whose a script is.
#[derive(Debug)]
pub(crate) struct Owners<'a> {
    cast: &'a Cast,
    /// Whether there was a line.
    begun: bool,
    /// Whether the last turn is one of several lines.
    within: bool,
    current: Option<Who>,
}

impl<'a> Owners<'a> {
    pub(crate) fn new(cast: &'a Cast) -> Owners<'a> {
        Owners { cast, begun: false, within: false, current: None }
    }

    /// Whose the next line is; none before the first turn. Known names begin a turn anywhere, others not within a speech of several
    /// lines, nor where the text may begin in the middle of a line.
    pub(crate) fn line(&mut self, line: &str) -> Option<Who> {
        let first = !std::mem::replace(&mut self.begun, true);
        if line.trim().is_empty() {
            self.within = false;
            return self.current;
        }
        let opens = match self.cast.opens(line) {
            Some((who @ Who::Known(_), said)) => Some((who, said)),
            _ if first => None,
            None if self.cast.lines => Some((Who::Other, line)),
            opens => opens.filter(|_| self.cast.lines || !self.within),
        };
        if let Some((who, said)) = opens {
            self.within = said.is_empty();
            self.current = Some(who);
        }
        self.current
    }
}

/// Finds where the next turn begins in a text that goes on with one, and is seen piece by piece.
///
/// It is the next line that begins with a known name. Whoever else may speak: behind a turn of one line it is the next line that
/// looks as if it began with a name, behind one of several lines such a line behind an empty one. Where every line is a turn of its
/// own it is the next line.
#[derive(Debug, Clone, PartialEq)]
pub struct NextTurn<'a> {
    cast: &'a Cast,
    /// Whether what is said stands behind the name; none: it has not begun.
    one_line: Option<bool>,
}

impl<'a> NextTurn<'a> {
    /// The text goes on behind this first line of a turn, or a part of it.
    pub fn after(line: &str, cast: &'a Cast) -> NextTurn<'a> {
        let said = cast.opens(line).map_or("", |(_, said)| said);
        let one_line = if said.is_empty() { line.ends_with('\n').then_some(false) } else { Some(true) };
        NextTurn { cast, one_line }
    }

    /// Takes note of how what is said begins.
    pub fn look(&mut self, text: &str) {
        let first = text.chars().find(|c| *c == '\n' || !c.is_whitespace());
        self.one_line = self.one_line.or(first.map(|first| first != '\n'));
    }

    /// Where a text has come to the next turn: the place of the line ends before it.
    pub fn begins(&self, text: &str) -> Option<usize> {
        let mut runs = text.match_indices('\n').map(|(at, _)| at).filter(|&at| !text[..at].ends_with('\n'));
        runs.find(|&at| {
            let line = text[at..].trim_start_matches('\n');
            let ends = text.len() - at - line.len();
            match self.cast.opens(line.split('\n').next().unwrap_or_default()) {
                _ if self.cast.lines => true,
                Some((Who::Known(_), _)) => true,
                Some((Who::Other, _)) => ends > 1 || self.one_line == Some(true),
                Some((Who::Perhaps, _)) | None => false,
            }
        })
    }

    /// The bytes at the end of a text that may be the beginning of the next turn.
    pub fn held(&self, text: &str) -> usize {
        let Some((before, line)) = text.rsplit_once('\n') else { return 0 };
        if self.cast.may_open(line) { text.len() - before.trim_end_matches('\n').len() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast(names: &[&str], options: &TextOptions, lines: bool) -> Cast {
        Cast::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), options, lines)
    }

    /// What is shown of a text that comes letter by letter.
    fn shown(cast: &Cast, line: &str, text: &str) -> String {
        let mut turn = NextTurn::after(line, cast);
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
    }

    #[test]
    fn the_next_turn_is_found_as_the_text_comes() {
        let cast =
            cast(&["ROMEO", "the waiter", "Mr. Heckles", "Ross (to Joey)", "no: one"], &TextOptions::default(), false);
        let shown = |line: &str, text: &str| shown(&cast, line, text);
        assert_eq!(shown("ROMEO:", "\nAy: me\nSoft: who\n\nGROWIO:\nNo"), "\nAy: me\nSoft: who");
        assert_eq!(shown("ROMEO:\n", "Ay: me\nSoft: who\n\nGROWIO:\nNo"), "Ay: me\nSoft: who");
        assert_eq!(shown("ROMEO:", "\nAy me\n\nand so: on\n\nA:"), "\nAy me\n\nand so: on");
        assert_eq!(shown("Joey:", " C'mon!\nof course\nMonica Geller: No"), " C'mon!\nof course");
        assert_eq!(shown("Joey: C", "'mon\nOkay, now: go\n영희：그래"), "'mon\nOkay, now: go");
        assert_eq!(shown("A:", " b\nC"), " b\nC");
        // Known names are names whatever their form, and others may have an aside.
        assert_eq!(shown("A:", " b\nthe waiter : no"), " b");
        assert_eq!(shown("the waiter:", " b\nMr. Heckles: no"), " b");
        assert_eq!(shown("Mr. Heckles:", " b\nRoss (to Joey): no"), " b");
        assert_eq!(shown("A:", " b\nMr. X: c\nRoss (to Monica): no"), " b\nMr. X: c");
        assert_eq!(shown("A:", " b\nthe water: c\nno: one: no"), " b\nthe water: c");
        assert_eq!(shown("no: one:", "\nb\nAy: me"), "\nb\nAy: me");
    }

    #[test]
    fn every_line_of_a_table_is_a_turn() {
        let cast = cast(&["A"], &TextOptions::default(), true);
        assert_eq!(shown(&cast, "A:", " b\nso it is"), " b");
        let mut owners = Owners::new(&cast);
        let lines = ["of a line", "A: b", "so it is", "A: c", "She who is known to nobody: d"];
        let whose = lines.map(|line| owners.line(line));
        let (a, other) = (Some(Who::Known(0)), Some(Who::Other));
        assert_eq!(whose, [None, a, other, a, other]);
    }

    #[test]
    fn names_are_known_as_words_spell_them() {
        let mut options = TextOptions { punctuation: true, lowercase: true, ..TextOptions::new(Level::Word) };
        let names = cast(&["Mr. Heckles", "ROSS"], &options, false);
        assert!(names.knows("mr . heckles : hi") && names.knows("ross: hi") && !names.knows("monica : hi"));
        assert_eq!(shown(&names, "ross :", " hi\nmr . heckles : no"), " hi");
        assert_eq!(shown(&names, "ross :", " hi\nmonica : no"), " hi");
        (options.punctuation, options.lowercase) = (false, false);
        // A name that the model does not know has no colon any more.
        let names = cast(&["ROSS"], &options, false);
        assert_eq!(shown(&names, "ROSS:", " hi\nso <unk> no\n<unk> no"), " hi\nso <unk> no");
        assert_eq!(shown(&names, "ROSS:", "\nhi\n<unk> no\n\nFirst <unk>\nno"), "\nhi\n<unk> no");
        let mut owners = Owners::new(&names);
        let lines = ["ROSS: hi", "<unk> no", "ROSS:", "<unk> hi", "no: no", "", "First <unk>", "no: hi"];
        let whose = lines.map(|line| owners.line(line) == Some(Who::Known(0)));
        assert_eq!(whose, [true, false, true, true, true, true, false, false]);
    }

    #[test]
    fn a_turn_begins_with_what_the_vocabulary_has() {
        let options = TextOptions { min_count: 2, ..TextOptions::new(Level::Word) };
        let words = Tokenizer::from_text("ROSS: hi\nROSS: hi\nJANICE: hi", &options).unwrap();
        assert_eq!((turn_of("ROSS", &words).as_deref(), turn_of("JANICE", &words)), (Some("ROSS:"), None));
        let letters = Tokenizer::from_text("영희：그래", &TextOptions::new(Level::Char)).unwrap();
        assert_eq!((turn_of("영희", &letters).as_deref(), turn_of("ROSS", &letters)), (Some("영희："), None));
    }
}
