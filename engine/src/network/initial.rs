//! The initial values of parameters.

use crate::graph::{Initializer, ParamSpec, Role};
use crate::random::Key;

/// The standard deviation of a normal distribution with deviation 1 that is cut at ±2.
const CUT_DEVIATION: f32 = 0.879_625_7;

/// Draws the initial values of a parameter.
pub(super) fn initialize(spec: &ParamSpec, key: Key, values: &mut [f32]) {
    let uniform = |limit: f32, i: usize| (2.0 * key.uniform(i as u64) - 1.0) * limit;
    let (rows, cols) = match spec.role {
        // Each is a vector, whose fan in and fan out are both its length.
        Role::Peephole => (spec.shape[1], spec.shape[1]),
        // A row an output.
        Role::WordKernel => (spec.shape[1], spec.shape[0]),
        _ => (spec.shape[0], spec.shape.last().copied().unwrap_or(1)),
    };
    let normal = |deviation: f32, i: usize| deviation * key.normal(i as u64);
    // Drawn again where it is too far out, from numbers that no other element has.
    let count = values.len();
    let cut = |deviation: f32, i: usize| {
        let draws = (0..).map(|again| key.normal((i + again * count) as u64));
        draws.take(64).find(|x| x.abs() <= 2.0).unwrap_or_default() * deviation
    };
    let mut fill = |draw: &dyn Fn(usize) -> f32| values.iter_mut().enumerate().for_each(|(i, x)| *x = draw(i));
    let (fan_in, mean) = (rows as f32, (rows + cols) as f32 / 2.0);
    let root = |variance: f32| variance.sqrt();
    match spec.initializer {
        Initializer::Zeros => fill(&|_| 0.0),
        Initializer::Ones => fill(&|_| 1.0),
        Initializer::Constant(x) => fill(&|_| x),
        Initializer::Uniform(limit) => fill(&|i| uniform(limit, i)),
        Initializer::Normal(deviation) => fill(&|i| normal(deviation, i)),
        Initializer::TruncatedNormal(deviation) => fill(&|i| cut(deviation, i)),
        Initializer::GlorotUniform => {
            let limit = (6.0 / (rows + cols) as f32).sqrt();
            fill(&|i| uniform(limit, i));
        }
        Initializer::HeUniform => fill(&|i| uniform(root(6.0 / fan_in), i)),
        Initializer::LecunUniform => fill(&|i| uniform(root(3.0 / fan_in), i)),
        Initializer::GlorotNormal => fill(&|i| cut(root(1.0 / mean) / CUT_DEVIATION, i)),
        Initializer::HeNormal => fill(&|i| cut(root(2.0 / fan_in) / CUT_DEVIATION, i)),
        Initializer::LecunNormal => fill(&|i| cut(root(1.0 / fan_in) / CUT_DEVIATION, i)),
        Initializer::Identity => fill(&|i| if i / cols == i % cols { 1.0 } else { 0.0 }),
        Initializer::Orthogonal => {
            fill(&|i| normal(1.0, i));
            orthogonalize(values, rows, cols);
        }
    }
    if let Some(ones) = &spec.ones {
        values[ones.clone()].fill(1.0);
    }
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
    use crate::random::Purpose;

    /// Values of a (40, 90) kernel.
    fn draw(initializer: Initializer, role: Role, shape: &[usize]) -> Vec<f32> {
        let len = shape.iter().product();
        let spec =
            ParamSpec { name: String::new(), role, shape: shape.to_vec(), range: 0..len, initializer, ones: None };
        let mut values = vec![f32::NAN; len];
        initialize(&spec, Key::new(1, Purpose::Init), &mut values);
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
