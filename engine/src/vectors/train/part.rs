//! Some of the columns of all vectors, which belong to one thread.
//!
//! A thread looks up, multiplies and changes its own columns only, so a vector never travels from one thread's cache to another's. What
//! threads tell each other are the logits of their columns.

use std::ops::Range;
use std::sync::atomic::Ordering;

use unroll_kernels::mat::padded;
use unroll_kernels::skipgram::{self, Gather, Gradients, Means, Room, RowGradients, Slopes, Spread};
use unroll_kernels::{Buffer, Isa, Mat, MatMut};

use super::exact::Exact;
use super::group::{Group, Sizes};
use super::options::Model;
use crate::random::Key;

/// Columns of a block. The logits of a block are sums over its columns, and those of a vector the sums over its blocks, whichever
/// part a block belongs to: the same bits for any number of threads.
const BLOCK: usize = 64;

/// How many blocks there are of vectors of `dim` elements.
pub(super) fn blocks(dim: usize) -> usize {
    dim.div_ceil(BLOCK)
}

/// The columns of some blocks.
pub(super) struct Part {
    isa: Isa,
    model: Model,
    /// Its columns, of those of a whole vector.
    cols: Range<usize>,
    /// How many they are with the zeros that make them whole vectors.
    width: usize,
    /// The inputs' and the outputs' vectors, (V, D) each.
    tables: [Table; 2],
    /// X, or H, and Y of the groups of a batch, group after group.
    kept: [Buffer; 2],
    /// Sums of the inputs of one group, or of their errors.
    sums: Buffer,
    /// dX, or dH, and dY of one group.
    changes: [Buffer; 2],
    slopes: Vec<f32>,
    room: Room,
}

/// One of the two tables.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Inputs,
    Outputs,
}

struct Table {
    values: Buffer,
    rows: usize,
    cols: usize,
}

impl Table {
    fn zeros(rows: usize, cols: usize) -> Self {
        Self { values: Buffer::new(rows * padded(cols)), rows, cols }
    }

    fn mat(&self) -> Mat<'_> {
        Mat::new(&self.values, self.rows, self.cols, padded(self.cols))
    }

    fn mat_mut(&mut self) -> MatMut<'_> {
        MatMut::new(&mut self.values, self.rows, self.cols, padded(self.cols))
    }
}

/// `rows` rows from `first` of a buffer that has room for more.
fn rows(buffer: &Buffer, first: usize, rows: usize, cols: usize) -> Mat<'_> {
    let stride = padded(cols);
    Mat::new(&buffer[first * stride..(first + rows) * stride], rows, cols, stride)
}

/// As [`rows`].
fn rows_mut(buffer: &mut Buffer, first: usize, rows: usize, cols: usize) -> MatMut<'_> {
    let stride = padded(cols);
    MatMut::new(&mut buffer[first * stride..(first + rows) * stride], rows, cols, stride)
}

impl Part {
    /// The columns of these blocks of vectors of `dim` elements, zeros; `counts` are the rows of inputs and of outputs.
    pub(super) fn zeros(isa: Isa, model: Model, dim: usize, blocks: Range<usize>, counts: [usize; 2]) -> Self {
        let cols = blocks.start * BLOCK..dim.min(blocks.end * BLOCK);
        // Zeros stay zeros: each product with them is one.
        let width = cols.len().next_multiple_of(16);
        Self {
            isa,
            model,
            width,
            tables: counts.map(|rows| Table::zeros(rows, width)),
            cols,
            kept: Default::default(),
            sums: Buffer::default(),
            changes: Default::default(),
            slopes: Vec::new(),
            room: Room::default(),
        }
    }

    /// How many blocks it has.
    pub(super) fn blocks(&self) -> usize {
        blocks(self.cols.len())
    }

    /// Sets every element of the inputs to a uniform number in [-1, 1) / `dim`, as gensim begins: a row by which word it is of.
    pub(super) fn randomize(&mut self, key: Key, dim: usize, ids: &[u32]) {
        let (cols, stride) = (self.cols.clone(), padded(dim) as u64);
        let mut table = self.tables[0].mat_mut();
        for (r, &id) in ids.iter().enumerate() {
            let first = (u64::from(id) * stride + cols.start as u64) / 4;
            for (c, four) in table.row_mut(r)[..cols.len()].chunks_mut(4).enumerate() {
                let words = key.words_at(first + c as u64);
                let uniform = |word: u32| (word >> 8) as f32 * (1.0 / 16_777_216.0);
                four.iter_mut().zip(words).for_each(|(x, word)| *x = (2.0 * uniform(word) - 1.0) / dim as f32);
            }
        }
    }

    /// Sets its columns of a row to those of `vector`, a whole one.
    pub(super) fn set(&mut self, side: Side, row: usize, vector: &[f32]) {
        let Self { cols, tables, .. } = self;
        tables[side as usize].mat_mut().row_mut(row)[..cols.len()].copy_from_slice(&vector[cols.clone()]);
    }

    /// The inputs' vectors of all parts of vectors of `dim` elements, rows [`padded`]`(dim)` apart, and where `outputs` says so the
    /// outputs': those of the only part as they lie there, or copied once everything else was let go.
    pub(super) fn into_tables(parts: Vec<Part>, dim: usize, outputs: bool) -> (Buffer, Option<Buffer>) {
        let tables = parts
            .into_iter()
            .map(|Part { cols, tables: [own, others], .. }| ((cols.clone(), own), outputs.then_some((cols, others))));
        let (inputs, others): (Vec<_>, Vec<_>) = tables.unzip();
        (joined(inputs, dim), outputs.then(|| joined(others.into_iter().flatten().collect(), dim)))
    }

    /// The inputs' vector of a row, its columns.
    #[cfg(test)]
    pub(super) fn input(&self, row: usize) -> &[f32] {
        &self.tables[0].mat().row(row)[..self.cols.len()]
    }

    fn block(&self, block: usize) -> Range<usize> {
        block * BLOCK..self.width.min((block + 1) * BLOCK)
    }

    /// The logits of its columns by the vectors as they are, `to` (blocks, logits of all groups). Keeps these vectors.
    pub(super) fn logits(&mut self, groups: &[Group], sizes: Sizes, mut to: MatMut<'_>) {
        let stride = padded(self.width);
        self.kept[0].reserve(sizes.inputs * stride);
        self.kept[1].reserve(sizes.outputs * stride);
        for (i, group) in groups.iter().enumerate() {
            self.keep(group, groups.get(i + 1));
            for block in 0..self.blocks() {
                let at = group.first.logits..group.first.logits + group.sizes.logits;
                self.block_logits(group, self.block(block), &mut to.row_mut(block)[at]);
            }
        }
    }

    /// Keeps the vectors of a group: X or H, and Y.
    fn keep(&mut self, group: &Group, next: Option<&Group>) {
        let Self { isa, model, tables, kept: [inputs, outputs], sums, width: cols, .. } = self;
        let (rows, ahead) = (&group.targets[..], next.map_or(&[][..], |next| &next.targets));
        let to = rows_mut(outputs, group.first.outputs, rows.len(), *cols);
        skipgram::gather(*isa, Gather { table: tables[1].mat(), rows, ahead, to });
        let (rows, ahead, table) = (group.words(), next.map_or(&[][..], Group::words), tables[0].mat());
        let to = rows_mut(inputs, group.first.inputs, group.sizes.inputs, *cols);
        match model {
            Model::SkipGram => skipgram::gather(*isa, Gather { table, rows, ahead, to }),
            Model::Cbow => {
                sums.reserve((rows.len() + 1) * padded(*cols));
                let sums = rows_mut(sums, 0, rows.len() + 1, *cols);
                skipgram::means(*isa, Means { table, rows, ahead, windows: group.windows(), sums, means: to });
            }
        }
    }

    /// X, or H, of all groups of the batch, by what [`Self::logits`] has kept.
    pub(super) fn all_inputs(&self, sizes: Sizes) -> Mat<'_> {
        rows(&self.kept[0], 0, sizes.inputs, self.width)
    }

    fn inputs(&self, group: &Group) -> Mat<'_> {
        rows(&self.kept[0], group.first.inputs, group.sizes.inputs, self.width)
    }

    fn outputs(&self, group: &Group) -> Mat<'_> {
        rows(&self.kept[1], group.first.outputs, group.targets.len(), self.width)
    }

    fn block_logits(&mut self, group: &Group, block: Range<usize>, to: &mut [f32]) {
        let isa = self.isa;
        let mut room = std::mem::take(&mut self.room);
        let (inputs, outputs) = (self.inputs(group).cols_range(block.clone()), self.outputs(group).cols_range(block));
        let (pairs, mut rest) = to.split_at_mut(group.pairs);
        match self.model {
            Model::SkipGram => {
                let outputs = outputs.rows_range(0..group.paired);
                skipgram::pair_products(isa, inputs, outputs, group.pair_windows(), pairs);
            }
            Model::Cbow => {
                let [inputs, outputs] = [inputs, outputs].map(|rows| rows.rows_range(0..group.paired));
                skipgram::row_products(isa, inputs, outputs, pairs);
            }
        }
        for tile in &group.tiles {
            let (inputs, outputs) = (inputs.rows_range(tile.inputs.clone()), outputs.rows_range(tile.outputs.clone()));
            let (own, others) = rest.split_at_mut(inputs.rows() * outputs.rows());
            skipgram::products(isa, inputs, outputs, MatMut::dense(own, inputs.rows(), outputs.rows()), &mut room);
            rest = others;
        }
        self.room = room;
    }

    /// Adds `scale` times the gradients of all groups to the vectors, by the logits of all blocks, (blocks, logits of all groups), and by
    /// the vectors that were kept. Tells the loss of those groups for which `tells` holds.
    pub(super) fn change(&mut self, groups: &[Group], logits: Mat<'_>, scale: f32, tells: impl Fn(usize) -> bool) {
        let mut slopes = std::mem::take(&mut self.slopes);
        for (i, group) in groups.iter().enumerate() {
            let at = group.first.logits..group.first.logits + group.sizes.logits;
            slopes.resize(group.sizes.logits, 0.0);
            let (weights, labels, logits) = (&group.weights[..], &group.labels[..], logits.cols_range(at));
            let args = Slopes { logits, weights, labels, scale, loss: tells(i), slopes: &mut slopes };
            let loss = skipgram::slopes(self.isa, args);
            if tells(i) {
                group.loss.store(loss.to_bits(), Ordering::Relaxed);
            }
            match self.model {
                Model::SkipGram => self.change_skipgram(group, &slopes),
                Model::Cbow => self.change_cbow(group, &slopes),
            }
        }
        self.slopes = slopes;
    }

    /// The gradients of a group's tiles, by their slopes. `dinputs` is added to where `add` says so.
    fn tiles(&mut self, group: &Group, mut slopes: &[f32], add: bool) {
        let [mut dx, mut dy] = std::mem::take(&mut self.changes);
        let (inputs, outputs) = (self.inputs(group), self.outputs(group));
        let mut dinputs = rows_mut(&mut dx, 0, inputs.rows(), self.width);
        let mut doutputs = rows_mut(&mut dy, 0, outputs.rows(), self.width);
        for tile in &group.tiles {
            let (inputs, outputs) = (inputs.rows_range(tile.inputs.clone()), outputs.rows_range(tile.outputs.clone()));
            let (own, others) = slopes.split_at(inputs.rows() * outputs.rows());
            let dinputs = dinputs.reborrow().rows_range(tile.inputs.clone());
            let doutputs = doutputs.reborrow().rows_range(tile.outputs.clone());
            let own = Mat::dense(own, inputs.rows(), outputs.rows());
            skipgram::gradients(self.isa, own, add, Gradients { inputs, outputs, dinputs, doutputs });
            slopes = others;
        }
        self.changes = [dx, dy];
    }

    fn change_skipgram(&mut self, group: &Group, slopes: &[f32]) {
        let (isa, cols, words, targets) = (self.isa, self.width, group.words(), &group.targets);
        let (pairs, rest) = slopes.split_at(group.pairs);
        let [mut dx, mut dy] = std::mem::take(&mut self.changes);
        dx.reserve(words.len() * padded(cols));
        dy.reserve(targets.len() * padded(cols));
        dx[..words.len() * padded(cols)].fill(0.0);
        skipgram::pair_gradients(
            isa,
            pairs,
            group.pair_windows(),
            Gradients {
                inputs: self.inputs(group),
                outputs: self.outputs(group).rows_range(0..group.paired),
                dinputs: rows_mut(&mut dx, 0, words.len(), cols),
                doutputs: rows_mut(&mut dy, 0, group.paired, cols),
            },
        );
        self.changes = [dx, dy];
        self.tiles(group, rest, true);
        let Self { tables, changes: [dx, dy], .. } = self;
        skipgram::add_rows(isa, rows(dx, 0, words.len(), cols), words, tables[0].mat_mut());
        skipgram::add_rows(isa, rows(dy, 0, targets.len(), cols), targets, tables[1].mat_mut());
    }

    fn change_cbow(&mut self, group: &Group, slopes: &[f32]) {
        let (isa, cols, targets) = (self.isa, self.width, &group.targets[..]);
        let (paired, means) = (group.paired, group.sizes.inputs);
        let (pairs, rest) = slopes.split_at(group.pairs);
        self.changes[0].reserve(means * padded(cols));
        self.changes[1].reserve(targets.len() * padded(cols));
        if paired == 0 {
            // Some means may be on no path.
            self.changes[0][..means * padded(cols)].fill(0.0);
        }
        self.tiles(group, rest, false);
        let Self { tables, changes: [dh, dy], kept, sums, .. } = self;
        if paired > 0 {
            let inputs = rows(&kept[0], group.first.inputs, paired, cols);
            let outputs = rows(&kept[1], group.first.outputs, paired, cols);
            let dinputs = rows_mut(dh, 0, paired, cols);
            let table = tables[1].mat_mut();
            let rows = &targets[..paired];
            skipgram::row_gradients(isa, RowGradients { inputs, outputs, slopes: pairs, dinputs, rows, table });
        }
        let others = rows(dy, paired, targets.len() - paired, cols);
        skipgram::add_rows(isa, others, &targets[paired..], tables[1].mat_mut());
        spread(isa, group, rows(dh, 0, means, cols), sums, &mut tables[0]);
    }

    /// Adds the gradients that the full softmax has kept to the inputs' vectors.
    pub(super) fn change_inputs(&mut self, groups: &[Group], exact: &Exact) {
        let Self { isa, model, tables: [table, _], sums, width, .. } = self;
        for group in groups {
            let first = group.first.inputs;
            let errors = exact.errors(first..first + group.sizes.inputs, *width);
            match model {
                Model::SkipGram => skipgram::add_rows(*isa, errors, group.words(), table.mat_mut()),
                Model::Cbow => spread(*isa, group, errors, sums, table),
            }
        }
    }
}

/// A table of vectors of `dim` elements by its columns.
fn joined(mut tables: Vec<(Range<usize>, Table)>, dim: usize) -> Buffer {
    if tables.len() == 1
        && let Some((_, table)) = tables.pop()
    {
        return table.values;
    }
    let stride = padded(dim);
    let mut values = Buffer::new(tables.first().map_or(0, |(_, table)| table.rows) * stride);
    for (cols, table) in tables {
        for (r, row) in values.chunks_exact_mut(stride).enumerate() {
            row[cols.clone()].copy_from_slice(&table.mat().row(r)[..cols.len()]);
        }
    }
    values
}

/// Adds the gradients of a group's means to the vectors of all words of their windows.
fn spread(isa: Isa, group: &Group, errors: Mat<'_>, sums: &mut Buffer, table: &mut Table) {
    let (n, cols) = (group.words().len(), errors.cols());
    sums.reserve((n + 1) * padded(cols));
    let (sums, table) = (rows_mut(sums, 0, n + 1, cols), table.mat_mut());
    skipgram::spread(isa, Spread { errors, windows: group.windows(), rows: group.words(), sums, table });
}
