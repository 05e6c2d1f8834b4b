//! Numbers that are not finite: where they came up, and what to do.

use crate::Error;

use super::super::learner::Learner;
use super::super::run_files::RunFiles;
use super::Trainer;

impl<L: Learner> Trainer<'_, L> {
    pub(super) fn diverged(&self, what: String) -> Error {
        let good = match self.run_files.as_ref().and_then(RunFiles::newest) {
            Some(step) => format!("; the checkpoint of step {step} is the last good one"),
            None => String::new(),
        };
        let how = "lower the learning rate (--lr) or clip the gradient (--clip-norm 5)";
        Error::diverged(what).mend(format!("{how}{good}"))
    }

    pub(super) fn diverged_loss(&self, step: u64, lr: f64, loss: f64) -> Error {
        let layer = match self.session.learner.first_non_finite_layer() {
            Some(layer) => format!("; the output of layer {layer} is the first that is not finite"),
            None => String::new(),
        };
        self.diverged(format!("the loss is {loss} at step {step} (learning rate {lr}){layer}"))
    }

    pub(super) fn diverged_gradient(&mut self, step: u64, lr: f64) -> Error {
        let specs = self.session.learner.specs().to_vec();
        let (_, grads) = self.session.learner.arenas();
        let found = specs.iter().find_map(|spec| {
            let mut found = None;
            grads.for_each_extent(spec.range.clone(), |extent, grads| {
                let bad = || grads.iter().position(|g| !g.is_finite());
                found = found.or_else(|| bad().map(|i| (extent.start - spec.range.start + i, grads[i])));
            });
            found.map(|(i, g)| format!("element {i} of the gradient of {} is {g}", spec.name))
        });
        let what = found.unwrap_or_else(|| "the norm of the gradient is not finite".to_owned());
        self.diverged(format!("{what} at step {step} (learning rate {lr})"))
    }
}
