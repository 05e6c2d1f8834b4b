//! One step of each rule over 65,536 parameters, which with their state fit the second-level cache, the average of the
//! parameters, and the norm. The peer is the rule as plain code, which the compiler vectorises for its default target.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use unroll_benches::elementwise::{agree, group, noise, sets};
use unroll_kernels::optimizer::{Rule, Update, average, sum_of_squares, update};

const N: usize = 65_536;
const LR: f32 = 1e-4;

const RULES: [(&str, Rule); 7] = [
    ("sgd", Rule::Sgd),
    ("momentum", Rule::Momentum { momentum: 0.9 }),
    ("nesterov", Rule::Nesterov { momentum: 0.9 }),
    ("adagrad", Rule::Adagrad { epsilon: 1e-8, epsilon_inside: true }),
    ("rmsprop", Rule::RmsProp { decay: 0.95, epsilon: 1e-8 }),
    ("adam", Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }),
    ("adamw", Rule::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }),
];

/// Parameters, gradients and state.
#[derive(Clone)]
struct Arena {
    param: Vec<f32>,
    grad: Vec<f32>,
    slots: [Vec<f32>; 2],
}

impl Arena {
    fn new() -> Self {
        let squares = |seed| noise(N, 1.0, seed).iter().map(|x| x * x).collect();
        Self { param: noise(N, 1.0, 1), grad: noise(N, 1.0, 2), slots: [squares(3), squares(4)] }
    }

    fn plain(&mut self, rule: Rule, step: i32) {
        let [first, second] = &mut self.slots;
        let places = self.param.iter_mut().zip(&self.grad).zip(first.iter_mut().zip(second));
        match rule {
            Rule::Sgd => places.for_each(|((p, g), _)| *p -= LR * g),
            Rule::Momentum { momentum } => places.for_each(|((p, g), (b, _))| {
                *b = momentum as f32 * *b + g;
                *p -= LR * *b;
            }),
            Rule::Nesterov { momentum } => places.for_each(|((p, g), (b, _))| {
                *b = momentum as f32 * *b + g;
                *p -= LR * (g + momentum as f32 * *b);
            }),
            Rule::Adagrad { epsilon, .. } => places.for_each(|((p, g), (m, _))| {
                *m += g * g;
                *p -= LR * g / (*m + epsilon as f32).sqrt();
            }),
            Rule::RmsProp { decay, epsilon } => places.for_each(|((p, g), (v, _))| {
                *v = decay as f32 * *v + (1.0 - decay) as f32 * g * g;
                *p -= LR * g / (v.sqrt() + epsilon as f32);
            }),
            Rule::Adam { beta1, beta2, epsilon } | Rule::AdamW { beta1, beta2, epsilon, .. } => {
                let shrink =
                    if let Rule::AdamW { weight_decay, .. } = rule { 1.0 - LR * weight_decay as f32 } else { 1.0 };
                let [c1, c2] = [beta1, beta2].map(|beta| (1.0 - beta.powi(step)) as f32);
                let (b1, b2) = (beta1 as f32, beta2 as f32);
                let (r1, r2) = ((1.0 - beta1) as f32, (1.0 - beta2) as f32);
                places.for_each(|((p, g), (m, v))| {
                    *m = b1 * *m + r1 * g;
                    *v = b2 * *v + r2 * g * g;
                    *p = *p * shrink - LR / c1 * *m / ((*v / c2).sqrt() + epsilon as f32);
                });
            }
        }
    }
}

fn rules(criterion: &mut Criterion) {
    let start = Arena::new();
    for (name, rule) in RULES {
        let mut want = start.clone();
        want.plain(rule, 10);
        let mut group = group(criterion, &format!("{name}/update"), N);
        for isa in sets() {
            let mut arena = start.clone();
            let call = |arena: &mut Arena| {
                let [first, second] = &mut arena.slots;
                let args = Update {
                    param: &mut arena.param,
                    grad: &arena.grad,
                    slots: [first, second],
                    lr: LR,
                    grad_scale: 1.0,
                    clip_value: None,
                    weight_decay: 0.0,
                    step: 10,
                };
                update(isa, rule, args);
            };
            call(&mut arena);
            agree(name, &arena.param, &want.param, 1e-6);
            agree(name, &arena.slots.concat(), &want.slots.concat(), 1e-6);
            group.bench_function(BenchmarkId::new(isa.name(), N), |b| b.iter(|| call(&mut arena)));
        }
        let mut arena = start.clone();
        group.bench_function(BenchmarkId::new("plain", N), |b| b.iter(|| arena.plain(rule, 10)));
    }
}

fn averages(criterion: &mut Criterion) {
    const WEIGHT: f32 = 0.25;
    let (start, params) = (noise(N, 1.0, 1), noise(N, 1.0, 2));
    let plain = |averages: &mut [f32]| averages.iter_mut().zip(&params).for_each(|(a, p)| *a += WEIGHT * (p - *a));
    let mut want = start.clone();
    plain(&mut want);
    let mut group = group(criterion, "average", N);
    for isa in sets() {
        let mut averages = start.clone();
        average(isa, &mut averages, &params, WEIGHT);
        agree("averages", &averages, &want, 1e-6);
        group.bench_function(BenchmarkId::new(isa.name(), N), |b| {
            b.iter(|| average(isa, &mut averages, &params, WEIGHT));
        });
    }
    let mut averages = start.clone();
    group.bench_function(BenchmarkId::new("plain", N), |b| b.iter(|| plain(&mut averages)));
}

fn norm(criterion: &mut Criterion) {
    let x = noise(N, 1.0, 1);
    let peer = || x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    let want = peer();
    let mut group = group(criterion, "norm/sum_of_squares", N);
    for isa in sets() {
        let got = sum_of_squares(isa, &x);
        assert!((got - want).abs() < 1e-6 * want, "{isa}: {got}, not {want}");
        group.bench_function(BenchmarkId::new(isa.name(), N), |b| b.iter(|| sum_of_squares(isa, &x)));
    }
    group.bench_function(BenchmarkId::new("f64", N), |b| b.iter(peer));
}

criterion_group!(optimizer_benches, rules, averages, norm);
criterion_main!(optimizer_benches);
