//! Tasks whose targets are words, as users of the command meet them: the next word of texts, and captions of vectors.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::Place;

/// The three lines of the tutorial.
const LINES: [&str; 3] = ["경마장에 있는 말이 뛰고 있다", "그의 말이 법이다", "가는 말이 고와야 오는 말이 곱다"];

#[test]
fn the_tutorial_of_the_next_word_writes_its_three_lines() {
    let place = Place::new();
    place.file("lines.txt", LINES.join("\n"));
    let events = place.json(&["train", "--recipe", "next-word", "--data", "lines.txt", "--out", "run", "--json"]);
    assert_eq!(
        events.iter().find(|event| event["event"] == "started").unwrap()["batches"],
        1,
        "11 samples are a batch"
    );
    let rows = place.ok(&["summary", "run"]);
    // 12 words, padding among them: an embedding of 12 x 10, 32 x (10 + 32 + 1), and 33 x 12 of the softmax.
    assert!(["120", "1,376", "396"].iter().all(|count| rows.contains(count)), "{rows}");
    for (line, length) in LINES.iter().zip(["4", "2", "5"]) {
        let prompt = line.split(' ').next().unwrap();
        let greedy = ["generate", "run", "--prompt", prompt, "--length", length, "--temperature", "0"];
        assert_eq!(place.ok(&greedy).trim_end(), *line);
    }
    let next = &place.json(&["predict", "run", "--text", "그의 말이", "--json"])[0];
    assert_eq!((&next["word"], &next["known_words"]), (&"법이다".into(), &2.into()));
    let scored = &place.json(&["eval", "run", "--data", "lines.txt", "--json"])[0];
    assert_eq!((&scored["words"], &scored["figures"]["top_5"]), (&11.into(), &1.0.into()));
    insta::assert_snapshot!(place.refused(&["generate", "run", "--prompt", "그의 소"]), @"2: error: --prompt: the model does not know the word `소` (leave it out, or use --unk skip)");
    insta::assert_snapshot!(place.refused(&["generate", "run"]), @"2: error: --prompt: has no word that the model knows (give --prompt TEXT)");
    insta::assert_snapshot!(place.refused(&["predict", "run", "--text", "그의", "--beam", "2"]), @"2: error: --beam: is for captions and translations, this run learned something else");
    assert_eq!(
        place.ok(&["generate", "run", "--prompt", "그의 소", "--unk", "skip", "--length", "1"]).split(' ').count(),
        3
    );
}

/// Titles in a table, one of them unknown and one empty; capitals, accents and punctuation differ.
fn titles() -> String {
    let mut text = "id,headline\n".to_owned();
    for i in 0..40 {
        let title = match i % 4 {
            0 => "\"The Café, again: open!\"",
            1 => "Unknown",
            2 => "\"Two lines\nof one title\"",
            _ => "",
        };
        text += &format!("{i},{title}\n");
    }
    text
}

#[test]
fn titles_of_a_table_are_prepared_and_so_is_a_prompt() {
    let place = Place::new();
    place.file("titles.csv", titles());
    let train = [
        "train",
        "--recipe",
        "headlines",
        "--data",
        "titles.csv",
        "--epochs",
        "30",
        "--save-every",
        "1000",
        "--out",
        "run",
        "--json",
    ];
    let events = place.json(&[&train[..], &["--set", "optimizer.lr=0.02"]].concat());
    assert!(events.iter().all(|event| event["event"] != "evaluated"), "every title is trained on");
    let greedy = ["--length", "3", "--temperature", "0"];
    let text = place.ok(&[&["generate", "run", "--prompt", "THE"][..], &greedy].concat());
    assert_eq!(text.trim_end(), "THE cafe again open");
    let text = place.ok(&[&["generate", "run", "--prompt", "Two, linés"][..], &greedy].concat());
    assert_eq!(text.trim_end(), "Two, linés of one title");
    // What is none of it.
    place.file("bad.csv", "id,title\n1,Hello there\n");
    insta::assert_snapshot!(place.refused(&["train", "--recipe", "headlines", "--data", "bad.csv", "--out", "other"]), @"3: error: DIR/bad.csv, line 1: there is no column `headline` for task.text (there are id, title)");
    place.file("empty.csv", "headline\nUnknown\n");
    insta::assert_snapshot!(place.refused(&["train", "--recipe", "headlines", "--data", "empty.csv", "--out", "other"]), @"3: error: DIR/empty.csv: contains no labelled sample (give a file with samples)");
    place.file("one.csv", "headline\nHello\n");
    insta::assert_snapshot!(place.refused(&["train", "--recipe", "headlines", "--data", "one.csv", "--out", "other"]), @"3: error: DIR/one.csv: gives no sample: no text has two words that the model knows (give texts of two words and more)");
    insta::assert_snapshot!(place.refused(&["train", "--recipe", "headlines", "--data", "titles.csv", "--out", "other", "--set", "task.label=id"]), @"2: error: --set task.label: has no meaning where task.kind is next");
    insta::assert_snapshot!(place.refused(&["train", "--recipe", "headlines", "--data", "titles.csv", "--out", "other", "--set", "train.steps=10"]), @"2: error: --set train.steps: has no meaning for labelled samples; [task] says how they are read");
}

/// A captioner that learns in no time.
const CAPTIONS: &str = r#"
[task]
kind = "caption"
vector_scale = 0.5
[model.graph]
layers = [
  { type = "input", name = "image", width = 6, sequence = false },
  { type = "dense", name = "h", units = 32, activation = "tanh" },
  { type = "embedding", name = "words", inputs = ["sequence"], output_dim = 8 },
  { type = "gru", units = 32, return_sequences = true, initial_state = ["h"] },
  { type = "time_distributed", layer = { type = "dense", activation = "softmax" } },
]
[train]
batch = 16
epochs = 40
save_every = 1000
[optimizer]
lr = 0.02
"#;

/// Pictures of one to three places, each of a colour: (numbers, caption).
fn pictures(first: usize, count: usize) -> Vec<(Vec<u8>, String)> {
    let picture = |i: usize| {
        let places = 1 + i % 3;
        let colours: Vec<usize> = (0..places).map(|p| i / [1, 3, 6][p] % 2).collect();
        // Each place has two numbers, that of its colour is 2 or 3; an empty place has none.
        let numbers = (0..6).map(|k| match colours.get(k / 2) {
            Some(&colour) if colour == k % 2 => 2 + (i / 12 % 2) as u8,
            _ => 0,
        });
        (numbers.collect(), colours.iter().map(|&c| ["red", "blue"][c]).collect::<Vec<_>>().join(" "))
    };
    (first..first + count).map(picture).collect()
}

fn npy(pictures: &[(Vec<u8>, String)]) -> Vec<u8> {
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({}, 2, 3), }}\n", pictures.len());
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    pictures.iter().for_each(|(numbers, _)| bytes.extend(numbers));
    bytes
}

fn lines(pictures: &[(Vec<u8>, String)]) -> String {
    pictures.iter().map(|(_, caption)| format!("{caption}\n")).collect()
}

fn csv(pictures: &[(Vec<u8>, String)]) -> String {
    let row = |(numbers, caption): &(Vec<u8>, String)| {
        let numbers: Vec<String> = numbers.iter().map(u8::to_string).collect();
        format!("{caption},{}\n", numbers.join(","))
    };
    pictures.iter().map(row).collect()
}

#[test]
fn pictures_get_their_words() {
    let place = Place::new();
    let (train, test) = (pictures(0, 96), pictures(200, 24));
    place.file("train.txt", lines(&train));
    place.file("train.npy", npy(&train));
    place.file("test.csv", csv(&test));
    place.file("run.toml", CAPTIONS);
    let data = ["--data", "train.txt", "--valid", "test.csv", "--test", "test.csv", "--out", "run", "--json"];
    let events = place.json(&[&["train", "--config", "run.toml"][..], &data].concat());
    let test_scores = events.iter().find(|event| event["event"] == "scored" && event["data"] == "test").unwrap();
    assert_eq!(test_scores["figures"]["exact"], 1.0, "{test_scores}");
    let again = &place.json(&["eval", "run", "--json", "--beam", "3", "--length-power", "0.7"])[0];
    assert_eq!((&again["figures"]["exact"], &again["beam"]), (&1.0.into(), &3.into()), "{again}");
    // New vectors, from an array and from rows of numbers: the end decides how many words each has.
    place.file("new.npy", npy(&test));
    assert_eq!(place.ok(&["predict", "run", "--vectors", "new.npy"]), lines(&test));
    place.file("new.csv", "0,2,2,0,0,2\n0,3,0,0,0,0\n");
    assert_eq!(place.ok(&["predict", "run", "--vectors", "new.csv", "--beam", "4"]), "blue red blue\nblue\n");
    let found = &place.json(&["predict", "run", "--vectors", "new.csv", "--beam", "2", "--json"])[1];
    assert_eq!(
        (&found["text"], &found["ended"], found["beam"].as_array().unwrap().len()),
        (&"blue".into(), &true.into(), 2)
    );

    // What is none of it.
    insta::assert_snapshot!(place.refused(&["predict", "run", "--text", "red"]), @"2: error: this model finds captions for vectors, not for texts (give --vectors FILE)");
    place.file("wide.csv", "1,2,3\n");
    insta::assert_snapshot!(place.refused(&["predict", "run", "--vectors", "wide.csv"]), @"3: error: wide.csv, line 1: the vector has 3 numbers, the model takes 6 (give vectors like those of the training)");
    place.file("wide.csv", "red,1,2,3\n");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "wide.csv"]), @"3: error: wide.csv, line 1: the vector has 3 numbers, layer `image` takes 6 (give samples like those of the training)");
    let again = ["train", "--config", "run.toml", "--out", "never", "--data"];
    insta::assert_snapshot!(place.refused(&[&again[..], &["train.txt", "--valid", "wide.csv"]].concat()), @"3: error: DIR/wide.csv, line 1: the vector has 3 numbers, those of the training have 6 (give vectors like those of the training)");
    insta::assert_snapshot!(place.refused(&[&again[..], &["wide.csv"]].concat()), @"3: error: DIR/wide.csv, line 1: the vector has 3 numbers, layer `image` takes 6 (set width = 3, or give other data)");
    place.file("ragged.csv", "red,1,2,3,4,5,6\nblue,1,2,3,x,5,6\n");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "ragged.csv"]), @"3: error: ragged.csv, line 2: column 4: `x` is not a number of a vector (all columns but that of task.text are the vector; set task.header = true where the first row names them)");
    place.file("green.csv", "green,1,2,3,4,5,6\n");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "green.csv"]), @"3: error: green.csv, line 1: the model does not know the word `green` (train with it, or set task.prepare.oov_token, which stands for all words that are not known)");
    place.file("short.txt", lines(&train[1..]));
    place.file("short.npy", npy(&train));
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "short.txt"]), @"3: error: short.txt: has 95 captions, but short.npy has 96 vectors (give a line for each row of the array)");
    insta::assert_snapshot!(place.refused(&["predict", "run", "--vectors", "new.npy", "--beam", "0"]), @"2: error: --beam: must be from 1 to 1024, got 0");
    let text_alone = CAPTIONS.replace(", initial_state = [\"h\"]", "");
    let layer = |name: &str| text_alone.lines().find(|line| line.contains(name)).unwrap();
    place.file("text.toml", text_alone.replace(layer("image"), "").replace(layer("\"h\""), ""));
    insta::assert_snapshot!(place.refused(&["train", "--config", "text.toml", "--data", "train.txt", "--out", "other"]), @r#"2: error: the model has 0 input layers, captions have one vector (declare { type = "input", name = "image", width = W, sequence = false })"#);
    // The vector at each step instead.
    let each_step = r#"
  { type = "repeat_vector", name = "seen" },
  { type = "embedding", name = "words", inputs = ["sequence"], output_dim = 8 },
  { type = "concatenate", inputs = ["words", "seen"] },"#;
    place.file("steps.toml", text_alone.replace(layer("words"), each_step));
    let data = ["--data", "train.txt", "--valid", "test.csv", "--out", "steps"];
    let told = place.ok(&[&["train", "--config", "steps.toml"][..], &data].concat());
    assert!(told.contains("texts found greedily: 24 of 24 exact, 100.00 %"), "{told}");
}
