//! The initial values of parameters.

use crate::exec::Products;
use crate::graph::{Initializer, ParamSpec, Role};
use crate::random::Key;

/// The standard deviation of a normal distribution with deviation 1 that is cut at ±2.
const CUT_DEVIATION: f32 = 0.879_625_7;

/// Elements that are drawn at a time: a multiple of the four that a block of random words makes.
const BLOCK: usize = 4096;

/// Draws the initial values of a parameter. A value follows from its key and place alone, so all threads draw.
pub(super) fn initialize(products: Products<'_>, spec: &ParamSpec, key: Key, values: &mut [f32]) {
    let (rows, cols) = match spec.role {
        // Each is a vector, whose fan in and fan out are both its length.
        Role::Peephole => (spec.shape[1], spec.shape[1]),
        // A row an output.
        Role::WordKernel => (spec.shape[1], spec.shape[0]),
        _ => (spec.shape[0], spec.shape.last().copied().unwrap_or(1)),
    };
    let count = values.len();
    let (fan_in, mean) = (rows as f32, (rows + cols) as f32 / 2.0);
    // Drawn again where it is too far out, from numbers that no other element has.
    let cut = |i: usize| {
        let draws = (0..).map(|again| key.normal((i + again * count) as u64));
        draws.take(64).find(|x| x.abs() <= 2.0).unwrap_or_default()
    };
    let fill = |values: &mut [f32], draw: &(dyn Fn(usize) -> f32 + Sync)| {
        products.by_blocks(values, BLOCK, |range, part| part.iter_mut().zip(range).for_each(|(x, i)| *x = draw(i)));
    };
    let cut_normal = |values: &mut [f32], deviation: f32| fill(values, &|i| cut(i) * deviation);
    match spec.initializer {
        Initializer::Zeros => fill(values, &|_| 0.0),
        Initializer::Ones => fill(values, &|_| 1.0),
        Initializer::Constant(x) => fill(values, &|_| x),
        Initializer::Uniform(limit) => uniform(products, key, limit, values),
        Initializer::Normal(deviation) => fill(values, &|i| deviation * key.normal(i as u64)),
        Initializer::TruncatedNormal(deviation) => cut_normal(values, deviation),
        Initializer::GlorotUniform => uniform(products, key, (6.0 / (rows + cols) as f32).sqrt(), values),
        Initializer::HeUniform => uniform(products, key, (6.0 / fan_in).sqrt(), values),
        Initializer::LecunUniform => uniform(products, key, (3.0 / fan_in).sqrt(), values),
        Initializer::GlorotNormal => cut_normal(values, (1.0 / mean).sqrt() / CUT_DEVIATION),
        Initializer::HeNormal => cut_normal(values, (2.0 / fan_in).sqrt() / CUT_DEVIATION),
        Initializer::LecunNormal => cut_normal(values, (1.0 / fan_in).sqrt() / CUT_DEVIATION),
        Initializer::Identity => fill(values, &|i| if i / cols == i % cols { 1.0 } else { 0.0 }),
        Initializer::Orthogonal => {
            fill(values, &|i| key.normal(i as u64));
            orthogonalize(values, rows, cols);
        }
    }
    if let Some(ones) = &spec.ones {
        values[ones.clone()].fill(1.0);
    }
}

/// Values uniform in ±limit, four from each block of random words.
fn uniform(products: Products<'_>, key: Key, limit: f32, values: &mut [f32]) {
    products.by_blocks(values, BLOCK, |range, part| {
        for (block, four) in part.chunks_mut(4).enumerate() {
            let draws = key.uniforms((range.start / 4 + block) as u64);
            four.iter_mut().zip(draws).for_each(|(x, draw)| *x = (2.0 * draw - 1.0) * limit);
        }
    });
}

/// Makes the rows (or, of a tall matrix, the columns) orthonormal by the modified Gram-Schmidt process, in f64.
fn orthogonalize(values: &mut [f32], rows: usize, cols: usize) {
    let (count, len) = (rows.min(cols), rows.max(cols));
    let at = |i: usize, j: usize| if rows <= cols { i * cols + j } else { j * cols + i };
    let mut done: Vec<Vec<f64>> = Vec::with_capacity(count);
    for i in 0..count {
        let mut v: Vec<f64> = (0..len).map(|j| f64::from(values[at(i, j)])).collect();
        for u in &done {
            let inner: f64 = u.iter().zip(&v).map(|(a, b)| a * b).sum();
            v.iter_mut().zip(u).for_each(|(v, u)| *v -= inner * u);
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        v.iter_mut().for_each(|x| *x /= norm);
        (0..len).for_each(|j| values[at(i, j)] = v[j] as f32);
        done.push(v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Crew, Scratch};
    use crate::random::Purpose;
    use unroll_kernels::Isa;
    use unroll_kernels::gemm::Precision;

    /// Values of a (40, 90) kernel.
    fn draw(initializer: Initializer, role: Role, shape: &[usize]) -> Vec<f32> {
        let len = shape.iter().product();
        let spec =
            ParamSpec { name: String::new(), role, shape: shape.to_vec(), range: 0..len, initializer, ones: None };
        let mut values = vec![f32::NAN; len];
        let (crew, scratch) = (Crew::simulated(1), Scratch::new(1, Isa::best(), Precision::F32));
        let (team, isa, precision) = (crew.team(), Isa::best(), Precision::F32);
        let products = Products { team: &team, isa, precision, scratch: &scratch };
        initialize(products, &spec, Key::new(1, Purpose::Init), &mut values);
        values
    }

    #[test]
    fn variances_and_bounds_are_those_of_keras() {
        let name = |text: &str| -> Initializer {
            #[derive(serde::Deserialize)]
            struct Named {
                initializer: Initializer,
            }
            toml::from_str::<Named>(&format!("initializer = {text}")).unwrap().initializer
        };
        // Fan in 40, fan out 90. A uniform distribution has the variance limit^2 / 3.
        for (text, variance, bound) in [
            ("\"glorot_uniform\"", 1.0 / 65.0, (3.0f64 / 65.0).sqrt()),
            ("\"glorot_normal\"", 1.0 / 65.0, 2.0 * (1.0f64 / 65.0).sqrt() / 0.879_625_66),
            ("\"he_uniform\"", 2.0 / 40.0, (6.0f64 / 40.0).sqrt()),
            ("\"he_normal\"", 2.0 / 40.0, 2.0 * (2.0f64 / 40.0).sqrt() / 0.879_625_66),
            ("\"lecun_uniform\"", 1.0 / 40.0, (3.0f64 / 40.0).sqrt()),
            ("\"lecun_normal\"", 1.0 / 40.0, 2.0 * (1.0f64 / 40.0).sqrt() / 0.879_625_66),
            ("{ uniform = 0.3 }", 0.03, 0.3),
            ("{ normal = 0.5 }", 0.25, 2.5),
            ("{ truncated_normal = 0.5 }", 0.25 * 0.879_625_66f64.powi(2), 1.0),
        ] {
            let values = draw(name(text), Role::Kernel, &[40, 90]);
            let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / 3600.0;
            let found = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / 3600.0;
            assert!((found / variance - 1.0).abs() < 0.1, "{text}: {found} {variance}");
            assert!(mean.abs() < 4.0 * (variance / 3600.0).sqrt(), "{text}: {mean}");
            let largest = values.iter().fold(0.0f32, |max, x| max.max(x.abs()));
            assert!(f64::from(largest) <= bound * 1.000_001 && f64::from(largest) > 0.6 * bound, "{text}: {largest}");
        }
        assert_eq!(draw(name("{ constant = 0.25 }"), Role::Bias, &[3]), [0.25; 3]);
        assert_eq!(draw(name("\"identity\""), Role::RecurrentKernel, &[2, 2]), [1.0, 0.0, 0.0, 1.0]);
        assert_eq!(draw(name("\"ones\""), Role::Bias, &[2]), [1.0; 2]);
    }

    #[test]
    fn a_peephole_is_a_vector_a_gate() {
        // Fan in and fan out are its length.
        let values = draw(Initializer::GlorotUniform, Role::Peephole, &[3, 300]);
        let largest = values.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        assert!(largest <= 0.1 && largest > 0.099, "{largest}");
    }
}
