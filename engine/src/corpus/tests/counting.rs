//! Vocabularies counted on their own.

use super::*;

/// The vocabulary file of the text at `path`, and how many lists were written to the disk.
fn counted(path: &Path, options: &TextOptions, threads: usize, memory: Option<u64>) -> Result<(String, usize)> {
    let (sources, beside) = ([Source::Path(path.to_owned())], path.with_extension("vocabulary"));
    let args = Counting { sources: &sources, options, beside: &beside, threads, memory, progress: None, cancel: None };
    vocabulary(args).map(|counted| (counted.vocabulary.to_file(), counted.lists))
}

#[test]
fn a_vocabulary_depends_on_neither_threads_nor_memory() {
    let folder = Folder::new();
    // Three mebibytes: words that come often, some as often as others, words that come once or twice, <unk> and <eos>.
    let mut text = String::new();
    for i in 0..300_000_u32 {
        text.push_str(&format!("w{} {}", i.wrapping_mul(i) % 1499, if i % 9 == 0 { "\n" } else { "" }));
        if i % 3 == 0 {
            text.push_str(&format!("rare{} ", i % 70_000));
        }
    }
    text.push_str("<unk> <unk> <eos>");
    let path = folder.write("text.txt", &text);
    let words = TextOptions::new(Level::Word);
    let all = [
        TextOptions { min_count: 3, unknown: Some(true), ..words.clone() },
        TextOptions { max_size: 500, unknown: Some(true), ..words.clone() },
        TextOptions { min_count: 2, max_size: 1000, unknown: Some(true), eos: Some(false), ..words.clone() },
    ];
    for options in all {
        let (whole, lists) = counted(&path, &options, 1, None).expect("counted");
        assert_eq!(lists, 0);
        let in_memory = Tokenizer::from_text(&text, &options).expect("a vocabulary");
        assert_eq!(whole.lines().count(), in_memory.vocabulary().to_file().lines().count());
        for (threads, memory) in [(1, 1 << 20), (3, 1 << 20), (2, 1 << 30)] {
            let (found, lists) = counted(&path, &options, threads, Some(memory)).expect("counted");
            assert_eq!(lists > 1, memory == 1 << 20, "{lists} lists in {memory}");
            assert!(found == whole, "{threads} threads, {memory} bytes: another vocabulary");
        }
    }
    // Graphemes are strings and characters at once.
    let graphemes = TextOptions::new(Level::Grapheme);
    let whole = |threads, memory| counted(&path, &graphemes, threads, memory).expect("counted").0;
    assert!(whole(2, Some(1 << 20)) == whole(1, None));
    // All words are too many.
    let error = counted(&path, &words, 2, Some(1 << 20)).expect_err("too little");
    assert!(
        error.to_string().contains("are frequent enough for the vocabulary, and do not fit into 256.00 KB"),
        "{error}"
    );
    assert_eq!(counted(&path, &words, 2, Some(1000)).expect_err("too little").exit_code(), 2);
    assert_eq!(folder.names(), ["text.txt"], "nothing is left beside it");
    // A token file in little memory is that of much.
    let file = |name: &str, memory| {
        let options = TextOptions { min_count: 3, unknown: Some(true), ..words.clone() };
        let (sources, output) = ([Source::Path(path.clone())], folder.path(name));
        let args = Build {
            sources: &sources,
            output: &output,
            encoding: Encoding::New(&options),
            errors: None,
            threads: 2,
            memory,
            entropy_rate: None,
            progress: None,
            cancel: None,
        };
        build(args).expect("built");
        fs::read(output).expect("written")
    };
    assert!(file("little", Some(1 << 20)) == file("much", None));
}
