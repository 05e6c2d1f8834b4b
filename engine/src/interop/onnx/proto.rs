//! The few messages of ONNX that a model needs, in protocol buffers' wire format.
//!
//! A field is its number and wire type in a varint, then its value: a varint, or a length and bytes. Numbers and names
//! are those of `onnx.proto` (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>), release 1.12, IR version 8.

/// The version of the file format.
const IR_VERSION: i64 = 8;
/// The version of the operators: ONNX 1.12.
pub(super) const OPSET: i64 = 17;

/// The element types that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Float = 1,
    Int32 = 6,
    Int64 = 7,
    Bool = 9,
}

/// A size that is known, or its name.
#[derive(Clone, Debug)]
pub(super) enum Dim {
    Size(usize),
    Name(&'static str),
}

/// What goes into a graph or comes out of it.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) name: String,
    pub(super) element: Type,
    pub(super) shape: Vec<Dim>,
}

/// An attribute of an operation.
#[derive(Clone, Debug)]
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Floats(Vec<f32>),
    String(&'static str),
    Strings(Vec<&'static str>),
    /// What another operation does again and again.
    Graph(Box<Program>),
}

/// An operation.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
}

/// A tensor of constants.
#[derive(Clone, Debug)]
pub(super) struct Constant {
    pub(super) name: String,
    pub(super) element: Type,
    pub(super) shape: Vec<usize>,
    /// Little-endian.
    pub(super) bytes: Vec<u8>,
}

/// A graph of operations, each after those whose outputs it takes.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    pub(super) operations: Vec<Operation>,
    pub(super) constants: Vec<Constant>,
    pub(super) inputs: Vec<Value>,
    pub(super) outputs: Vec<Value>,
}

/// A message that is being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn int(&mut self, field: u64, value: i64) {
        self.varint(field << 3);
        self.varint(value as u64);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(field << 3 | 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn message(&mut self, field: u64, write: impl FnOnce(&mut Message)) {
        let mut message = Message::default();
        write(&mut message);
        self.bytes(field, &message.0);
    }
}

impl Program {
    /// The bytes of a model file.
    pub(super) fn encode(&self, name: &str) -> Vec<u8> {
        let mut model = Message::default();
        model.int(1, IR_VERSION);
        model.bytes(2, b"unroll");
        model.bytes(3, env!("CARGO_PKG_VERSION").as_bytes());
        model.message(7, |graph| self.graph(name, graph));
        model.message(8, |opset| opset.int(2, OPSET));
        model.0
    }

    fn graph(&self, name: &str, graph: &mut Message) {
        for operation in &self.operations {
            graph.message(1, |m| operation.write(m));
        }
        graph.bytes(2, name.as_bytes());
        for constant in &self.constants {
            graph.message(5, |m| constant.write(m));
        }
        for (field, values) in [(11, &self.inputs), (12, &self.outputs)] {
            for value in values {
                graph.message(field, |m| value.write(m));
            }
        }
    }
}

impl Operation {
    fn write(&self, node: &mut Message) {
        self.inputs.iter().for_each(|input| node.bytes(1, input.as_bytes()));
        self.outputs.iter().for_each(|output| node.bytes(2, output.as_bytes()));
        node.bytes(3, self.name.as_bytes());
        node.bytes(4, self.kind.as_bytes());
        for (name, attribute) in &self.attributes {
            node.message(5, |m| {
                m.bytes(1, name.as_bytes());
                attribute.write(m);
            });
        }
    }
}

impl Attribute {
    fn write(&self, m: &mut Message) {
        let kind = match self {
            Self::Float(value) => {
                m.float(2, *value);
                1
            }
            Self::Int(value) => {
                m.int(3, *value);
                2
            }
            Self::String(value) => {
                m.bytes(4, value.as_bytes());
                3
            }
            Self::Floats(values) => {
                values.iter().for_each(|value| m.float(7, *value));
                6
            }
            Self::Ints(values) => {
                values.iter().for_each(|value| m.int(8, *value));
                7
            }
            Self::Strings(values) => {
                values.iter().for_each(|value| m.bytes(9, value.as_bytes()));
                8
            }
            Self::Graph(program) => {
                m.message(6, |graph| program.graph("body", graph));
                5
            }
        };
        m.int(20, kind);
    }
}

impl Constant {
    fn write(&self, tensor: &mut Message) {
        self.shape.iter().for_each(|&dim| tensor.int(1, dim as i64));
        tensor.int(2, self.element as i64);
        tensor.bytes(8, self.name.as_bytes());
        tensor.bytes(9, &self.bytes);
    }
}

impl Value {
    fn write(&self, value: &mut Message) {
        value.bytes(1, self.name.as_bytes());
        value.message(2, |kind| {
            kind.message(1, |tensor| {
                tensor.int(1, self.element as i64);
                tensor.message(2, |shape| {
                    for dim in &self.shape {
                        shape.message(1, |m| match dim {
                            Dim::Size(size) => m.int(1, *size as i64),
                            Dim::Name(name) => m.bytes(2, name.as_bytes()),
                        });
                    }
                });
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_as_the_format_says() {
        // The examples of "Encoding" in the documentation of protocol buffers.
        let mut m = Message::default();
        m.int(1, 150);
        m.bytes(2, b"testing");
        m.message(3, |inner| inner.int(1, 150));
        m.float(4, 1.0);
        let expected = b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01\x25\x00\x00\x80\x3f";
        assert_eq!(m.0, expected);
        let mut negative = Message::default();
        negative.int(1, -1);
        assert_eq!(negative.0, [[0x08].as_slice(), &[0xff; 9], &[0x01]].concat());
    }
}
