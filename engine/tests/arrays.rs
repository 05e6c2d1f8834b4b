//! NumPy arrays as labelled data: training, scoring and predicting, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::Place;

/// A file of `numpy.save`.
fn npy(kind: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let axes: Vec<String> = shape.iter().map(|axis| format!("{axis},")).collect();
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}), }}\n", axes.concat());
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn ints(shape: &[usize], numbers: impl IntoIterator<Item = i64>) -> Vec<u8> {
    npy("<i8", shape, &numbers.into_iter().flat_map(i64::to_le_bytes).collect::<Vec<_>>())
}

fn floats(shape: &[usize], numbers: impl IntoIterator<Item = f32>) -> Vec<u8> {
    npy("<f4", shape, &numbers.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<_>>())
}

/// An archive of `numpy.savez`.
fn npz(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let (mut file, mut directory): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
    for (name, data) in members {
        let name = format!("{name}.npy");
        let mut checksum = flate2::Crc::new();
        checksum.update(data);
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend(checksum.sum().to_le_bytes());
        common.extend([data.len() as u32; 2].into_iter().flat_map(u32::to_le_bytes));
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0; 2]);
        let offset = file.len() as u32;
        file.extend(b"PK\x03\x04".iter().chain(&common).chain(name.as_bytes()).chain(data));
        directory.extend(b"PK\x01\x02\x14\x03".iter().chain(&common).chain(&[0; 10]));
        directory.extend(offset.to_le_bytes().iter().chain(name.as_bytes()));
    }
    let (count, start) = ((members.len() as u16).to_le_bytes(), file.len() as u32);
    let size = directory.len() as u32;
    file.extend(directory);
    file.extend(b"PK\x05\x06\0\0\0\0".iter().chain(&count).chain(&count));
    file.extend(size.to_le_bytes().iter().chain(&start.to_le_bytes()).chain(&[0; 2]));
    file
}

/// Numbers below n that look like chance.
fn below(i: usize, n: usize) -> usize {
    (i.wrapping_mul(2_654_435_761) >> 7) % n
}

const ROWS: usize = 120;
const STEPS: usize = 6;

/// Rows of 3 to 6 tokens with padding behind; the class is whether token 7 is among them, the tags whether a token is above 5.
fn token_rows() -> (Vec<i64>, Vec<i64>, Vec<i64>) {
    let (mut tokens, mut classes, mut tags) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..ROWS {
        let length = 3 + below(row + 31, 4);
        let own: Vec<i64> = (0..length)
            .map(|t| if t == 1 && row % 2 == 1 { 7 } else { [1, 2, 3, 4, 5, 6, 8][below(row * 7 + t, 7)] })
            .collect();
        classes.push(i64::from(own.contains(&7)));
        tags.extend((0..STEPS).map(|t| own.get(t).map_or(-1, |&token| i64::from(token > 5))));
        tokens.extend((0..STEPS).map(|t| own.get(t).copied().unwrap_or(0)));
    }
    (tokens, classes, tags)
}

/// A configuration of a task and these layers before the last.
fn config(kind: &str, layers: &str) -> String {
    format!(
        "[data]\nvalid_fraction = 0.2\ntest_fraction = 0.2\n[task]\nkind = \"{kind}\"\n[model.graph]\nlayers = [{layers}, \
         {{ type = \"dense\", activation = \"softmax\" }}]\n[train]\nbatch = 8\nepochs = 20\n[optimizer]\nlr = 0.03\n"
    )
}

/// Trains, and returns the accuracy of the test.
fn train(place: &Place, config: &str, data: &str, out: &str) -> f64 {
    place.file("task.toml", config);
    let told =
        place.json(&["train", "--config", "task.toml", "--data", data, "--out", out, "--threads", "1", "--json"]);
    let test = told.iter().find(|event| event["event"] == "scored" && event["data"] == "test").unwrap();
    test["figures"]["accuracy"].as_f64().unwrap()
}

const TOKENS: &str = "{ type = \"embedding\", output_dim = 8, mask_zero = true }, { type = \"gru\", units = 8 }";

#[test]
fn token_ids_are_classified() {
    let place = Place::new();
    let (tokens, classes, _) = token_rows();
    let (x, y) = (ints(&[ROWS, STEPS], tokens.clone()), ints(&[ROWS], classes.clone()));
    place.file("both.npz", npz(&[("y", y.clone()), ("x", x.clone())]));
    let accuracy = train(&place, &config("classify", TOKENS), "both.npz", "run");
    assert!(accuracy > 0.9, "{accuracy}");
    // The same samples in two files are the same run.
    place.file("rows.npy", &x);
    place.file("rows.labels.npy", &y);
    assert_eq!(train(&place, &config("classify", TOKENS), "rows.npy", "pair"), accuracy);
    let weights = |run: &str| {
        let best: serde_json::Value = serde_json::from_slice(&place.read(&format!("{run}/decision.json"))).unwrap();
        best
    };
    assert_eq!(weights("run"), weights("pair"));
    // An evaluation of a file, and the classes of its rows, agree.
    let scored = place.json(&["eval", "run", "--data", "rows.npy", "--json"]);
    let right = scored[0]["figures"]["accuracy"].as_f64().unwrap();
    let predicted = place.ok(&["predict", "run", "--array", "rows.npy"]);
    let hits = predicted.lines().zip(&classes).filter(|(line, class)| line.starts_with(&class.to_string())).count();
    assert_eq!((predicted.lines().count(), hits as f64 / ROWS as f64), (ROWS, right));
    // Padding before the tokens changes nothing where it is masked.
    let shifted = tokens.chunks(STEPS).flat_map(|row| {
        let end = row.iter().rposition(|&token| token != 0).unwrap() + 1;
        row[end..].iter().chain(&row[..end]).copied().collect::<Vec<_>>()
    });
    place.file("before.npy", ints(&[ROWS, STEPS], shifted));
    assert_eq!(place.ok(&["predict", "run", "--array", "before.npy"]), predicted);
    let json = place.json(&["predict", "run", "--array", "both.npz", "--json"]);
    assert_eq!((json.len(), json[3]["row"].as_u64()), (ROWS, Some(3)));
}

#[test]
fn token_ids_are_tagged() {
    let place = Place::new();
    let (tokens, _, tags) = token_rows();
    place.file("rows.npy", ints(&[ROWS, STEPS], tokens.clone()));
    place.file("rows.labels.npy", ints(&[ROWS, STEPS], tags.clone()));
    let layers = TOKENS.replace("units = 8", "units = 8, return_sequences = true");
    let accuracy = train(&place, &config("tag", &layers), "rows.npy", "run");
    assert!(accuracy > 0.95, "{accuracy}");
    let predicted = place.ok(&["predict", "run", "--array", "rows.npy"]);
    let want = tags.chunks(STEPS).map(|row| {
        let row: Vec<String> = row.iter().filter(|&&tag| tag >= 0).map(i64::to_string).collect();
        row.join(" ")
    });
    let same = predicted.lines().zip(want).filter(|(line, want)| line == want).count();
    assert!(same * 10 >= ROWS * 9, "{same} rows of {ROWS}");
    // A step that is not scored in the middle of a row shifts nothing.
    let holes = tags.iter().enumerate().map(|(i, &tag)| if i % STEPS == 1 { -1 } else { tag });
    place.file("holes.npy", ints(&[ROWS, STEPS], tokens));
    place.file("holes.labels.npy", ints(&[ROWS, STEPS], holes));
    let scored = place.json(&["eval", "run", "--data", "holes.npy", "--json"]);
    assert!(scored[0]["figures"]["accuracy"].as_f64().unwrap() > 0.95, "{}", scored[0]);
}

#[test]
fn numbers_are_classified_and_tagged() {
    let place = Place::new();
    let value = |i: usize| below(i, 1000) as f32 / 500.0 - 1.0;
    // One vector a row: the class is the sign of its second number.
    let (count, width) = (ROWS * 2, 3);
    let y: Vec<i64> = (0..count).map(|row| i64::from(value(row * width + 1) > 0.0)).collect();
    let x = floats(&[count, width], (0..count * width).map(value));
    place.file("flat.npz", npz(&[("features", x), ("y", ints(&[count], y))]));
    let input =
        "{ type = \"input\", width = 3, sequence = false }, { type = \"dense\", units = 8, activation = \"tanh\" }";
    let flat = config("classify", input).replace("[model", "text = \"features\"\n[model");
    assert!(train(&place, &flat, "flat.npz", "flat") > 0.9);

    // Vectors a step: the class is the sign of the sum of the first numbers, the tag of a step that of its own.
    let (steps, width) = (4, 2);
    let of_step = |row: usize, t: usize| value((row * steps + t) * width);
    let x = floats(&[count, steps, width], (0..count * steps * width).map(value));
    let y = ints(&[count], (0..count).map(|row| i64::from((0..steps).map(|t| of_step(row, t)).sum::<f32>() > 0.0)));
    let tags = (0..count * steps).map(|i| i64::from(of_step(i / steps, i % steps) > 0.0));
    place.file("steps.npz", npz(&[("x", x), ("y", y), ("tags", ints(&[count, steps], tags))]));
    let layers = "{ type = \"input\", width = 2 }, { type = \"lstm\", units = 8 }";
    let accuracy = train(&place, &config("classify", layers), "steps.npz", "steps");
    assert!(accuracy > 0.85, "{accuracy}");
    let layers = layers.replace("units = 8", "units = 8, return_sequences = true");
    let tagger = config("tag", &layers).replace("[model", "label = \"tags\"\n[model");
    let accuracy = train(&place, &tagger, "steps.npz", "tags");
    assert!(accuracy > 0.9, "{accuracy}");
    let first = place.ok(&["predict", "tags", "--array", "steps.npz"]);
    assert_eq!(first.lines().next().unwrap().split(' ').count(), steps);
}

#[test]
fn steps_that_are_masked_are_neither_scored_nor_tagged() {
    let place = Place::new();
    // Rows of 2 to 4 steps, filled with vectors of zeros that are labelled 0, as users fill them.
    let (count, steps, width) = (ROWS, 4, 2);
    let length = |row: usize| 2 + row % 3;
    let value = |i: usize| below(i, 1000) as f32 / 500.0 - 1.0;
    let there = |i: usize| i % steps < length(i / steps);
    let x = (0..count * steps * width).map(|i| if there(i / width) { value(i) } else { 0.0 });
    let y = (0..count * steps).map(|i| i64::from(there(i) && value(i * width) > 0.0));
    let rows = floats(&[count, steps, width], x);
    place.file("padded.npz", npz(&[("x", rows.clone()), ("y", ints(&[count, steps], y.clone()))]));
    // The same, with what is padding left out by its label.
    let unscored = y.enumerate().map(|(i, tag)| if there(i) { tag } else { -1 });
    place.file("unscored.npz", npz(&[("x", rows), ("y", ints(&[count, steps], unscored))]));
    let layers = "{ type = \"input\", width = 2 }, { type = \"masking\" }, { type = \"gru\", units = 8, return_sequences = true }";
    train(&place, &config("tag", layers), "padded.npz", "run");
    let figures = |data: &str| place.json(&["eval", "run", "--data", data, "--json"])[0]["figures"].clone();
    assert_eq!(figures("padded.npz"), figures("unscored.npz"));
    assert!(figures("padded.npz")["accuracy"].as_f64().unwrap() > 0.9, "{}", figures("padded.npz"));
    let told = place.ok(&["predict", "run", "--array", "padded.npz"]);
    for (row, line) in told.lines().enumerate() {
        let tags: Vec<&str> = line.split(' ').collect();
        let dashes = tags.iter().map(|&tag| tag == "-");
        assert!(dashes.eq((0..steps).map(|t| t >= length(row))), "row {row}: {line}");
    }
    let json = place.json(&["predict", "run", "--array", "padded.npz", "--json"]);
    assert!(json[0]["tags"][1]["tag"].is_string() && json[0]["tags"][2].is_null(), "{}", json[0]);
}

#[test]
fn captions_are_learned_from_arrays() {
    let place = Place::new();
    // The vector says which of three captions, by its largest number. Equal vectors would stand on one side of the split.
    let x = (0..60).flat_map(|row| (0..3).map(move |k| f32::from(u8::from(row % 3 == k)) + row as f32 / 500.0));
    let y = (0..60).flat_map(|row| [[11, 12, 0], [21, 0, 0], [31, 32, 33]][row % 3]);
    place.file("both.npz", npz(&[("x", floats(&[60, 3], x)), ("y", ints(&[60, 3], y))]));
    let layers = "{ type = \"input\", name = \"image\", width = 3, sequence = false }, \
         { type = \"dense\", name = \"h\", units = 16, activation = \"tanh\" }, \
         { type = \"embedding\", inputs = [\"sequence\"], output_dim = 8, mask_zero = true }, \
         { type = \"gru\", units = 16, return_sequences = true, initial_state = [\"h\"] }";
    train(&place, &config("caption", layers), "both.npz", "run");
    let found = place.ok(&["predict", "run", "--vectors", "both.npz"]);
    let first: Vec<&str> = found.lines().take(3).collect();
    assert_eq!(first, ["11 12", "21", "31 32 33"]);
}

#[test]
fn captions_of_vectors_over_time_are_learned_from_arrays() {
    let place = Place::new();
    // Of five steps the first ones say which of three captions; the others, of 0.25s, are what shorter rows were filled with.
    let number = |row: usize, t: usize, k: usize| {
        if t > 1 + row % 4 { 0.25 } else { f32::from(u8::from(row % 3 == k)) + (row * 5 + t) as f32 / 2000.0 }
    };
    let x = (0..60).flat_map(|row| (0..5).flat_map(move |t| (0..3).map(move |k| number(row, t, k))));
    let y = (0..60).flat_map(|row| [[11, 12, 0], [21, 0, 0], [31, 32, 33]][row % 3]);
    place.file("films.npz", npz(&[("x", floats(&[60, 5, 3], x)), ("y", ints(&[60, 3], y))]));
    let layers = "{ type = \"input\", name = \"frames\", inputs = [\"source\"], width = 3 }, \
         { type = \"masking\", mask_value = 0.25 }, \
         { type = \"gru\", name = \"encoder\", units = 16 }, \
         { type = \"embedding\", inputs = [\"sequence\"], output_dim = 8, mask_zero = true }, \
         { type = \"gru\", units = 16, return_sequences = true, initial_state = [\"encoder\"] }";
    train(&place, &config("caption", layers), "films.npz", "run");
    let found = place.ok(&["predict", "run", "--vectors", "films.npz", "--beam", "2"]);
    assert_eq!(found.lines().take(3).collect::<Vec<_>>(), ["11 12", "21", "31 32 33"]);
    place.file("few.npz", npz(&[("x", floats(&[1, 2], [0.5; 2]))]));
    let few = place.refused(&["predict", "run", "--vectors", "few.npz"]);
    assert!(few.contains("has 2 numbers, the model takes 3 for each step"), "{few}");
}

#[test]
fn the_next_token_is_learned_from_arrays() {
    let place = Place::new();
    // Each number is followed by the next one; rows begin anywhere and are filled with 0 before or behind.
    let row = |row: usize| (0..6).map(move |t| if t > 2 + row % 4 { 0 } else { 1 + (row * 2 + t) as i64 % 7 });
    place.file("rows.npy", ints(&[84, 6], (0..84).flat_map(row)));
    let layers = "{ type = \"embedding\", output_dim = 8, mask_zero = true }, { type = \"simple_rnn\", units = 16 }";
    train(&place, &config("next", layers), "rows.npy", "run");
    let next = |text: &str| place.ok(&["predict", "run", "--text", text]).split('\t').next().unwrap().to_owned();
    assert_eq!((next("2 3"), next("6 7"), next("5")), ("4".to_owned(), "1".to_owned(), "6".to_owned()));
    place.file("numbers.npy", floats(&[2, 3], [0.5; 6]));
    let numbers = place.refused(&["eval", "run", "--data", "numbers.npy"]);
    assert!(numbers.contains("numbers.npy") && numbers.contains("token ids (N, T)"), "{numbers}");
}

#[test]
fn what_is_no_such_array_is_named() {
    let place = Place::new();
    let (tokens, classes, tags) = token_rows();
    let (x, y) = (ints(&[ROWS, STEPS], tokens.clone()), ints(&[ROWS], classes.clone()));
    place.file("task.toml", config("classify", TOKENS));
    place.file("tag.toml", config("tag", &TOKENS.replace("units = 8", "units = 8, return_sequences = true")));
    let refused_by = |config: &str, x: &[u8], y: &[u8]| {
        place.file("a.npy", x);
        place.file("a.labels.npy", y);
        place.refused(&["train", "--config", config, "--data", "a.npy", "--out", "never"])
    };
    let refused = |x: &[u8], y: &[u8]| refused_by("task.toml", x, y);
    let names = |message: String, parts: &[&str]| {
        assert!(message.starts_with("3: "), "{message}");
        parts.iter().for_each(|part| assert!(message.contains(part), "{message}\nlacks {part}"));
    };
    names(
        refused(&x, &ints(&[ROWS - 1], classes[1..].to_vec())),
        &["a.npy", "has 120 rows", "has 119", "a label for each"],
    );
    names(refused(&x, &ints(&[ROWS, STEPS], tags.clone())), &["a.labels.npy", "(120, 6)", "shape (N)", "argmax"]);
    names(refused(&x, &floats(&[ROWS], vec![0.5; ROWS])), &["numbers with a fraction", "astype"]);
    names(refused(&ints(&[ROWS], classes.clone()), &y), &["has the shape (120)", "token ids (N, T)"]);
    names(refused(&ints(&[ROWS, 2, 3, 1], tokens.clone()), &y), &["has the shape (120, 2, 3, 1)", "reshape"]);
    names(refused(&npy("|O", &[ROWS], &[0; 8]), &y), &["objects", "different lengths"]);
    names(refused(&npy(">f4", &[1, 1], &[0; 4]), &y), &["`>f4`"]);
    let order = String::from_utf8_lossy(&x[..80]).find("False").unwrap();
    let mut columns = x.clone();
    columns.splice(order..order + 5, *b"True ");
    names(refused(&columns, &y), &["fortran_order", "ascontiguousarray"]);
    let change = |numbers: &[i64], at: usize, to: i64| {
        let mut numbers = numbers.to_vec();
        numbers[at] = to;
        numbers
    };
    names(
        refused(&ints(&[ROWS, STEPS], change(&tokens, STEPS + 1, 0)), &y),
        &["a.npy: row 2", "0 stands between", "add 1"],
    );
    names(refused(&ints(&[ROWS, STEPS], change(&tokens, STEPS + 1, -4)), &y), &["a.npy: row 2", "-4 is no token id"]);
    names(refused(&x, &ints(&[ROWS], change(&classes, 3, -1))), &["a.npy: row 4", "the label -1"]);
    names(refused_by("tag.toml", &x, &ints(&[ROWS, 3], tags[..ROWS * 3].to_vec())), &["6 steps a row", "has 3"]);
    place.file("alone.npy", &x);
    names(
        place.refused(&["train", "--config", "task.toml", "--data", "alone.npy"]),
        &["alone.labels.npy", "not there"],
    );
    place.file("b.npz", npz(&[("data", x.clone()), ("y", y.clone())]));
    names(place.refused(&["train", "--config", "task.toml", "--data", "b.npz"]), &["no array `x`", "data, y"]);
    place.file("c.npz", &x);
    names(place.refused(&["train", "--config", "task.toml", "--data", "c.npz"]), &["no NPZ archive"]);

    // What a trained run does not know.
    place.file("ok.npz", npz(&[("x", x.clone()), ("y", y.clone())]));
    place.ok(&["train", "--config", "task.toml", "--data", "ok.npz", "--out", "run", "--epochs", "1"]);
    let file = |name: &str, x: Vec<u8>, y: Vec<u8>| place.file(name, npz(&[("x", x), ("y", y)]));
    file("id.npz", ints(&[1, 3], [1, 99, 2]), ints(&[1], [0]));
    names(place.refused(&["eval", "run", "--data", "id.npz"]), &["id.npz: row 1", "token id 99", "are below 9"]);
    file("class.npz", ints(&[2, 3], [1, 2, 3, 1, 2, 3]), ints(&[2], [0, 5]));
    names(place.refused(&["eval", "run", "--data", "class.npz"]), &["class.npz: row 2", "number 5", "0, 1"]);
    place.file("f.npy", floats(&[1, 3], [0.5; 3]));
    names(place.refused(&["predict", "run", "--array", "f.npy"]), &["f.npy", "the run learned from token ids"]);
    // Rows of padding alone are said to be such, and leave the others' answers alone.
    place.file("empty.npy", ints(&[2, 3], [0, 0, 0, 1, 2, 3]));
    let rows = place.ok(&["predict", "run", "--array", "empty.npy"]);
    let rows: Vec<&str> = rows.lines().collect();
    assert!(rows[0] == "-\tno token but padding" && rows[1].starts_with(['0', '1']), "{rows:?}");
    let text = place.refused(&["predict", "run", "--text", "1 2"]);
    assert!(text.contains("--array FILE.npy"), "{text}");
}

#[test]
fn samples_of_another_kind_than_those_of_the_training_are_refused_wherever_they_are_given() {
    let place = Place::new();
    let (tokens, classes, tags) = token_rows();
    let sequence = |layers: &str| layers.replace("units = 8", "units = 8, return_sequences = true");
    place.file("classify.toml", config("classify", TOKENS));
    place.file("tag.toml", config("tag", &sequence(TOKENS)));
    let (x, y) = (ints(&[ROWS, STEPS], tokens), ints(&[ROWS], classes));
    let tags = ints(&[ROWS, STEPS], tags);
    place.file("classify.npz", npz(&[("x", x.clone()), ("y", y.clone())]));
    place.file("tag.npz", npz(&[("x", x.clone()), ("y", tags.clone())]));
    let steps = floats(&[ROWS, STEPS, 2], (0..ROWS * STEPS * 2).map(|i| i as f32 / 1000.0));
    place.file("floats.npz", npz(&[("x", steps.clone()), ("y", y)]));
    place.file("tag-floats.npz", npz(&[("x", steps), ("y", tags)]));
    let names = |message: String, file: &str, like: &str| {
        assert!(message.starts_with("3: error: ") && message.contains(&format!("{file}: has ")), "{message}");
        assert!(message.contains(&format!("the run learned from {like}")), "{message}");
    };
    let ids = "token ids (N, T), whole numbers";
    for (task, other) in [("classify", "floats.npz"), ("tag", "tag-floats.npz")] {
        let (config, data) = (format!("{task}.toml"), format!("{task}.npz"));
        let train = ["train", "--config", &config, "--data", &data, "--out", task, "--epochs", "1"];
        let with = |option| [&train[..7], &["--set", "data.test_fraction=0", option, other]].concat();
        names(place.refused(&with("--valid")), other, ids);
        names(place.refused(&with("--test")), other, ids);
        place.ok(&train);
        names(place.refused(&["eval", task, "--data", other]), other, ids);
    }
    place.file("texts.tsv", "0\t1 2 3\n");
    names(place.refused(&["eval", "classify", "--data", "texts.tsv"]), "texts.tsv", ids);
    place.file("steps.toml", config("classify", "{ type = \"input\", width = 2 }, { type = \"gru\", units = 8 }"));
    place.ok(&["train", "--config", "steps.toml", "--data", "floats.npz", "--out", "steps", "--epochs", "1"]);
    names(place.refused(&["eval", "steps", "--data", "classify.npz"]), "classify.npz", "numbers (N, T, D)");
}

#[test]
fn arrays_of_another_width_and_what_is_no_number_are_named_with_their_row() {
    let place = Place::new();
    let classes: Vec<i64> = (0..8).map(|row| row % 2).collect();
    let file = |name: &str, width: usize, nan: usize| {
        let number = |i| if i == nan { f32::NAN } else { i as f32 / 40.0 };
        let x = floats(&[8, 2, width], (0..16 * width).map(number));
        place.file(name, npz(&[("x", x), ("y", ints(&[8], classes.clone()))]));
    };
    file("ok.npz", 3, usize::MAX);
    file("wide.npz", 4, usize::MAX);
    file("nan.npz", 3, 13);
    let layers = "{ type = \"input\", width = 3 }, { type = \"gru\", units = 2 }";
    place.file("task.toml", config("classify", layers).replace("test_fraction = 0.2", ""));
    let train = ["train", "--config", "task.toml", "--epochs", "1", "--out"];
    place.ok(&[&train[..], &["run", "--data", "ok.npz"]].concat());
    let refused = |data: &str| place.refused(&[&train[..], &["never", "--data", data]].concat());
    insta::assert_snapshot!(refused("wide.npz"), @"3: error: DIR/wide.npz: row 1: a step has 4 numbers, layer `input` takes 3 (set width = 4, or give other data)");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "wide.npz"]), @"3: error: wide.npz: row 1: a step has 4 numbers, layer `input` takes 3 (give samples like those of the training)");
    insta::assert_snapshot!(place.refused(&["predict", "run", "--array", "wide.npz"]), @"3: error: wide.npz: row 1: a step has 4 numbers, layer `input` takes 3 (give samples like those of the training)");
    insta::assert_snapshot!(refused("nan.npz"), @"3: error: DIR/nan.npz: `x` has NaN in row 3 (put numbers where numpy.isfinite(array) is false, or remove the rows)");
}

#[test]
fn captions_name_the_array_that_is_not_beside_them() {
    let place = Place::new();
    place.file("said.txt", "a dog\na cat\n");
    let refused = place.refused(&["train", "--recipe", "digit-captions", "--data", "said.txt", "--out", "run"]);
    insta::assert_snapshot!(refused, @"3: error: DIR/said.txt: its vectors are not beside it, in DIR/said.npy (give the array this name, with a row for each line)");
}
