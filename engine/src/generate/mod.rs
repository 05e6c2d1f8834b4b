//! Generating text with a model: it reads the prompt, then chooses one token after another and reads each back.
//!
//! The random numbers of sample n follow from (seed, n), so a sample is the same however many others are asked for.
//! Anything that predicts is a [`Predictor`]: a trained network as a [`Speaker`](crate::run::Speaker), for example.

mod sampler;

pub use sampler::{Sampler, Sampling};

use unicode_normalization::UnicodeNormalization;

use crate::error::{Error, Result};
use crate::random::{Key, Purpose};
use crate::text::{Decoder, Level, NextTurn, Tokenizer};

/// A model that predicts the next token of one text.
pub trait Predictor {
    /// Forgets everything that was fed.
    fn reset(&mut self);

    /// Feeds tokens, one after the other.
    ///
    /// # Errors
    /// Where the model cannot be run.
    fn feed(&mut self, tokens: &[u32]) -> Result<()>;

    /// The logits (V) of the token that follows what was fed.
    fn logits(&self) -> &[f32];

    /// Forgets everything that was fed but for this, which is read anew only where another text was begun with last.
    ///
    /// # Errors
    /// As [`Self::feed`].
    fn begin(&mut self, prompt: &[u32]) -> Result<()> {
        self.reset();
        self.feed(prompt)
    }
}

/// A model that predicts the next tokens of several texts side by side.
pub trait BatchPredictor {
    /// Begins so many texts, each with this prompt.
    ///
    /// # Errors
    /// Where the model cannot be run.
    fn begin_each(&mut self, prompt: &[u32], texts: usize) -> Result<()>;

    /// Feeds a token to each text.
    ///
    /// # Errors
    /// As [`Self::begin_each`].
    fn feed_each(&mut self, tokens: &[u32]) -> Result<()>;

    /// The logits (V) of the token that follows this text.
    fn logits_of(&self, text: usize) -> &[f32];
}

/// Turns tokens into text, one token at a time.
pub trait Decode {
    /// Appends what this token adds to the text.
    fn push(&mut self, token: u32, out: &mut String);
    /// Ends the text.
    fn finish(&mut self, out: &mut String);
}

impl Decode for Decoder<'_> {
    fn push(&mut self, token: u32, out: &mut String) {
        Decoder::push(self, token, out);
    }
    fn finish(&mut self, out: &mut String) {
        Decoder::finish(self, out);
    }
}

/// What to write: a prompt, a length and where to stop.
#[derive(Debug, Clone, PartialEq)]
pub struct Request<'a> {
    /// The text to continue; it is not repeated in the sample.
    pub prompt: &'a [u32],
    /// The most tokens to write.
    pub length: usize,
    /// Stop texts: the sample ends where one of them appears, which is not written.
    pub stop: &'a [String],
    /// For the next turn of a dialogue: finds where the turn after it begins, before which the sample ends.
    pub turn: Option<NextTurn<'a>>,
    /// The seed of the random numbers.
    pub seed: u64,
    /// The number of the sample: samples of one seed differ by it.
    pub sample: usize,
}

/// Why a sample ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// All tokens were written.
    Length,
    /// The stop text appeared.
    Stop,
    /// The receiver of the text wanted no more.
    Closed,
}

/// Writes one sample as [`write()`] does, in the tokens of a tokenizer.
///
/// Without a prompt, the text begins at the beginning of a line: the model is fed a line end if the vocabulary has one,
/// else the vocabulary's first token ([`beginning`]). This token is not written.
///
/// # Errors
/// [`Error::Diverged`] where the model's outputs are not numbers; what `show` and the model fail with.
pub fn generate<P: Predictor + ?Sized>(
    model: &mut P,
    tokenizer: &Tokenizer,
    sampler: &mut Sampler,
    request: &Request<'_>,
    show: impl FnMut(&str) -> Result<bool>,
) -> Result<Ended> {
    let start = [beginning(tokenizer)];
    let prompt = if request.prompt.is_empty() { &start } else { request.prompt };
    write(model, decoder(tokenizer, request), sampler, &Request { prompt, ..request.clone() }, show)
}

/// Writes several samples side by side, numbered from `request.sample` on, each to the same text as [`generate`]
/// writes. Returns their texts and why they ended.
///
/// # Errors
/// [`Error::Diverged`] where the model's outputs are not numbers; what the model fails with.
pub fn generate_side_by_side<P: BatchPredictor + ?Sized>(
    model: &mut P,
    tokenizer: &Tokenizer,
    sampler: &mut Sampler,
    request: &Request<'_>,
    samples: usize,
) -> Result<Vec<(String, Ended)>> {
    let start = [beginning(tokenizer)];
    let prompt = if request.prompt.is_empty() { &start } else { request.prompt };
    let request = |i: usize| Request { sample: request.sample + i, ..request.clone() };
    let mut writing: Vec<_> =
        (0..samples).map(|i| Writing::new(decoder(tokenizer, &request(i)), &request(i))).collect();
    let mut texts = vec![(String::new(), None); samples];
    let mut tokens = vec![0; samples];
    model.begin_each(prompt, samples)?;
    loop {
        for (i, (text, ended)) in texts.iter_mut().enumerate().filter(|(_, (_, ended))| ended.is_none()) {
            let keep = |part: &str| {
                text.push_str(part);
                Ok(true)
            };
            match writing[i].next(model.logits_of(i), sampler, keep)? {
                Next::Feed(token) => tokens[i] = token,
                Next::End(why) => *ended = Some(why),
            }
        }
        let whole: Option<Vec<Ended>> = texts.iter().map(|(_, ended)| *ended).collect();
        if let Some(ended) = whole {
            return Ok(texts.into_iter().zip(ended).map(|((text, _), ended)| (text, ended)).collect());
        }
        // A text that has ended is fed its last token again, which nobody looks at.
        model.feed_each(&tokens)?;
    }
}

/// What turns the tokens behind the prompt into text.
fn decoder<'t>(tokenizer: &'t Tokenizer, request: &Request<'_>) -> Decoder<'t> {
    match request.prompt {
        [] => tokenizer.decoder(),
        prompt => tokenizer.decoder().after_text(&tokenizer.decode(prompt)),
    }
}

/// Writes one sample, handing text to `show` as soon as it is certain: a character that is not whole yet and what may
/// be the beginning of the stop text are held back. `show` returns false to end.
///
/// # Errors
/// [`Error::Diverged`] where the model's outputs are not numbers; what `show` and the model fail with.
pub fn write<P: Predictor + ?Sized>(
    model: &mut P,
    decoder: impl Decode,
    sampler: &mut Sampler,
    request: &Request<'_>,
    mut show: impl FnMut(&str) -> Result<bool>,
) -> Result<Ended> {
    model.begin(request.prompt)?;
    let mut writing = Writing::new(decoder, request);
    loop {
        match writing.next(model.logits(), sampler, &mut show)? {
            Next::Feed(token) => model.feed(&[token])?,
            Next::End(why) => return Ok(why),
        }
    }
}

/// A sample that is being written.
struct Writing<'a, D> {
    decoder: D,
    pending: Pending<'a>,
    key: Key,
    length: usize,
    /// Tokens that were chosen.
    count: usize,
}

/// How a sample goes on.
enum Next {
    /// The model is fed this token.
    Feed(u32),
    End(Ended),
}

impl<'a, D: Decode> Writing<'a, D> {
    fn new(decoder: D, request: &Request<'a>) -> Self {
        let key = Key::new(request.seed, Purpose::Sample).layer(request.sample);
        Self { decoder, pending: Pending::new(request), key, length: request.length, count: 0 }
    }

    /// Chooses the next token and shows what is certain of the text.
    fn next(
        &mut self,
        logits: &[f32],
        sampler: &mut Sampler,
        mut show: impl FnMut(&str) -> Result<bool>,
    ) -> Result<Next> {
        let Self { decoder, pending, .. } = self;
        if self.count < self.length {
            let token = sampler.choose(logits, self.key.uniform_f64(self.count as u64))?;
            self.count += 1;
            decoder.push(token, pending.text());
            pending.look();
            if pending.stopped() {
                show(pending.certain(true))?;
                return Ok(Next::End(Ended::Stop));
            }
            if !pending.show(false, &mut show)? {
                return Ok(Next::End(Ended::Closed));
            }
            if self.count < self.length {
                return Ok(Next::Feed(token));
            }
        }
        decoder.finish(pending.text());
        pending.look();
        if pending.stopped() {
            show(pending.certain(true))?;
            return Ok(Next::End(Ended::Stop));
        }
        Ok(Next::End(if pending.show(true, &mut show)? { Ended::Length } else { Ended::Closed }))
    }
}

/// The token before the beginning of a text: a line end if the vocabulary has one, else its first token. It is fed
/// where there is no prompt, and fills a window that reaches beyond the beginning.
pub fn beginning(tokenizer: &Tokenizer) -> u32 {
    let vocabulary = tokenizer.vocabulary();
    let line_end = if tokenizer.options().level == Level::Byte { Some(u32::from(b'\n')) } else { vocabulary.id("\n") };
    vocabulary.eos().or(line_end).unwrap_or(0)
}

/// The tokens of a prompt.
///
/// # Errors
/// [`Error::Usage`] names the first character or word outside the vocabulary and its position, unless `unknown` says
/// what becomes of it.
pub fn encode_prompt(tokenizer: &Tokenizer, prompt: &str, unknown: UnknownInPrompt) -> Result<Vec<u32>> {
    let prompt = &*tokenizer.prepare(prompt);
    match unknown {
        UnknownInPrompt::Refuse => encode_strictly(tokenizer, prompt),
        UnknownInPrompt::Map if tokenizer.vocabulary().unknown().is_none() => {
            let error = Error::option("--unk", "this model's vocabulary has no `<unk>` to map to");
            encode_strictly(tokenizer, prompt).map_err(|_| error.mend("use --unk skip"))
        }
        UnknownInPrompt::Map => tokenizer.encode(prompt),
        UnknownInPrompt::Skip => Ok(encode_known(tokenizer, prompt).0),
    }
}

/// The tokens of what the vocabulary has of a text, and how many characters or words it has not.
pub(crate) fn encode_known(tokenizer: &Tokenizer, text: &str) -> (Vec<u32>, u64) {
    let text = &*tokenizer.prepare(text);
    let (mut tokens, mut unknown) = (Vec::new(), 0);
    for (_, piece) in pieces(tokenizer, text) {
        match encode_strictly(tokenizer, piece) {
            Ok(known) => tokens.extend(known),
            Err(_) => unknown += 1,
        }
    }
    (tokens, unknown)
}

/// What becomes of characters and words of a prompt that are not in the vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownInPrompt {
    /// The prompt is refused.
    Refuse,
    /// They are left out.
    Skip,
    /// They become `<unk>`.
    Map,
}

fn encode_strictly(tokenizer: &Tokenizer, prompt: &str) -> Result<Vec<u32>> {
    let mend = |error: Error, usual: &str| match known_in_another_form(tokenizer, prompt) {
        true => error.mend(IN_ANOTHER_FORM),
        false => error.mend(usual),
    };
    let tokens = tokenizer.encode(prompt).map_err(|error| mend(error, "leave it out, or use --unk skip"))?;
    let Some(unknown) = tokenizer.vocabulary().unknown() else { return Ok(tokens) };
    if !tokens.contains(&unknown) {
        return Ok(tokens);
    }
    for (start, piece) in pieces(tokenizer, prompt) {
        if piece != crate::text::UNKNOWN && tokenizer.encode(piece)?.contains(&unknown) {
            let at = prompt[..start].chars().count() + 1;
            let error = Error::usage(format!("prompt, character {at}: {piece:?} is not in the vocabulary"));
            return Err(mend(error, "use --unk map to read it as <unk>, or --unk skip to leave it out"));
        }
    }
    Ok(tokens)
}

/// How to mend a text that is [`known_in_another_form`].
pub(crate) const IN_ANOTHER_FORM: &str =
    "it is in the other normal form of Unicode: write it so, or train with --set data.prepare.normalize=nfc for both";

/// Whether the vocabulary has all of a text once its letters and marks are joined (NFC) or taken apart (NFD).
pub(crate) fn known_in_another_form(tokenizer: &Tokenizer, text: &str) -> bool {
    let unknown = tokenizer.vocabulary().unknown();
    let known = |form: &str| tokenizer.encode(form).is_ok_and(|tokens| unknown.is_none_or(|id| !tokens.contains(&id)));
    [text.nfc().collect::<String>(), text.nfd().collect()].iter().any(|form| form != text && known(form))
}

/// The parts of a prompt that are encoded apart, with their byte offsets.
fn pieces<'a>(tokenizer: &Tokenizer, prompt: &'a str) -> Vec<(usize, &'a str)> {
    use unicode_segmentation::UnicodeSegmentation;
    match tokenizer.options().level {
        Level::Byte => vec![(0, prompt)],
        Level::Char => prompt.char_indices().map(|(at, c)| (at, &prompt[at..at + c.len_utf8()])).collect(),
        Level::Grapheme => prompt.grapheme_indices(true).collect(),
        Level::Word if tokenizer.options().punctuation => prompt.split_word_bound_indices().collect(),
        Level::Word => {
            let mut pieces = Vec::new();
            let mut start = None;
            for (at, c) in prompt.char_indices() {
                match (c.is_whitespace(), start) {
                    (false, None) => start = Some(at),
                    (true, Some(from)) => {
                        pieces.push((from, &prompt[from..at]));
                        start = None;
                    }
                    _ => {}
                }
                if c == '\n' {
                    pieces.push((at, &prompt[at..=at]));
                }
            }
            pieces.extend(start.map(|from| (from, &prompt[from..])));
            pieces
        }
    }
}

/// Text that was decoded and not yet shown.
struct Pending<'a> {
    stop: &'a [String],
    turn: Option<NextTurn<'a>>,
    text: String,
}

impl<'a> Pending<'a> {
    fn new(request: &Request<'a>) -> Pending<'a> {
        Pending { stop: request.stop, turn: request.turn.clone(), text: String::new() }
    }

    /// Takes note of what was decoded.
    fn look(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn.look(&self.text);
        }
    }

    /// Where the first stop text, or the next turn, begins.
    fn end(&self) -> Option<usize> {
        let turn = self.turn.as_ref().and_then(|turn| turn.begins(&self.text));
        self.stops().filter_map(|stop| self.text.find(stop)).chain(turn).min()
    }

    fn text(&mut self) -> &mut String {
        &mut self.text
    }

    /// The stop texts; an empty one is none.
    fn stops(&self) -> impl Iterator<Item = &'a str> {
        self.stop.iter().map(String::as_str).filter(|stop| !stop.is_empty())
    }

    /// Whether a stop text or the next turn has appeared.
    fn stopped(&self) -> bool {
        self.end().is_some()
    }

    /// What may be shown: all before a stop text, and before what may be the beginning of one unless this is the `end`.
    fn certain(&self, end: bool) -> &str {
        if let Some(at) = self.end() {
            return &self.text[..at];
        }
        if end {
            return &self.text;
        }
        let held = |stop: &str| {
            let starts = stop.char_indices().map(|(at, _)| at).skip(1);
            starts.filter(|&length| self.text.ends_with(&stop[..length])).max().unwrap_or(0)
        };
        let turn = self.turn.as_ref().map_or(0, |turn| turn.held(&self.text));
        &self.text[..self.text.len() - self.stops().map(held).max().unwrap_or(0).max(turn)]
    }

    fn show(&mut self, end: bool, show: &mut impl FnMut(&str) -> Result<bool>) -> Result<bool> {
        let certain = self.certain(end);
        if certain.is_empty() {
            return Ok(true);
        }
        let length = certain.len();
        let goes_on = show(certain)?;
        self.text.drain(..length);
        Ok(goes_on)
    }
}

#[cfg(test)]
mod tests;
