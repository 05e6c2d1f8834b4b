//! Files of labelled samples, what is refused of them, and batches.

use std::path::PathBuf;

use crate::config::{FormatName, RunConfig, TaskConfig, TaskKind};
use crate::corpus::IGNORE;
use crate::error::Result;
use crate::run::labelled_graph;
use crate::text::{PrepareOptions, Side};
use crate::train::Batches;

use super::*;

fn read(task: &TaskConfig, name: &str, contents: impl AsRef<[u8]>) -> Result<Records> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, contents).unwrap();
    Records::read(task, &[path], Whole::default())
}

#[track_caller]
fn refused(task: &TaskConfig, name: &str, contents: impl AsRef<[u8]>) -> String {
    let message = read(task, name, contents).unwrap_err().to_string();
    message.rsplit_once(&format!("/{name}")).map_or(message.clone(), |(_, rest)| format!("{name}{rest}"))
}

fn texts(records: &Records) -> Vec<(u64, String, String)> {
    let one = |record: &Record| match &record.content {
        Content::Text { text, labels } => (record.line, labels.concat(), text.clone()),
        _ => panic!("no class"),
    };
    records.records.iter().map(one).collect()
}

fn row(line: u64, label: &str, text: &str) -> (u64, String, String) {
    (line, label.to_owned(), text.to_owned())
}

fn tags() -> TaskConfig {
    TaskConfig { kind: TaskKind::Tag, ..TaskConfig::default() }
}

#[test]
fn the_same_rows_are_read_from_every_form() {
    let task = TaskConfig::default();
    let expected = [row(1, "ham", "say \"hi\""), row(2, "spam", "WIN now")];
    assert_eq!(texts(&read(&task, "x.tsv", "ham\tsay \"hi\"\nspam\tWIN now\r\n").unwrap()), expected);
    assert_eq!(
        texts(&read(&task, "x", "\u{feff}ham\tsay \"hi\"\nspam\tWIN now").unwrap()),
        expected,
        "tsv unless named"
    );
    assert_eq!(texts(&read(&task, "x.csv", "ham,\"say \"\"hi\"\"\"\nspam,WIN now\n").unwrap()), expected);
    let json = "{\"label\":\"ham\",\"text\":\"say \\\"hi\\\"\"}\n{\"label\":\"spam\",\"text\":\"WIN now\"}\n";
    assert_eq!(texts(&read(&task, "x.jsonl", json).unwrap()), expected);
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, b"ham\tsay \"hi\"\nspam\tWIN now\n").unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(texts(&read(&task, "x.tsv.gz", gzip).unwrap()), expected);
}

#[test]
fn columns_are_chosen_by_name_or_number_and_fields_may_hold_line_ends() {
    let named =
        TaskConfig { header: true, label: Some("stars".into()), text: Some("review".into()), ..TaskConfig::default() };
    let csv = "id,review,stars\n1,\"two\nlines, one field\",5\n2,short,1\n";
    assert_eq!(
        texts(&read(&named, "x.csv", csv).unwrap()),
        [row(2, "5", "two\nlines, one field"), row(4, "1", "short")]
    );
    let json = "{\"review\": \"a\", \"stars\": 5}\n\n{\"review\": \"b\", \"stars\": true}";
    assert_eq!(texts(&read(&named, "x.jsonl", json).unwrap()), [row(1, "5", "a"), row(3, "true", "b")]);
    let counted = TaskConfig { label: Some("2".into()), text: Some("1".into()), ..TaskConfig::default() };
    assert_eq!(texts(&read(&counted, "x.tsv", "1\tshort\t5").unwrap()), [row(1, "5", "short")]);
    let dropped = TaskConfig { drop: vec!["Unknown".into(), String::new()], ..TaskConfig::default() };
    assert_eq!(texts(&read(&dropped, "x.tsv", "a\tUnknown\nb\t\nc\tUnknown?").unwrap()), [row(3, "c", "Unknown?")]);
}

#[test]
fn a_bad_table_is_refused_with_file_and_line() {
    let task = TaskConfig::default();
    let named = TaskConfig { header: true, ..TaskConfig::default() };
    insta::assert_snapshot!(refused(&task, "x.tsv", "ham\thi\nspam\tWIN\tnow\n"), @"x.tsv, line 2: the row has 3 fields, the first row has 2 (fix the row, or set task.format if columns are separated differently)");
    insta::assert_snapshot!(refused(&task, "x.tsv", "ham\thi\nspam\t \n"), @r#"x.tsv, line 2: the text is empty (remove the row, or leave such rows out by --set task.drop='[""]')"#);
    insta::assert_snapshot!(refused(&task, "x.tsv", "ham\thi\n\tWIN\n"), @"x.tsv, line 2: the label is empty (give the row a label, or remove it)");
    insta::assert_snapshot!(refused(&task, "x.tsv", "no tab at all"), @"x.tsv, line 1: the row has 1 fields and none is column `1` of task.text (count columns from 0, or set task.header = true where the first row names them, or task.format where something else parts them (csv, tsv))");
    insta::assert_snapshot!(refused(&named, "x.csv", "label,body\nham,hi\n"), @"x.csv, line 1: there is no column `text` for task.text (there are label, body)");
    insta::assert_snapshot!(refused(&task, "x.csv", "spam,WIN\nham,\"unclosed quote here\nspam,yes\n"), @"x.csv, line 2: a quoted field is not closed (close it, and double the quotes within a field)");
    insta::assert_snapshot!(refused(&task, "x.csv", "ham,\"no\nspam,\"yes, so\"\n"), @"x.csv, line 1: a quoted field is not closed (close it, and double the quotes within a field)");
    insta::assert_snapshot!(refused(&task, "x.jsonl", "{\"label\": \"ham\"}"), @"x.jsonl, line 1: the object has no `text` (set task.label and task.text to its keys)");
    insta::assert_snapshot!(refused(&task, "x.jsonl", "{\"label\": \"ham\", \"text\": [1]}"), @"x.jsonl, line 1: `text` is [1], not a text (give it as a string)");
    assert!(refused(&task, "x.jsonl", "\nham").starts_with("x.jsonl, line 2: is not valid JSON"));
    insta::assert_snapshot!(refused(&task, "x.tsv", b"ham\thi\nspam\tcaf\xe9\n"), @"x.tsv, line 2: the byte 0xe9 is not valid UTF-8 here (convert it: iconv -f LATIN1 -t UTF-8; or give --encoding-errors replace or skip)");
    insta::assert_snapshot!(refused(&task, "x.tsv", ""), @"x.tsv: contains no labelled sample (give a file with samples)");
    let conllu = TaskConfig { format: Some(FormatName::Conllu), ..TaskConfig::default() };
    insta::assert_snapshot!(refused(&conllu, "x.tsv", ""), @"x.tsv: samples of the task classify are not read from conllu (tags are read from CoNLL-U and npy, classes from tsv, csv, jsonl and npy, pairs of texts from tsv, csv and jsonl, texts without labels from tsv, csv, jsonl, npy and lines: set task.format)");
    insta::assert_snapshot!(Records::read(&task, &[PathBuf::from("-")], Whole::default()).unwrap_err(), @"labelled samples are read from files, not from standard input (write them to a file first)");
}

#[test]
fn texts_without_labels_are_read_from_every_form_and_give_a_sample_a_word() {
    let task = TaskConfig { kind: TaskKind::Next, ..TaskConfig::default() };
    let lines = "경마장에 있는 말이 뛰고 있다\n\n그의 말이 법이다\n가는 말이 고와야 오는 말이 곱다\n";
    let records = read(&task, "x.txt", lines).unwrap();
    let csv: String = lines.lines().filter(|line| !line.is_empty()).map(|line| format!("{line},1\n")).collect();
    let from_csv = read(&task, "x.csv", csv).unwrap();
    let contents = |records: &Records| records.records.iter().map(|r| r.content.clone()).collect::<Vec<_>>();
    assert_eq!(contents(&records), contents(&from_csv));
    let encoder = Encoder::new(&task, &records, &[true; 3]).unwrap();
    let samples = encoder.samples(&records).unwrap().samples;
    // The tutorial: 11 samples, padded to 6 with the word that follows, over 12 words of which one is padding.
    assert_eq!((samples.len(), encoder.longest() + 1, encoder.vocabulary(), encoder.targets()), (11, 6, 12, 12));
    assert_eq!(samples[0], Sample { tokens: vec![2], targets: vec![3], ..Sample::default() });
    assert_eq!(samples[10].tokens, [8, 1, 9, 10, 1]);
    assert_eq!(
        (encoder.name(1), encoder.name(0), encoder.unknown("말이 소 뛰고")),
        ("말이", "", Some("소".to_owned()))
    );
    // A prefix is cut to what stands before a word of so many.
    let short = TaskConfig { prepare: PrepareOptions { maxlen: 3, ..PrepareOptions::default() }, ..task.clone() };
    let encoder = Encoder::new(&short, &records, &[true; 3]).unwrap();
    assert_eq!(encoder.samples(&records).unwrap().samples[10].tokens, [10, 1]);
    insta::assert_snapshot!(refused(&task, "x.conllu", "a"), @"x.conllu: samples of the task next are not read from conllu (tags are read from CoNLL-U and npy, classes from tsv, csv, jsonl and npy, pairs of texts from tsv, csv and jsonl, texts without labels from tsv, csv, jsonl, npy and lines: set task.format)");
    insta::assert_snapshot!(refused(&task, "x.csv", "a b,1\n,2\n"), @r#"x.csv, line 2: the text is empty (remove the row, or leave such rows out by --set task.drop='[""]')"#);
}

#[test]
fn captions_are_read_with_their_vectors_from_rows_and_objects() {
    let task = TaskConfig { kind: TaskKind::Caption, vector_scale: 0.5, ..TaskConfig::default() };
    let records = read(&task, "x.csv", "two one,1,2\none,3,-4\n").unwrap();
    let json = "{\"vector\": [1, 2], \"text\": \"two one\"}\n{\"vector\": [3, -4.0], \"text\": \"one\"}";
    let vectors = |records: &Records| records.records.iter().map(|r| r.vector.clone()).collect::<Vec<_>>();
    assert_eq!(vectors(&records), [[0.5, 1.0], [1.5, -2.0]]);
    assert_eq!(vectors(&read(&task, "x.jsonl", json).unwrap()), vectors(&records));
    let encoder = Encoder::new(&task, &records, &[true; 2]).unwrap();
    // Padding, one, two, start, end.
    assert_eq!((encoder.vocabulary(), encoder.start_and_end(), encoder.longest()), (5, (3, 4), 3));
    let sample = &encoder.samples(&records).unwrap().samples[0];
    assert_eq!((&sample.tokens[..], &sample.targets[..]), (&[3, 2, 1][..], &[2, 1, 4][..]));
    let options = BatchOptions { rows: 3, steps: 3, sequence: true, padding: Side::Post, shuffle: None, ..OPTIONS };
    let samples = encoder.samples(&records).unwrap().samples;
    let batches = SampleBatches::new(&samples, &encoder, options);
    let (mut inputs, mut targets, mut vectors) = ([9; 9], [9; 9], [9.0; 6]);
    assert_eq!(batches.batch(0, 0, &mut inputs, &mut targets).unwrap(), 3);
    batches.vectors(0, 0, &mut vectors);
    // The shorter first; the row that no sample has is padding and zeros.
    assert_eq!((inputs, vectors), ([3, 3, 0, 1, 2, 0, 0, 1, 0], [1.5, -2.0, 0.5, 1.0, 0.0, 0.0]));
    assert_eq!(targets, [1, 2, IGNORE, 4, 1, IGNORE, IGNORE, 4, IGNORE]);
    insta::assert_snapshot!(refused(&task, "x.csv", "a,1,2\nb,3,inf\n"), @"x.csv, line 2: column 2: `inf` is not a number of a vector (all columns but that of task.text are the vector; set task.header = true where the first row names them)");
    insta::assert_snapshot!(refused(&task, "x.jsonl", "{\"vector\": [1], \"text\": \"a\"}\n{\"vector\": [1, 2], \"text\": \"b\"}"), @"x.jsonl, line 2: the vector has 2 numbers, the first one has 1 (give vectors of one width)");
    insta::assert_snapshot!(refused(&task, "x.jsonl", "{\"text\": \"a\"}"), @"x.jsonl, line 1: the object has no array `vector` (task.vector names the key of the vector)");
}

/// A line of CoNLL-U.
fn word(id: &str, form: &str, upos: &str, xpos: &str) -> String {
    format!("{id}\t{form}\t_\t{upos}\t{xpos}\t_\t_\t_\t_\t_\n")
}

fn sentence(words: &[(&str, &str, &str)]) -> String {
    words.iter().map(|(id, form, tag)| word(id, form, tag, "X")).chain(["\n".to_owned()]).collect()
}

#[test]
fn sentences_are_read_from_conllu() {
    let text = format!(
        "# text = He don't\n{}{}",
        sentence(&[
            ("1", "He", "PRON"),
            ("2-3", "don't", "_"),
            ("2", "do", "AUX"),
            ("3", "n't", "PART"),
            ("3.1", "go", "_")
        ]),
        word("1", "Stop", "VERB", "VB").trim_end(),
    );
    let records = read(&tags(), "x.conllu", &text).unwrap();
    let found: Vec<Vec<&str>> =
        records.records.iter().map(|r| r.content.words().chain(r.content.labels(0)).collect()).collect();
    assert_eq!(found, [vec!["He", "do", "n't", "PRON", "AUX", "PART"], vec!["Stop", "VERB"]]);
    assert_eq!(records.records.iter().map(|r| r.line).collect::<Vec<_>>(), [2, 8]);
    let xpos = TaskConfig { label: Some("xpos".into()), ..tags() };
    let records = read(&xpos, "x.conllu", word("1", "Stop", "VERB", "VB")).unwrap();
    assert_eq!(records.records[0].content.labels(0).collect::<Vec<_>>(), ["VB"]);
}

#[test]
fn bad_conllu_is_refused_with_file_and_line() {
    let refused = |text: &str| refused(&tags(), "x.conllu", text);
    insta::assert_snapshot!(refused("# a comment\n1\tHe\tPRON\n"), @"x.conllu, line 2: a word has 10 columns in CoNLL-U, this line has 3 (separate the columns by single tabs, with _ for an empty one)");
    insta::assert_snapshot!(refused(&word("one", "He", "PRON", "X")), @"x.conllu, line 1: `one` is not the number of a word (number the words of a sentence from 1)");
    insta::assert_snapshot!(refused(&word("1", "", "PRON", "X")), @"x.conllu, line 1: the word is empty (give it in the second column)");
    insta::assert_snapshot!(refused(&word("1", "He", "_", "X")), @"x.conllu, line 1: the word `He` has no UPOS tag (give it in column 4, or remove the sentence)");
    let form = TaskConfig { label: Some("form".into()), ..tags() };
    assert!(
        read(&form, "x.conllu", word("1", "He", "PRON", "X"))
            .unwrap_err()
            .to_string()
            .contains("use upos, xpos, lemma")
    );
}

#[test]
fn a_label_that_the_model_does_not_have_is_refused_with_file_and_line() {
    let task = TaskConfig::default();
    let trained = read(&task, "train.tsv", "ham\thi there\nspam\tWIN now").unwrap();
    let encoder = Encoder::new(&task, &trained, &[true, true]).unwrap();
    let other = read(&task, "x.tsv", "ham\thi\n\"ham\tWIN\n").unwrap();
    let message = encoder.samples(&other).unwrap_err().to_string();
    assert!(message.ends_with("x.tsv, line 2: the model does not know the label `\"ham` (the model has ham, spam; fix the label, or train with it)"), "{message}");
    let trained = read(&tags(), "train.conllu", sentence(&[("1", "He", "PRON"), ("2", "ran", "VERB")])).unwrap();
    let encoder = Encoder::new(&tags(), &trained, &[true]).unwrap();
    let other = read(&tags(), "x.conllu", sentence(&[("1", "He", "PRON"), ("2", "ran", "VREB")])).unwrap();
    let message = encoder.samples(&other).unwrap_err().to_string();
    assert!(message.contains("x.conllu, line 2: the model does not know the label `VREB`"), "{message}");
    let one = read(&task, "x.tsv", "ham\thi\nham\tyou").unwrap();
    assert!(
        Encoder::new(&task, &one, &[true, true])
            .unwrap_err()
            .to_string()
            .contains("all samples are of one class, `ham`")
    );
}

#[test]
fn the_heads_of_a_labelled_run_know_how_often_each_target_comes() {
    let counts = |kind: &str, name: &str, data: &str| {
        let text = format!(
            "[task]\nkind = \"{kind}\"\n[model.graph]\nhead = {{ kind = \"hierarchical_softmax\" }}\n\
             layers = [{{ type = \"embedding\", output_dim = 2, mask_zero = true }}, {{ type = \"lstm\", units = 2 }}, {{ type = \"dense\" }}]\n"
        );
        let config: RunConfig = toml::from_str(&text).unwrap();
        let task = config.task.clone().unwrap();
        let records = read(&task, name, data).unwrap();
        let encoder = Encoder::new(&task, &records, &vec![true; records.records.len()]).unwrap();
        let graph = labelled_graph(&config, &encoder).unwrap();
        graph.frequencies(graph.classes()).to_vec()
    };
    assert_eq!(counts("classify", "x.tsv", "b\tone\na\ttwo\nb\tthree\nb\tfour"), [1, 3]);
    // What never comes, padding, may come all the same.
    assert_eq!(counts("next", "x.txt", "tea tea milk\ntea milk rum\n"), [1, 3, 2, 1]);
}

#[test]
fn an_encoder_that_was_kept_prepares_a_prompt_as_the_training_texts_were() {
    let prepare = PrepareOptions {
        ascii: true,
        oov_token: Some("<oov>".into()),
        maxlen: 3,
        truncating: Side::Post,
        ..PrepareOptions::default()
    };
    let task = TaskConfig { prepare, ..TaskConfig::default() };
    let records = read(&task, "x.tsv", "b\tCafé café, tea!\na\ttea CAFE milk").unwrap();
    let encoder = Encoder::new(&task, &records, &[true, true]).unwrap();
    assert_eq!(encoder.classes(), ["a", "b"]);
    assert_eq!(encoder.text("the “cafe” tea milk"), [1, 2, 3]);
    let kept = Encoder::from_json(&task, &encoder.to_json().unwrap()).unwrap();
    assert_eq!((kept.text("CAFÉ x milk tea"), kept.hash()), (encoder.text("CAFÉ x milk tea"), encoder.hash()));
    assert_eq!((kept.counts(0), kept.counts(1)), (Some(&[1, 1][..]), None));
    let one = Encoder::new(&task, &records, &[true, false]).unwrap();
    assert_eq!(one.counts(0), Some(&[0, 1][..]));
    assert_eq!(
        encoder.samples(&records).unwrap().samples[0],
        Sample { tokens: vec![2, 2, 3], targets: vec![1], ..Sample::default() }
    );
    assert!(Encoder::from_json(&task, b"{}").unwrap_err().contains("does not parse"));
    assert!(Encoder::from_json(&tags(), &encoder.to_json().unwrap()).unwrap_err().contains("does not belong"));
}

#[test]
fn a_sentence_is_characters_and_words() {
    let records = read(&tags(), "x.conllu", sentence(&[("1", "ab", "X"), ("2", "b", "Y"), ("3", "B", "Y")])).unwrap();
    let encoder = Encoder::new(&tags(), &records, &[true]).unwrap();
    // Words b (twice, for it is B too) and ab are 1 and 2, unknown ones 3; unknown characters 4, B 5, a 6, b 7.
    assert_eq!(encoder.sentence(["ab", "c", "B"]), [6, 7, 2, 4, 3, 5, 1]);
    assert_eq!(encoder.vocabulary(), 8);
    let sample = &encoder.samples(&records).unwrap().samples[0];
    assert_eq!(sample.targets, [IGNORE, IGNORE, 0, IGNORE, 1, IGNORE, 1]);
    assert_eq!((1..8).filter(|&token| encoder.is_word(token)).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(
        (encoder.hidden(1), encoder.hidden(2), encoder.hidden(3), encoder.hidden(7)),
        (Some((3, 2)), Some((3, 1)), None, None)
    );
}

/// Twelve samples of the lengths 1 to 12, whose class is the parity of their length.
fn twelve() -> (Encoder, Vec<Sample>) {
    let task = TaskConfig::default();
    let text: String = (1..=12).map(|n| format!("{}\t{}\n", n % 2, "w ".repeat(n))).collect();
    let records = read(&task, "x.tsv", text).unwrap();
    let encoder = Encoder::new(&task, &records, &[true; 12]).unwrap();
    let samples = encoder.samples(&records).unwrap().samples;
    (encoder, samples)
}

const OPTIONS: BatchOptions = BatchOptions {
    rows: 5,
    steps: 12,
    fixed: false,
    padding: Side::Pre,
    outputs: 1,
    source: None,
    sequence: false,
    shuffle: Some(3),
    word_dropout: 0.0,
};

/// The lengths of the samples in the order of an epoch's batches, after a check of every batch.
fn lengths(batches: &SampleBatches<'_>, padding: Side, epoch: u64) -> Vec<usize> {
    let (mut inputs, mut targets) = (vec![9; 60], vec![9; 60]);
    let mut lengths = Vec::new();
    for index in 0..batches.batches() {
        let steps = batches.batch(epoch, index, &mut inputs, &mut targets).unwrap();
        assert_eq!(batches.targets(steps), 5);
        for n in 0..5 {
            let row: Vec<u32> = (0..steps).map(|t| inputs[t * 5 + n]).collect();
            let length = row.iter().filter(|&&token| token == 1).count();
            let mut sorted = row.clone();
            sorted.sort_unstable();
            sorted.iter_mut().for_each(|token| assert!(*token <= 1));
            if padding == Side::Post {
                sorted.reverse();
            }
            assert_eq!(row, sorted, "padding stands on one side");
            assert_eq!(targets[n], if length == 0 { IGNORE } else { length as u32 % 2 });
            lengths.extend((length > 0).then_some(length));
        }
    }
    lengths
}

#[test]
fn an_epoch_has_every_sample_once_in_an_order_of_its_own() {
    let (encoder, samples) = twelve();
    for padding in [Side::Pre, Side::Post] {
        let batches = SampleBatches::new(&samples, &encoder, BatchOptions { padding, ..OPTIONS });
        assert_eq!(batches.batches(), 3);
        let (first, second) = (lengths(&batches, padding, 0), lengths(&batches, padding, 1));
        assert_ne!(first, second);
        assert_eq!(first, lengths(&batches, padding, 0), "an epoch's order is its own");
        for mut order in [first, second] {
            order.sort_unstable();
            assert_eq!(order, (1..=12).collect::<Vec<_>>());
        }
    }
    let still = SampleBatches::new(&samples, &encoder, BatchOptions { shuffle: None, fixed: true, ..OPTIONS });
    assert_eq!(lengths(&still, Side::Pre, 0), lengths(&still, Side::Pre, 7));
    assert_eq!(still.batch(0, 0, &mut [0; 60], &mut [0; 60]).unwrap(), 12, "every batch has all steps");
}

#[test]
fn rare_words_are_hidden_more_often_and_characters_never() {
    let many: String = (0..400).map(|_| sentence(&[("1", "the", "D"), ("2", "cat", "N")])).collect();
    let text = many + &sentence(&[("1", "axolotl", "N")]).repeat(4);
    let records = read(&tags(), "x.conllu", text).unwrap();
    let encoder = Encoder::new(&tags(), &records, &[true; 404]).unwrap();
    let samples = encoder.samples(&records).unwrap().samples;
    let options = BatchOptions { rows: 1, steps: 8, sequence: true, word_dropout: 4.0, ..OPTIONS };
    let batches = SampleBatches::new(&samples, &encoder, options);
    let (mut inputs, mut targets, mut seen) = ([0; 8], [0; 8], [0; 10]);
    for (epoch, index) in (0..100).flat_map(|epoch| (0..404).map(move |index| (epoch, index))) {
        let steps = batches.batch(epoch, index, &mut inputs, &mut targets).unwrap();
        inputs[..steps].iter().for_each(|&token| seen[(token as usize).min(9)] += 1);
        assert!(
            targets[..steps].iter().zip(&inputs).all(|(&target, &token)| (target != IGNORE) == encoder.is_word(token))
        );
    }
    // 80,000 words seen 400 times each, hidden with probability 4/404; 400 seen 4 times, with 1/2.
    let (common, rare) = (seen[1] + seen[2], seen[3]);
    assert!((common - 79_208_i32).abs() < 150 && (rare - 200_i32).abs() < 60, "{common} {rare}");
    assert_eq!(seen[4], 80_400 - common - rare, "what is hidden is unknown");
}
