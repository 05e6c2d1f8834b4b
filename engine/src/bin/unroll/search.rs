//! How texts are searched and ranked: the options of captions, translations and n-best lists.

use unroll::error::{Error, Result};

use crate::labels::TrainedTask;

/// How captions are searched, and how texts of different lengths are ranked.
#[derive(Debug, clap::Args)]
pub(crate) struct SearchOptions {
    /// For captions and translations: beam width, 1 takes the likeliest word at each step
    #[arg(long, value_name = "N")]
    beam: Option<usize>,
    /// For captions, translations and n-best lists: rank texts by ln p / tokens^X
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    length_power: f64,
}

impl SearchOptions {
    /// The width of the beam.
    pub(crate) fn beam(&self, trained: &TrainedTask) -> Result<usize> {
        if !trained.task.kind.writes() {
            self.refuse("this run learned something else")?;
        }
        match self.beam {
            Some(beam) if !(1..=1024).contains(&beam) => {
                Err(Error::option("--beam", format!("must be from 1 to 1024, got {beam}")))
            }
            beam => Ok(beam.unwrap_or(1)),
        }
    }

    /// The exponent of the length.
    pub(crate) fn length_power(&self) -> Result<f64> {
        match self.length_power {
            power if (0.0..=10.0).contains(&power) => Ok(power),
            power => Err(Error::option("--length-power", format!("must be from 0 to 10, got {power}"))),
        }
    }

    /// Refuses --beam where it has no meaning.
    pub(crate) fn refuse_beam(&self, why: &str) -> Result<()> {
        match self.beam {
            Some(_) => Err(Error::option("--beam", format!("is for captions and translations, {why}"))),
            None => Ok(()),
        }
    }

    /// Refuses both where they have no meaning.
    pub(crate) fn refuse(&self, why: &str) -> Result<()> {
        self.refuse_beam(why)?;
        match self.length_power {
            0.0 => Ok(()),
            _ => Err(Error::option("--length-power", format!("is for captions, translations and n-best lists, {why}"))),
        }
    }
}
