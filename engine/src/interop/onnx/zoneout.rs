//! Recurrent layers with zoneout, which no operator of ONNX has: a Scan over the steps, each the operator of the cell
//! for one step and the mean of what it gives and of the state before, as where nothing is trained.

use super::proto::{Attribute, Dim, Program, Type};
use super::recurrent::{attributes, operator};
use super::{Writer, axis};
use crate::graph::{Axis, Cell, Reading, Recurrent};

/// A layer, and the names of what it takes.
pub(super) struct Zoned<'a> {
    pub(super) name: &'a str,
    pub(super) of: Axis,
    pub(super) cell: Cell,
    pub(super) options: &'a Recurrent,
    pub(super) reading: Reading,
    /// (T, N, D)
    pub(super) input: &'a str,
    /// W, R, B and P of all directions; an empty name where there is none.
    pub(super) weights: &'a [String; 4],
    /// h and c, (directions, N, H); an empty name where they are zero.
    pub(super) states: &'a [String; 2],
}

impl Zoned<'_> {
    /// h, and of an LSTM c: the part of each that stays.
    fn kept(&self) -> Vec<(&'static str, f32)> {
        let h = ("h", self.options.zoneout);
        if self.cell == Cell::Lstm { vec![h, ("c", self.options.zoneout_cell)] } else { vec![h] }
    }
}

impl Writer<'_> {
    /// What the operator of the cell gives without zoneout: `NAME:Y`, `NAME:h` and of an LSTM `NAME:c`.
    pub(super) fn zoned(&mut self, layer: &Zoned<'_>) {
        let directions = layer.reading.directions();
        let parts: Vec<&str> = ["Y", "h", "c"][..1 + layer.kept().len()].to_vec();
        let each: Vec<Vec<String>> = (0..directions.len()).map(|d| self.zoned_direction(layer, d)).collect();
        for (p, part) in parts.into_iter().enumerate() {
            let values: Vec<&str> = each.iter().map(|values| values[p].as_str()).collect();
            self.operation("Concat", &format!("{}:{part}", layer.name), &values, &axis(i64::from(part == "Y")));
        }
    }

    /// The same of one direction, each with the axis of the directions.
    fn zoned_direction(&mut self, layer: &Zoned<'_>, direction: usize) -> Vec<String> {
        let Zoned { of, input, .. } = *layer;
        let name = |part: &str| format!("{}:direction{direction}:{part}", layer.name);
        let reverse = layer.reading.directions()[direction];
        let steps = if reverse { self.turn(of, &name("input"), input) } else { input.to_owned() };
        let weights: Vec<String> = ["W", "R", "B", "P"]
            .iter()
            .zip(layer.weights)
            .map(|(part, all)| if all.is_empty() { String::new() } else { self.one_of(&name(part), all, direction) })
            .collect();
        let mut taken: Vec<String> = Vec::new();
        for ((part, _), all) in layer.kept().iter().zip(layer.states) {
            taken.push(match all.is_empty() {
                true => self.zeros(&name(&format!("zero_{part}")), input, layer.options.units),
                false => {
                    let first = name(&format!("first_{part}"));
                    self.pick(&first, all, direction, 0);
                    first
                }
            });
        }
        taken.push(steps);
        let there = self.there_in_front(of);
        taken.extend(there.clone());
        let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
        let body = self.zoned_step(layer, &name("step"), &weights, there.is_some());
        let inputs = 1 + i64::from(there.is_some());
        let attributes = [("body", Attribute::Graph(Box::new(body))), ("num_scan_inputs", Attribute::Int(inputs))];
        let mut given: Vec<String> = layer.kept().iter().map(|(part, _)| name(&format!("last_{part}"))).collect();
        given.push(name("steps"));
        self.operations("Scan", &given.iter().map(String::as_str).collect::<Vec<_>>(), &taken, &attributes);
        let mut outputs = given.pop().unwrap_or_default();
        if reverse {
            outputs = self.turn(of, &name("outputs"), &outputs);
        }
        let mut values = vec![(outputs, 1)];
        values.extend(given.into_iter().map(|state| (state, 0)));
        let with_axis = |(value, at): (String, i64)| {
            let at = self.ints(&format!("{value}:axis"), &[at]);
            self.operation("Unsqueeze", &format!("{value}:whole"), &[&value, &at], &[])
        };
        values.into_iter().map(with_axis).collect()
    }

    /// One step: the states, the input and, of a sequence with masked steps, whether it is there; then the states, and h once more.
    fn zoned_step(&mut self, layer: &Zoned<'_>, prefix: &str, weights: &[String], masked: bool) -> Program {
        let name = |part: &str| format!("{prefix}:{part}");
        let outer = std::mem::take(&mut self.program);
        let kept = layer.kept();
        let units = || vec![Dim::Name("rows"), Dim::Size(layer.options.units)];
        for (part, _) in &kept {
            self.input(&name(part), Type::Float, units());
        }
        let (x, there) = (name("x"), name("there"));
        self.input(&x, Type::Float, vec![Dim::Name("rows"), Dim::Name("inputs")]);
        if masked {
            self.input(&there, Type::Bool, vec![Dim::Name("rows"), Dim::Size(1)]);
        }
        let time = self.ints(&name("time"), &[0]);
        let mut with_time = |value: &str| self.operation("Unsqueeze", &format!("{value}:timed"), &[value, &time], &[]);
        let (x, h) = (with_time(&x), with_time(&name("h")));
        let mut taken = vec![x, weights[0].clone(), weights[1].clone(), weights[2].clone(), String::new(), h];
        if layer.cell == Cell::Lstm {
            taken.extend([with_time(&name("c")), weights[3].clone()]);
        }
        while taken.last().is_some_and(String::is_empty) {
            taken.pop();
        }
        let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
        let new: Vec<String> = ["Y", "new_h", "new_c"].map(name)[..1 + kept.len()].to_vec();
        let given: Vec<&str> = new.iter().map(String::as_str).collect();
        let one = attributes(layer.cell, layer.options, Reading::One { reverse: false });
        self.operations(operator(layer.cell), &given, &taken, &one);
        for ((part, stays), new) in kept.iter().zip(&new[1..]) {
            let before = name(part);
            let new = self.operation("Squeeze", &format!("{new}:flat"), &[new, &time], &[]);
            let [old, new] = [("old", &before, *stays), ("new", &new, 1.0 - stays)].map(|(which, value, factor)| {
                let factor = self.floats(&format!("{before}:{which}_part"), &[1], &[factor]);
                self.operation("Mul", &format!("{before}:{which}"), &[value, &factor], &[])
            });
            let mut after = self.operation("Add", &format!("{before}:mean"), &[&old, &new], &[]);
            if masked {
                after = self.operation("Where", &format!("{before}:there"), &[&there, &after, &before], &[]);
            }
            self.operation("Identity", &format!("{before}:after"), &[&after], &[]);
            self.output(&format!("{before}:after"), units());
        }
        self.operation("Identity", &name("y"), &[&format!("{}:after", name("h"))], &[]);
        self.output(&name("y"), units());
        std::mem::replace(&mut self.program, outer)
    }

    /// Entry `index` along the first axis, which stays.
    fn one_of(&mut self, output: &str, from: &str, index: usize) -> String {
        let number = self.ints(&format!("{output}:index"), &[index as i64]);
        self.operation("Gather", output, &[from, &number], &axis(0))
    }

    /// (N, `units`) zeros for the rows of a sequence (T, N, D).
    fn zeros(&mut self, output: &str, sequence: &str, units: usize) -> String {
        let name = |part: &str| format!("{output}:{part}");
        let shape = self.operation("Shape", &name("all"), &[sequence], &[]);
        let second = self.ints(&name("second"), &[1]);
        let rows = self.operation("Gather", &name("rows"), &[&shape, &second], &axis(0));
        let units = self.ints(&name("units"), &[units as i64]);
        let shape = self.operation("Concat", &name("shape"), &[&rows, &units], &axis(0));
        self.operation("ConstantOfShape", output, &[&shape], &[])
    }
}
