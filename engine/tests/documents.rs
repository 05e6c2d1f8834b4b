//! The documents' links lead somewhere: a reader who follows the README's map arrives.

use std::path::{Path, PathBuf};

/// Where the links of a text in Markdown point, without what stands behind a `#`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()).filter(|link| !link.is_empty())
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut count = 0;
    let pages = ["sms-spam", "imdb", "ud-ewt"].map(|name| format!("engine/src/recipes/{name}.md"));
    let names = ["README.md", "benches/peers/README.md", "engine/src/inspect/inspect.md"];
    for name in names.into_iter().chain(pages.iter().map(String::as_str)) {
        let document = root.join(name);
        let text = std::fs::read_to_string(&document).unwrap();
        let missing: Vec<PathBuf> = links(&text)
            .filter(|link| !link.contains("://"))
            .map(|link| document.parent().unwrap().join(link))
            .filter(|path| !path.exists())
            .collect();
        assert!(missing.is_empty(), "{name} links to what is not there: {missing:?}");
        count += links(&text).count();
    }
    assert!(count > 10, "the README's map has links: {count}");
}
