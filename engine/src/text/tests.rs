use std::path::Path;

use super::*;
use proptest::prelude::*;

const TEXTS: [&str; 6] = [
    "To be, or not to be.\nThat is\tthe question:\r\n",
    "모든 인간은 태어날 때부터 자유로우며\n그 존엄과 권리에 있어 동등하다.",
    "すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "👩‍👩‍👧‍👦 family 🇰🇷🇯🇵 flags, e\u{301} accents, नमस्ते, z\u{335}\u{328}algo\u{200d}",
    "\u{feff}a\u{0}b\\n\\u{41}<unk><eos>\u{2028}\u{3000}\u{1f}",
    "\n\n \n",
];

fn lossless(text: &str, options: &TextOptions) {
    let tokenizer = Tokenizer::from_text(text, options).expect("a text with tokens");
    let ids = tokenizer.encode(text).expect("its own vocabulary");
    assert_eq!(tokenizer.decode(&ids), text, "{options:?}");
    assert_eq!(tokenizer.decode_bytes(&ids), text.as_bytes());
}

#[test]
fn bytes_characters_and_clusters_are_lossless() {
    for text in TEXTS {
        for level in [Level::Byte, Level::Char, Level::Grapheme] {
            lossless(text, &TextOptions::new(level));
        }
    }
}

#[test]
fn words_come_back_with_one_space_between_them() {
    let tokenizer = Tokenizer::from_text("a  b\n\nc d", &TextOptions::new(Level::Word)).expect("words");
    let ids = tokenizer.encode("a  b\n\nc d").expect("its own vocabulary");
    assert_eq!(tokenizer.decode(&ids), "a b\n\nc d");
    assert_eq!(tokenizer.encode(&tokenizer.decode(&ids)).expect("again"), ids);
}

#[test]
fn a_cluster_is_what_a_reader_calls_a_character() {
    let text = "👩‍👩‍👧‍👦e\u{301}\r\n🇰🇷";
    let tokenizer = Tokenizer::from_text(text, &TextOptions::new(Level::Grapheme)).expect("clusters");
    assert_eq!(tokenizer.encode(text).expect("its own").len(), 4);
}

#[test]
fn clusters_are_those_of_the_unicode_tables() {
    use unicode_segmentation::UnicodeSegmentation;
    proptest!(|(text in "[a-c\r\n\u{301}\u{200d}👩🇰🇷각\u{600}é]{0,40}")| {
        let expected: Vec<&str> = text.graphemes(true).collect();
        prop_assert_eq!(tokenizer::clusters(&text).collect::<Vec<_>>(), expected);
    });
}

#[test]
fn ids_go_by_count_then_by_code_point() {
    let options = TextOptions { eos: Some(false), unknown: Some(false), ..TextOptions::new(Level::Word) };
    let tokenizer = Tokenizer::from_text("b a é b z a c b", &options).expect("words");
    let tokens: Vec<_> = tokenizer.vocabulary().iter().collect();
    assert_eq!(tokens, [("b", 3), ("a", 2), ("c", 1), ("z", 1), ("é", 1)]);
}

#[test]
fn rare_and_surplus_words_become_unknown() {
    let text = "a a a b b c d\n";
    let least = TextOptions { min_count: 2, ..TextOptions::new(Level::Word) };
    let tokens = |options| {
        let tokenizer = Tokenizer::from_text(text, options).expect("words");
        tokenizer.vocabulary().iter().map(|(token, count)| format!("{token} {count}")).collect::<Vec<_>>()
    };
    assert_eq!(tokens(&least), ["a 3", "<unk> 2", "b 2", "<eos> 1"]);
    let most = TextOptions { max_size: 3, ..TextOptions::new(Level::Word) };
    assert_eq!(tokens(&most), ["<unk> 4", "a 3", "<eos> 1"]);
    let tokenizer = Tokenizer::from_text(text, &most).expect("words");
    assert_eq!(tokenizer.decode(&tokenizer.encode("a x\n").expect("with <unk>")), "a <unk>\n");
    let chars = TextOptions { unknown: Some(true), min_count: 3, ..TextOptions::new(Level::Char) };
    let tokenizer = Tokenizer::from_text(text, &chars).expect("characters");
    assert_eq!(tokenizer.decode(&tokenizer.encode("a é").expect("with <unk>")), "a \u{fffd}");
}

#[test]
fn the_marks_in_the_text_are_the_tokens() {
    let tokenizer = Tokenizer::from_text("a <unk> <eos> b\n", &TextOptions::new(Level::Word)).expect("words");
    let tokens: Vec<_> = tokenizer.vocabulary().iter().collect();
    assert_eq!(tokens, [("<eos>", 2), ("<unk>", 1), ("a", 1), ("b", 1)]);
}

#[test]
fn messages() {
    let message = |text: &str, options: &TextOptions| match Tokenizer::from_text("abc\n", options) {
        Ok(tokenizer) => tokenizer.encode(text).expect_err("unknown").to_string(),
        Err(error) => error.to_string(),
    };
    let words = TextOptions { unknown: Some(false), ..TextOptions::new(Level::Word) };
    let char = TextOptions::new(Level::Char);
    let all = [
        message("ab\ncé", &char),
        message("e\u{301}", &TextOptions::new(Level::Grapheme)),
        message("abc abcd", &words),
        message("", &TextOptions { lowercase: true, ..char.clone() }),
        message("", &TextOptions { eos: Some(true), ..char.clone() }),
        message("", &TextOptions { min_count: 2, ..char.clone() }),
        message("", &TextOptions { max_size: 2, ..char.clone() }),
        message("", &TextOptions { max_size: 2, ..TextOptions::new(Level::Word) }),
        message("", &TextOptions { max_size: 9, ..TextOptions::new(Level::Byte) }),
        Tokenizer::from_text("", &char).expect_err("empty").to_string(),
        "syllable".parse::<Level>().expect_err("no level").to_string(),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_stream_of_bytes_shows_whole_characters_only() {
    let tokenizer = Tokenizer::from_text("x", &TextOptions::new(Level::Byte)).expect("bytes");
    let mut decoder = tokenizer.decoder();
    let mut steps = Vec::new();
    for byte in "é한!".bytes().chain([0xe3, 0x81]) {
        let mut shown = String::new();
        decoder.push(u32::from(byte), &mut shown);
        steps.push(shown);
    }
    let mut end = String::new();
    decoder.finish(&mut end);
    steps.push(end);
    assert_eq!(steps, ["", "é", "", "", "한", "!", "", "", "\u{fffd}"]);
}

#[test]
fn a_stream_of_words_goes_on_after_a_prompt() {
    let tokenizer = Tokenizer::from_text("a b\n", &TextOptions::new(Level::Word)).expect("words");
    let ids = tokenizer.encode("b\na").expect("its own");
    for (prompt, expected) in [("a", " b\na"), ("a ", "b\na"), ("", "b\na")] {
        let mut decoder = tokenizer.decoder().after_text(prompt);
        let mut text = String::new();
        ids.iter().for_each(|&id| decoder.push(id, &mut text));
        assert_eq!(text, expected);
    }
}

fn reread(vocabulary: &Vocabulary) {
    let read = parse_vocabulary(vocabulary.to_file().as_bytes(), Path::new("v")).expect("its own file");
    assert_eq!(read.hash(), vocabulary.hash());
    assert_eq!(read.options(), vocabulary.options());
    assert!(read.iter().eq(vocabulary.iter()));
    assert_eq!((read.unknown(), read.eos()), (vocabulary.unknown(), vocabulary.eos()));
}

#[test]
fn vocabulary_files_hold_any_token() {
    for text in TEXTS {
        for level in [Level::Byte, Level::Char, Level::Grapheme, Level::Word] {
            let options = TextOptions { errors: EncodingErrors::Skip, ..TextOptions::new(level) };
            if let Ok(tokenizer) = Tokenizer::from_text(text, &options) {
                let options = tokenizer.options().clone();
                reread(&Vocabulary::from_ordered(&options, tokenizer.vocabulary().iter()));
            }
        }
    }
    let every: String = ('\0'..=char::MAX).collect();
    reread(Tokenizer::from_text(&every, &TextOptions::new(Level::Char)).expect("all").vocabulary());
}

#[test]
fn a_vocabulary_file_is_written_and_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("words.vocab");
    let tokenizer = Tokenizer::from_text("to be or\n", &TextOptions::new(Level::Word)).expect("words");
    std::fs::write(&path, tokenizer.vocabulary().to_file()).expect("written");
    assert_eq!(Vocabulary::read(&path).expect("read").hash(), tokenizer.vocabulary().hash());
    let missing = Vocabulary::read(folder.path().join("none")).expect_err("missing");
    assert_eq!(missing.exit_code(), 3);
}

const FILE: &str = "unroll vocabulary 1\nlevel = word\nlowercase = false\npunctuation = false\neos = true\n\
                    unknown = true\nerrors = strict\nsize = 3\nhash = HASH\n\n2\tto\n1\t<eos>\n0\t<unk>\n";

fn good_file() -> String {
    let tokens = [("to", 2), (END_OF_SENTENCE, 1), (UNKNOWN, 0)];
    let vocabulary = Vocabulary::from_ordered(&TextOptions::new(Level::Word), tokens);
    let file = FILE.replace("HASH", &format!("{:016x}", vocabulary.hash()));
    assert_eq!(file, vocabulary.to_file());
    file
}

#[test]
fn bad_vocabulary_files_have_their_messages() {
    let good = good_file();
    let changes = [
        ("unroll vocabulary 1", "some text"),
        ("vocabulary 1", "vocabulary 2"),
        ("level = word", "level = wordy"),
        ("lowercase = false", "lowercase = no"),
        ("punctuation", "puctuation"),
        ("level = word", "level = char"),
        ("size = 3", "size = 0"),
        ("size = 3", "size = 99999999999"),
        ("size = 3", "size = x"),
        ("size = 3", "size = 2"),
        ("size = 3", "size = 4"),
        ("\n\n2", "\n2"),
        ("2\tto", "2 to"),
        ("2\tto", "-2\tto"),
        ("2\tto", "18446744073709551615\tto"),
        ("2\tto", "2\t"),
        ("2\tto", "2\tt\\o"),
        ("2\tto", "2\tto\\"),
        ("2\tto", "2\t\\u{d800}"),
        ("2\tto", "2\t\\u41"),
        ("2\tto", "2\t<eos>"),
        ("2\tto", "2\tof"),
        ("<eos>", "<end>"),
        ("<unk>\n", "<unk>"),
    ];
    let mut messages = Vec::new();
    for (from, to) in changes {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let error = parse_vocabulary(bad.as_bytes(), Path::new("v")).expect_err(to);
        assert_eq!(error.exit_code(), 3);
        messages.push(error.to_string());
    }
    messages.push(parse_vocabulary(b"unroll\xff", Path::new("v")).expect_err("UTF-8").to_string());
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn a_vocabulary_file_cut_anywhere_is_refused() {
    let good = good_file();
    for end in 0..good.len() {
        assert!(parse_vocabulary(&good.as_bytes()[..end], Path::new("v")).is_err(), "cut at {end}");
    }
}

#[test]
fn a_vocabulary_that_does_not_fit_says_how() {
    let of = |text: &str, level| Tokenizer::from_text(text, &TextOptions::new(level)).expect("tokens");
    let abc = of("aaabbc", Level::Char);
    let misfit = |other: Tokenizer| other.vocabulary().check_same(abc.vocabulary()).expect_err("misfit").to_string();
    assert!(of("abcabaa", Level::Char).vocabulary().check_same(abc.vocabulary()).is_ok(), "counts do not matter");
    let all = [misfit(of("aab", Level::Char)), misfit(of("aaabbd", Level::Char)), misfit(of("aaabbc", Level::Word))];
    insta::assert_snapshot!(all.join("\n"));
}

proptest! {
    #[test]
    fn any_text_comes_back(text in ".{1,60}") {
        for level in [Level::Byte, Level::Char, Level::Grapheme] {
            lossless(&text, &TextOptions::new(level));
        }
    }
}

#[test]
fn a_prepared_text_and_its_prompts_are_the_same_tokens() {
    let clean: CleanOptions = "nfkc,ascii,lower strip_punctuation".parse().unwrap();
    assert_eq!(clean.to_string(), "nfkc ascii strip_punctuation lower");
    assert!("lowercase".parse::<CleanOptions>().unwrap_err().to_string().contains("`lowercase` is not one of nfc"));
    for level in [Level::Char, Level::Grapheme, Level::Word] {
        let options = TextOptions { clean, ..TextOptions::new(level) };
        let tokenizer = Tokenizer::from_text("Cafe\u{301}s — ﬁne, “naïve”!\n", &options).unwrap();
        // The vocabulary has prepared tokens alone, and every way to write a prompt gives them.
        let tokens = tokenizer.encode("cafes fine naive").unwrap();
        for prompt in ["Cafés ﬁne naive", "CAFE\u{301}S, fine: Naïve!", "cafes fine naive"] {
            assert_eq!(tokenizer.encode(prompt).unwrap(), tokens, "{level}: {prompt}");
        }
        assert_eq!(tokenizer.decode(&tokens).trim_end(), "cafes fine naive");
        assert!(tokenizer.vocabulary().iter().all(|(token, _)| token.is_ascii()), "{level}");
        // A vocabulary file keeps how texts are prepared, and another preparation is another vocabulary.
        let file = tokenizer.vocabulary().to_file();
        assert!(file.contains("errors = strict\nprepare = nfkc ascii strip_punctuation lower\nsize = "), "{file}");
        let read = parse_vocabulary(file.as_bytes(), Path::new("v")).unwrap();
        assert_eq!((read.options(), read.hash()), (tokenizer.options(), tokenizer.vocabulary().hash()));
        let other = file.replace(" lower\n", "\n");
        assert!(parse_vocabulary(other.as_bytes(), Path::new("v")).unwrap_err().to_string().contains("hash"));
    }
    let joined = TextOptions { clean: "join_lines".parse().unwrap(), ..TextOptions::new(Level::Word) };
    let tokenizer = Tokenizer::from_text("a b\nc\n", &joined).unwrap();
    assert_eq!((tokenizer.vocabulary().eos(), tokenizer.encode("a\nb").unwrap().len()), (None, 2));
    let refused = |options: TextOptions| options.check().unwrap_err().to_string();
    assert!(refused(TextOptions { eos: Some(true), ..joined }).contains("no line that could end"));
    assert!(refused(TextOptions { clean, ..TextOptions::new(Level::Byte) }).contains("prepare"));
}
