//! Heads with a logit a word against the gradients by these logits: what samples give on the average, what shapes the
//! exact softmax, and logits that are not finite.

use super::*;

/// The gradient by all parameters, of an embedding and a head with a row a word or, `turned`, a column, from that by
/// the logits: `by_logits` of a row's logits and target.
fn gradient(case: &Case, turned: bool, by_logits: impl Fn(&[f64], usize) -> Vec<f64>) -> Vec<f64> {
    let [table, kernel, bias] = ranges(case);
    let (words, width) = (bias.len(), table.len() / bias.len());
    let weight = |word: usize, d: usize| kernel.start + if turned { d * words + word } else { word * width + d };
    let param = |i: usize| f64::from(case.params[i]);
    let mut sum = vec![0.0; case.graph.arena()];
    let rows = case.inputs.iter().zip(&case.targets).filter(|(_, target)| **target != IGNORE);
    for (&input, &target) in rows {
        let x = |d: usize| table.start + input as usize * width + d;
        let product = |word| (0..width).map(|d| param(x(d)) * param(weight(word, d))).sum::<f64>();
        let logits: Vec<f64> = (0..words).map(|word| param(bias.start + word) + product(word)).collect();
        for (word, g) in by_logits(&logits, target as usize).into_iter().enumerate() {
            sum[bias.start + word] += g;
            for d in 0..width {
                sum[weight(word, d)] += g * param(x(d));
                sum[x(d)] += g * param(weight(word, d));
            }
        }
    }
    sum
}

/// Where the embedding, the kernel and the bias stand.
fn ranges(case: &Case) -> [std::ops::Range<usize>; 3] {
    ["table/embeddings", "out/kernel", "out/bias"]
        .map(|name| case.graph.params().iter().find(|spec| spec.name == name).unwrap().range.clone())
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let whole = ln_sum_exp(logits);
    logits.iter().map(|z| (z - whole).exp()).collect()
}

/// By the logits of the exact softmax.
fn of_softmax(logits: &[f64], target: usize) -> Vec<f64> {
    let mut p = softmax(logits);
    p[target] -= 1.0;
    p
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// By the logits of NCE, on the average over its noise: a word u is drawn K q_u times.
fn of_noise(sampler: &Sampler, logits: &[f64], target: usize, removes: bool) -> Vec<f64> {
    let k = sampler.samples as f64;
    let score = |word: usize| logits[word] + sampler.offset(word as u32);
    let noise = |word: usize| if removes && word == target { 0.0 } else { k * sampler.noise.probability(word as u32) };
    let mut g: Vec<f64> = (0..logits.len()).map(|word| noise(word) * sigmoid(score(word))).collect();
    g[target] -= sigmoid(-score(target));
    g
}

/// By the logits of the sampled softmax, on the average over all sets C that K draws can leave, each with its
/// probability: the sum over its subsets A of (-1)^(|C| - |A|) q(A)^K.
fn of_sets(sampler: &Sampler, logits: &[f64], target: usize) -> Vec<f64> {
    let words = logits.len();
    let holds = |set: u32, word: usize| set >> word & 1 == 1;
    let q = |set: u32| -> f64 {
        (0..words).filter(|&word| holds(set, word)).map(|word| sampler.noise.probability(word as u32)).sum()
    };
    let within: Vec<f64> = (0..1u32 << words).map(|set| q(set).powi(sampler.samples as i32)).collect();
    let mut mean = vec![0.0; words];
    for set in 1..1u32 << words {
        let sign = |part: u32| if (set ^ part).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
        let parts = (1..=set).filter(|part| part & !set == 0);
        let probability: f64 = parts.map(|part| sign(part) * within[part as usize]).sum();
        let score = |word: usize| match word == target {
            true => logits[word],
            false if holds(set, word) => logits[word] + sampler.offset(word as u32),
            false => f64::NEG_INFINITY,
        };
        let scores: Vec<f64> = (0..words).map(score).collect();
        mean.iter_mut().zip(of_softmax(&scores, target)).for_each(|(mean, g)| *mean += probability * g);
    }
    mean
}

/// The mean of the gradients of so many steps, and its standard error.
fn averaged(case: &Case, steps: u64) -> Vec<(f64, f64)> {
    let mut network = case.network(Isa::best(), 1);
    let mut sums = vec![[0.0f64; 2]; case.graph.arena()];
    for step in 1..=steps {
        let mut state = network.new_state(case.targets.len());
        network.train_step(&case.batch(), &mut state, step);
        for (sums, &g) in sums.iter_mut().zip(network.gradient()) {
            *sums = [sums[0] + f64::from(g), sums[1] + f64::from(g).powi(2)];
        }
    }
    let n = steps as f64;
    let of_element = |[sum, squares]: [f64; 2]| {
        let mean = sum / n;
        (mean, ((squares / n - mean * mean).max(0.0) / (n - 1.0)).sqrt())
    };
    sums.into_iter().map(of_element).collect()
}

/// Every element of the mean over the draws is within five standard errors of the expectation, and a bound of what else
/// there is; and the error is small enough to tell something.
fn close(head: &str, mean: &[(f64, f64)], want: &[f64], bound: f64) {
    for (i, (&(mean, error), want)) in mean.iter().zip(want).enumerate() {
        assert!((mean - want).abs() <= 5.0 * error + bound, "{head}: element {i}: {mean}, not {want} ({error})");
    }
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let (errors, whole) = (norm(&mut mean.iter().map(|&(_, error)| error)), norm(&mut want.iter().copied()));
    assert!(errors <= 0.02 * whole, "{head}: an error of {errors} of {whole} tells nothing");
}

#[test]
fn gradients_of_noise_are_on_the_average_those_of_its_whole_distribution() {
    for (head, removes) in [
        ("kind = 'nce'\nsamples = 5", false),
        ("kind = 'nce'\nsamples = 5\nremove_hits = true\nnoise = 'unigram'", true),
        ("kind = 'nce'\nsamples = 3\nlog_partition = 0.5\nnoise = 'uniform'", false),
    ] {
        let case = Case::new(graph(head, 6, 3, false), 5, 1);
        let (sampler, _) = sample(&case.graph, 1);
        let want = gradient(&case, false, |logits, target| of_noise(&sampler, logits, target, removes));
        close(head, &averaged(&case, 20_000), &want, 1e-6);
    }
}

#[test]
fn gradients_of_samples_are_on_the_average_those_of_all_sets() {
    for head in ["kind = 'sampled_softmax'\nsamples = 3", "kind = 'sampled_softmax'\nsamples = 8\nnoise = 'unigram'"] {
        let case = Case::new(graph(head, 6, 3, false), 5, 1);
        let (sampler, _) = sample(&case.graph, 1);
        let want = gradient(&case, false, |logits, target| of_sets(&sampler, logits, target));
        close(head, &averaged(&case, 20_000), &want, 1e-6);
    }
}

#[test]
fn many_samples_give_the_gradient_of_the_softmax() {
    // A sample that has every word leaves nothing to chance.
    let head = "kind = 'sampled_softmax'\nsamples = 1000";
    let case = Case::new(graph(head, 6, 3, false), 5, 1);
    let want = gradient(&case, false, of_softmax);
    close(head, &averaged(&case, 5), &want, 2e-6);

    // NCE of scores that are normalised: of a word of probability p, a decision has K q / (p + K q) of the softmax's
    // gradient.
    let head = "kind = 'nce'\nsamples = 60000\nnoise = 'uniform'\nlog_partition = 0.0";
    let mut case = Case::new(graph(head, 6, 3, false), 5, 1);
    let [table, kernel, bias] = ranges(&case);
    // All inputs are alike, and the bias is less by their ln Z.
    let input = case.inputs[0];
    case.inputs.fill(input);
    let x = &case.params[table][input as usize * 3..][..3];
    let product = |row: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>();
    let rows = case.params[kernel].chunks_exact(3).zip(&case.params[bias.clone()]);
    let logits: Vec<f64> = rows.map(|(row, &b)| f64::from(b) + product(row)).collect();
    let whole = ln_sum_exp(&logits) as f32;
    case.params[bias].iter_mut().for_each(|b| *b -= whole);
    let want = gradient(&case, false, of_softmax);
    close(head, &averaged(&case, 100), &want, 5.0 * 6.0 / 60_000.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Smoothing e and a factor f of ln^2 Z: L = ln Z - (1 - e) z_y - e mean z + f ln^2 Z in training, in blocks of any
    /// size; in use neither.
    #[test]
    fn smoothing_and_z_loss_are_what_they_say_for_all_sizes(
        words in 2usize..70, width in 1usize..9, rows in 1usize..40, smoothing in 0.0..0.95f64, z_loss in 0.0..0.5f64,
        room in 1usize..600, seed: u64,
    ) {
        let head = format!("kind = 'softmax'\nlabel_smoothing = {smoothing:?}\nz_loss = {z_loss:?}");
        let case = Case::new(graph(&head, words, width, false), rows, seed);
        let (loss, used) = (std::cell::Cell::new(0.0), std::cell::Cell::new(0.0));
        let want = gradient(&case, true, |logits, target| {
            let (whole, even) = (ln_sum_exp(logits), smoothing / words as f64);
            used.set(used.get() + whole - logits[target]);
            let smooth = (1.0 - smoothing) * logits[target] + even * logits.iter().sum::<f64>();
            loss.set(loss.get() + whole - smooth + z_loss * whole * whole);
            let wanted = |word: usize| even + if word == target { 1.0 - smoothing } else { 0.0 };
            let g = |(word, p): (usize, f64)| p * (1.0 + 2.0 * z_loss * whole) - wanted(word);
            softmax(logits).into_iter().enumerate().map(g).collect()
        });
        let (loss, used) = (loss.get(), used.get());
        for isa in sets_under_test() {
            let options = NetworkOptions { logits: room, ..options(isa, 2, rows) };
            let mut network = Network::new(&case.graph, options).unwrap();
            network.params_mut().copy_from_slice(&case.params);
            let mut state = network.new_state(rows);
            let trained = network.train_step(&case.batch(), &mut state, 5).nats;
            prop_assert!((trained - loss).abs() <= 4e-6 * (1.0 + loss), "{isa}: {trained}, not {loss}");
            for (i, (&got, want)) in network.gradient().iter().zip(&want).enumerate() {
                let near = (f64::from(got) - want).abs() <= 2e-5 * (1.0 + want.abs());
                prop_assert!(near, "{isa}: element {i}: {got}, not {want}");
            }
            let evaluated = network.evaluate(&case.batch(), &mut state).nats;
            prop_assert!((evaluated - used).abs() <= 4e-6 * (1.0 + used), "{isa}: {evaluated}, not {used}");
        }
    }
}

/// The loss and the gradient of a case in which one word has this bias, in training, and the loss in use.
fn with_bias(case: &Case, word: usize, value: f32, room: usize) -> (f64, Vec<f32>, f64) {
    let [.., bias] = ranges(case);
    let options = NetworkOptions { logits: room, ..options(Isa::best(), 1, case.targets.len()) };
    let mut network = Network::new(&case.graph, options).unwrap();
    network.params_mut().copy_from_slice(&case.params);
    network.params_mut()[bias.start + word] = value;
    let mut state = network.new_state(case.targets.len());
    let trained = network.train_step(&case.batch(), &mut state, 5).nats;
    let gradient = network.gradient().to_vec();
    (trained, gradient, network.evaluate(&case.batch(), &mut state).nats)
}

#[test]
fn one_logit_that_is_not_finite_is_not_passed_over() {
    for head in ["kind = 'softmax'", "kind = 'sampled_softmax'\nsamples = 400", "kind = 'nce'\nsamples = 400"] {
        let mut case = Case::new(graph(head, 20, 3, false), 8, 1);
        case.targets = vec![0, 1, 2, 3, IGNORE, 5, 6, 7];
        // All logits at once, and by blocks.
        for room in [1 << 20, 40] {
            for (word, bad) in [3, 19].into_iter().flat_map(|word| [(word, f32::NAN), (word, f32::INFINITY)]) {
                let (trained, _, used) = with_bias(&case, word, bad, room);
                assert!(!trained.is_finite() && !used.is_finite(), "{head}, {word}: {trained} and {used} from {bad}");
            }
            // A word that cannot be does no harm where it is no target: it is as one that is very unlikely. Only what
            // tells noise from words takes no such score.
            let (trained, gradient, used) = with_bias(&case, 19, f32::NEG_INFINITY, room);
            let (unlikely, near, as_used) = with_bias(&case, 19, -1e4, room);
            assert!((as_used - used).abs() < 1e-5 * as_used, "{head}: {used}, not {as_used}");
            if head.contains("nce") {
                assert!(!trained.is_finite(), "{head}: {trained}");
            } else {
                assert!((unlikely - trained).abs() < 1e-5 * unlikely, "{head}: {trained}, not {unlikely}");
                assert!(gradient.iter().zip(near).all(|(a, b)| (a - b).abs() < 1e-5), "{head}");
            }
            let (trained, _, used) = with_bias(&case, 3, f32::NEG_INFINITY, room);
            assert!(!trained.is_finite() && !used.is_finite(), "{head}: {trained} and {used}");
        }
    }
}

/// Where every word is a target, one parameter that is no number is one loss that is none.
#[test]
fn one_parameter_that_is_no_number_is_not_passed_over() {
    for head in HEADS {
        let mut case = Case::new(graph(head, 12, 3, false), 12, 1);
        case.targets = (0..12).collect();
        let specs = case.graph.params().iter().filter(|spec| spec.name.starts_with("out/"));
        for i in specs.map(|spec| spec.range.clone()).flat_map(|range| [range.start, range.end - 1]) {
            let mut network = case.network(Isa::best(), 1);
            network.params_mut()[i] = f32::NAN;
            let mut state = network.new_state(12);
            let used = network.evaluate(&case.batch(), &mut state).nats;
            let trained = network.train_step(&case.batch(), &mut state, 5).nats;
            assert!(!used.is_finite() && !trained.is_finite(), "{head}: {used} and {trained} with element {i}");
        }
    }
}
