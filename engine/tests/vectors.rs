//! `unroll vectors` as its users meet it: files of other programs, nearest words, analogies, similarities.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::{Place, tiny, verses};

/// Six words whose answers are known: capitals are countries plus one direction.
const TEXT: &str = "6 3\nparis 1 0 1\nfrance 1 0 0\nrome 0 1 1\nitaly 0 1 0\ntown 0.4 0.5 2\nna\u{ef}ve -1 -1 0.5\n";

fn place() -> Place {
    let place = Place::new();
    place.file("v.txt", TEXT);
    place
}

#[test]
fn nearest_words_are_told_for_arguments_and_for_lines() {
    let place = place();
    let shown = place.ok(&["vectors", "near", "v.txt", "paris", "-k", "2"]);
    insta::assert_snapshot!(shown, @r"
    word     cosine
    ===============
    town     0.8081
    france   0.7071
    ");
    let lines = place.ok_with(&["vectors", "near", "v.txt", "--top", "1", "--json"], "paris\nfrance italy\n\n");
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<_> = lines.iter().map(|line| (&line["query"], &line["nearest"][0]["word"])).collect();
    assert_eq!(
        format!("{found:?}"),
        r#"[(String("paris"), String("town")), (String("france italy"), String("paris"))]"#
    );
    // A word that is not known is left out where others follow, and refused where it is all that was asked.
    let output = place.unroll_with(&["vectors", "near", "v.txt", "--json"], "nowhere\nparis\n");
    assert!(output.status.success());
    assert_eq!(common::text(&output.stdout).lines().count(), 1);
    assert_eq!(common::text(&output.stderr), "warning: the word \"nowhere\" is not known (there are 6 words)\n");
    insta::assert_snapshot!(place.refused(&["vectors", "near", "v.txt", "Paris"]), @r#"2: error: the word "Paris" is not known (did you mean "paris"?)"#);
    let few = place.ok(&["vectors", "near", "v.txt", "paris", "--restrict-vocab", "3", "--json"]);
    assert_eq!(few.matches("\"word\"").count(), 2);
    insta::assert_snapshot!(place.refused(&["vectors", "near", "v.txt", "paris", "--restrict-vocab", "0"]), @"2: error: --restrict-vocab: must be at least 1, got 0");
    let one = place.ok(&["vectors", "near", "v.txt", "paris", "rome", "--threads", "1"]);
    assert_eq!(one, place.ok(&["vectors", "near", "v.txt", "paris", "rome", "--threads", "3"]));
}

#[test]
fn analogies_are_answered_and_questions_counted() {
    let place = place();
    let lines = place.json(&["vectors", "analogy", "v.txt", "france", "paris", "italy", "--json"]);
    assert_eq!(lines[0]["answers"][0]["word"], "rome");
    place.file(
        "q.txt",
        ": capitals\nFrance Paris Italy Rome\nfrance paris italy nowhere\n: gram1\nparis france rome town\n",
    );
    let shown = place.ok(&["vectors", "analogy", "v.txt", "--questions", "q.txt"]);
    insta::assert_snapshot!(shown, @r"
    section     right   asked        %   unknown
    ============================================
    capitals        1       1   100.00         1
    gram1           0       1     0.00         0
    semantic        1       1   100.00         1
    syntactic       0       1     0.00         0
    total           1       2    50.00         1
    ");
    let exact = place.json(&["vectors", "analogy", "v.txt", "--questions", "q.txt", "--match-case", "--json"]);
    assert_eq!((&exact[0]["total"]["asked"], &exact[0]["total"]["unknown"]), (&1.into(), &2.into()));
    assert_eq!(exact[0]["semantic"]["accuracy"], serde_json::Value::Null);
    place.file("bad.txt", ": a\nb c\n");
    insta::assert_snapshot!(place.refused(&["vectors", "analogy", "v.txt", "--questions", "bad.txt"]), @"3: error: bad.txt, line 2: has 2 words, a question has four");
    assert!(
        place.refused(&["vectors", "analogy", "v.txt", "paris", "rome"]).starts_with("2: error: 3 values required")
    );
}

#[test]
fn what_has_no_direction_is_near_to_nothing() {
    let place = Place::new();
    place.file("z.txt", "4 2\nzero 0 0\nhot 1 1\ncold -1 -1\nmild 1 0\n");
    insta::assert_snapshot!(place.refused(&["vectors", "near", "z.txt", "zero"]), @r#"2: error: "zero" has no direction: its vectors are zeros, or cancel each other out (ask for other words)"#);
    insta::assert_snapshot!(place.refused(&["vectors", "near", "z.txt", "hot cold"]), @r#"2: error: "hot cold" has no direction: its vectors are zeros, or cancel each other out (ask for other words)"#);
    assert!(place.refused(&["vectors", "analogy", "z.txt", "zero", "zero", "zero"]).starts_with("2: error:"));
    let output = place.unroll_with(&["vectors", "near", "z.txt", "--json"], "zero\nhot\n");
    assert!(output.status.success() && common::text(&output.stdout).lines().count() == 1);
}

#[test]
fn options_that_would_be_ignored_are_refused() {
    let place = place();
    place.file("v.words", "a\n");
    let refused = |more: &[&str]| place.refused(&[&["vectors", "import", "v.txt"][..], more].concat());
    insta::assert_snapshot!(refused(&["--tensor", "nope"]), @"2: error: --tensor: v.txt is word2vec-text, which has one matrix (leave it out)");
    insta::assert_snapshot!(refused(&["--words", "v.words"]), @"2: error: --words: v.txt is word2vec-text, which has its words in it (leave it out)");
    insta::assert_snapshot!(refused(&["--limit", "0"]), @"2: error: --limit: must be at least 1, got 0");
    place.file("pairs.tsv", "rome\titaly\t8\n");
    let similarity = ["vectors", "similarity", "v.txt", "--pairs", "pairs.tsv", "--restrict-vocab", "0"];
    insta::assert_snapshot!(place.refused(&similarity), @"2: error: --restrict-vocab: must be at least 1, got 0");
}

#[test]
fn doubtful_files_are_read_with_a_warning_and_damaged_ones_named() {
    let place = place();
    let warned = |name: &str| common::text(&place.unroll(&["vectors", "import", name]).stderr);
    assert_eq!(warned("v.txt"), "");
    place.file("cut.txt", &TEXT[..TEXT.len() - 2]);
    insta::assert_snapshot!(warned("cut.txt"), @"warning: cut.txt: line 7, the last, has no line feed: the file may have been cut off");
    place.file("g.bin", b"2 1\na \0\0\0\0\x07b \0\0\0\0");
    insta::assert_snapshot!(warned("g.bin"), @r#"warning: g.bin: word 2 is "\\u{7}b", which is not text: the file may be damaged before"#);
    place.ok(&["vectors", "export", "v.txt", "--out", "v.tsv"]);
    place.file("v.tsv", common::text(&place.read("v.tsv")).replacen("1.0", "x", 1));
    insta::assert_snapshot!(place.refused(&["vectors", "import", "v.tsv"]), @r#"3: error: v.tsv, line 1: "x" stands where value 1 of 3 of the vector is expected"#);
    place.file("comma.txt", "2 2\nabc 0,512 1,5\nb 0,25 1,0\n");
    insta::assert_snapshot!(place.refused(&["vectors", "import", "comma.txt"]), @r#"3: error: comma.txt, line 2: "1,5" stands where value 2 of 2 of the vector is expected"#);
}

#[test]
fn similarities_are_correlated_with_judgements() {
    let place = place();
    place.file("pairs.tsv", "# notes\nparis\tFRANCE\t8\nfrance\titaly\t2\nrome\titaly\t8\nrome\tnowhere\t1\n");
    let shown = place.ok(&["vectors", "similarity", "v.txt", "--pairs", "pairs.tsv", "--pairs", "pairs.tsv"]);
    insta::assert_snapshot!(shown, @r"
    file        Spearman   Pearson   pairs   known
    ==============================================
    pairs.tsv     1.0000    1.0000       4       3
    pairs.tsv     1.0000    1.0000       4       3
    ");
    assert_eq!(place.ok(&["vectors", "similarity", "v.txt", "paris", "france"]), "0.7071\n");
    let lines = place.json(&["vectors", "similarity", "v.txt", "--pairs", "pairs.tsv", "--match-case", "--json"]);
    assert_eq!((&lines[0]["covered"], &lines[0]["pairs"]), (&2.into(), &4.into()));
}

#[test]
fn files_are_turned_into_one_another_and_back() {
    let place = place();
    for (from, to) in [
        ("v.txt", "v.bin"),
        ("v.bin", "v.npy"),
        ("v.npy", "v.safetensors"),
        ("v.safetensors", "back.txt"),
        ("back.txt", "v.tsv"),
        ("v.tsv", "again.txt"),
    ] {
        place.ok(&["vectors", "export", from, "--out", to]);
    }
    // The same numbers, written at their shortest.
    assert_eq!(
        common::text(&place.read("back.txt")),
        "6 3\nparis 1.0 0.0 1.0\nfrance 1.0 0.0 0.0\nrome 0.0 1.0 1.0\nitaly 0.0 1.0 0.0\ntown 0.4 0.5 2.0\n\
         na\u{ef}ve -1.0 -1.0 0.5\n"
    );
    assert_eq!(place.read("again.txt"), place.read("back.txt"));
    let told = place.ok(&["vectors", "import", "v.tsv", "--from", "projector"]);
    assert_eq!(told, "v.tsv: projector, 6 words of 3 values\n");
    assert_eq!(common::text(&place.read("v.metadata.tsv")), "paris\nfrance\nrome\nitaly\ntown\nna\u{ef}ve\n");
    assert_eq!(common::text(&place.read("v.tsv")).lines().next(), Some("1.0\t0.0\t1.0"));
    let told = place.ok(&["vectors", "import", "v.bin", "--out", "mine.safetensors"]);
    assert!(told.starts_with("v.bin: word2vec-binary, 6 words of 3 values\nmine.safetensors: "), "{told}");
    assert!(place.exists("mine.safetensors.words"));
    let told = place.json(&["vectors", "import", "v.txt", "--limit", "2", "--json"]);
    assert_eq!((&told[0]["format"], &told[0]["words"]), (&"word2vec-text".into(), &2.into()));
    place.file("short.bin", &place.read("v.bin")[..50]);
    insta::assert_snapshot!(place.refused(&["vectors", "import", "short.bin"]), @"3: error: short.bin, line 1: announces 6 words with vectors of 3 values, and 46 bytes follow");
    insta::assert_snapshot!(place.refused(&["vectors", "import", "v.npy", "--words", "none"]), @"3: error: none: no such file: the list of the words of a matrix, one a line (name that of v.npy with --words FILE)");
    place.file("text.txt", "Once upon a time there was no number.\n");
    insta::assert_snapshot!(place.refused(&["vectors", "near", "text.txt", "a"]), @r#"3: error: text.txt: is not a file of word vectors: its first line does not end in numbers, "Once upon a time there was no number." (to make vectors of the words of a text, use `unroll vectors train`)"#);
    assert!(
        place
            .refused(&["vectors", "export", "v.txt", "--out", "x", "--to", "exe"])
            .starts_with("2: error: invalid value")
    );
    assert!(!place.exists("x"));
}

/// Under its own name, by links, and where the list of words is what would be lost.
#[cfg(unix)]
#[test]
fn no_file_of_vectors_is_written_over_what_it_is_read_from() {
    let place = place();
    place.ok(&["vectors", "export", "v.txt", "--out", "v.npy"]);
    let (here, files) = (|name: &str| place.path().join(name), ["v.txt", "v.npy", "v.npy.words"]);
    std::os::unix::fs::symlink("v.txt", here("soft.txt")).unwrap();
    std::fs::hard_link(here("v.txt"), here("hard.bin")).unwrap();
    std::fs::hard_link(here("v.npy.words"), here("w.safetensors.words")).unwrap();
    let before = files.map(|name| place.read(name));
    let refused = |what: &str, from: &str, out: &str| place.refused(&["vectors", what, from, "--out", out]);
    insta::assert_snapshot!(refused("export", "v.txt", "v.txt"), @"2: error: --out: v.txt would take the place of v.txt, which is read (name another file)");
    insta::assert_snapshot!(refused("export", "v.txt", "soft.txt"), @"2: error: --out: soft.txt would take the place of v.txt, which is read (name another file)");
    insta::assert_snapshot!(refused("export", "soft.txt", "hard.bin"), @"2: error: --out: hard.bin would take the place of soft.txt, which is read (name another file)");
    insta::assert_snapshot!(refused("import", "v.txt", "v.txt"), @"2: error: --out: v.txt would take the place of v.txt, which is read (name another file)");
    insta::assert_snapshot!(refused("import", "v.npy", "w.safetensors"), @"2: error: --out: w.safetensors.words would take the place of v.npy.words, which is read (name another file)");
    insta::assert_snapshot!(place.refused(&["vectors", "train", "v.npy.words", "--out", "v.npy"]), @"2: error: --out: v.npy.words would take the place of v.npy.words, which is read (name another file)");
    assert_eq!(files.map(|name| place.read(name)), before);
    // What stands there and is not read may be replaced.
    place.ok(&["vectors", "export", "v.npy", "--out", "v.txt"]);
}

#[test]
fn the_embedding_of_a_run_has_neighbours_too() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.ok(&tiny(&["--level", "word", "--emsize", "6", "--out", "run"]));
    let lines = place.json(&["vectors", "near", "run", "fox", "--json"]);
    let words = lines[0]["nearest"].as_array().unwrap();
    assert_eq!(words.len(), 9, "eight words, <eos> and <unk>, without the word itself: {words:?}");
    place.ok(&["vectors", "export", "run", "--out", "run.safetensors"]);
    let list = common::text(&place.read("run.safetensors.words"));
    assert!(list.contains("fox\t300\n") && list.contains("the\t600\n"), "{list}");
    let config = place.read("run/config.toml");
    insta::assert_snapshot!(place.refused(&["vectors", "export", "run", "--out", "run/config.toml"]), @"2: error: --out: run/config.toml would take the place of run/config.toml, which is read (name another file)");
    assert_eq!(place.read("run/config.toml"), config);
    let again = place.json(&["vectors", "near", "run.safetensors", "fox", "--json"]);
    assert_eq!(again, lines);
    place.ok(&tiny(&["--out", "letters"]));
    insta::assert_snapshot!(place.refused(&["vectors", "near", "letters", "a"]), @"3: error: letters: the model has no embedding: its tokens have no vectors (train one that has an embedding: --emsize N)");
    insta::assert_snapshot!(place.refused(&["vectors", "near", "run", "fox", "--words", "list"]), @"2: error: --words: run is a run, whose tokens are known (leave it out, or name a file)");
}

/// Sentences of two topics, which share no word.
fn sentences() -> String {
    let topics = [["ship", "sail", "wind", "harbour", "deck"], ["bread", "oven", "flour", "salt", "crust"]];
    let line = |i: usize| (0..6).map(|j| topics[i % 2][(i * 7 + j * j + i * j) % 5]).collect::<Vec<_>>().join(" ");
    (0..400).map(|i| line(i) + "\n").collect()
}

#[test]
fn vectors_are_trained_and_do_not_depend_on_threads() {
    let place = Place::new();
    place.file("text.txt", sentences());
    let train = ["vectors", "train", "text.txt", "--size", "12", "--sample", "0", "--epochs", "40"];
    for model in ["cbow", "skipgram"] {
        let run = |threads: &str, out: &str| {
            let more = ["--model", model, "--threads", threads, "--out", out];
            let shown = place.ok(&[&train[..], &more].concat());
            assert!(shown.starts_with("96,000 words to read, vectors of 10 different\n"), "{shown}");
            assert!(shown.contains("epoch 40/40 | loss "), "{shown}");
            std::fs::read(place.path().join(out)).unwrap()
        };
        assert_eq!(run("1", "one.bin"), run("3", "three.bin"), "{model}");
        let near = place.json(&["vectors", "near", "one.bin", "ship", "-k", "1", "--json"]);
        let word = near[0]["nearest"][0]["word"].as_str().unwrap();
        assert!(["sail", "wind", "harbour", "deck"].contains(&word), "{model}: {word}");
    }
    let lines = place.json(&[&train[..], &["--json", "--out", "v.safetensors"]].concat());
    assert_eq!(lines.last().unwrap()["event"], "written");
}

#[test]
fn the_full_softmax_and_windows_of_one_side_are_chosen_by_name() {
    let place = Place::new();
    // Who knows the word before knows the word; who knows the one behind it does not.
    let line = |i: usize| (0..8).map(|j| format!("w{}", (i + j) % 9)).collect::<Vec<_>>().join(" ") + "\n";
    place.file("text.txt", (0..600).map(line).collect::<String>());
    let train = ["vectors", "train", "text.txt", "--size", "12", "--sample", "0", "--json"];
    let softmax = ["--loss", "softmax"];
    for model in ["cbow", "skipgram"] {
        let run = |threads: &str, out: &str| {
            let more = ["--model", model, "--context", "previous", "--window", "1", "--learning-rate", "0.1"];
            let told = place.json(&[&train[..], &softmax, &more, &["--threads", threads, "--out", out]].concat());
            let losses = told.iter().filter(|line| line["event"] == "epoch").map(|line| line["loss"].as_f64().unwrap());
            (losses.collect::<Vec<_>>(), place.read(out))
        };
        let (losses, vectors) = run("1", "one.bin");
        assert_eq!((&losses, vectors), (&run("3", "three.bin").0, place.read("three.bin")), "{model}");
        assert!(losses[0] < 9f64.ln() && losses[4] < 0.5 * losses[0], "{model}: {losses:?}");
    }
    // A window that does not shrink is another one; of one word there is only one width.
    let with = |window: &str, fixed: &[&str]| {
        place.json(&[&train[..], &softmax, &["--epochs", "1", "--window", window, "--out", "v.bin"], fixed].concat());
        place.read("v.bin")
    };
    assert_ne!(with("3", &["--fixed-window"]), with("3", &[]));
    assert_eq!(with("1", &["--fixed-window"]), with("1", &[]));
    let refused = |more: &[&str]| place.refused(&[&train[..], &["--out", "no.bin"], more].concat());
    assert!(refused(&["--context", "next"]).starts_with("2: error: invalid value"));
    assert!(refused(&["--loss", "hinge"]).contains("negative, hierarchical, softmax"));
    assert!(!place.exists("no.bin"));
}

#[test]
fn output_vectors_are_written_beside_those_that_predict() {
    let place = Place::new();
    place.file("text.txt", sentences());
    let train = ["vectors", "train", "text.txt", "--size", "8", "--sample", "0"];
    place.ok(&[&train[..], &["--out", "alone.bin"]].concat());
    let told = place.json(&[&train[..], &["--out", "v.bin", "--output-vectors", "u.npy", "--json"]].concat());
    let written: Vec<_> = told.iter().filter(|line| line["event"] == "written").map(|line| &line["file"]).collect();
    assert_eq!(written, ["v.bin", "u.npy", "u.npy.words"]);
    assert_eq!(place.read("v.bin"), place.read("alone.bin"));
    place.ok(&["vectors", "export", "v.bin", "--out", "v.txt"]);
    place.ok(&["vectors", "export", "u.npy", "--out", "u.txt"]);
    let words = |name: &str| -> Vec<String> {
        let text = common::text(&place.read(name));
        text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(words("u.txt"), words("v.txt"));
    assert_ne!(place.read("u.txt"), place.read("v.txt"));
    let refused = |more: &[&str]| place.refused(&[&train[..], &["--out", "no.tsv"], more].concat());
    insta::assert_snapshot!(refused(&["--output-vectors", "u.bin", "--loss", "hierarchical"]), @"2: error: --output-vectors: with --loss hierarchical the output vectors are of the inner nodes of Huffman's tree, not of words (leave it out, or choose --loss negative or softmax)");
    insta::assert_snapshot!(refused(&["--output-vectors", "text.txt"]), @"2: error: --output-vectors: text.txt would take the place of text.txt, which is read (name another file)");
    insta::assert_snapshot!(refused(&["--output-vectors", "./no.tsv"]), @"2: error: --output-vectors: ./no.tsv is what --out writes (name another file)");
    insta::assert_snapshot!(refused(&["--output-vectors", "none/u.bin"]), @"2: error: --output-vectors: there is no folder none (name a file in a folder that exists)");
    assert!(!place.exists("no.tsv"));
}

#[test]
fn a_training_goes_on_from_the_vectors_of_an_earlier_one() {
    let place = Place::new();
    place.file("text.txt", sentences());
    place.file("more.txt", sentences().replace("crust", "cake"));
    let train = ["vectors", "train", "--size", "8", "--sample", "0"];
    let run = |more: &[&str]| place.json(&[&train[..], more, &["--json"]].concat());
    let first_loss = |told: &[serde_json::Value]| -> f64 {
        told.iter().find(|line| line["event"] == "epoch").unwrap()["loss"].as_f64().unwrap()
    };
    run(&["text.txt", "--epochs", "30", "--out", "v.npy", "--output-vectors", "u.bin"]);
    let anew = run(&["more.txt", "--out", "anew.bin"]);
    let init = ["more.txt", "--init", "v.npy", "--init-output", "u.bin"];
    let told = run(&[&init[..], &["--out", "one.bin", "--threads", "1"]].concat());
    run(&[&init[..], &["--out", "three.bin", "--threads", "3"]].concat());
    assert_eq!(place.read("one.bin"), place.read("three.bin"));
    assert!(first_loss(&told) < 0.9 * first_loss(&anew), "{told:?} {anew:?}");
    let initial: Vec<_> = told.iter().filter(|line| line["event"] == "initial").collect();
    assert_eq!((&initial[0]["words"], &initial[1]["words"]), (&9.into(), &9.into()));
    let shown = place.ok(&[&train[..], &["more.txt", "--init", "v.npy", "--out", "half.bin"]].concat());
    assert!(shown.contains("\n9 of 10 words begin with their vectors in v.npy\n"), "{shown}");
    let refused = |more: &[&str]| place.refused(&[&train[..], more].concat());
    insta::assert_snapshot!(refused(&["text.txt", "--init", "v.npy", "--out", "v.npy"]), @"2: error: --out: v.npy would take the place of v.npy, which is read (name another file)");
    insta::assert_snapshot!(refused(&["text.txt", "--init-output", "u.bin", "--loss", "hierarchical", "--out", "no.bin"]), @"2: error: --init-output: with --loss hierarchical the output vectors are of the inner nodes of Huffman's tree, not of words (leave it out, or choose --loss negative or softmax)");
    place.file("wide.txt", TEXT);
    insta::assert_snapshot!(refused(&["text.txt", "--init", "wide.txt", "--out", "no.bin"]), @"2: error: --init: these vectors have 3 values, and --size is 8 (give --size 3, or other vectors)");
    let strange = ["vectors", "train", "text.txt", "--init", "wide.txt", "--size", "3", "--out", "no.bin"];
    insta::assert_snapshot!(place.refused(&strange), @"2: error: --init: has none of the words of the text that get a vector (name vectors of its words, or leave it out)");
    assert!(!place.exists("no.bin"));
}

#[test]
fn a_training_that_cannot_be_is_refused_before_it_begins() {
    let place = Place::new();
    place.file("text.txt", sentences());
    let refused = |more: &[&str]| place.refused(&[&["vectors", "train", "text.txt"][..], more].concat());
    insta::assert_snapshot!(refused(&["--out", "none/v.bin"]), @"2: error: --out: there is no folder none (name a file in a folder that exists)");
    insta::assert_snapshot!(refused(&["--out", "v.bin", "--window", "0"]), @"2: error: --window: must be from 1 to 1000, got 0");
    insta::assert_snapshot!(refused(&["--out", "v.bin", "--min-count", "1000"]), @"2: error: --min-count: no word of the text comes 1000 times (give a longer text, or a smaller number)");
    insta::assert_snapshot!(refused(&["--out", "v.bin", "--loss", "softmax", "--negative", "5"]), @"2: error: --negative: has no meaning with --loss softmax, which needs no noise (leave it out)");
    insta::assert_snapshot!(refused(&["--out", "v.bin", "--sample", "1e-300"]), @"2: error: not one word of the text was predicted: none was left with a neighbour (a larger --sample leaves fewer words out, 0 none)");
    insta::assert_snapshot!(refused(&["--out", "v.bin", "--to", "projector"]), @"2: error: v.bin: a table of the Embedding Projector ends in .tsv (name it so)");
    insta::assert_snapshot!(refused(&["--out", "v.txt.gz"]), @"2: error: v.txt.gz: a file of word vectors is written unpacked (leave .gz out, and compress it afterwards)");
    place.ok(&["corpus", "build", "text.txt", "--level", "char", "--out", "letters.tok"]);
    insta::assert_snapshot!(place.refused(&["vectors", "train", "letters.tok", "--out", "v.bin"]), @"3: error: letters.tok: is a token file of the level char, not of words (name the text itself, or a token file of words)");
    place.file("latin.txt", b"na\xefve words\n".repeat(30));
    assert!(place.refused(&["vectors", "train", "latin.txt", "--out", "v.bin"]).starts_with("3: error: latin.txt"));
    place.ok(&["vectors", "train", "latin.txt", "--out", "latin.bin", "--encoding-errors", "replace", "--sample", "0"]);
    let diverged = refused(&["--out", "v.bin", "--learning-rate", "1e30"]);
    assert!(diverged.starts_with("4: error: the loss is") && diverged.contains("lower --learning-rate"), "{diverged}");
    assert!(!place.exists("v.bin"));
}

/// A disk that is full in the end loses no training.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_loses_no_training() {
    let place = Place::new();
    place.file("text.txt", "to be or not to be that is the question\n".repeat(50));
    std::fs::create_dir(place.path().join("tmp")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_unroll"));
    command.current_dir(place.path()).env("TMPDIR", place.path().join("tmp"));
    command.args(["vectors", "train", "text.txt", "--size", "4", "--epochs", "2", "--min-count", "1"]);
    let output = command.args(["--out", "/dev/full"]).output().unwrap();
    let (code, told) = (output.status.code(), common::text(&output.stderr));
    assert_eq!(code, Some(5), "{told}");
    let saved = std::fs::read_dir(place.path().join("tmp")).unwrap().next().expect("saved").unwrap().path();
    assert!(told.contains(&format!("the vectors are in {}: move them", saved.display())), "{told}");
    assert!(std::fs::read_to_string(saved).unwrap().starts_with("8 4\n"));
}
