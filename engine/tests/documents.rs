//! The documents' links lead somewhere: a reader who follows the README's map arrives.

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
