//! `unroll bench` as its users meet it: what it shows, plans and refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::{Place, verses};

#[test]
fn benches_say_where_time_goes_and_plan_for_other_machines() {
    let place = Place::new();
    let small = ["--hidden", "16", "--steps", "3", "--batch", "4", "--seconds", "0.01", "--json"];
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&place.ok(&[&["bench"], arguments, &small].concat())).unwrap()
    };
    let profile = &json(&["char256", "--profile", "--pin", "--threads", "2"])["profile"];
    let shares = profile["phases"].as_array().unwrap().iter().map(|phase| phase["share"].as_f64().unwrap());
    assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9, "{profile}");
    let plain = json(&["char256"]);
    assert!(plain.get("profile").is_none());
    assert_eq!(
        [&plain["hidden"], &plain["rows"], &plain["steps"]],
        [&16, &4, &3].map(|n| serde_json::Value::from(*n)).each_ref()
    );
    let changed = place.ok(&[&["bench", "char256"], &small[..8]].concat());
    assert!(changed.starts_with("char256 (16 units, 4 rows of 3 steps): "), "{changed}");
    let splits = json(&["--plan", "gru650", "--cores", "3"])["splits"].as_array().unwrap().clone();
    assert_eq!(splits.iter().map(|split| split["cores"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 2, 3, 3]);
    let text =
        place.ok(&["bench", "--plan", "min-char-rnn", "--vocabulary", "50", "--cores", "1", "--seconds", "0.01"]);
    assert!(text.contains("Choose one thread (--threads 1 --replicas 1)"), "{text}");
    let of_file = ["bench", "--plan", "own.toml", "--vocabulary", "9", "--cores", "6", "--seconds", "0.01"];
    let own = "[model]\nhidden = 8\n[train]\nbatch = 6\nsteps = 3\nreplicas = 3\nprecision = \"bf16\"\n";
    place.file("own.toml", own);
    let plan = &place.json(&[&of_file[..], &["--json"]].concat())[0];
    assert_eq!((&plan["precision"], &plan["configured"]), (&"bf16".into(), &3.into()));
    assert!(plan["splits"].as_array().unwrap().iter().any(|split| split["replicas"] == 3), "{plan}");
    let exact = &place.json(&[&of_file[..], &["--precision", "f32", "--json"]].concat())[0];
    assert_eq!(exact["precision"], "f32");
    let zipf = ["--plan", "zipf:50:sampled_softmax:adagrad", "--cores", "1"];
    assert_eq!(json(&zipf)["splits"].as_array().unwrap().len(), 1);
    let source = ["--plan", "translate-char", "--vocabulary", "9", "--cores", "1", "--seconds", "0.01", "--steps", "3"];
    assert!(place.ok(&[&["bench"][..], &source, &["--batch", "2"]].concat()).contains("2 rows of 3 steps"));

    let plan = |name: &str| place.refused(&["bench", "--plan", name, "--cores", "2"]);
    let needs = plan("min-char-rnn");
    assert!(needs.starts_with("2: ") && needs.contains("--vocabulary"), "{needs}");
    assert!(plan("char25").contains("char256"));
    insta::assert_snapshot!(plan("nowhere/some.toml"), @"3: error: nowhere/some.toml: no such file (check the path)");
    insta::assert_snapshot!(plan("gen512"), @"2: error: gen512 generates and does not train (choose a case that trains)");
    insta::assert_snapshot!(plan("gemm:2x2x2"), @"2: error: gemm:2x2x2 does not train a model (choose a case that trains)");
    let own = place.refused(&["bench", "--plan", "char256", "--vocabulary", "9", "--cores", "2"]);
    assert!(own.contains("--vocabulary"), "{own}");
}

#[test]
fn benches_refuse_what_they_would_not_heed() {
    let place = Place::new();
    let refused = |line: &str| place.refused(&[&["bench"], &line.split(' ').collect::<Vec<_>>()[..]].concat());
    for (line, option) in [
        ("--profile", "--profile"),
        ("--pin", "--pin"),
        ("--hidden 3", "--hidden"),
        ("--losses", "--losses"),
        ("--memory-map .", "--memory-map"),
        ("--precision bf16", "--precision"),
        ("char256 --cores 2", "--cores"),
        ("char256 --losses 1 --profile", "--profile"),
        ("gen512 --batch 2", "--batch"),
        ("gen512 --steps 2", "--steps"),
        ("head10k --steps 2", "--steps"),
        ("nnlm32 --hidden 2", "--hidden"),
        ("nnlm256 --steps 2", "--steps"),
        ("gemm:2x2x2 --losses", "--losses"),
        ("gemm:2x2x2 --hidden 2", "--hidden"),
        ("gemm:2x2x2 --memory-map .", "--memory-map"),
        ("--plan char256 --cores 2 --threads 2", "--threads"),
        ("--plan char256 --cores 2 --corpus x", "--corpus"),
        ("cbow --seconds 1", "--seconds"),
        ("char256 --threads 1025", "--threads"),
    ] {
        let error = refused(line);
        assert!(error.starts_with(&format!("2: error: {option}: ")), "{line}: {error}");
    }
    insta::assert_snapshot!(refused("gemm:2x2x2 --steps 2"), @"2: error: --steps: gemm:2x2x2 takes --precision, --threads, --seconds, --pin and --json only (leave it out)");
    for shape in ["gemm:2000000x200x2000000", "gemm:9999999999x9999999999x9999999999"] {
        let large = refused(shape);
        assert!(large.starts_with("2: error: the product needs ") && large.contains(" GiB"), "{large}");
    }
}

#[test]
fn the_making_of_a_vocabulary_is_timed_on_a_text() {
    let place = Place::new();
    place.file("verses.txt", verses());
    let bench = ["bench", "vocabulary", "--threads", "2", "--seconds", "0.01"];
    let rate = &place.json(&[&bench[..], &["--corpus", "verses.txt", "--json"]].concat())[0];
    assert_eq!((&rate["case"], &rate["threads"]), (&"vocabulary".into(), &2.into()));
    assert_eq!((&rate["tokens"], &rate["vocabulary"]), (&3000.into(), &10.into()));
    assert_eq!(rate["text_bytes"], place.read("verses.txt").len());
    let of = |key: &str| rate[key].as_f64().unwrap();
    assert!(
        (of("megabytes_per_second") * of("step_s") * 1e6 - of("text_bytes")).abs() < 1e-3 * of("text_bytes"),
        "{rate}"
    );
    let shown = place.ok(&[&bench[..], &["--corpus", "verses.txt"]].concat());
    assert!(shown.starts_with("vocabulary: ") && shown.contains("10 different of 3,000 words"), "{shown}");
    insta::assert_snapshot!(place.refused(&bench), @"2: error: --corpus: no text was given (name one with one sentence per line)");
    assert!(
        place
            .refused(&[&bench[..], &["--corpus", "verses.txt", "--pin"]].concat())
            .starts_with("2: error: --pin: vocabulary takes --corpus, --threads, --seconds and --json only")
    );
    let other = place.refused(&["bench", "char256", "--corpus", "verses.txt"]);
    assert!(other.contains("name cbow, skipgram or vocabulary"), "{other}");
}
