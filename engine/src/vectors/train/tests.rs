use std::sync::atomic::AtomicBool;

use unroll_kernels::Isa;

use super::sampling::{GROUP, Sample, Text};
use super::*;
use crate::corpus::MemoryTokens;
use crate::text::{Level, TextOptions, Tokenizer};

/// A text of pairs of topics: words of one topic stand in the same sentences.
fn topics(sentences: u64) -> String {
    let key = Key::new(5, Purpose::Source);
    let mut text = String::new();
    for i in 0..sentences {
        let topic = key.below(10 * i, 4);
        let words: Vec<String> = (1..9)
            .map(|j| format!("{}{}", ["ship", "bread", "horse", "song"][topic as usize], key.below(10 * i + j, 12)))
            .collect();
        text += &words.join(" ");
        text += "\n";
    }
    text
}

fn tokens(text: &str) -> (Tokenizer, MemoryTokens) {
    let options = TextOptions { level: Level::Word, ..TextOptions::default() };
    MemoryTokens::from_text(text, &options).unwrap()
}

fn small(model: Model) -> TrainOptions {
    TrainOptions { model, size: 20, sample: 0.0, min_count: 1, epochs: 3, batch: 256, ..TrainOptions::default() }
}

fn run((tokenizer, tokens): &(Tokenizer, MemoryTokens), options: TrainOptions) -> Trained {
    train(tokens, tokenizer.vocabulary(), options, |_| Ok(()), &AtomicBool::new(false)).unwrap()
}

fn bits(trained: &Trained) -> Vec<u32> {
    let rows = (0..trained.vectors.len()).flat_map(|i| trained.vectors.row(i));
    rows.map(|x| x.to_bits()).chain(trained.losses.iter().map(|x| (*x as f32).to_bits())).collect()
}

const KINDS: [(Model, Loss); 6] = [
    (Model::SkipGram, Loss::Negative),
    (Model::Cbow, Loss::Negative),
    (Model::SkipGram, Loss::Hierarchical),
    (Model::Cbow, Loss::Hierarchical),
    (Model::SkipGram, Loss::Softmax),
    (Model::Cbow, Loss::Softmax),
];

#[test]
fn bits_do_not_depend_on_threads_or_registers() {
    let text = tokens(&topics(300));
    for (model, loss) in KINDS {
        let options = TrainOptions { loss, sample: 1e-2, ..small(model) };
        let one = bits(&run(&text, options.clone()));
        for threads in [2, 5] {
            let many = bits(&run(&text, TrainOptions { threads, ..options.clone() }));
            assert_eq!(many, one, "{model} on {threads} threads");
        }
        for isa in unroll_kernels::isa::sets_under_test().into_iter().filter(|isa| *isa != Isa::PORTABLE) {
            assert_eq!(bits(&run(&text, TrainOptions { isa, ..options.clone() })), one, "{model} on {isa}");
        }
        let other = bits(&run(&text, TrainOptions { seed: 2, ..options }));
        assert_ne!(other, one, "another seed gives other vectors");
    }
}

/// The mean cosine of words of the same topic, and of words of different ones.
fn cosines(vectors: &WordVectors) -> [f64; 2] {
    let mut sums = [(0.0, 0); 2];
    for i in 0..vectors.len() {
        for j in 0..i {
            let dot = |a: usize, b: usize| -> f64 {
                vectors.row(a).iter().zip(vectors.row(b)).map(|(x, y)| f64::from(x * y)).sum()
            };
            let same = vectors.word(i)[..3] == vectors.word(j)[..3];
            let sum = &mut sums[usize::from(!same)];
            *sum = (sum.0 + dot(i, j) / (dot(i, i) * dot(j, j)).sqrt(), sum.1 + 1);
        }
    }
    sums.map(|(sum, count)| sum / f64::from(count))
}

#[test]
fn words_of_a_topic_come_to_lie_together() {
    let text = tokens(&topics(1000));
    for (model, loss) in KINDS {
        let trained = run(&text, TrainOptions { loss, epochs: 5, ..small(model) });
        let [same, different] = cosines(&trained.vectors);
        assert!(same > different + 0.5, "{model}: {same} in a topic, {different} between topics");
        assert!(trained.losses.windows(2).all(|pair| pair[1] < pair[0]), "{model}: {:?}", trained.losses);
        assert_eq!(trained.vectors.len(), 48);
    }
}

#[test]
fn rare_words_and_the_ends_of_lines_have_no_vector() {
    let text = tokens(&format!("{}once\n", topics(100)));
    let vocabulary = text.0.vocabulary();
    let trained = run(&text, TrainOptions { min_count: 2, epochs: 1, ..small(Model::Cbow) });
    assert_eq!(trained.vectors.find("once"), None);
    assert_eq!(trained.vectors.find("<eos>"), None);
    let special = 1 + vocabulary.unknown().map_or(0, |_| 1);
    assert_eq!(trained.vectors.len(), vocabulary.len() - special - 1);
    assert!(trained.vectors.count(0) >= trained.vectors.count(1));
    let none = TrainOptions { min_count: 10_000, ..small(Model::Cbow) };
    let error = train(&text.1, vocabulary, none, |_| Ok(()), &AtomicBool::new(false)).err().unwrap();
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn a_training_that_runs_away_says_so() {
    let text = tokens(&topics(200));
    let options = TrainOptions { learning_rate: 1e30, ..small(Model::SkipGram) };
    let error = train(&text.1, text.0.vocabulary(), options, |_| Ok(()), &AtomicBool::new(false)).err().unwrap();
    assert_eq!(error.exit_code(), 4, "{error}");
}

/// Words that stand in pairs, drawn alike: the fewer there are, the more of a batch goes to each.
fn few_words(pairs: u64, words: u64) -> String {
    let key = Key::new(6, Purpose::Source);
    let pair = |i| format!("p{0} q{0}", key.below(i, pairs));
    (0..words / 20).map(|line| (10 * line..10 * line + 10).map(pair).collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[test]
fn few_words_do_not_run_away() {
    for (pairs, learning_rate) in [(2, 0.05), (5, 0.025), (50, 0.05), (150, 0.1)] {
        let text = tokens(&few_words(pairs, 8000));
        for (model, loss) in KINDS {
            let trained = run(&text, TrainOptions { loss, learning_rate, ..small(model) });
            let losses = &trained.losses;
            assert!(losses.windows(2).all(|pair| pair[1] < 1.1 * pair[0]), "{model} {loss:?} {pairs}: {losses:?}");
            let largest =
                (0..trained.vectors.len()).flat_map(|i| trained.vectors.row(i)).fold(0f32, |m, x| m.max(x.abs()));
            assert!(largest < 20.0, "{model} {loss:?} {pairs}: {largest}");
        }
    }
}

#[test]
fn batches_are_as_short_as_asked_for() {
    let text = tokens(&topics(100));
    let [one, whole] = [4, 64].map(|batch| bits(&run(&text, TrainOptions { batch, ..small(Model::Cbow) })));
    assert_ne!(one, whole);
}

#[test]
fn options_that_cannot_be_are_named() {
    let wrong = [
        (TrainOptions { size: 0, ..small(Model::Cbow) }, "--size"),
        (TrainOptions { window: 0, ..small(Model::Cbow) }, "--window"),
        (TrainOptions { negative: 0, ..small(Model::Cbow) }, "--negative"),
        (TrainOptions { sample: -1.0, ..small(Model::Cbow) }, "--sample"),
        (TrainOptions { learning_rate: f64::NAN, ..small(Model::Cbow) }, "--learning-rate"),
    ];
    for (options, name) in wrong {
        assert!(options.check().unwrap_err().to_string().starts_with(name), "{name}");
    }
}

/// Every window that is drawn, against a slow account of which words are kept and which sentence they are in.
#[test]
fn windows_hold_the_kept_neighbours_of_the_same_sentence() {
    let (tokenizer, memory) = tokens(&topics(60));
    let vocabulary = tokenizer.vocabulary();
    let options = TrainOptions { sample: 3e-3, window: 3, ..small(Model::SkipGram) };
    let sampler = Sampler::new(vocabulary, &options).unwrap();
    let all = memory.tokens().to_vec();
    let eos = vocabulary.eos().unwrap();
    let count = all.len() as u64;
    let mut kept: Vec<(u32, usize)> = Vec::new();
    let (mut own, mut centres, mut widest) = (0, Vec::new(), 0);
    for first in (0..count).step_by(GROUP) {
        let text = Text { first: 0, tokens: all.clone(), epoch: 7, group: GROUP };
        let mut sample = Sample::default();
        sampler.draw(&text, first..(first + GROUP as u64).min(count), &mut sample);
        own += sample.own.len();
        for (i, window) in sample.windows.iter().enumerate() {
            let words = window.inputs().map(|n| sampler.ids()[sample.words[n] as usize]).collect::<Vec<_>>();
            assert!((window.own - window.first).max(window.end - window.after) <= 3);
            widest = widest.max(words.len());
            centres.push((sampler.ids()[sample.words[sample.own.start + i] as usize], words));
        }
    }
    let mut sentence = 0;
    for (at, &word) in all.iter().enumerate() {
        if word == eos {
            sentence += 1;
        } else if sampler.would_keep(7, at as u64, word) {
            kept.push((word, sentence));
        }
    }
    assert_eq!(own, kept.len());
    assert!(own > 200 && own < all.len() - 60 - 50, "{own} of {} words are kept", all.len());
    assert_eq!(widest, 6);
    for (i, (word, neighbours)) in centres.iter().enumerate() {
        assert_eq!(*word, kept[i].0);
        let near = |range: std::ops::Range<usize>| {
            let same = kept[range].iter().filter(|near| near.1 == kept[i].1);
            same.map(|near| near.0).collect::<Vec<_>>()
        };
        let matches = (1..=3).any(|width| {
            let mut want = near(i.saturating_sub(width)..i);
            want.extend(near(i + 1..kept.len().min(i + 1 + width)));
            want == *neighbours
        });
        assert!(matches, "neighbours of word {i}");
    }
}

/// Each word of the text with the neighbours that predict it, in the order of the text.
fn windows((tokenizer, memory): &(Tokenizer, MemoryTokens), options: &TrainOptions) -> Vec<(Vec<u32>, u32)> {
    let sampler = Sampler::new(tokenizer.vocabulary(), options).unwrap();
    let text = Text { first: 0, tokens: memory.tokens().to_vec(), epoch: 3, group: GROUP };
    let (mut all, count) = (Vec::new(), text.tokens.len() as u64);
    for first in (0..count).step_by(GROUP) {
        let mut sample = Sample::default();
        sampler.draw(&text, first..(first + GROUP as u64).min(count), &mut sample);
        let own = &sample.words[sample.own.clone()];
        for (&word, window) in own.iter().zip(&sample.windows) {
            let id = |row: u32| sampler.ids()[row as usize];
            all.push((window.inputs().map(|n| id(sample.words[n])).collect(), id(word)));
        }
    }
    all
}

/// The same by plain loops: all neighbours up to so many words before and behind.
fn neighbours((tokenizer, memory): &(Tokenizer, MemoryTokens), before: usize, behind: usize) -> Vec<(Vec<u32>, u32)> {
    let eos = tokenizer.vocabulary().eos().unwrap();
    let mut all = Vec::new();
    for sentence in memory.tokens().split(|&token| token == eos) {
        for (i, &word) in sentence.iter().enumerate() {
            let mut near = sentence[i.saturating_sub(before)..i].to_vec();
            near.extend(&sentence[i + 1..sentence.len().min(i + 1 + behind)]);
            all.push((near, word));
        }
    }
    all
}

/// Two words with 200 between them that have no vector.
fn far_apart() -> (Tokenizer, MemoryTokens) {
    let key = Key::new(7, Purpose::Source);
    let rare = |line: u64| (0..200).map(|i| format!(" {}", key.below(200 * line + i, 1 << 60))).collect::<String>();
    tokens(&(0..40).map(|line| format!("king{} queen\n", rare(line))).collect::<String>())
}

#[test]
fn neighbours_are_found_however_many_words_without_a_vector_stand_between() {
    let text = far_apart();
    for (model, loss) in KINDS {
        let options = TrainOptions { window: 1, min_count: 5, loss, ..small(model) };
        let mut trainer = Trainer::new(&text.1, text.0.vocabulary(), options).unwrap();
        let mut predictions = 0;
        while trainer.losses().is_empty() && trainer.step().unwrap() {
            predictions = predictions.max(trainer.tally.1);
        }
        assert!(predictions >= 70, "{model} {loss:?}: {predictions}");
        assert_eq!(trainer.words(), 2);
    }
}

#[test]
fn losses_of_a_tree_and_a_softmax_begin_alike() {
    for (text, start) in [("one one one\n".repeat(30), 0.0), ("one two\n".repeat(30), 2f64.ln())] {
        let text = tokens(&text);
        for (model, loss) in KINDS.into_iter().filter(|(_, loss)| *loss != Loss::Negative) {
            let options = TrainOptions { loss, learning_rate: 1e-6, epochs: 1, ..small(model) };
            let found = run(&text, options).losses[0];
            assert!((found - start).abs() < 1e-5, "{model} {loss:?}: {found}, not {start}");
        }
    }
}

#[test]
fn the_context_of_one_word_is_the_word_before_it() {
    let text = tokens(&topics(60));
    let options = TrainOptions { window: 1, context: Context::Previous, ..small(Model::Cbow) };
    let found = windows(&text, &options);
    assert_eq!(found, neighbours(&text, 1, 0));
    let begins = found.iter().filter(|(near, _)| near.is_empty()).count();
    assert_eq!(begins, 60, "the first word of a sentence has no context");
    // Both models then learn from the same pairs, and from as many predictions.
    let losses = [Model::Cbow, Model::SkipGram].map(|model| {
        let options = TrainOptions { loss: Loss::Softmax, epochs: 1, model, ..options.clone() };
        run(&text, options).losses[0]
    });
    assert!((losses[0] - losses[1]).abs() < 1e-4, "{losses:?}");
}

#[test]
fn windows_that_do_not_shrink_have_all_neighbours() {
    let text = tokens(&topics(60));
    for (context, behind) in [(Context::Both, 3), (Context::Previous, 0)] {
        let options = TrainOptions { window: 3, context, shrink_windows: false, ..small(Model::Cbow) };
        assert_eq!(windows(&text, &options), neighbours(&text, 3, behind), "{context:?}");
        let drawn = windows(&text, &TrainOptions { shrink_windows: true, ..options });
        let of = |wide: usize| neighbours(&text, wide, wide.min(behind));
        let wide = [of(1), of(2), of(3)];
        assert!((0..drawn.len()).all(|i| wide.iter().any(|wide| wide[i] == drawn[i])));
        assert!(wide.iter().all(|wide| *wide != drawn));
    }
}

/// Words that follow each other in a circle: the one before tells the next for certain.
fn circle() -> (Tokenizer, MemoryTokens) {
    let words: Vec<String> = (0..12).map(|i| format!("w{i}")).collect();
    tokens(&(words.join(" ") + " ").repeat(300))
}

#[test]
fn output_vectors_are_those_that_predict() {
    let text = circle();
    for (model, loss) in KINDS.into_iter().filter(|(_, loss)| *loss != Loss::Hierarchical) {
        let options = TrainOptions {
            window: 1,
            context: Context::Previous,
            loss,
            learning_rate: 0.5,
            epochs: 15,
            size: 70,
            outputs: true,
            ..small(model)
        };
        let trained = run(&text, options.clone());
        let outputs = trained.outputs.unwrap();
        assert!(outputs.words().eq(trained.vectors.words()) && outputs.count(0) == trained.vectors.count(0));
        for i in 0..12 {
            let input = trained.vectors.row(trained.vectors.find(format!("w{i}")).unwrap());
            let logit = |j: usize| input.iter().zip(outputs.row(j)).map(|(v, u)| v * u).sum::<f32>();
            let next = (0..12).max_by(|&a, &b| logit(a).total_cmp(&logit(b))).unwrap();
            assert_eq!(outputs.text(next), format!("w{}", (i + 1) % 12), "{model} {loss:?}");
        }
        let many = run(&text, TrainOptions { threads: 3, ..options.clone() });
        assert!(many.outputs.unwrap() == outputs, "{model} {loss:?}: threads");
        let without = run(&text, TrainOptions { outputs: false, ..options });
        assert!(without.outputs.is_none() && without.vectors == trained.vectors);
    }
    let tree = TrainOptions { loss: Loss::Hierarchical, outputs: true, ..small(Model::Cbow) };
    insta::assert_snapshot!(tree.check().unwrap_err(), @"--output-vectors: with --loss hierarchical the output vectors are of the inner nodes of Huffman's tree, not of words (leave it out, or choose --loss negative or softmax)");
}

#[test]
fn a_training_goes_on_with_vectors_that_it_is_given() {
    let others = format!("{}{}", topics(200), "new words\n".repeat(5)).replace("song", "tune");
    let (first, second) = (tokens(&topics(200)), tokens(&others));
    let begin = |options: &TrainOptions| Trainer::new(&second.1, second.0.vocabulary(), options.clone()).unwrap();
    for (model, loss) in KINDS {
        let outputs = loss != Loss::Hierarchical;
        let options = TrainOptions { loss, size: 70, outputs, ..small(model) };
        let before = run(&first, TrainOptions { epochs: 5, ..options.clone() });
        let go_on = |options: &TrainOptions| {
            let mut trainer = begin(options);
            assert_eq!(trainer.set_vectors(&before.vectors).unwrap(), 36, "12 of 48 words have another name");
            match &before.outputs {
                Some(outputs) => assert_eq!(trainer.set_outputs(outputs).unwrap(), 36),
                None => assert!(trainer.set_outputs(&before.vectors).is_err()),
            }
            trainer
        };
        // What it begins with.
        let (fresh, begun) = (begin(&options).finish().unwrap(), go_on(&options).finish().unwrap());
        let tables = |trained: Trained| std::iter::once(trained.vectors).chain(trained.outputs);
        let earlier = [&before.vectors].into_iter().chain(&before.outputs);
        for ((fresh, begun), before) in tables(fresh).zip(tables(begun)).zip(earlier) {
            assert_eq!(begun.len(), 50);
            for (i, word) in begun.words().enumerate() {
                let want = before.find(word).map_or_else(|| fresh.row(i), |row| before.row(row));
                assert_eq!(begun.row(i), want, "{model} {loss:?}");
            }
        }
        // What comes of it.
        let ended = |mut trainer: Trainer<'_>| {
            while trainer.step().unwrap() {}
            trainer.finish().unwrap()
        };
        let went_on = ended(go_on(&options));
        let many = ended(go_on(&TrainOptions { threads: 3, ..options.clone() }));
        assert_eq!(bits(&many), bits(&went_on), "{model} {loss:?}: threads");
        assert!(many.outputs == went_on.outputs, "{model} {loss:?}: threads");
        let anew = ended(begin(&options));
        assert_ne!(bits(&went_on), bits(&anew), "{model} {loss:?}");
        if outputs {
            let (on, anew) = (went_on.losses[0], anew.losses[0]);
            assert!(on < 0.95 * anew, "{model} {loss:?}: {on}, anew {anew}");
        }
    }
    let mut trainer = begin(&small(Model::Cbow));
    let refused = |result: Result<usize>| result.unwrap_err().to_string();
    let of = |word: &str, size: usize| WordVectors::from_rows(size, [(word, vec![1.0; size])]).unwrap();
    insta::assert_snapshot!(refused(trainer.set_vectors(&of("ship1", 21))), @"--init: these vectors have 21 values, and --size is 20 (give --size 21, or other vectors)");
    insta::assert_snapshot!(refused(trainer.set_outputs(&of("song1", 20))), @"--init-output: has none of the words of the text that get a vector (name vectors of its words, or leave it out)");
}

#[test]
fn a_model_of_bigrams_learns_a_circle_of_words() {
    let text = circle();
    let options = TrainOptions {
        window: 1,
        context: Context::Previous,
        loss: Loss::Softmax,
        learning_rate: 0.5,
        epochs: 15,
        batch: 64,
        ..small(Model::Cbow)
    };
    let losses = run(&text, options).losses;
    assert!(losses[0] < 12f64.ln() + 0.1, "{losses:?}");
    assert!(losses[14] < 0.05, "{losses:?}");
}
