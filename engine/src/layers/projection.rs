//! x W + b for all time steps at once, and its gradients. Where there are two biases, b is their sum.
//!
//! Token inputs pay for distinct tokens only, exactly: behind a one-hot input the projection is a look-up of the
//! kernel's rows; behind an embedding it is a product over the distinct vectors of the batch, gathered by position, and
//! its gradient is summed by token before any product.

use super::{Context, Mask, Weights};
use crate::exec::{Lookup, Products, Right, Start};
use crate::gradient::Gradient;
use std::ops::Range;
use unroll_kernels::embedding::{self, Distinct};
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::{Buffer, Element, Mat, MatMut};

/// What kind of input is projected.
pub(crate) enum InputKind {
    /// The output of another layer.
    Numbers,
    /// Tokens, standing for one-hot vectors.
    OneHot,
    /// Tokens, standing for rows of this table (its place in the arena, its width), some of which are dropped in
    /// training.
    Table(Range<usize>, usize, Option<Mask>),
}

/// A projection of D inputs to `width` outputs.
pub(crate) struct Projection {
    origin: InputKind,
    kernel: Range<usize>,
    biases: [Option<Range<usize>>; 2],
    /// The sum of the biases, where there are two.
    bias: Buffer,
    inputs: usize,
    width: usize,
    distinct: Distinct,
    /// The vectors of the distinct tokens, (U, D).
    vectors: Buffer,
    /// Their projections or the gradient of these, (U, width).
    projected: Buffer,
    /// The gradient of the vectors, (U, D).
    dvectors: Buffer,
}

/// The input that is projected.
pub(crate) enum Value<'a> {
    Numbers(Mat<'a>),
    Tokens(&'a [u32]),
}

/// Adds the columns' sums of `dout` to the gradients of the biases.
fn add_biases<E: Element>(
    products: Products<'_>,
    biases: &[Option<Range<usize>>; 2],
    dout: Mat<'_, E>,
    grads: &mut Gradient,
) {
    biases.iter().flatten().for_each(|bias| products.add_column_sums(dout, grads.add(bias)));
}

/// The bias: the only one, or the sum of both.
fn bias<'a>(biases: &[Option<Range<usize>>; 2], sum: &'a [f32], params: &'a [f32]) -> Option<&'a [f32]> {
    match biases {
        [Some(_), Some(_)] => Some(sum),
        [one, two] => one.as_ref().or(two.as_ref()).map(|bias| &params[bias.clone()]),
    }
}

impl Projection {
    pub(crate) fn new(
        origin: InputKind,
        kernel: Range<usize>,
        biases: [Option<Range<usize>>; 2],
        inputs: usize,
    ) -> Self {
        let width = kernel.len() / inputs;
        let (vectors, projected, dvectors) = Default::default();
        let bias = Buffer::new(width);
        let distinct = Distinct::default();
        Self { origin, kernel, biases, bias, inputs, width, distinct, vectors, projected, dvectors }
    }

    /// The kernel as it is multiplied.
    fn weights(&self) -> Weights {
        Weights { range: self.kernel.clone(), inputs: self.inputs, units: self.width, transposed: false }
    }

    /// Whether the input is tokens.
    pub(crate) fn takes_tokens(&self) -> bool {
        !matches!(self.origin, InputKind::Numbers)
    }

    /// out = x W + b, (T N, width); of tokens only what [`Self::lookup`] looks up.
    pub(crate) fn forward<E: Element>(&mut self, ctx: &Context<'_>, value: &Value<'_>, out: MatMut<'_, E>) {
        let _span = profile::enter(Phase::Projection);
        if let [Some(one), Some(two)] = self.biases.clone().map(|bias| bias.map(|b| &ctx.params[b])) {
            self.bias.iter_mut().zip(one.iter().zip(two)).for_each(|(sum, (a, b))| *sum = a + b);
        }
        let bias = bias(&self.biases, &self.bias, ctx.params);
        let start = bias.map_or(Start::Zero, Start::Bias);
        let products = ctx.products();
        match (value, &self.origin) {
            (Value::Numbers(x), _) => products.product_into(*x, self.weights().right(ctx), start, out),
            (Value::Tokens(tokens), InputKind::Table(table, width, drop)) => {
                let (right, drop) = (self.weights().right(ctx), drop.filter(|_| ctx.training));
                let table = Mat::dense(&ctx.params[table.clone()], table.len() / width, *width);
                self.distinct.build(tokens, table.rows());
                let count = self.distinct.tokens().len();
                // Room for the most distinct tokens that there can be, so that later steps allocate nothing.
                let most = tokens.len().min(table.rows());
                self.vectors.reserve(most * width);
                self.projected.reserve(most * self.width);
                let mut vectors = MatMut::dense(&mut self.vectors, count, *width);
                let distinct = self.distinct.tokens();
                products.by_rows(vectors.reborrow(), |rows, mut out| {
                    embedding::gather(table, &distinct[rows.clone()], out.reborrow());
                    if let Some(mask) = drop {
                        mask.apply_to_words(ctx.key, &distinct[rows], out);
                    }
                });
                let projected = MatMut::dense(&mut self.projected, count, self.width);
                products.product(vectors.as_ref(), right, start, projected);
            }
            (Value::Tokens(_), _) => {}
        }
    }

    /// Where x W + b of tokens is found after [`Self::forward`].
    pub(crate) fn lookup<'a>(&'a self, ctx: &Context<'a>, value: &Value<'a>) -> Option<Lookup<'a>> {
        let Value::Tokens(tokens) = *value else { return None };
        let isa = ctx.isa;
        Some(match self.origin {
            InputKind::Table(..) => {
                let table = Mat::dense(&self.projected, self.distinct.tokens().len(), self.width);
                Lookup { isa, table, bias: None, index: self.distinct.index() }
            }
            _ => {
                let table = Mat::dense(&ctx.params[self.kernel.clone()], self.inputs, self.width);
                Lookup { isa, table, bias: bias(&self.biases, &self.bias, ctx.params), index: tokens }
            }
        })
    }

    /// Adds the gradients of kernel, bias and table, and that of a numeric input to `dx`.
    pub(crate) fn backward<E: Element>(
        &mut self,
        ctx: &Context<'_>,
        value: &Value<'_>,
        dout: Mat<'_, E>,
        dx: Option<MatMut<'_>>,
        grads: &mut Gradient,
    ) {
        let _span = profile::enter(Phase::Gradient);
        let kernel = Mat::dense(&ctx.params[self.kernel.clone()], self.inputs, self.width);
        let products = ctx.products();
        let biases = &self.biases;
        match (value, &self.origin) {
            (Value::Numbers(x), _) => {
                add_biases(products, biases, dout, grads);
                let (start, dkernel) = grads.write(&self.kernel);
                products.outer(*x, dout, start, MatMut::dense(dkernel, self.inputs, self.width));
                if let Some(dx) = dx {
                    products.product(dout, Right::Transposed(kernel), Start::Keep, dx);
                }
            }
            (Value::Tokens(_), InputKind::Table(table, width, drop)) => {
                // `distinct` and `vectors` are those of the forward pass.
                let count = self.distinct.tokens().len();
                let mut sums = MatMut::dense(&mut self.projected, count, self.width);
                products.sum_by_token(dout, &self.distinct, sums.reborrow());
                // Every position has a token, so that the sums by token add up to the gradient of the bias.
                add_biases(products, biases, sums.as_ref(), grads);
                let vectors = Mat::dense(&self.vectors, count, *width);
                let (start, dkernel) = grads.write(&self.kernel);
                products.outer(vectors, sums.as_ref(), start, MatMut::dense(dkernel, self.inputs, self.width));
                self.dvectors.reserve(self.vectors.len());
                let mut dvectors = MatMut::dense(&mut self.dvectors, count, *width);
                products.product(sums.as_ref(), Right::Transposed(kernel), Start::Zero, dvectors.reborrow());
                let tokens = self.distinct.tokens();
                if let Some(mask) = drop {
                    mask.apply_to_words(ctx.key, tokens, dvectors.reborrow());
                }
                grads.add_rows(products, table, tokens, (&mut self.dvectors, *width));
            }
            (Value::Tokens(tokens), _) => {
                self.distinct.build(tokens, self.inputs);
                let count = self.distinct.tokens().len();
                self.projected.reserve(tokens.len().min(self.inputs) * self.width);
                let mut sums = MatMut::dense(&mut self.projected, count, self.width);
                products.sum_by_token(dout, &self.distinct, sums.reborrow());
                add_biases(products, biases, sums.as_ref(), grads);
                let tokens = self.distinct.tokens();
                grads.add_rows(products, &self.kernel, tokens, (&mut self.projected, self.width));
            }
        }
    }
}
