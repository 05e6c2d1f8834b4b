//! Runs whose weights are averaged.

use super::super::storage::simulated::{Fault, Loss, Simulated};
use super::*;

/// A rate at which the loss soon rises again, and no schedule that would mend it: the trigger has something to find.
fn setup(average: Option<Averaging>) -> Setup<'static> {
    let mut setup = Setup::new();
    setup.config.schedule = Schedule::constant(0.3);
    setup.config.optimizer.average = average;
    setup
}

const TRIGGERED: Option<Averaging> = Some(Averaging::NonMonotonic { nonmono: 1 });

fn t0(end: &End) -> u64 {
    let state: TrainerState = serde_json::from_str(&end.state).unwrap();
    state.average.t0.unwrap()
}

/// The weights after each step of a run without averages.
fn raw() -> Vec<Vec<f32>> {
    let weights = |step| {
        let (_, params) = Setup { stop_after: step, ..setup(None) }.run(&Simulated::new()).unwrap();
        params.into_iter().map(f32::from_bits).collect()
    };
    (1..=21).map(weights).collect()
}

fn losses(end: &End) -> Vec<f64> {
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    end.metrics
        .lines()
        .map(line)
        .filter(|line| line["kind"] == "valid")
        .map(|line| line["loss"].as_f64().unwrap())
        .collect()
}

#[test]
fn the_averages_are_the_means_of_the_weights_and_change_no_step() {
    let raw = raw();
    for average in [TRIGGERED, Some(Averaging::After { t0: 5 }), Some(Averaging::After { t0: 0 })] {
        let end = end(setup(average), &Simulated::new()).unwrap();
        let t0 = t0(&end);
        assert!(t0 <= 17, "begun after step {t0}");
        // The steps after t0 + 1; step s is at s - 1.
        let averaged = &raw[t0 as usize + 1..];
        for (i, &bits) in end.params.iter().enumerate() {
            let mean = averaged.iter().map(|p| f64::from(p[i])).sum::<f64>() / averaged.len() as f64;
            let largest = averaged.iter().map(|p| p[i].abs()).fold(0.0, f32::max);
            // Each step of the average rounds three times.
            let bound = 3.0 * averaged.len() as f64 * f64::from(f32::EPSILON) * f64::from(largest);
            let found = f64::from(f32::from_bits(bits));
            assert!((found - mean).abs() <= bound, "{average:?}, parameter {i}: {found} not {mean}");
        }
        let last: Vec<u32> = raw[20].iter().map(|p| p.to_bits()).collect();
        assert_ne!(end.params, last);
        // What is saved as weights are the averages; the weights themselves are beside the optimiser's state.
        let bytes = |params: &[u32]| params[..12].iter().flat_map(|p| p.to_le_bytes()).collect::<Vec<u8>>();
        let has = |file: &[u8], part: &[u8]| file.windows(part.len()).any(|window| window == part);
        assert!(has(&end.weights, &bytes(&end.params)) && !has(&end.weights, &bytes(&last)));
        assert!(has(&end.optimizer, &bytes(&last)) && !has(&end.optimizer, &bytes(&end.params)));
    }
}

#[test]
fn the_averages_are_what_is_evaluated_and_sampled() {
    let plain = end(setup(None), &Simulated::new()).unwrap();
    let averaged = end(setup(TRIGGERED), &Simulated::new()).unwrap();
    let evaluated = [4, 8, 12, 16, 20, 21];
    let t0 = t0(&averaged);
    let (plain_losses, averaged_losses) = (losses(&plain), losses(&averaged));
    assert_eq!(plain_losses.len(), evaluated.len());
    for (i, step) in evaluated.into_iter().enumerate() {
        assert_eq!(plain_losses[i] == averaged_losses[i], step <= t0 + 1, "after step {step}, begun after {t0}");
    }
    // The loss of the last evaluation is that of the parameters that the run leaves.
    let mut toy = Toy::new();
    toy.arenas().0.iter_mut().zip(&averaged.params).for_each(|(p, &bits)| *p = f32::from_bits(bits));
    let valid = ToyText::new(3);
    let mut scoring = Scoring::new(&toy, &valid).unwrap();
    while scoring.advance(&mut toy).unwrap() {}
    let sum = scoring.sum();
    assert_eq!(sum.nats / sum.count as f64, averaged_losses[5]);
    // Samples show the first weight: step 20 is after the trigger, step 5 before it.
    let lines = |end: &End| end.samples.lines().map(str::to_owned).collect::<Vec<_>>();
    let (plain, averaged) = (lines(&plain), lines(&averaged));
    assert_eq!(plain[..2], averaged[..2]);
    assert_ne!(plain.last(), averaged.last());
}

#[test]
fn averaged_runs_go_on_to_the_same_bytes() {
    let unbroken = end(setup(TRIGGERED), &Simulated::new()).unwrap();
    for step in 1..21 {
        let disk = Simulated::new();
        Setup { stop_after: step, ..setup(TRIGGERED) }.run(&disk).unwrap();
        assert_eq!(end(setup(TRIGGERED), &disk).unwrap(), unbroken, "stopped after step {step}");
    }
    for step in [8, 16, 20, 21] {
        let disk = Simulated::new();
        Setup { stop_in_evaluation: step, ..setup(TRIGGERED) }.run(&disk).unwrap();
        assert_eq!(end(setup(TRIGGERED), &disk).unwrap(), unbroken, "stopped in the evaluation after step {step}");
    }
    // Saved after every step and within evaluations, where the averages stand in the learner.
    let often = || {
        let mut setup = setup(TRIGGERED);
        setup.config.save_minutes = Some(1e-12);
        setup
    };
    let disk = Simulated::new();
    assert_eq!(end(often(), &disk).unwrap(), unbroken);
    let calls = disk.calls();
    for n in (0..calls).step_by(23) {
        let disk = Simulated::new();
        disk.set_fault(Fault::Kill(n));
        let _died = often().run(&disk);
        let image = disk.after_power_loss(Loss::Everything);
        assert_eq!(end(often(), &image).unwrap(), unbroken, "killed in call {n} of {calls}");
    }
}
