//! Saving a run's state, and going on from it.

use unroll_kernels::gemm::Precision;

use crate::graph::ParamSpec;
use crate::{Error, Result};

use super::super::checkpoint::{Expected, Loaded};
use super::super::learner::Learner;
use super::super::observer::Event;
use super::super::optimize::Optimizer;
use super::super::run::RunFolder;
use super::super::run_files::Tensors;
use super::super::state::TrainerState;
use super::super::tensors::{TensorRef, TensorSpec};
use super::Trainer;

impl<L: Learner> Trainer<'_, L> {
    /// Saves the end of a session: here there is no later interval, so a failure is tried again at once.
    pub(super) fn save_at_last(&mut self) -> Result<()> {
        while self.run_files.as_ref().is_some_and(|run_files| !run_files.has_saved(&self.state)) {
            self.save()?;
        }
        Ok(())
    }

    pub(super) fn save(&mut self) -> Result<()> {
        if self.run_files.is_none() {
            return Ok(());
        }
        let tensors = tensors_of(&*self.session.learner, &self.optimizer, &self.carry, self.place());
        for tensor in tensors.weights.iter().chain(&tensors.optimizer).chain(&tensors.carry) {
            if let Some(i) = tensor.data.iter().position(|v| !v.is_finite()) {
                let what =
                    format!("element {i} of {} is {} after step {}", tensor.name, tensor.data[i], self.state.step);
                return Err(self.diverged(what));
            }
        }
        match &mut self.run_files {
            Some(run_files) => run_files.save(&mut self.state, &tensors, self.session.observer),
            None => Ok(()),
        }
    }

    /// Where weights and averages are.
    fn place(&self) -> Place {
        match self.state.average.has_begun(self.state.step) {
            false => Place::NoAverages,
            true if self.averaged => Place::Taken,
            true => Place::Beside,
        }
    }

    /// Loads the newest checkpoint. False if there is none.
    pub(super) fn resume(&mut self, folder: &RunFolder) -> Result<bool> {
        if self.begin_with_weights(folder)? {
            return Ok(false);
        }
        let specs = |tensors: &[TensorRef]| {
            tensors.iter().map(|t| TensorSpec { name: t.name.clone(), shape: t.shape.clone() }).collect::<Vec<_>>()
        };
        let tensors = tensors_of(&*self.session.learner, &self.optimizer, &self.carry, self.place());
        let (weights, optimizer, carry) = (specs(&tensors.weights), specs(&tensors.optimizer), specs(&tensors.carry));
        let identity = &self.session.identity;
        let accept = |state: &TrainerState| {
            let mut differences = identity.differences(&state.identity);
            let seed = format!("seed is {} in the checkpoint and {} now", state.seed, self.config.seed);
            // Settings may have it too.
            if state.seed != self.config.seed && !differences.contains(&seed) {
                differences.push(seed);
            }
            if differences.is_empty() {
                return Ok(());
            }
            Err(Error::usage(format!("the run cannot be resumed: {}", differences.join("; ")))
                .mend("resume with the settings and the text of the run, or start a new one with --out"))
        };
        let expected = Expected { weights: &weights, optimizer: &optimizer, carry: &carry, accept: &accept };
        let Some(loaded) = folder.checkpoints().load_newest(&expected)? else { return Ok(false) };
        self.take(loaded, &carry)?;
        Ok(true)
    }

    /// Takes the parameters of a run that has not begun, where its folder has such. The vocabulary is the same; the
    /// rest is for the configuration to say.
    fn begin_with_weights(&mut self, folder: &RunFolder) -> Result<bool> {
        let Some(state) = folder.checkpoints().before_training()? else { return Ok(false) };
        let (saved, now) = (&state.identity.vocabulary, &self.session.identity.vocabulary);
        if saved != now {
            return Err(Error::usage(format!(
                "the weights are of a model with another vocabulary ({saved}, not {now})"
            ))
            .mend("train it on samples with the vocabulary and the classes that it knows"));
        }
        if let Some(layer) = state.identity.heads.moved(&self.session.identity.heads) {
            let what = format!("the weights of layer `{layer}` are of words in another order or with other counts");
            return Err(
                Error::usage(what).mend("restore `vocabulary` and `words-alike` of the run as they were imported")
            );
        }
        let specs = self.session.learner.specs().to_vec();
        let expected: Vec<TensorSpec> =
            specs.iter().map(|spec| TensorSpec { name: spec.name.clone(), shape: spec.shape.clone() }).collect();
        let weights = folder.checkpoints().load_weights(state.step, &expected)?;
        let (params, _) = self.session.learner.arenas();
        specs.iter().try_for_each(|spec| weights.copy(&spec.name, &mut params[spec.range.clone()]))?;
        self.session.learner.params_changed();
        Ok(true)
    }

    fn take(&mut self, loaded: Loaded, carry: &[TensorSpec]) -> Result<()> {
        for passed in &loaded.passed_over {
            let text = format!("{}: passed over: {}", passed.path.display(), passed.reason);
            self.session.observer.event(&Event::Notice(&text));
        }
        let (saved, now) = (&loaded.state.isa, &self.state.isa);
        let precision = self.session.learner.precision();
        if !same_bits(precision, saved, now) {
            let text = format!(
                "the run was computed with {saved} and goes on with {now}: in {precision} its numbers will differ in the \
                 last bits from those of a run that was not interrupted"
            );
            self.session.observer.event(&Event::Notice(&text));
        }
        let specs = self.session.learner.specs().to_vec();
        let (params, _) = self.session.learner.arenas();
        for spec in &specs {
            let range = spec.range.clone();
            if self.optimizer.averages().is_empty() {
                loaded.copy_weights(&spec.name, &mut params[range])?;
            } else {
                loaded.copy_optimizer(&raw_name(spec), &mut params[range.clone()])?;
                loaded.copy_weights(&spec.name, &mut self.optimizer.averages_mut()[range])?;
            }
        }
        self.session.learner.params_changed();
        self.optimizer.restore(&specs, |name, out| loaded.copy_optimizer(name, out))?;
        for spec in carry {
            if let Some(out) = self.session.learner.state_tensor_mut(&mut self.carry, &spec.name) {
                loaded.copy_carry(&spec.name, out)?;
            }
        }
        let isa = std::mem::take(&mut self.state.isa);
        let writer = std::mem::take(&mut self.state.writer);
        // Equal, but that an older program did not write all of it.
        let identity = self.session.identity.clone();
        self.state = TrainerState { isa, writer, identity, ..loaded.state };
        let batches = self.session.train.batches_in(self.state.epoch);
        if self.state.batch >= batches {
            let what = format!("the checkpoint is at batch {} of an epoch of {batches}", self.state.batch);
            return Err(Error::usage(what).mend("resume with the text, the streams and the steps of the run"));
        }
        Ok(())
    }
}

/// Whether two instruction sets, by name, promise the same bits of whole runs. In bf16 the vector sets and AMX give the
/// same sums only as long as none is subnormal, and dot products have an order of their own, so that nothing is
/// promised.
fn same_bits(precision: Precision, a: &str, b: &str) -> bool {
    let fused = |name: &str| ["avx2", "avx512", "avx512_bf16", "amx"].contains(&name);
    a == b || precision == Precision::F32 && fused(a) && fused(b)
}

/// Where the averages of the weights are.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// There are none yet.
    NoAverages,
    /// In the optimiser.
    Beside,
    /// In the learner, whose weights are in the optimiser.
    Taken,
}

/// What a checkpoint has: as weights the averages where there are any, for whoever uses the model. The weights that
/// training goes on from are then beside the optimiser's slots.
fn tensors_of<'s, L: Learner>(
    learner: &'s L,
    optimizer: &'s Optimizer,
    carry: &'s L::State,
    place: Place,
) -> Tensors<'s> {
    let (specs, params, averages) = (learner.specs(), learner.params(), optimizer.averages());
    let (raw, used) = match place {
        Place::NoAverages => (params, params),
        Place::Beside => (params, averages),
        Place::Taken => (averages, params),
    };
    let mut slots = optimizer.tensors(specs);
    if !averages.is_empty() {
        slots.extend(specs.iter().map(|spec| tensor(spec, raw_name(spec), raw)));
    }
    let weights = specs.iter().map(|spec| tensor(spec, spec.name.clone(), used)).collect();
    Tensors { weights, optimizer: slots, carry: learner.state_tensors(carry) }
}

fn tensor<'s>(spec: &ParamSpec, name: String, arena: &'s [f32]) -> TensorRef<'s> {
    TensorRef { name, shape: spec.shape.clone(), data: &arena[spec.range.clone()] }
}

/// What the weights themselves are called beside the averages, which have their names in the file of weights.
fn raw_name(spec: &ParamSpec) -> String {
    format!("{}/raw", spec.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bits_are_expected_where_nothing_is_promised() {
        let same = same_bits;
        assert!(same(Precision::F32, "avx2", "amx") && same(Precision::F32, "avx512", "avx2"));
        assert!(same(Precision::Bf16, "amx", "amx") && !same(Precision::Bf16, "amx", "avx512"));
        assert!(!same(Precision::F32, "avx2", "portable") && !same(Precision::F32, "avx2", "neon"));
    }
}
