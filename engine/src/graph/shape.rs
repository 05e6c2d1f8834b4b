//! The shapes that flow along a graph's edges.

use std::fmt;

/// The time axis of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// As many steps as a batch happens to have.
    Any,
    /// Always this many steps.
    Fixed(usize),
}

/// The shape of a value without its batch axis: tokens or numbers, with or without a time axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The time axis, if there is one.
    pub time: Option<Time>,
    /// The axes after the time axis; none for tokens.
    pub dims: Vec<usize>,
}

impl Shape {
    /// The shape of a sequence of tokens.
    pub fn tokens(length: Option<usize>) -> Self {
        Self { time: Some(length.map_or(Time::Any, Time::Fixed)), dims: Vec::new() }
    }

    /// Whether these are tokens.
    pub fn is_tokens(&self) -> bool {
        self.dims.is_empty()
    }

    /// The numbers of one row: the product of the axes after time.
    pub fn width(&self) -> usize {
        self.dims.iter().product()
    }

    /// The same time axis with other axes after it.
    pub fn with_dims(&self, dims: Vec<usize>) -> Self {
        Self { time: self.time, dims }
    }
}

impl fmt::Display for Shape {
    /// As Keras prints it: `(None, None, 128)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(None")?;
        match self.time {
            Some(Time::Any) => f.write_str(", None")?,
            Some(Time::Fixed(n)) => write!(f, ", {n}")?,
            None => {}
        }
        for dim in &self.dims {
            write!(f, ", {dim}")?;
        }
        f.write_str(")")
    }
}
