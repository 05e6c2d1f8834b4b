//! How well a model predicts what each speaker of a script says.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::Score;
use crate::corpus::{IGNORE, Streams, TokenSource};
use crate::error::{Error, Result};
use crate::network::{Batch, LossSum, Network};
use crate::text::Tokenizer;

/// The score of one speaker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpeakerScore {
    /// Who.
    pub speaker: String,
    /// Of the turns, the name at their beginning included.
    #[serde(flatten)]
    pub score: Score,
}

/// A token as it stands in a row, and its loss where it was scored.
type Scored = (u32, Option<f32>);

/// Scores streams as [`super::evaluate`] does, and tells the scores of these speakers too, those with most tokens first. What
/// stands before the first of them in a row is of nobody.
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
    speakers: &[String],
    stop: &AtomicBool,
) -> Result<Vec<SpeakerScore>> {
    let places: HashMap<&str, usize> = speakers.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
    let mut sums = vec![LossSum::default(); speakers.len()];
    for row in score_rows(network, streams, stop)? {
        let mut owners = owners(&row, tokenizer, &places).into_iter();
        for (_, loss) in row {
            if let (Some(Some(owner)), Some(loss)) = (owners.next(), loss) {
                sums[owner] += LossSum { nats: f64::from(loss), count: 1 };
            }
        }
    }
    let told = speakers.iter().zip(sums).filter(|(_, sum)| sum.count > 0);
    let mut scores: Vec<SpeakerScore> =
        told.map(|(name, sum)| SpeakerScore { speaker: name.clone(), score: Score::new(sum, None) }).collect();
    scores.sort_by_key(|score| std::cmp::Reverse(score.score.tokens));
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
fn owners(row: &[Scored], tokenizer: &Tokenizer, places: &HashMap<&str, usize>) -> Vec<Option<usize>> {
    let (mut text, mut decoder) = (String::new(), tokenizer.decoder());
    let mut begins = Vec::with_capacity(row.len());
    for (token, _) in row {
        begins.push(text.len());
        decoder.push(*token, &mut text);
    }
    decoder.finish(&mut text);
    let mut owners = vec![None; row.len()];
    let (mut tokens, mut end, mut current) = (owners.iter_mut().zip(begins).peekable(), 0, None);
    for line in text.split_inclusive('\n') {
        end += line.len();
        let name = line.split_once([':', '：']).map(|(name, _)| name.trim());
        current = name.and_then(|name| places.get(name)).copied().or(current);
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

    #[test]
    fn a_turn_is_of_its_speaker_from_its_name_on() {
        let text = "so\nA: hi\nB:\nno: x\n\nA: y";
        for level in [Level::Char, Level::Word] {
            let tokenizer = Tokenizer::from_text(text, &TextOptions::new(level)).unwrap();
            let row: Vec<Scored> = tokenizer.encode(text).unwrap().into_iter().map(|token| (token, None)).collect();
            let places = HashMap::from([("A", 0), ("B", 1)]);
            let owners = owners(&row, &tokenizer, &places);
            let mut runs: Vec<(Option<usize>, String)> = Vec::new();
            for ((token, _), owner) in row.iter().zip(owners) {
                let token = tokenizer.decode(&[*token]);
                match runs.last_mut() {
                    Some((last, text)) if *last == owner => text.push_str(&token),
                    _ => runs.push((owner, token)),
                }
            }
            let runs: Vec<(Option<usize>, String)> =
                runs.into_iter().map(|(owner, text)| (owner, text.replace([' ', '\n'], ""))).collect();
            let expected = [(None, "so"), (Some(0), "A:hi"), (Some(1), "B:no:x"), (Some(0), "A:y")];
            assert_eq!(runs, expected.map(|(owner, text)| (owner, text.to_owned())), "{level}");
        }
    }
}
