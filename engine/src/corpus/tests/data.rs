//! Real texts, looked for in the folder that `UNROLL_DATA` names.

use super::*;

fn data(name: &str) -> Option<PathBuf> {
    match std::env::var_os("UNROLL_DATA") {
        Some(folder) => Some(Path::new(&folder).join(name)),
        None => {
            eprintln!("SKIPPED: UNROLL_DATA is not set, so {name} is not read");
            None
        }
    }
}

/// The numbers that every paper on this corpus states: 10,000 types and these tokens, ends of lines among them.
#[test]
fn penn_treebank_has_the_published_numbers() {
    let Some(ptb) = data("ptb") else { return };
    let folder = Folder::new();
    let train = folder.path("train");
    let report = build_path(&ptb.join("ptb.train.txt"), &train, &TextOptions::new(Level::Word), 2).expect("built");
    assert_eq!((report.tokens, report.tokenizer.vocabulary().len()), (929_589, 10_000));
    for (name, tokens) in [("ptb.valid.txt", 73_760), ("ptb.test.txt", 82_430)] {
        let known = Encoding::Known(&report.tokenizer);
        let built = try_build(&[Source::Path(ptb.join(name))], &folder.path(name), known, 2).expect("built");
        assert_eq!(built.tokens, tokens);
    }
}

#[test]
fn every_text_of_the_world_comes_back() {
    let Some(unicode) = data("unicode") else { return };
    let folder = Folder::new();
    let unpacked = std::process::Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(unicode.join("udhr2.zip"))
        .arg(folder.path("udhr"))
        .status();
    let mut texts: Vec<PathBuf> = Vec::new();
    let mut folders = vec![unicode];
    if unpacked.is_ok_and(|status| status.success()) {
        folders.push(folder.path("udhr"));
    } else {
        eprintln!("SKIPPED: udhr2.zip could not be unpacked (no python3), so its languages are not read");
    }
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "txt" || ending == "conllu") {
                texts.push(path);
            }
        }
    }
    assert!(texts.len() >= 6, "{texts:?}");
    for path in &texts {
        let text = fs::read(path).expect("readable");
        if text.is_empty() {
            continue; // One language of the declaration is an empty file.
        }
        for level in LEVELS {
            let output = folder.path("corpus");
            build_path(path, &output, &TextOptions::new(level), 1).expect("built");
            let corpus = Corpus::open(&output).expect("a good file");
            let tokens = all_tokens(&corpus);
            let back = corpus.tokenizer().decode_bytes(&tokens);
            if level == Level::Word {
                let again = MemoryTokens::encode(std::str::from_utf8(&back).expect("UTF-8"), corpus.tokenizer());
                assert_eq!(again.expect("its own words").tokens(), tokens, "{}", path.display());
            } else {
                assert!(back == text, "{} at level {level}", path.display());
            }
        }
    }
}
