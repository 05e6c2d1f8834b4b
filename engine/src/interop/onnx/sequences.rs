//! The sequences that a model reads: how many steps they have, and which of these are there.
//!
//! ONNX masks at the end of a row alone, by its length. Where steps are masked, what is there is moved to the front of
//! its row before layers read it, and outputs are moved back.

use super::proto::{Attribute, Dim, Type};
use super::{Writer, axis};
use crate::graph::{Axis, MaskRule, Node};

/// One of the sequences.
pub(super) struct Sequence {
    /// The input that brings its tokens.
    pub(super) input: &'static str,
    /// The name of its number of steps.
    pub(super) steps: &'static str,
    /// The tokens that layers read: those of the input, or those that are there moved to the front.
    pub(super) tokens: String,
    /// How many steps of each row are there, where some are masked.
    pub(super) lengths: Option<String>,
}

impl Sequence {
    /// Both, in the order of [`Axis::ALL`].
    pub(super) fn all() -> [Sequence; 2] {
        let new = |input: &'static str, steps| Sequence { input, steps, tokens: input.to_owned(), lengths: None };
        [new("tokens", "steps"), new("source", "source_steps")]
    }
}

fn cast(to: Type) -> [(&'static str, Attribute); 1] {
    [("to", Attribute::Int(to as i64))]
}

impl Writer<'_> {
    /// The name of a value that belongs to the masks of a sequence.
    fn mask_name(&self, of: Axis, part: &str) -> String {
        format!("{}:{part}", self.sequences[of as usize].input)
    }

    /// Declares the inputs of a sequence, and moves what of them is there to the front.
    pub(super) fn begin(&mut self, of: Axis) {
        let graph = self.graph;
        let (input, steps) = (self.sequences[of as usize].input, self.sequences[of as usize].steps);
        let reads_tokens = self.reads_tokens(of);
        if reads_tokens {
            self.input(input, Type::Int64, vec![Dim::Name(steps), Dim::Name("rows")]);
        }
        let vectors: Vec<(usize, usize)> = graph.vector_inputs().map(|(node, input)| (node, input.width)).collect();
        let vectors = vectors.into_iter().filter(|&(node, _)| graph.nodes()[node].axis == of);
        let timed = |node: &Node| node.shape.time.is_some();
        for (node, width) in vectors.clone() {
            let node = &graph.nodes()[node];
            let time = timed(node).then_some(Dim::Name(steps));
            let shape = time.into_iter().chain([Dim::Name("rows"), Dim::Size(width)]).collect();
            self.input(&node.name, Type::Float, shape);
        }
        let Some(rule) = graph.mask_rule_of(of) else { return };
        self.find_places(of, rule);
        if reads_tokens {
            self.sequences[of as usize].tokens = self.move_to_front(of, input, None);
        }
        for (node, width) in vectors.filter(|&(node, _)| timed(&graph.nodes()[node])) {
            self.values[node] = self.move_to_front(of, &graph.nodes()[node].name, Some(width));
        }
    }

    fn reads_tokens(&self, of: Axis) -> bool {
        match of {
            Axis::Main => self.graph.takes_tokens(),
            Axis::Source => self.graph.takes_source_tokens(),
        }
    }

    /// T of a sequence as a vector of one number.
    pub(super) fn steps(&mut self, of: Axis) -> String {
        let count = self.mask_name(of, "count");
        if !self.program.operations.iter().any(|operation| operation.name == count) {
            let graph = self.graph;
            let timed = |(node, _): &(usize, _)| {
                let node = &graph.nodes()[*node];
                node.axis == of && node.shape.time.is_some()
            };
            let from = match graph.vector_inputs().find(timed) {
                _ if self.reads_tokens(of) => self.sequences[of as usize].input.to_owned(),
                Some((node, _)) => graph.nodes()[node].name.clone(),
                None => return self.ints(&self.mask_name(of, "one"), &[1]),
            };
            let shape = self.operation("Shape", &self.mask_name(of, "shape"), &[&from], &[]);
            let first = self.ints(&self.mask_name(of, "first"), &[0]);
            self.operation("Gather", &count, &[&shape, &first], &axis(0));
        }
        count
    }

    /// 1 at each step that is there, else 0: (T, N).
    fn there(&mut self, of: Axis, rule: MaskRule) -> String {
        let (name, input) = (|part: &str| self.mask_name(of, part), self.sequences[of as usize].input);
        let [there, equal, value, number] = ["is_there", "equal", "masked", "equal_number"].map(name);
        match rule {
            MaskRule::TokenZero => {
                let zero = self.ints(&value, &[0]);
                let equal = self.operation("Equal", &equal, &[input, &zero], &[]);
                let other = self.operation("Not", &number, &[&equal], &[]);
                self.operation("Cast", &there, &[&other], &cast(Type::Int64))
            }
            MaskRule::Rows { table, value: masked } => {
                let spec = &self.graph.params()[table];
                let rows = self.params[spec.range.clone()].chunks(spec.shape[1]);
                let words: Vec<i64> = rows.map(|row| row.iter().any(|&x| x != masked).into()).collect();
                let words = self.ints(&value, &words);
                self.operation("Gather", &there, &[&words, input], &axis(0))
            }
            MaskRule::Vectors { input, value: masked } => {
                let vectors = self.graph.vector_inputs().nth(input).map_or(0, |(node, _)| node);
                let vectors = self.graph.nodes()[vectors].name.clone();
                let masked = self.floats(&value, &[1], &[masked]);
                let equal = self.operation("Equal", &equal, &[&vectors, &masked], &[]);
                let number = self.operation("Cast", &number, &[&equal], &cast(Type::Int64));
                let last = [("axes", Attribute::Ints(vec![-1])), ("keepdims", Attribute::Int(0))];
                let all = self.operation("ReduceMin", &self.mask_name(of, "all_equal"), &[&number], &last);
                let one = self.ints(&self.mask_name(of, "unit"), &[1]);
                self.operation("Sub", &there, &[&one, &all], &[])
            }
        }
    }

    /// To which step each step that is there goes, and how many of each row are there.
    fn find_places(&mut self, of: Axis, rule: MaskRule) {
        let steps = self.steps(of);
        let number = self.there(of, rule);
        let name = |writer: &Self, part: &str| writer.mask_name(of, part);
        let [zero, one] = [("zero", 0), ("one_step", 1)].map(|(part, value)| self.ints(&name(self, part), &[value]));
        let there = self.operation("Cast", &name(self, "there"), &[&number], &cast(Type::Bool));
        // The axis is a scalar in ONNX's text, a vector of one in runtimes too.
        let seen = self.operation("CumSum", &name(self, "seen"), &[&number, &zero], &[]);
        let keep = [("keepdims", Attribute::Int(0))];
        let count = self.operation("ReduceSum", &name(self, "lengths"), &[&number, &zero], &keep);
        let lengths = self.operation("Cast", &name(self, "short_lengths"), &[&count], &cast(Type::Int32));
        self.sequences[of as usize].lengths = Some(lengths);
        let place = self.operation("Sub", &name(self, "place"), &[&seen, &one], &[]);
        // What is masked goes to a step behind the last, which is cut off.
        self.operation("Where", &name(self, "target"), &[&there, &place, &steps], &[]);
    }

    /// The steps of an input that are there at the front of their rows: tokens (T, N), or vectors (T, N, width).
    fn move_to_front(&mut self, of: Axis, input: &str, width: Option<usize>) -> String {
        let name = |part: &str| format!("{input}:{part}");
        let (steps, zero) = (self.steps(of), self.mask_name(of, "zero"));
        let mut target = self.mask_name(of, "target");
        let shape = self.operation("Shape", &name("whole_shape"), &[input], &[]);
        let pad = self.ints(&name("pad"), if width.is_some() { &[1, 0, 0] } else { &[1, 0] });
        let longer = self.operation("Add", &name("longer"), &[&shape, &pad], &[]);
        // Without a value it is filled with f32 zeros.
        let mut empty = self.operation("ConstantOfShape", &name("empty"), &[&longer], &[]);
        match width {
            None => empty = self.operation("Cast", &name("empty_tokens"), &[&empty], &cast(Type::Int64)),
            Some(width) => target = self.widened(&name("target"), &target, width),
        }
        let moved = self.operation("ScatterElements", &name("longer_moved"), &[&empty, &target, input], &axis(0));
        self.operation("Slice", &name("moved"), &[&moved, &zero, &steps, &zero], &[])
    }

    /// A number for each step and row, at every place of a vector.
    fn widened(&mut self, name: &str, numbers: &str, width: usize) -> String {
        let last = self.ints(&format!("{name}:axis"), &[-1]);
        let each = self.operation("Unsqueeze", &format!("{name}:each"), &[numbers, &last], &[]);
        let shape = self.ints(&format!("{name}:shape"), &[1, 1, width as i64]);
        self.operation("Expand", &format!("{name}:all"), &[&each, &shape], &[])
    }

    /// The outputs of steps at the places where these stand.
    pub(super) fn move_back(&mut self, of: Axis, output: &str, width: usize) -> String {
        let zero = self.mask_name(of, "zero");
        let place = self.mask_name(of, "place");
        let from = self.operation("Max", &format!("{output}:place"), &[&place, &zero], &[]);
        let from = self.widened(&format!("{output}:place"), &from, width);
        self.operation("GatherElements", &format!("{output}:in_place"), &[output, &from], &axis(0))
    }

    /// The steps of each row from its last on.
    pub(super) fn turn(&mut self, of: Axis, name: &str, steps: &str) -> String {
        if self.sequences[of as usize].lengths.is_some() {
            // In 64 bits, as this wants them.
            let lengths = self.mask_name(of, "lengths");
            let axes = [("batch_axis", Attribute::Int(1)), ("time_axis", Attribute::Int(0))];
            return self.operation("ReverseSequence", name, &[steps, &lengths], &axes);
        }
        // From the last step on to before the first.
        let [last, end, time] = [("last", -1), ("end", i64::MIN + 1), ("axis0", 0)]
            .map(|(part, value)| self.ints(&format!("{name}:{part}"), &[value]));
        self.operation("Slice", name, &[steps, &last, &end, &time, &last], &[])
    }

    /// Whether each step is there where what is there stands at the front, (T, N, 1); `None` where none is masked.
    pub(super) fn there_in_front(&mut self, of: Axis) -> Option<String> {
        self.sequences[of as usize].lengths.as_ref()?;
        let there = self.mask_name(of, "in_front");
        if !self.program.operations.iter().any(|operation| operation.name == there) {
            let name = |part: &str| format!("{there}:{part}");
            let (steps, lengths) = (self.steps(of), self.mask_name(of, "lengths"));
            let [first, last] = [("axis", 0), ("last", -1)].map(|(part, value)| self.ints(&name(part), &[value]));
            let [zero, one] = [("zero", 0), ("one", 1)].map(|(part, value)| self.int(&name(part), value));
            let count = self.operation("Squeeze", &name("count"), &[&steps, &first], &[]);
            let numbers = self.operation("Range", &name("numbers"), &[&zero, &count, &one], &[]);
            let column = self.operation("Unsqueeze", &name("column"), &[&numbers, &last], &[]);
            let less = self.operation("Less", &name("less"), &[&column, &lengths], &[]);
            self.operation("Unsqueeze", &there, &[&less, &last], &[]);
        }
        Some(there)
    }
}
