//! `unroll train --all-folds`: a run for each fold, and the mean of their test results.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde_json::{Map, Value, json};
use unroll::config::RunConfig;
use unroll::error::{Error, Result};
use unroll::report::{Align, Out, Table, json_line};
use unroll::train::storage::{Disk, Storage};
use unroll::train::{Figures, is_run};

use super::{NewFolder, Train};

impl Train {
    /// Starts a run for each fold, in `PATH/fold-0` and so on, one after the other.
    pub(super) fn begin_folds(
        &self,
        config: &RunConfig,
        path: &Path,
        storage: &Rc<dyn Storage>,
        stop: &Arc<AtomicBool>,
    ) -> Result<()> {
        let folds = config.task.as_ref().map_or(0, |task| task.folds);
        if folds == 0 {
            return Err(Error::option("--all-folds", "needs folds of labelled samples").mend("add --set task.folds=5"));
        }
        let of_fold = |fold: usize| path.join(format!("fold-{fold}"));
        for fold in (0..folds).map(of_fold) {
            if is_run(&Disk, &fold)? {
                let shown = fold.display();
                return Err(Error::option("--out", format!("{shown} is already a run")).mend("choose another folder"));
            }
        }
        let mut all = Vec::with_capacity(folds);
        for fold in 0..folds {
            let mut config = config.clone();
            config.task.iter_mut().for_each(|task| task.fold = fold);
            let folder = NewFolder::claim(storage, &of_fold(fold))?;
            all.push(self.begin_labelled(config, folder, Rc::clone(storage), stop)?);
        }
        tell(&all, self.json)
    }
}

/// The mean and the sample standard deviation (over n - 1) of a figure over all folds.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, if values.len() < 2 { 0.0 } else { (squares / (count - 1.0)).sqrt() })
}

fn tell(all: &[Figures], json: bool) -> Result<()> {
    let names: Vec<&String> = all.first().into_iter().flat_map(|figures| figures.keys()).collect();
    let of = |name: &str| -> Vec<f64> { all.iter().filter_map(|figures| figures.get(name)?.as_f64()).collect() };
    let mut out = Out::stdout();
    if json {
        let mut figures = Map::new();
        for name in &names {
            let (mean, deviation) = mean_and_deviation(&of(name));
            figures.insert((*name).clone(), json!({ "mean": mean, "deviation": deviation }));
        }
        let figures = Value::Object(figures);
        return out.line(&json_line(&json!({ "event": "folds", "folds": all.len(), "figures": figures }))?);
    }
    let mut columns = vec![("test of fold".to_owned(), Align::Right)];
    columns.extend(names.iter().map(|name| (name.replace('_', " "), Align::Right)));
    let columns: Vec<(&str, Align)> = columns.iter().map(|(name, align)| (name.as_str(), *align)).collect();
    let mut table = Table::new(&columns);
    // An error is in the units of the labels, all else a share.
    let shown = |name: &str, value: f64| match name.ends_with("_error") {
        true => format!("{value:.4}"),
        false => format!("{:.2} %", 100.0 * value),
    };
    let mut row = |first: String, value: &dyn Fn(&str) -> f64| {
        table.row(std::iter::once(first).chain(names.iter().map(|name| shown(name, value(name)))));
    };
    for (fold, figures) in all.iter().enumerate() {
        row(fold.to_string(), &|name| figures.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN));
    }
    row("mean".to_owned(), &|name| mean_and_deviation(&of(name)).0);
    row("deviation".to_owned(), &|name| mean_and_deviation(&of(name)).1);
    out.line("")?;
    table.lines().iter().try_for_each(|line| out.line(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        let (mean, deviation) = mean_and_deviation(&[2.0, 4.0, 4.0, 6.0]);
        assert_eq!(mean, 4.0);
        assert!((deviation - (8.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(mean_and_deviation(&[3.0]), (3.0, 0.0));
    }
}
