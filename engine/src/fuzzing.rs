//! The fuzz targets of this crate: every kind of file that comes from outside, and text.
//!
//! `fuzz/` calls the bodies with bytes that libFuzzer invents, `tests/fuzz_corpus.rs` with the seed files under
//! `fuzz/corpus`. A body returns when all is well, also when the bytes are refused, and panics when not.

use std::path::Path;

use crate::config;
use crate::corpus::{Corpus, TokenSource};
use crate::interop;
use crate::labels;
use crate::text::{
    CleanOptions, EncodingErrors, Level, TextOptions, Tokenizer, Vocabulary, decode_into, parse_vocabulary,
};
use crate::train;
use crate::vectors;

/// The body of a fuzz target.
pub type Body = fn(&[u8]);

/// Every target of this crate by its name, and its body.
pub const TARGETS: [(&str, Body); 11] = [
    ("checkpoint", train::fuzzing::checkpoint),
    ("configuration", config::configuration),
    ("corpus", corpus),
    ("encoder", labels::fuzzing::encoder),
    ("manifest", train::fuzzing::manifest),
    ("samples", labels::fuzzing::samples),
    ("token_list", interop::fuzzing::token_list),
    ("tokenizer", tokenizer),
    ("vectors", vectors::formats::fuzzing::vectors),
    ("vocabulary", vocabulary),
    ("weights", interop::fuzzing::weights),
];

/// The name of the file in messages.
const FILE: &str = "fuzz";

/// Any bytes as a token file: what is accepted has only tokens of its vocabulary.
///
/// # Panics
///
/// When a file was accepted that does not keep what it promises.
pub fn corpus(bytes: &[u8]) {
    read_corpus(bytes.to_vec());
    // A fuzzer cannot guess checksums, so the same bytes are also read with those put right.
    read_corpus(sealed(bytes.to_vec()));
}

fn read_corpus(bytes: Vec<u8>) {
    let Ok(corpus) = Corpus::from_bytes(bytes, FILE) else { return };
    let size = corpus.vocabulary_size();
    assert_eq!(size, corpus.tokenizer().vocabulary().len(), "the size of the vocabulary");
    let mut piece = [0; 100];
    for start in (0..corpus.len()).step_by(piece.len()) {
        let tokens = (corpus.len() - start).min(piece.len() as u64) as usize;
        if corpus.read(start, &mut piece[..tokens]).is_err() {
            return;
        }
        assert!(piece[..tokens].iter().all(|&token| (token as usize) < size), "a token outside the vocabulary");
        let _text = corpus.tokenizer().decode(&piece[..tokens]);
    }
}

/// Puts the checksums of a token file right, where its header says that they are.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    const HEADER: usize = 128;
    const CHUNK: usize = 1 << 20;
    if bytes.len() < HEADER {
        return bytes;
    }
    let field = |at: usize| bytes[at..at + 8].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
    let tokens = field(16).saturating_mul(field(12) & 7).min((bytes.len() - HEADER) as u64) as usize;
    let checksums: Vec<u8> =
        bytes[HEADER..HEADER + tokens].chunks(CHUNK).flat_map(|chunk| crc32c::crc32c(chunk).to_le_bytes()).collect();
    let list = HEADER + tokens;
    let Some(place) = bytes.get_mut(list..list + checksums.len()) else { return bytes };
    place.copy_from_slice(&checksums);
    let vocabulary = crc32c::crc32c(&bytes[list + checksums.len()..]);
    bytes[72..76].copy_from_slice(&crc32c::crc32c(&checksums).to_le_bytes());
    bytes[76..80].copy_from_slice(&vocabulary.to_le_bytes());
    let header = crc32c::crc32c(&bytes[..HEADER - 4]);
    bytes[HEADER - 4..HEADER].copy_from_slice(&header.to_le_bytes());
    bytes
}

/// Any bytes as a vocabulary file: what is accepted is written and read back unchanged.
///
/// # Panics
///
/// When it is not.
pub fn vocabulary(bytes: &[u8]) {
    if let Ok(vocabulary) = parse_vocabulary(bytes, Path::new(FILE)) {
        written_and_read_back(&vocabulary);
    }
}

fn written_and_read_back(vocabulary: &Vocabulary) {
    let written = vocabulary.to_file();
    let read = parse_vocabulary(written.as_bytes(), Path::new(FILE));
    assert!(
        read.is_ok_and(|read| read.to_file() == written && read.hash() == vocabulary.hash()),
        "what was written is not read back: {written}"
    );
    for (id, (token, count)) in vocabulary.iter().enumerate() {
        assert_eq!(vocabulary.id(token), Some(id as u32), "the id of {token:?}");
        assert_eq!((vocabulary.token(id as u32), vocabulary.count(id as u32)), (token, count), "token {id}");
    }
}

/// Text through a tokenizer of its own; the first three bytes choose the options, and the rest, decoded by them, is the
/// text.
///
/// # Panics
///
/// When the text does not come back, or comes back otherwise when it is decoded token by token.
pub fn tokenizer(bytes: &[u8]) {
    let Some((&[level, flags, limits], rest)) = bytes.split_first_chunk::<3>() else { return };
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let options = TextOptions {
        level: [Level::Byte, Level::Char, Level::Grapheme, Level::Word][usize::from(level % 4)],
        clean: CleanOptions::default(),
        lowercase: flag(0),
        punctuation: flag(1),
        eos: flag(2).then_some(flag(3)),
        unknown: flag(4).then_some(flag(5)),
        errors: if flag(6) { EncodingErrors::Skip } else { EncodingErrors::Replace },
        min_count: 1 + u64::from(limits & 3),
        max_size: u64::from(limits >> 2),
    };
    let mut text = String::new();
    let used = decode_into(rest, true, options.errors, &mut text);
    assert_eq!(used.ok(), Some(rest.len()), "every byte is used where errors are forgiven");
    let Ok(tokenizer) = Tokenizer::from_text(&text, &options) else { return };
    let vocabulary = tokenizer.vocabulary();
    written_and_read_back(vocabulary);

    let complete = options.min_count == 1 && options.max_size == 0;
    let ids = match tokenizer.encode(&text) {
        Ok(ids) => ids,
        Err(error) => {
            assert!(!complete && !options.has_unknown(), "its own text: {error}");
            return;
        }
    };
    assert!(ids.iter().all(|&id| (id as usize) < vocabulary.len()), "an id outside the vocabulary");
    let decoded = tokenizer.decode(&ids);
    if complete && options.level != Level::Word && !options.has_unknown() {
        assert_eq!(decoded, text, "the text did not come back");
    }
    let mut decoder = tokenizer.decoder();
    let mut streamed = String::new();
    ids.iter().for_each(|&id| decoder.push(id, &mut streamed));
    decoder.finish(&mut streamed);
    assert_eq!(streamed, decoded, "decoded token by token");
    if options.level == Level::Word && !options.lowercase && !options.punctuation {
        assert_eq!(tokenizer.encode(&decoded).ok(), Some(ids), "words encoded again");
    }
}
