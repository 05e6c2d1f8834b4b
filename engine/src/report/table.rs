//! Tables of plain text, and Keras' table of a model.

use unicode_width::UnicodeWidthStr;

use crate::graph::{Description, SummaryRow};

use super::{bytes, count};

/// On which side a column's entries stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a heading, each column as wide as its widest entry is in a terminal, where letters of East Asia are two wide.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(columns: &[(&str, Align)]) -> Table {
        let columns = columns.iter().map(|(heading, align)| ((*heading).to_owned(), *align)).collect();
        Table { columns, rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// Where the row has another number of entries than there are columns.
    #[track_caller]
    pub fn row<S: Into<String>>(&mut self, entries: impl IntoIterator<Item = S>) {
        let entries: Vec<String> = entries.into_iter().map(Into::into).collect();
        assert_eq!(entries.len(), self.columns.len(), "a row has one entry a column");
        self.rows.push(entries);
    }

    /// The lines: the heading, a rule, the rows. No line ends with spaces.
    pub fn lines(&self) -> Vec<String> {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let entries = self.rows.iter().map(|row| row[column].width());
                entries.max().unwrap_or(0).max(self.columns[column].0.width())
            })
            .collect();
        let line = |entries: Vec<&str>| {
            let mut text = String::new();
            for ((entry, width), (_, align)) in entries.iter().zip(&widths).zip(&self.columns) {
                let gap = if text.is_empty() { "" } else { "   " };
                let space = " ".repeat(width - entry.width());
                match align {
                    Align::Left => text.extend([gap, entry, &space]),
                    Align::Right => text.extend([gap, &space, entry]),
                }
            }
            text.trim_end().to_owned()
        };
        let heading = line(self.columns.iter().map(|(heading, _)| heading.as_str()).collect());
        let rule = "=".repeat(widths.iter().sum::<usize>() + 3 * widths.len().saturating_sub(1));
        let rows = self.rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
        [heading, rule].into_iter().chain(rows).collect()
    }
}

/// Keras' table of a model: a line a layer, then the totals with the memory the parameters take.
pub fn summary(title: &str, model: &Description) -> String {
    let columns = [
        ("Layer (type)", Align::Left),
        ("Output Shape", Align::Left),
        ("Param #", Align::Right),
        ("Connected to", Align::Left),
    ];
    let mut table = Table::new(&columns);
    for SummaryRow { name, class, output_shape, params, connected_to } in &model.rows {
        table.row([format!("{name} ({class})"), output_shape.clone(), count(*params), connected_to.join(", ")]);
    }
    let lines = table.lines();
    let rule = lines[1].clone();
    let total = model.parameters;
    let total = format!("{} ({})", count(total), bytes(total * 4));
    let heads: String = model.heads.iter().filter_map(|head| head.line()).map(|line| line + "\n").collect();
    format!(
        "Model: \"{title}\"\n{}\n{}\n{rule}\nTotal params: {total}\nTrainable params: {total}\nNon-trainable params: 0 (0 B)\n{heads}",
        rule.replace('=', "_"),
        lines.join("\n"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;

    #[test]
    fn columns_are_aligned_and_no_line_ends_with_spaces() {
        let mut table = Table::new(&[("name", Align::Left), ("count", Align::Right), ("note", Align::Left)]);
        table.row(["a", "1,000", ""]);
        table.row(["longer", "7", "ö"]);
        let expected = ["name     count   note", "=====================", "a        1,000", "longer       7   ö"];
        assert_eq!(table.lines(), expected);
        table.row(["챈들러", "12", "は"]);
        assert_eq!(table.lines()[4], "챈들러      12   は");
    }

    #[test]
    fn char_rnn_has_kerass_table() {
        let (config, _) = crate::recipes::find("char-rnn").unwrap().config().unwrap();
        let graph = Graph::new(&config.model.graph(), 65).unwrap();
        insta::assert_snapshot!(summary("char-rnn", &graph.description()));
    }

    #[test]
    fn the_neural_probabilistic_language_model_has_kerass_table() {
        let (config, _) = crate::recipes::find("nnlm").unwrap().config().unwrap();
        let graph = Graph::new(&config.model.graph(), config.data.max_vocab as usize).unwrap();
        insta::assert_snapshot!(summary("nnlm", &graph.description()));
    }
}
