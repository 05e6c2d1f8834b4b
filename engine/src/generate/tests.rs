use super::*;
use crate::text::TextOptions;

/// Predicts that each token is followed by the next one, surely.
struct Counting {
    vocabulary: usize,
    logits: Vec<f32>,
    fed: Vec<u32>,
}

impl Counting {
    fn new(tokenizer: &Tokenizer) -> Counting {
        let vocabulary = tokenizer.vocabulary().len();
        Counting { vocabulary, logits: vec![0.0; vocabulary], fed: Vec::new() }
    }
}

impl Predictor for Counting {
    fn reset(&mut self) {
        self.fed.clear();
    }
    fn feed(&mut self, tokens: &[u32]) -> Result<()> {
        self.fed.extend(tokens);
        self.logits.fill(-1e30);
        self.logits[(tokens[tokens.len() - 1] as usize + 1) % self.vocabulary] = 0.0;
        Ok(())
    }
    fn logits(&self) -> &[f32] {
        &self.logits
    }
}

/// Always undecided between all tokens.
struct Even(Vec<f32>);

impl Predictor for Even {
    fn reset(&mut self) {}
    fn feed(&mut self, _: &[u32]) -> Result<()> {
        Ok(())
    }
    fn logits(&self) -> &[f32] {
        &self.0
    }
}

fn tokenizer(level: Level, text: &str) -> Tokenizer {
    Tokenizer::from_text(text, &TextOptions::new(level)).unwrap()
}

fn request(prompt: &[u32], length: usize) -> Request<'_> {
    Request { prompt, length, stop: &[], turn: None, seed: 1, sample: 0 }
}

fn write(model: &mut dyn Predictor, tokenizer: &Tokenizer, request: &Request<'_>) -> (Vec<String>, Ended) {
    let mut shown = Vec::new();
    let mut sampler = Sampler::new(Sampling::default()).unwrap();
    let ended = generate(model, tokenizer, &mut sampler, request, |text| {
        shown.push(text.to_owned());
        Ok(true)
    });
    (shown, ended.unwrap())
}

/// `a` to `f`, of falling frequency, so that ids follow the alphabet.
const LETTERS: &str = "aaaaaabbbbbccccdddeef";

#[test]
fn the_prompt_is_fed_and_not_repeated() {
    let tokenizer = tokenizer(Level::Char, LETTERS);
    let mut model = Counting::new(&tokenizer);
    let prompt = tokenizer.encode("ab").unwrap();
    let (shown, ended) = write(&mut model, &tokenizer, &request(&prompt, 5));
    assert_eq!((shown.concat().as_str(), ended), ("cdefa", Ended::Length));
    assert_eq!(model.fed, tokenizer.encode("abcdef").unwrap(), "the last token is not needed");
}

#[test]
fn a_sample_stops_before_the_stop_text() {
    let tokenizer = tokenizer(Level::Char, LETTERS);
    let prompt = tokenizer.encode("a").unwrap();
    let stopping = |stop: &str, length| {
        let stop: Vec<String> = stop.split('|').map(str::to_owned).collect();
        let request = Request { stop: &stop, ..request(&prompt, length) };
        let (shown, ended) = write(&mut Counting::new(&tokenizer), &tokenizer, &request);
        (shown.concat(), ended)
    };
    assert_eq!(stopping("de", 50), ("bc".to_owned(), Ended::Stop));
    assert_eq!(stopping("b", 50), (String::new(), Ended::Stop));
    // `d` is held back as a possible beginning and shown in the end.
    assert_eq!(stopping("dx", 3), ("bcd".to_owned(), Ended::Length));
    assert_eq!(stopping("fab", 9), ("bcde".to_owned(), Ended::Stop));
    // The first of several, and none of them where none comes.
    assert_eq!(stopping("fa|cd|e", 50), ("b".to_owned(), Ended::Stop));
    assert_eq!(stopping("ca||dx", 4), ("bcde".to_owned(), Ended::Length));
}

#[test]
fn a_reader_may_leave() {
    let tokenizer = tokenizer(Level::Char, LETTERS);
    let mut sampler = Sampler::new(Sampling::default()).unwrap();
    let mut model = Counting::new(&tokenizer);
    let ended = generate(&mut model, &tokenizer, &mut sampler, &request(&[0], 50), |_| Ok(false)).unwrap();
    assert_eq!(ended, Ended::Closed);
}

#[test]
fn words_are_parted_from_the_prompt_and_lines_end_with_eos() {
    let tokenizer = tokenizer(Level::Word, "a a a a a a\nb b b b b b b\nc c c c c\n");
    let names: Vec<&str> = (0..5).map(|id| tokenizer.token_text(id)).collect();
    assert_eq!(names, ["b", "a", "c", "<eos>", "<unk>"]);
    let prompt = tokenizer.encode("b").unwrap();
    let (shown, _) = write(&mut Counting::new(&tokenizer), &tokenizer, &request(&prompt, 3));
    assert_eq!(shown.concat(), " a c\n");
    // Without a prompt the model is fed <eos>, after which it predicts <unk>.
    let (shown, _) = write(&mut Counting::new(&tokenizer), &tokenizer, &request(&[], 3));
    assert_eq!(shown.concat(), "<unk> b a");
}

#[test]
fn a_sample_depends_on_its_seed_and_number_only() {
    let tokenizer = tokenizer(Level::Char, LETTERS);
    let mut model = Even(vec![0.0; tokenizer.vocabulary().len()]);
    let mut sample = |seed, sample| {
        let request = Request { seed, sample, ..request(&[0], 40) };
        write(&mut model, &tokenizer, &request).0.concat()
    };
    let first = sample(1, 0);
    assert_eq!(first, sample(1, 0));
    assert_ne!(first, sample(1, 1));
    assert_ne!(first, sample(2, 0));
    assert!("abcdef".chars().all(|letter| first.contains(letter)), "{first}");
}

#[test]
fn bytes_are_shown_as_whole_characters() {
    let tokenizer = tokenizer(Level::Byte, "x");
    // 0xC3 is followed by 0xC4: neither makes a character, and both become U+FFFD.
    let (shown, _) = write(&mut Counting::new(&tokenizer), &tokenizer, &request(&[0xC2], 2));
    assert_eq!(shown.concat(), "\u{FFFD}\u{FFFD}");
}

#[test]
fn unknown_characters_of_a_prompt_are_named_skipped_or_mapped() {
    let letters = tokenizer(Level::Char, LETTERS);
    let refused = encode_prompt(&letters, "abzc", UnknownInPrompt::Refuse).unwrap_err();
    insta::assert_snapshot!(refused, @r#"the character "z" (U+007A) at byte 2 (line 1, column 3) is not in the vocabulary (leave it out, or use --unk skip)"#);
    let (korean, marked) = (tokenizer(Level::Char, "한글"), tokenizer(Level::Word, "cafe\u{301} a\n"));
    for (tokenizer, prompt) in [(&korean, "\u{1112}\u{1161}\u{11ab}"), (&marked, "caf\u{e9}")] {
        let refused = encode_prompt(tokenizer, prompt, UnknownInPrompt::Refuse).unwrap_err().to_string();
        assert!(refused.ends_with("is not in the vocabulary (it is in the other normal form of Unicode: write it so, or train with --set data.prepare.normalize=nfc for both)"), "{refused}");
    }
    assert_eq!(encode_prompt(&letters, "abzc", UnknownInPrompt::Skip).unwrap(), [0, 1, 2]);
    insta::assert_snapshot!(encode_prompt(&letters, "abzc", UnknownInPrompt::Map).unwrap_err(), @"--unk: this model's vocabulary has no `<unk>` to map to (use --unk skip)");
    let words = tokenizer(Level::Word, "a b a b\n");
    insta::assert_snapshot!(encode_prompt(&words, "a\nb zebra a", UnknownInPrompt::Refuse).unwrap_err(), @r#"prompt, character 5: "zebra" is not in the vocabulary (use --unk map to read it as <unk>, or --unk skip to leave it out)"#);
    let decoded = |unknown| words.decode(&encode_prompt(&words, "a\nb zebra a", unknown).unwrap());
    assert_eq!(decoded(UnknownInPrompt::Skip), "a\nb a");
    assert_eq!(decoded(UnknownInPrompt::Map), "a\nb <unk> a");
    assert_eq!(encode_prompt(&words, "<unk> a", UnknownInPrompt::Refuse).unwrap().len(), 2);
}
