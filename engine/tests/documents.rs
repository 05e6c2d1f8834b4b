//! The documents hold: their links lead somewhere, and the models in them are models.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

/// Where the links of a text in Markdown point, without what stands behind a `#`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()).filter(|link| !link.is_empty())
}

/// The pages in a folder and those below it.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The models in a text in Markdown: its blocks of code that list layers.
fn models(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    let mut fenced = false;
    for line in text.lines() {
        let fence = line.starts_with("```");
        fenced ^= fence;
        match line.strip_prefix("    ").or(fenced.then_some(line)) {
            Some(code) if !fence => *blocks.last_mut().unwrap() += &format!("{code}\n"),
            _ if fence || !line.is_empty() => blocks.push(String::new()),
            _ => *blocks.last_mut().unwrap() += "\n",
        }
    }
    blocks.retain(|block| block.contains("layers = ["));
    let whole = |block: String| if block.contains("[model.graph]") { block } else { format!("[model.graph]\n{block}") };
    blocks.into_iter().map(whole).collect()
}

#[test]
fn every_model_in_the_pages_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut documents, mut count) = (Vec::new(), 0);
    pages(&root, &mut documents);
    let place = tempfile::tempdir().unwrap();
    for document in documents {
        for model in models(&std::fs::read_to_string(&document).unwrap()) {
            std::fs::write(place.path().join("model.toml"), &model).unwrap();
            let mut command = assert_cmd::Command::cargo_bin("unroll").unwrap();
            let output = command.current_dir(&place).args(["summary", "--config", "model.toml"]).output().unwrap();
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{}: {err}\n{model}", document.display());
            if model.contains("mean_squared_error") {
                let shapes = |name: &str| out.lines().any(|line| line.contains(name) && line.contains("(None, 1)"));
                assert!(shapes("stars (Dense)") && shapes("mood (Dense)"), "{out}");
            }
            count += 1;
        }
    }
    assert!(count >= 6, "{count} models");
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut count = 0;
    let mut documents =
        vec![root.join("README.md"), root.join("benches/DATA.md"), root.join("benches/peers/README.md")];
    pages(&root.join("engine/src"), &mut documents);
    assert!(documents.len() > 6, "pages beside the code: {documents:?}");
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        let missing: Vec<PathBuf> = links(&text)
            .filter(|link| !link.contains("://"))
            .map(|link| document.parent().unwrap().join(link))
            .filter(|path| !path.exists())
            .collect();
        assert!(missing.is_empty(), "{} links to what is not there: {missing:?}", document.display());
        count += links(&text).count();
    }
    assert!(count > 10, "the README's map has links: {count}");
}
