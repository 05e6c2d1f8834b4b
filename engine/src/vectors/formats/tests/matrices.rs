//! Words that stand in a file of their own, and a mark before a text.

use super::*;

#[test]
fn the_projectors_tables_have_a_heading_where_there_are_two_columns() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.tsv");
    let mut counted = WordVectors::new(1, true);
    counted.push(b"a", 7, &[0.5]).unwrap();
    write(&file, &counted, Format::Projector).unwrap();
    let metadata = folder.path().join("p.metadata.tsv");
    assert_eq!(std::fs::read_to_string(&metadata).unwrap(), "word\tcount\na\t7\n");
    write(&file, &WordVectors::from_rows(1, [("a", [0.5])]).unwrap(), Format::Projector).unwrap();
    assert_eq!(std::fs::read_to_string(&metadata).unwrap(), "a\n");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "0.5\n");
}

#[test]
fn the_projectors_tables_are_read_and_never_taken_for_words_and_their_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let put = |name: &str, text: &str| std::fs::write(at(name), text).unwrap();
    let open = |name: &str| read(&at(name), &ReadOptions::default());
    let refused =
        |name: &str| open(name).unwrap_err().to_string().replace(&format!("{}/", folder.path().display()), "");
    let mut counted = WordVectors::new(2, true);
    counted.push("7".as_bytes(), 70, &[1.0, 2.0]).unwrap();
    counted.push("naïve".as_bytes(), 3, &[3.0, 4.5e-9]).unwrap();
    for vectors in [counted, small(), WordVectors::from_rows(1, [("a", [0.5]), ("b", [7.0])]).unwrap()] {
        write(&at("p.tsv"), &vectors, Format::Projector).unwrap();
        let read = open("p.tsv").unwrap();
        assert_eq!((read.vectors, read.format), (vectors, Format::Projector));
    }
    // As other programs write them: whole numbers, headings of their own, carriage returns, a mark before the text.
    put("q.tsv", "1\t2\r\n3\t4\r\n");
    put("q.metadata.tsv", "\u{feff}label\tkind\r\na b\tx\r\nc\ty\r\n");
    let read = open("q.tsv").unwrap();
    assert_eq!(read.vectors, WordVectors::from_rows(2, [("a b", [1.0, 2.0]), ("c", [3.0, 4.0])]).unwrap());
    // Any name: numbers with tabs between them are no word and its vector.
    put("r", "0.5\t2\n3\t4\n");
    insta::assert_snapshot!(refused("r"), @"r.metadata.tsv: no such file: the list of the words of a matrix, one a line (name that of r with --words FILE, or say --from glove if its first column is of words)");
    put("s.tsv", "0.5 2\n3 4\n");
    put("s.metadata.tsv", "a\nb\n");
    insta::assert_snapshot!(refused("s.tsv"), @r#"s.tsv, line 1: "0.5 2" stands where value 1 of 1 of the vector is expected"#);
    put("s.tsv", "0.5\t2\n3\n");
    insta::assert_snapshot!(refused("s.tsv"), @"s.tsv, line 2: has 1 values with tabs between them, the first line 2");
    put("s.tsv", "0.5\t2\n3\tx\n");
    insta::assert_snapshot!(refused("s.tsv"), @r#"s.tsv, line 2: "x" stands where value 2 of 2 of the vector is expected"#);
    put("s.tsv", "0.5\t2\n3\tinf\n");
    insta::assert_snapshot!(refused("s.tsv"), @"s.tsv, line 2: row 2, column 2 is inf");
    put("s.tsv", "0.5\t2\n3\t4\n5\t6\n");
    insta::assert_snapshot!(refused("s.tsv"), @"s.metadata.tsv: has 2 words, the matrix more rows (name the list that belongs to the matrix)");
    put("s.tsv", "0.5\t2\n");
    insta::assert_snapshot!(refused("s.tsv"), @"s.metadata.tsv, line 2: has more words than the matrix has rows, which are 1");
    put("s.metadata.tsv", "word\tcount\na\n");
    insta::assert_snapshot!(refused("s.tsv"), @"s.metadata.tsv, line 2: has 1 columns, the first line 2");
    put("s.metadata.tsv", "word\tcount\na\t-1\n");
    insta::assert_snapshot!(refused("s.tsv"), @"s.metadata.tsv, line 2: column 2 is not how often a word was seen");
    // word2vec's and GloVe's text in such a file are what they were.
    put("t.tsv", "2 1\n7 1\n8 2\n");
    assert_eq!(open("t.tsv").unwrap().format, Format::Word2VecText);
    put("t.tsv", "seven\t1\t3\n8\t2\t4\n");
    assert_eq!(open("t.tsv").unwrap().format, Format::Glove);
    put("t", "7 1.0 3\n8 2 4\n");
    assert_eq!(open("t").unwrap().format, Format::Glove);
}

#[test]
fn each_matrix_has_its_own_list_of_words() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let open = |name: &str| read(&at(name), &ReadOptions::default()).unwrap().vectors;
    let other = WordVectors::from_rows(3, [("x", [1.0; 3]), ("y", [2.0; 3]), ("z", [3.0; 3])]).unwrap();
    write(&at("h.safetensors"), &small(), Format::Safetensors).unwrap();
    write(&at("h.npy"), &other, Format::NumPy).unwrap();
    write(&at("h.tsv"), &other, Format::Projector).unwrap();
    let refused = write(&at("h"), &small(), Format::Projector).unwrap_err();
    assert!(
        refused.to_string().ends_with("h: a table of the Embedding Projector ends in .tsv (name it so)"),
        "{refused}"
    );
    assert_eq!((open("h.safetensors"), open("h.npy"), open("h.tsv")), (small(), other.clone(), other.clone()));
    // A list that has the name without that of the format is read where there is no other.
    std::fs::rename(at("h.npy.words"), at("h.words")).unwrap();
    assert_eq!((open("h.safetensors"), open("h.npy")), (small(), other));
}

#[test]
fn a_mark_before_a_text_is_no_part_of_it() {
    for text in ["2 1\na 1.5\nb 2.5\n", "a 1.5\nb 2.5\n"] {
        let marked = parse(format!("\u{feff}{text}").as_bytes()).unwrap();
        assert_eq!((&marked.vectors, marked.format), (&parse(text.as_bytes()).unwrap().vectors, marked.format));
        assert_eq!(marked.vectors.word(0), b"a");
    }
    // Where it would be taken for one, a word that begins with it cannot be written first.
    let vectors = WordVectors::from_rows(1, [("\u{feff}a", [1.0])]).unwrap();
    for format in READ {
        let there = there_and_back(&vectors, format);
        let begins = !matches!(format, Format::Word2VecText | Format::Word2VecBinary | Format::GensimBinary);
        assert_eq!(there.is_err(), begins, "{format}");
    }
}
