//! What `unroll bench` times is what `unroll train` does: the losses of a case's steps equal those of the training loop
//! on a corpus of the same tokens, to the bit.

use std::sync::atomic::AtomicBool;
use unroll::Result;
use unroll::bench::{Case, CaseOptions, Stream};
use unroll::train::{Batches, Event, Identity, Observer, Schedule, Session, StepReport, TrainConfig, Trainer};
use unroll_kernels::gemm::Precision;

/// The bench's tokens as the trainer takes them.
struct Data {
    stream: Stream,
    steps: usize,
    rows: usize,
    batches: u64,
}

impl Batches for Data {
    fn batches(&self) -> u64 {
        self.batches
    }
    fn steps(&self) -> usize {
        self.steps
    }
    fn rows(&self) -> usize {
        self.rows
    }
    fn batch(&self, _epoch: u64, index: u64, inputs: &mut [u32], targets: &mut [u32]) -> Result<usize> {
        self.stream.batch(index, self.rows, inputs, targets);
        Ok(self.steps)
    }
}

#[derive(Default)]
struct Losses(Vec<f64>);

impl Observer for Losses {
    fn event(&mut self, event: &Event<'_>) {
        if let Event::Step(StepReport { loss: Some(loss), .. }) = event {
            self.0.push(*loss);
        }
    }
}

#[test]
fn a_case_has_the_losses_of_training_on_the_same_tokens() {
    let (hidden, rows, steps) = (Some(40), Some(5), Some(7));
    let options = CaseOptions { threads: 2, hidden, rows, steps, ..CaseOptions::default() };
    let precisions = [Precision::F32, Precision::Bf16];
    for (name, precision) in ["char256", "gru650", "minchar"].into_iter().flat_map(|name| precisions.map(|p| (name, p)))
    {
        let options = CaseOptions { precision, ..options.clone() };
        let case = Case::new(name, &options).unwrap();
        let timed = case.losses(&options, 20).unwrap();

        let (steps, rows) = case.sizes();
        let (optimizer, lr) = case.optimizer();
        let config = TrainConfig::steps(20, Schedule::constant(f64::from(lr)), optimizer.clone());
        let data = Data { stream: case.stream(), steps, rows, batches: 1000 };
        let (mut network, mut losses) = (case.network(&options).unwrap(), Losses::default());
        let session = Session {
            learner: &mut network,
            vocabulary: case.vocabulary(),
            train: &data,
            valid: None,
            folder: None,
            identity: Identity::default(),
            observer: &mut losses,
            sampler: None,
            measure: None,
            stop: &AtomicBool::new(false),
        };
        Trainer::new(&config, session).unwrap().run().unwrap();
        assert_eq!(timed, losses.0, "{name} in {precision}");
    }
}
