//! How well a model predicts what each speaker of a script says.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::Score;
use crate::corpus::{IGNORE, Streams, TokenSource};
use crate::error::{Error, Result};
use crate::network::{Batch, LossSum, Network};
use crate::text::{Cast, Owners, Tokenizer, Who};

/// The score of one speaker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpeakerScore {
    /// Who; none: all together whose names are not known.
    pub speaker: Option<String>,
    /// Of the turns, the name at their beginning included.
    #[serde(flatten)]
    pub score: Score,
}

/// A token as it stands in a row, and its loss where it was scored.
type Scored = (u32, Option<f32>);

/// Scores streams as [`super::evaluate`] does, and tells the scores of these speakers too, those with most tokens first, and behind
/// them that of the turns of others. What stands before the first turn in a row is of nobody.
///
/// # Errors
/// As [`super::evaluate`].
///
/// # Panics
/// Where the streams exceed the network's capacity.
pub fn score_speakers<S: TokenSource>(
    network: &mut Network,
    streams: &Streams<S>,
    tokenizer: &Tokenizer,
    cast: &Cast,
    stop: &AtomicBool,
) -> Result<Vec<SpeakerScore>> {
    let others = cast.speakers().len();
    let mut sums = vec![LossSum::default(); others + 1];
    for row in score_rows(network, streams, stop)? {
        let mut owners = owners(&row, tokenizer, cast).into_iter();
        for (_, loss) in row {
            if let (Some(Some(owner)), Some(loss)) = (owners.next(), loss) {
                let place = if let Who::Known(place) = owner { place } else { others };
                sums[place] += LossSum { nats: f64::from(loss), count: 1 };
            }
        }
    }
    let names = cast.speakers().iter().cloned().map(Some).chain([None]);
    let told = names.zip(sums).filter(|(_, sum)| sum.count > 0);
    let mut scores: Vec<SpeakerScore> =
        told.map(|(speaker, sum)| SpeakerScore { speaker, score: Score::new(sum, None) }).collect();
    scores.sort_by_key(|score| (score.speaker.is_none(), std::cmp::Reverse(score.score.tokens)));
    Ok(scores)
}

/// The tokens of every row in their order with their losses.
fn score_rows<S: TokenSource>(
    network: &mut Network,
    streams: &Streams<S>,
    stop: &AtomicBool,
) -> Result<Vec<Vec<Scored>>> {
    let (rows, size) = (streams.rows(), streams.rows() * streams.steps());
    let (mut inputs, mut targets, mut losses) = (vec![0; size], vec![0; size], vec![0.0; size]);
    let mut state = network.new_state(rows);
    let mut found: Vec<Vec<Scored>> = vec![Vec::new(); rows];
    // Whether a row has come to its end.
    let mut ended = vec![false; rows];
    for index in 0..streams.batches() {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::interrupted("interrupted while a text was being scored"));
        }
        let steps = streams.batch(index, &mut inputs, &mut targets)?;
        let (inputs, targets) = (&inputs[..steps * rows], &targets[..steps * rows]);
        network.evaluate(&Batch { steps, rows, inputs, targets, ..Batch::default() }, &mut state);
        let losses = &mut losses[..steps * rows];
        network.losses(losses);
        for (at, (&input, &target)) in inputs.iter().zip(targets).enumerate() {
            let row = &mut found[at % rows];
            let scored = row.last().is_some_and(|(_, loss)| loss.is_some());
            match target {
                // Behind its end a row has nothing any more; before its first score it is warmed up.
                IGNORE if scored => ended[at % rows] = true,
                _ if ended[at % rows] => {}
                IGNORE => row.push((input, None)),
                _ if !scored => row.extend([(input, None), (target, Some(losses[at]))]),
                _ => row.push((target, Some(losses[at]))),
            }
        }
    }
    Ok(found)
}

/// Who speaks each token of a row: whoever the line that it begins in is of.
fn owners(row: &[Scored], tokenizer: &Tokenizer, cast: &Cast) -> Vec<Option<Who>> {
    let (mut text, mut decoder) = (String::new(), tokenizer.decoder());
    let mut begins = Vec::with_capacity(row.len());
    for (token, _) in row {
        begins.push(text.len());
        decoder.push(*token, &mut text);
    }
    decoder.finish(&mut text);
    let mut owners = vec![None; row.len()];
    let (mut tokens, mut end, mut current) = (owners.iter_mut().zip(begins).peekable(), 0, None);
    let mut turns = Owners::new(cast);
    for line in text.split_inclusive('\n') {
        end += line.len();
        current = turns.line(line);
        while let Some((owner, _)) = tokens.next_if(|(_, begin)| *begin < end) {
            *owner = current;
        }
    }
    tokens.for_each(|(owner, _)| *owner = current);
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Level, TextOptions};

    /// The runs of tokens of one owner, without white space.
    fn runs(text: &str, options: &TextOptions, cast: &Cast) -> Vec<(Option<Who>, String)> {
        let tokenizer = Tokenizer::from_text(text, options).unwrap();
        let row: Vec<Scored> = tokenizer.encode(text).unwrap().into_iter().map(|token| (token, None)).collect();
        let mut runs: Vec<(Option<Who>, String)> = Vec::new();
        for ((token, _), owner) in row.iter().zip(owners(&row, &tokenizer, cast)) {
            let token = tokenizer.decode(&[*token]);
            match runs.last_mut() {
                Some((last, text)) if *last == owner => text.push_str(&token),
                _ => runs.push((owner, token)),
            }
        }
        runs.into_iter().map(|(owner, text)| (owner, text.replace([' ', '\n'], ""))).collect()
    }

    fn cast(options: &TextOptions) -> Cast {
        Cast::new(&["A".to_owned(), "B".to_owned()], options, false)
    }

    #[test]
    fn a_turn_is_of_its_speaker_from_its_name_on() {
        let [a, b] = [0, 1].map(|place| Some(Who::Known(place)));
        for level in [Level::Char, Level::Word] {
            let options = TextOptions::new(level);
            let runs = runs("so\nA: hi\nB:\nno: x\n\nA: y", &options, &cast(&options));
            let expected = [(None, "so"), (a, "A:hi"), (b, "B:no:x"), (a, "A:y")];
            assert_eq!(runs, expected.map(|(owner, text)| (owner, text.to_owned())), "{level}");
        }
    }

    #[test]
    fn a_turn_of_someone_who_is_not_known_is_not_of_who_spoke_before() {
        let [a, b] = [0, 1].map(|place| Some(Who::Known(place)));
        let options = TextOptions::new(Level::Char);
        let found = runs("A: hi\nC: no\n(so)\nB: x\nthe D: y\nB:\nE: z\n\nC:\nno\n", &options, &cast(&options));
        let whose: Vec<_> = found.iter().map(|(owner, text)| (*owner == a, *owner == b, text.as_str())).collect();
        let (of_a, of_b, other) = ((true, false), (false, true), (false, false));
        let expected =
            [(of_a, "A:hi"), (other, "C:no(so)"), (of_b, "B:x"), (other, "theD:y"), (of_b, "B:E:z"), (other, "C:no")];
        assert_eq!(whose, expected.map(|((of_a, of_b), text)| (of_a, of_b, text)));
        // C is too rare for the vocabulary.
        let options = TextOptions { min_count: 2, ..TextOptions::new(Level::Word) };
        let found = runs("A: x\nC: x\nA: x\n", &options, &cast(&options));
        let expected = [(a, "A:x"), (Some(Who::Other), "<unk>x"), (a, "A:x")];
        assert_eq!(found, expected.map(|(owner, text)| (owner, text.to_owned())));
    }
}
