//! The command as its users meet it: what it refuses, with which words and exit codes, and what its short commands show.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::{Place, tiny, verses};

#[test]
fn bad_texts_are_refused_and_leave_nothing_behind() {
    let place = Place::new();
    place.file("empty.txt", "");
    place.file("short.txt", "short");
    place.file("latin1.txt", b"caf\xe9 au lait");
    fs::create_dir(place.path().join("folder")).unwrap();
    place.file("folder/picture.png", b"\x89PNG\0\0\0");
    let refused = |data: &str| place.refused(&["train", "--data", data, "--out", "run"]);
    insta::assert_snapshot!(refused("empty.txt"), @"3: error: empty.txt: the text is empty (give a file with text)");
    insta::assert_snapshot!(refused("short.txt"), @"3: error: short.txt: the text has 5 tokens, fewer than one batch of 50 rows of 50 steps (give a longer text, or fewer rows (--batch-size) or steps (--seq-length))");
    insta::assert_snapshot!(refused("latin1.txt"), @"3: error: latin1.txt, byte 3: the byte 0xe9 is not valid UTF-8 here (convert it: iconv -f LATIN1 -t UTF-8; or give --encoding-errors replace or skip)");
    insta::assert_snapshot!(refused("missing.txt"), @"3: error: missing.txt: no such file (check the path)");
    insta::assert_snapshot!(refused("folder"), @"3: error: folder: no text file in this folder (name a folder with .txt or .txt.gz files)");
    assert!(!place.exists("run"), "a run that never began leaves no folder");
    place.refused(&["train", "--data", "empty.txt"]);
    assert!(!place.exists("runs"), "nor does the folder of runs stay");
}

#[test]
fn an_unknown_instruction_set_is_refused_before_anything_else() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_unroll"));
    let done = command.args(["vectors", "train", "--help"]).env("UNROLL_ISA", "AVX2").output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    insta::assert_snapshot!(common::text(&done.stderr), @"error: UNROLL_ISA=AVX2: known names are portable, avx2, avx512, avx512_bf16, amx");
}

#[test]
fn text_that_is_not_utf8_is_mended_where_asked() {
    let place = Place::new();
    place.file("latin1.txt", b"caf\xe9 au lait");
    let build = |how: &str| {
        place.ok(&["corpus", "build", "latin1.txt", "--encoding-errors", how, "--out", "x.tokens"]);
        let info = place.ok(&["corpus", "info", "x.tokens", "--json"]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        let top = info["top"].as_array().unwrap().iter().map(|entry| entry[0].as_str().unwrap().to_owned());
        (info["tokens"].as_u64().unwrap(), top.collect::<String>().contains('\u{fffd}'))
    };
    assert_eq!((build("replace"), build("skip")), ((12, true), (11, false)));
    insta::assert_snapshot!(place.refused(&["corpus", "build", "latin1.txt", "--out", "x.tokens"]), @"3: error: latin1.txt, byte 3: the byte 0xe9 is not valid UTF-8 here (convert it: iconv -f LATIN1 -t UTF-8; or give --encoding-errors replace or skip)");
    assert!(
        place.ok(&["corpus", "info", "x.tokens"]).contains("tokens            11\n"),
        "what stood there is untouched"
    );
}

#[test]
fn an_unreadable_text_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.file("secret.txt", verses());
    let path = place.path().join("secret.txt");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&path).is_ok() {
        println!("SKIPPED: this user may read every file");
        return;
    }
    insta::assert_snapshot!(
        place.refused(&["train", "--data", "secret.txt"]),
        @"3: error: secret.txt: the file may not be read (check its permissions)"
    );
}

#[test]
fn wrong_options_are_refused_with_what_is_meant() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.file("unknown.toml", "[train]\nbatch = 4\nlerning_rate = 3\n");
    place.file(
        "graph.toml",
        "[[model.graph.layers]]\ntype = \"one_hot\"\n[[model.graph.layers]]\ntype = \"dense\"\nunits = 5\n",
    );
    let refused = |arguments: &[&str]| {
        let all: Vec<&str> =
            ["train", "--data", "verses.txt", "--out", "run"].into_iter().chain(arguments.iter().copied()).collect();
        place.refused(&all)
    };
    insta::assert_snapshot!(refused(&["--rnn-sise", "3"]), @r#"
2: error: unexpected argument '--rnn-sise' found

  tip: a similar argument exists: '--rnn-size'

Usage: unroll train --data <FILE>... --out <RUN> --rnn-size <N>

For more information, try '--help'.
"#);
    insta::assert_snapshot!(refused(&["--model", "lsmt"]), @r#"
2: error: invalid value 'lsmt' for '--model <WORD>'
  [possible values: lstm, gru, rnn, rnn_tanh, rnn_relu]

  tip: a similar value exists: 'lstm'

For more information, try '--help'.
"#);
    insta::assert_snapshot!(refused(&["--recipe", "char-rn"]), @"2: error: there is no recipe `char-rn` (did you mean `char-rnn`? `unroll recipes` lists them)");
    insta::assert_snapshot!(refused(&["--set", "model.hiden=3"]), @"2: error: --set model.hiden: unknown key `hiden`; did you mean `hidden`?");
    insta::assert_snapshot!(refused(&["--config", "unknown.toml"]), @"3: error: unknown.toml, line 3, column 1: unknown key `lerning_rate`; did you mean `optimizer.lr`?");
    insta::assert_snapshot!(refused(&["--config", "missing.toml"]), @"3: error: missing.toml: no such file (check the path)");
    insta::assert_snapshot!(refused(&["--config", "graph.toml"]), @"2: error: the model ends in shape (None, None, 5), the loss needs 28 outputs (end it in a dense layer of that many units)");
    insta::assert_snapshot!(refused(&["--lr", "-1"]), @"2: error: --lr: must be a number greater than 0, got -1");
    insta::assert_snapshot!(refused(&["--dropout", "1.5"]), @"2: error: --dropout: must be at least 0 and less than 1, got 1.5");
    insta::assert_snapshot!(refused(&["--batch", "0"]), @"2: error: --batch-size: must be from 1 to 16777216, got 0");
    insta::assert_snapshot!(refused(&["--threads", "0"]), @"2: error: --threads: must be from 1 to 1024, got 0");
    insta::assert_snapshot!(refused(&["--no-fuse", "everything"]), @"2: error: no fusion is named `everything` (known: token_input, softmax_head, dense_sum)");
    insta::assert_snapshot!(refused(&["--split", "none", "--early-stop", "3"]), @"2: error: --early-stop: needs a validation loss, and nothing is evaluated (give validation text, or remove it)");
    insta::assert_snapshot!(refused(&["--primetext", "Ω"]), @r#"2: error: the character "Ω" (U+03A9) at byte 0 (line 1, column 1) is not in the vocabulary (leave it out of --primetext (sample.prompt))"#);
    insta::assert_snapshot!(refused(&["--tied", "--emsize", "7"]), @"2: error: --tied: needs an embedding as large as the hidden layer, got embedding 7 and hidden 128");
    assert!(!place.exists("run"), "a run that never began leaves no folder");
}

#[test]
fn a_model_that_does_not_fit_in_memory_is_refused_with_figures() {
    let place = Place::new();
    place.file("verses.txt", verses());
    let refused = place.refused(&["train", "--data", "verses.txt", "--rnn-size", "2000000", "--out", "run"]);
    // 2 layers x 4 gates x 2,000,000 units x (inputs + 2,000,000) weights of 4 bytes alone are 180 TB.
    let (needed, _) = refused.strip_prefix("2: error: training this model needs ").unwrap().split_once(" GiB").unwrap();
    assert!(needed.parse::<f64>().unwrap() > 160_000.0, "{refused}");
    assert!(refused.contains("GiB are available"), "{refused}");
    assert!(!place.exists("run"));
}

#[test]
fn options_win_over_the_file_which_wins_over_the_recipe() {
    let place = Place::new();
    place.file("mine.toml", "[model]\nhidden = 64\nlayers = 3\n");
    let parameters = |arguments: &[&str]| {
        let all: Vec<&str> = ["summary", "--json"].into_iter().chain(arguments.iter().copied()).collect();
        let summary: serde_json::Value = serde_json::from_str(&place.ok(&all)).unwrap();
        summary["parameters"].as_u64().unwrap()
    };
    // Parameters of a stack whose cells have two biases: 4 H (V + H + 2) + (L - 1) 4 H (2 H + 2) + (H + 1) V, with V = 65.
    let stack = |h: u64, l: u64| 4 * h * (65 + h + 2) + (l - 1) * 4 * h * (2 * h + 2) + (h + 1) * 65;
    assert_eq!(parameters(&["--recipe", "char-rnn"]), stack(128, 2));
    assert_eq!(parameters(&["--recipe", "char-rnn", "--config", "mine.toml"]), stack(64, 3));
    assert_eq!(parameters(&["--recipe", "char-rnn", "--config", "mine.toml", "-rnn_size", "32"]), stack(32, 3));
    assert_eq!(
        parameters(&["--recipe", "char-rnn", "--config", "mine.toml", "--nhid=32", "--nlayers=1"]),
        stack(32, 1)
    );
}

#[test]
fn a_model_of_vectors_has_a_table_and_takes_no_text() {
    let place = Place::new();
    let layers = "layers = [{ type = \"input\", width = 10, batch_size = 8 }, { type = \"lstm\", units = 3 }, { type = \"dense\" }]";
    place.file("vectors.toml", format!("[model.graph]\n{layers}\n"));
    place.file("verses.txt", verses());
    let refused = place.refused(&["train", "--config", "vectors.toml", "--data", "verses.txt", "--out", "run"]);
    let want = "2: error: layer `input` takes vectors of 10, and a text has none";
    assert!(refused.starts_with(want), "{refused}");
    assert!(!place.exists("run"));
    let table = place.ok(&["summary", "--config", "vectors.toml", "--vocab", "3"]);
    assert!(table.contains("(8, None, 10)") && table.contains("(8, 3)"), "{table}");
    place.ok(&["gradcheck", "--config", "vectors.toml", "--vocab", "3"]);
    let refused = place.refused(&["gradcheck", "--config", "vectors.toml", "--vocab", "3", "--batch", "2"]);
    assert!(refused.starts_with("2: error: 2 rows, but the model's batch_size is 8"), "{refused}");
}

#[test]
fn summary_is_kerass_table() {
    insta::assert_snapshot!(Place::new().ok(&["summary", "--recipe", "char-rnn"]));
}

#[test]
fn a_model_is_described_whose_outputs_are_not_those_of_its_loss() {
    let place = Place::new();
    let model = |length: &str, layers: &str| format!("[model.graph]\n{length}\nlayers = [{layers}]\n");
    let rnn = "{ type = \"simple_rnn\", units = 3 }";
    place.file("bare.toml", model("input_length = 2", &format!("{{ type = \"input\", width = 10 }}, {rnn}")));
    insta::assert_snapshot!(place.ok(&["summary", "--config", "bare.toml"]));
    assert_eq!(place.json(&["summary", "--config", "bare.toml", "--json"])[0]["parameters"], 42);
    // What is trained or checked still needs such outputs, and every layer is taken by another.
    assert!(place.refused(&["gradcheck", "--config", "bare.toml"]).contains("the loss needs 65 outputs"));
    place.file(
        "loose.toml",
        model("", &format!("{{ type = \"one_hot\" }}, {rnn}, {{ type = \"one_hot\", inputs = [\"sequence\"] }}")),
    );
    assert!(
        place
            .refused(&["summary", "--config", "loose.toml"])
            .contains("nothing takes the output of layer `simple_rnn`")
    );

    // Both directions of a layer that does not merge them.
    let both = |more: &str| {
        let lstm = format!("{{ type = \"lstm\", units = 3{more} }}");
        let both = format!("{{ type = \"bidirectional\", merge_mode = \"none\", layer = {lstm} }}");
        place.file("both.toml", model("", &format!("{{ type = \"embedding\", output_dim = 4 }}, {both}")));
        place.json(&["summary", "--config", "both.toml", "--json"])[0]["layers"][2]["output_shape"].clone()
    };
    assert_eq!(both(", return_sequences = true"), "[(None, None, 3), (None, None, 3)]");
    assert_eq!(both(""), "[(None, 3), (None, 3)]");
    assert_eq!(both(", return_state = true"), "[(None, 3), (None, 3), (None, 3), (None, 3), (None, 3), (None, 3)]");
}

#[test]
fn recipes_that_nobody_ran_say_so() {
    let place = Place::new();
    let list = place.ok(&["recipes"]);
    for name in ["min-char-rnn", "char-rnn", "char-gru", "zaremba-small", "zaremba-medium", "awd-lstm"] {
        assert!(list.contains(name), "{list}");
        let shown = place.ok(&["recipes", "show", name]);
        assert!(shown.contains("run_to_end = true") || shown.starts_with("# NOTE: "), "{shown}");
        // What is shown is a configuration that --config takes.
        place.file("shown.toml", &shown);
        let of = |source: &str, name: &str| place.ok(&["summary", "--json", source, name]).replace(name, "");
        assert_eq!(of("--config", "shown.toml").replace("model\":\"model", "model\":\""), of("--recipe", name));
    }
    assert_eq!(place.ok(&["recipes", "--json"]).lines().count(), list.lines().count() - 2);
}

#[test]
fn corpora_are_built_shown_and_refused() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.file("empty.txt", "");
    let built = place.ok(&["corpus", "build", "verses.txt", "--level", "word", "--out", "v.tokens"]);
    assert!(built.starts_with("v.tokens: 3,000 tokens, 10 different, 0 unknown"), "{built}");
    let info = place.ok(&["corpus", "info", "v.tokens"]);
    assert!(info.contains("level             word\ntokens            3,000\n"), "{info}");
    insta::assert_snapshot!(place.refused(&["corpus", "build", "empty.txt", "--out", "e.tokens"]), @"3: error: empty.txt: the text is empty (give a file with text)");
    insta::assert_snapshot!(place.refused(&["corpus", "info", "verses.txt"]), @"3: error: verses.txt: not a corpus file (make one from text with `unroll corpus build`)");
    insta::assert_snapshot!(place.refused(&["corpus", "synthesize", "--symbols", "1", "--out", "x.tokens"]), @"2: error: --symbols: must be from 2 to 16777216, got 1");
    let whole = fs::read(place.path().join("v.tokens")).unwrap();
    place.file("cut.tokens", &whole[..whole.len() - 10]);
    let cut = place.refused(&["train", "--data", "cut.tokens"]);
    assert!(cut.starts_with("3: error: cut.tokens"), "{cut}");
    assert!(!place.exists("e.tokens") && !place.exists("runs/1"));
}

#[test]
fn gradients_are_checked_and_reported() {
    let place = Place::new();
    let small = ["gradcheck", "--vocab", "7", "--rnn-size", "5", "--num-layers", "1", "--entries", "20"];
    let table = place.ok(&small);
    assert!(table.contains("vocabulary 7; 2 steps of 3 x 2 tokens"), "{table}");
    assert!(table.contains("All gradients are right."), "{table}");
    let json = place.ok(&[&small[..], &["--json", "--steps", "2", "--batch", "4"]].concat());
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["passed"], &report["steps"], &report["rows"]), (&true.into(), &2.into(), &4.into()));
    assert_eq!(report["comparisons"][0]["tensors"][0]["checked"], 20);
    assert_eq!(place.refused(&["gradcheck", "--entries", "0"]), "2: error: --entries: must be at least 1");
}

#[test]
fn a_vocabulary_is_counted_on_its_own_and_used_again() {
    let place = Place::new();
    place.file("verses.txt", verses());
    let args = ["corpus", "vocabulary", "verses.txt", "--level", "word", "--out", "words.json"];
    let told = &place.json(&[&args[..], &["--memory", "1M", "--threads", "2", "--json"]].concat())[0];
    assert_eq!((&told["tokens"], &told["vocabulary"], &told["unknown"]), (&3000.into(), &10.into(), &0.into()));
    assert!(told["megabytes_per_second"].as_f64().unwrap() > 0.0);
    let first = place.read("words.json");
    let shown = place.ok(&args);
    assert!(shown.starts_with("words.json: 10 different of 3,000 tokens, 0 unknown, from "), "{shown}");
    assert_eq!(place.read("words.json"), first);
    // The token file of the text is the same, whether it is made with this vocabulary or with its own.
    place.ok(&["corpus", "build", "verses.txt", "--vocabulary", "words.json", "--out", "a.tokens"]);
    place.ok(&["corpus", "build", "verses.txt", "--level", "word", "--memory", "2M", "--out", "b.tokens"]);
    assert!(place.read("a.tokens") == place.read("b.tokens"));
    insta::assert_snapshot!(place.refused(&[&args[..], &["--memory", "1K"]].concat()), @"2: error: --memory: must be at least 1048576 bytes");
    assert!(place.refused(&[&args[..], &["--memory", "lots"]].concat()).contains("a number of bytes"));
}

#[test]
fn what_is_read_is_not_written_over() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.ok(&["corpus", "vocabulary", "verses.txt", "--level", "word", "--out", "words.vocab"]);
    let words = place.read("words.vocab");
    for command in [
        &["corpus", "vocabulary", "verses.txt", "--level", "word", "--out", "verses.txt"][..],
        &["corpus", "vocabulary", ".", "--out", "./verses.txt"],
        &["corpus", "build", "verses.txt", "--out", "verses.txt"],
        &["corpus", "build", "verses.txt", "--vocabulary", "words.vocab", "--out", "words.vocab"],
        &["vectors", "train", "verses.txt", "--out", "verses.txt"],
    ] {
        let refused = place.refused(command);
        assert!(refused.starts_with("2: error: --out: ") && refused.contains("which is read"), "{refused}");
    }
    assert!(place.read("verses.txt") == verses().as_bytes() && place.read("words.vocab") == words);
}

#[test]
fn a_token_file_is_cut_as_it_was_built() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.ok(&["corpus", "build", "verses.txt", "--level", "word", "--out", "v.tokens"]);
    let train = |option: &[&str]| place.refused(&[&["train", "--data", "v.tokens"], option].concat());
    insta::assert_snapshot!(train(&["--level", "char"]), @"2: error: --level: has no meaning for a token file, whose tokens were made when it was built");
    insta::assert_snapshot!(train(&["--set", "data.columns=[0]"]), @"2: error: --set data.columns: has no meaning for a token file, whose tokens were made when it was built");
    let ngram =
        |option: &[&str]| place.refused(&[&["ngram", "--data", "v.tokens", "--valid", "v.tokens"], option].concat());
    insta::assert_snapshot!(ngram(&["--min-count", "9"]), @"2: error: --min-count: has no meaning for a token file, whose tokens were made when it was built");
}

#[test]
fn names_that_mean_something_else_are_refused() {
    let place = Place::new();
    place.file("verses.txt", verses());
    for command in [
        &["train", "--data", "verses.txt", "--out", "verses.txt"][..],
        &["generate", "verses.txt"],
        &["train", "--resume", "verses.txt"],
    ] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(place.refused(command), @"2: error: verses.txt: is a file, or lies in one, and a run is a folder (name a folder)");
        }
    }
    place.ok(&tiny(&["--max-steps", "1", "--out", "run"]));
    let export = |more: &[&str]| place.refused(&[&["export", "run", "--out"], more].concat());
    insta::assert_snapshot!(export(&["net.keras", "--to", "keras"]), @"2: error: --out: ends in .keras, and what is written is a safetensors file (name it .safetensors; safetensors.torch.load_file reads it, for Keras benches/peers/keras_weights.py does)");
    insta::assert_snapshot!(export(&["net.onnx", "--to", "unroll"]), @"2: error: --out: ends in .onnx, and what is written is a safetensors file (name it .safetensors; safetensors.torch.load_file reads it, for Keras benches/peers/keras_weights.py does)");
    insta::assert_snapshot!(export(&["net.safetensors", "--to", "onnx"]), @"2: error: --out: ends in .safetensors, and what is written is an ONNX file (name it .onnx)");
    assert!(!place.exists("net.keras"));
}

#[test]
fn a_negative_number_is_refused_by_what_the_option_may_be() {
    let negative = Place::new().refused(&["generate", "run", "--top-k", "-3"]);
    assert!(negative.contains("invalid value '-3' for '--top-k <TOP_K>'"), "{negative}");
}

#[test]
fn what_mends_an_error_can_be_done() {
    let place = Place::new();
    place.file("none.toml", "[model.graph]\nlayers = []\n");
    insta::assert_snapshot!(place.refused(&["summary", "--config", "none.toml"]), @"2: error: the model has no layers (name some in `layers`)");
    let cases = place.refused(&["bench", "none"]);
    assert!(["cbow", "skipgram", "vocabulary"].iter().all(|case| cases.contains(case)), "{cases}");
}

#[test]
fn vectors_are_trained_by_the_options_of_train_and_of_gensim() {
    let refused =
        Place::new().refused(&["vectors", "train", "no.txt", "--lr", "0.1", "--vector-size", "5", "--out", "x"]);
    insta::assert_snapshot!(refused, @"3: error: no.txt: no such file (check the path)");
}

#[test]
fn evaluations_and_states_that_there_are_none_of_have_no_options() {
    let place = Place::new();
    place.file("verses.txt", verses());
    let refused = |more: &[&str]| place.refused(&tiny(&[&["--split", "none", "--out", "run"], more].concat()));
    insta::assert_snapshot!(refused(&["--eval-every", "2"]), @"2: error: --eval-every: has no meaning where data.split is none: nothing is evaluated");
    insta::assert_snapshot!(refused(&["--eval-batch", "2"]), @"2: error: --eval-batch: has no meaning where data.split is none: nothing is evaluated");
    let none = ["--split", "none", "--max-steps", "1"];
    place.ok(&tiny(&[&none[..], &["--valid", "verses.txt", "--eval-every", "2", "--out", "valid"]].concat()));
    place.ok(&tiny(&[&none[..], &["--test", "verses.txt", "--eval-batch", "2", "--out", "test"]].concat()));
    let layers = "[{ type = \"embedding\", output_dim = 4 }, { type = \"gru\", units = 4 }, { type = \"dense\" }]";
    place.file("windows.toml", format!("[model.graph]\ninput_length = 3\nlayers = {layers}\n"));
    let windows = ["train", "--config", "windows.toml", "--data", "verses.txt", "--set", "train.reset_state=false"];
    let refused = place.refused(&windows);
    assert!(refused.ends_with("train.reset_state: is false, and a model of windows carries no state"), "{refused}");
}

#[test]
fn the_words_of_a_token_file_were_decoded_before() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.ok(&["corpus", "build", "verses.txt", "--level", "word", "--lower", "--out", "v.tokens"]);
    let train = ["vectors", "train", "v.tokens", "--out", "v.txt", "--encoding-errors", "skip"];
    insta::assert_snapshot!(place.refused(&train), @"2: error: --encoding-errors: has no meaning for a token file, whose tokens were made when it was built");
    // A run says of them what is so.
    place.ok(&["train", "--data", "v.tokens", "--batch", "4", "--bptt", "20", "--max-steps", "1", "--out", "run"]);
    let config = common::text(&place.read("run/config.toml"));
    assert!(config.contains("level = \"word\"") && config.contains("lower = true"), "{config}");
    place.ok(&["train", "--resume", "run", "--max-steps", "2"]);
}

#[test]
fn an_input_length_is_the_models() {
    let place = Place::new();
    let layers = "{ type = \"embedding\", output_dim = 4, input_length = 6 }";
    place.file("run.toml", format!("[model.graph]\nlayers = [{layers}]\n"));
    let refused = place.refused(&["summary", "--config", "run.toml"]);
    assert!(refused.contains("`input_length`; did you mean `model.graph.input_length`?"), "{refused}");
}

#[test]
fn the_nearest_of_no_words_are_refused() {
    let place = Place::new();
    place.file("v.txt", "2 1\na 1\nb 2\n");
    insta::assert_snapshot!(place.refused(&["vectors", "near", "v.txt", "a", "--top", "0"]), @"2: error: --top: must be at least 1, got 0");
}
