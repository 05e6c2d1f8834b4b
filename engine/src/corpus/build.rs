//! Text to a token file, in bounded memory and on several threads.
//!
//! The first of two passes counts words; the second uses the resulting vocabulary to turn the text into tokens. With a
//! vocabulary known in advance, or at byte level, only the second is needed. Threads take turns reading a mebibyte each
//! and work on it; results are taken in the order of the text, so the file does not depend on the number of threads.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::chunks::{Chunk, Chunks, Reading};
use super::count::{Tables, count, no_tokens, reading};
use super::format;
use super::parallel::each_chunk;
use super::source::{Input, Source, check_output, resolve};
use super::write::{Totals, Writer};
use crate::error::{At, Error, Result};
use crate::generate::{IN_ANOTHER_FORM, known_in_another_form};
use crate::text::{Counter, EncodingErrors, Level, TextOptions, Tokenizer, Unknown, last_whitespace_end};

/// What [`build`] is told.
#[derive(Clone, Copy)]
pub struct Build<'a> {
    /// The text, in this order.
    pub sources: &'a [Source],
    /// The token file to write; what stood there is replaced when the new file is whole.
    pub output: &'a Path,
    /// How text becomes tokens.
    pub encoding: Encoding<'a>,
    /// What is done with bytes that are not UTF-8, where it is not what the options of the encoding say.
    pub errors: Option<EncodingErrors>,
    /// Threads to work with, at least 1. The file does not depend on it.
    pub threads: usize,
    /// Bytes that tables of words may take while they are counted; what there is in the machine unless set. The file does not
    /// depend on it.
    pub memory: Option<u64>,
    /// True entropy rate of the text's source in nats a token, if it is known; kept in the file.
    pub entropy_rate: Option<f64>,
    /// Told after each piece of text how far the work is.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
    /// Ends the work with [`Error::Interrupted`] when it becomes true.
    pub cancel: Option<&'a AtomicBool>,
}

/// How [`build`] turns text into tokens.
#[derive(Debug, Clone, Copy)]
pub enum Encoding<'a> {
    /// With a new vocabulary, that of the text.
    New(&'a TextOptions),
    /// With a vocabulary that exists: that of a model, or of the training text.
    Known(&'a Tokenizer),
}

/// How far [`build`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Which pass over the text, from 1.
    pub pass: u32,
    /// Bytes of text read in this pass.
    pub bytes: u64,
}

/// What [`build`] did.
#[derive(Debug, Clone)]
pub struct BuildReport {
    /// Tokens written.
    pub tokens: u64,
    /// How many of them are `<unk>`.
    pub unknown: u64,
    /// Bytes of text.
    pub text_bytes: u64,
    /// Characters of text.
    pub text_chars: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// What was read, in order.
    pub inputs: Vec<PathBuf>,
    /// The tokenizer whose vocabulary the file holds.
    pub tokenizer: Tokenizer,
}

/// Makes a token file from text.
///
/// What cannot be read twice (standard input, a pipe) is copied, as it comes, to a file beside the output that vanishes
/// by itself. The text itself is never held in memory; the tokens of the vocabulary are.
///
/// # Errors
/// [`Error::Input`] if the text cannot be read, is not valid, has no token, or changes between the passes;
/// [`Error::Usage`] if the options contradict each other, or the output is a file that is read; [`Error::Io`] if the file cannot be written. Nothing is left
/// of the file then, and what stood at `output` is untouched.
///
/// # Panics
/// Panics if `threads` is 0.
pub fn build(args: Build<'_>) -> Result<BuildReport> {
    assert!(args.threads > 0, "a corpus is built by at least one thread");
    check_output("--out", args.sources, args.output)?;
    let mut inputs = resolve(args.sources)?;
    let (tokenizer, expected) = match args.encoding {
        Encoding::Known(tokenizer) => (tokenizer.clone(), None),
        Encoding::New(options) => {
            options.check()?;
            if options.level == Level::Byte {
                (Tokenizer::new(Counter::new(options).vocabulary()?), None)
            } else {
                let reading = in_pass(&args, options, 1, Some(args.output));
                let tables = Tables { beside: args.output, threads: args.threads, memory: args.memory };
                let (counter, ..) = count(options, &mut inputs, reading, tables)?;
                if counter.total() == 0 {
                    return Err(no_tokens(&inputs));
                }
                (Tokenizer::new(counter.vocabulary()?), Some(counter.total()))
            }
        }
    };
    let report = encode(&args, tokenizer, &mut inputs, expected)?;
    Ok(report)
}

/// How the text is read in a pass.
fn in_pass<'a>(args: &Build<'a>, options: &TextOptions, pass: u32, again: Option<&'a Path>) -> Reading<'a> {
    let reading = reading(options, pass, again, (args.progress, args.cancel));
    Reading { errors: args.errors.unwrap_or(reading.errors), ..reading }
}

/// What a thread makes of a chunk.
#[derive(Default)]
struct Encoded {
    ids: Vec<u32>,
    bytes: Vec<u8>,
    unknown: u64,
    chars: u64,
}

fn encode(args: &Build<'_>, tokenizer: Tokenizer, inputs: &mut [Input], expected: Option<u64>) -> Result<BuildReport> {
    let level = tokenizer.options().level;
    let (unknown, eos) = (tokenizer.vocabulary().unknown(), tokenizer.vocabulary().eos());
    let names: Vec<PathBuf> = inputs.iter().map(|input| input.name.clone()).collect();
    let width = format::width(tokenizer.vocabulary().len() as u64);
    let pass = if expected.is_some() { 2 } else { 1 };
    let reading = in_pass(args, tokenizer.options(), pass, None);
    let mut writer = Writer::create(args.output)?;
    let mut report =
        BuildReport { tokens: 0, unknown: 0, text_bytes: 0, text_chars: 0, file_bytes: 0, inputs: names, tokenizer };
    let (tokenizer, names) = (&report.tokenizer, &report.inputs);
    let work = |made: &mut Encoded, chunk: &Chunk| {
        made.ids.clear();
        made.bytes.clear();
        made.chars = chunk.chars();
        if level == Level::Byte {
            return Ok(());
        }
        let text = &*tokenizer.prepare(&chunk.text);
        tokenizer
            .encode_into(text, &mut made.ids)
            .map_err(|Unknown(place)| unknown_token(tokenizer, (text, chunk.offset), &names[chunk.input], place))?;
        if chunk.open_line {
            made.ids.extend(eos);
        }
        made.unknown = unknown.map_or(0, |unknown| made.ids.iter().filter(|&&id| id == unknown).count() as u64);
        format::narrow(&made.ids, width, &mut made.bytes);
        Ok(())
    };
    let mut totals = (0, 0, 0, 0);
    let mut counter = (level == Level::Byte).then(|| Counter::new(tokenizer.options()));
    let hand_in = |made: &mut Encoded, chunk: &Chunk| {
        let (count, bytes) = match &mut counter {
            Some(counter) => {
                counter.bytes(&chunk.bytes);
                (chunk.bytes.len() as u64, &chunk.bytes)
            }
            None => (made.ids.len() as u64, &made.bytes),
        };
        totals = (totals.0 + count, totals.1 + made.unknown, totals.2 + chunk.len(), totals.3 + made.chars);
        writer.tokens(count, bytes)
    };
    let made = (0..args.threads).map(|_| Encoded::default()).collect();
    each_chunk(Chunks::new(inputs, reading), made, work, hand_in)?;
    (report.tokens, report.unknown, report.text_bytes, report.text_chars) = totals;
    if report.tokens == 0 {
        return Err(no_tokens(inputs));
    }
    if expected.is_some_and(|expected| expected != report.tokens) {
        let what = "the text changed while it was being read";
        return Err(Error::input(&report.inputs[0], what).mend("let nothing write to it, and run the command again"));
    }
    if let (Some(counter), Encoding::New(_)) = (counter, args.encoding) {
        report.tokenizer = Tokenizer::new(counter.vocabulary()?);
    }
    let totals =
        Totals { text_bytes: report.text_bytes, text_chars: report.text_chars, entropy_rate: args.entropy_rate };
    report.file_bytes = writer.finish(report.tokenizer.vocabulary(), totals)?;
    Ok(report)
}

fn unknown_token(
    tokenizer: &Tokenizer,
    (text, offset): (&str, u64),
    name: &Path,
    place: std::ops::Range<usize>,
) -> Error {
    let what = format!("{} is not in the vocabulary", tokenizer.describe(&text[place.clone()]));
    // Where a prepared character stood in the file nobody knows any more.
    let error = match tokenizer.options().clean.is_nothing() {
        true => Error::input_at(name, At::Byte(offset + place.start as u64), what),
        false => Error::input(name, what),
    };
    // The word around it: a mark alone has no other form.
    let start = last_whitespace_end(&text[..place.start]).unwrap_or(0);
    let end = text[place.end..].find(char::is_whitespace).map_or(text.len(), |more| place.end + more);
    error.mend(match known_in_another_form(tokenizer, &text[start..end]) {
        true => IN_ANOTHER_FORM,
        false => "build the vocabulary from a text that has it, or with `<unk>`: --min-count 2",
    })
}
