//! NumPy's files of one array (`.npy`), as numpy.lib.format describes them: read, never trusted.
//!
//! ```text
//! \x93NUMPY, version (1 or 2 or 3, 0), length of the header (u16, from version 2 on u32), header, numbers
//! {'descr': '<f4', 'fortran_order': False, 'shape': (60000, 8, 32), }
//! ```

use std::path::Path;

use crate::corpus::read_file;
use crate::error::{Error, Result};
use crate::interop::from_half;

/// An array as rows of numbers: its first axis, and all others as one.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// The length of the first axis.
    pub rows: usize,
    /// The product of the others.
    pub width: usize,
    /// All axes.
    pub shape: Vec<usize>,
    /// Whether it was whole numbers.
    pub integers: bool,
    values: Vec<f32>,
}

impl Array {
    /// A row.
    ///
    /// # Panics
    /// Where there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }

    /// Refuses what is no number, of rows counted from 1.
    ///
    /// # Errors
    /// The first such.
    pub(super) fn check_finite(&self) -> Result<(), String> {
        match self.values.iter().position(|value| !value.is_finite()) {
            Some(place) => Err(format!("has {} in row {}", self.values[place], place / self.width.max(1) + 1)),
            None => Ok(()),
        }
    }
}

/// How an array is mended that has no number somewhere.
pub(super) const NOT_FINITE: &str = "put numbers where numpy.isfinite(array) is false, or remove the rows";

/// Reads an array of numbers, and gives a hash of its bytes too.
///
/// # Errors
/// [`Error::Input`] that says what the file is not.
pub fn read_npy(path: &Path) -> Result<(Array, u64)> {
    let bytes = read_file(path)?;
    let array = parse_npy(&bytes).map_err(|what| {
        Error::input(path, what).mend("write it by numpy.save(file, numpy.ascontiguousarray(array, dtype='<f4'))")
    })?;
    array.check_finite().map_err(|what| Error::input(path, what).mend(NOT_FINITE))?;
    Ok((array, u64::from(crc32c::crc32c(&bytes)) << 32 | bytes.len() as u64 & 0xffff_ffff))
}

/// What the header of an array says.
pub(crate) struct Header<'a> {
    /// All axes, at least one.
    pub(crate) axes: Vec<usize>,
    /// The same as it is written.
    pub(crate) shape: &'a str,
    /// The kind of the numbers, such as `<f4`.
    pub(crate) kind: &'a str,
    /// How many bytes stand before the numbers.
    pub(crate) bytes: usize,
}

/// Reads the header, whose bytes are all that `start` need hold. Numbers stand row by row.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn header(start: &[u8]) -> Result<Header<'_>, String> {
    let Some(rest) = start.strip_prefix(b"\x93NUMPY") else { return Err("is no NumPy array".to_owned()) };
    let (length, rest) = match *rest {
        [1, _, a, b, ref rest @ ..] => (usize::from(u16::from_le_bytes([a, b])), rest),
        [2 | 3, _, a, b, c, d, ref rest @ ..] => (u32::from_le_bytes([a, b, c, d]) as usize, rest),
        [version, ..] if !(1..=3).contains(&version) => {
            return Err(format!("is of NumPy's format {version}, not 1 to 3"));
        }
        _ => return Err("is cut short in its header".to_owned()),
    };
    let Some((header, data)) = rest.split_at_checked(length) else {
        return Err("is cut short in its header".to_owned());
    };
    let bytes = start.len() - data.len();
    let header = std::str::from_utf8(header).map_err(|_| "has a header that is no text".to_owned())?;
    let field = |key: &str| {
        let (_, value) = header.split_once(&format!("'{key}'"))?;
        Some(value.trim_start().strip_prefix(':')?.trim_start())
    };
    let wrong = |key: &str| format!("has a header without a `{key}` that can be read: {}", header.trim());
    if !field("fortran_order").ok_or_else(|| wrong("fortran_order"))?.starts_with("False") {
        return Err("is stored column by column (fortran_order), not row by row".to_owned());
    }
    let shape =
        field("shape").and_then(|value| value.strip_prefix('(')?.split_once(')')).ok_or_else(|| wrong("shape"))?.0;
    let axes: Option<Vec<usize>> =
        shape.split(',').map(str::trim).filter(|axis| !axis.is_empty()).map(|axis| axis.parse().ok()).collect();
    let axes = axes.ok_or_else(|| wrong("shape"))?;
    if axes.is_empty() {
        return Err("is one number, not rows of them".to_owned());
    }
    let kind =
        field("descr").and_then(|value| value.strip_prefix('\'')?.split_once('\'')).ok_or_else(|| wrong("descr"))?.0;
    Ok(Header { axes, shape, kind, bytes })
}

/// The array in these bytes.
///
/// # Errors
/// What is wrong with them.
pub fn parse_npy(bytes: &[u8]) -> Result<Array, String> {
    let Header { axes, shape, kind, bytes: start } = header(bytes)?;
    let (data, rows) = (&bytes[start..], axes[0]);
    let (size, number) = numbers(kind)?;
    let width = axes[1..].iter().try_fold(1usize, |width, &axis| width.checked_mul(axis));
    let expected = width.and_then(|width| width.checked_mul(rows)?.checked_mul(size));
    let (Some(width), Some(expected)) = (width, expected) else {
        return Err(format!("has an impossible shape: ({shape})"));
    };
    if expected == 0 {
        return Err(format!("has no numbers: its shape is ({shape})"));
    }
    if expected != data.len() {
        let found = data.len();
        return Err(format!("has {found} bytes of numbers, the shape ({shape}) of {kind} needs {expected}"));
    }
    let values: Vec<f32> = data.chunks_exact(size).map(number).collect();
    Ok(Array { rows, width, integers: !kind.starts_with("<f"), shape: axes, values })
}

/// A number from its bytes.
type Number = fn(&[u8]) -> f32;

/// The bytes of a number of this kind and how it is read.
fn numbers(kind: &str) -> Result<(usize, Number), String> {
    macro_rules! little {
        ($type:ty) => {
            (size_of::<$type>(), |bytes: &[u8]| {
                let mut own = [0; size_of::<$type>()];
                own.copy_from_slice(bytes);
                <$type>::from_le_bytes(own) as f32
            })
        };
    }
    Ok(match kind {
        "<f2" => (2, |bytes: &[u8]| from_half(u16::from_le_bytes([bytes[0], bytes[1]]))),
        "<f4" => little!(f32),
        "<f8" => little!(f64),
        "|u1" | "|b1" | "<u1" => little!(u8),
        "|i1" | "<i1" => little!(i8),
        "<u2" => little!(u16),
        "<i2" => little!(i16),
        "<i4" => little!(i32),
        "<i8" => little!(i64),
        _ => {
            // Rows of different lengths are saved as objects.
            if kind.starts_with("|O") {
                return Err("has objects in place of numbers: are its rows of different lengths?".to_owned());
            }
            return Err(format!(
                "has numbers of the kind `{kind}`, not f2, f4, f8, u1, i1, u2, i2, i4 or i8 of little end"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    const HEADER: &str = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, 3), }\n";

    #[test]
    fn numbers_of_every_kind_are_read() {
        let data: Vec<u8> = (0..6).flat_map(|i| (i as f32 / 2.0).to_le_bytes()).collect();
        let array = parse_npy(&npy(HEADER, &data)).unwrap();
        assert_eq!((array.rows, array.width, array.row(1)), (2, 3, &[1.5, 2.0, 2.5][..]));
        let bytes = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", &[0, 16, 255]);
        assert_eq!(parse_npy(&bytes).unwrap().row(2), [255.0]);
        let long: Vec<u8> = [-3_i64, 70_000].iter().flat_map(|n| n.to_le_bytes()).collect();
        let bytes = npy("{'descr': '<i8', 'fortran_order': False, 'shape': (1, 2), }", &long);
        assert_eq!(parse_npy(&bytes).unwrap().row(0), [-3.0, 70_000.0]);
        let bytes = npy("{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }", &[0, 0x3c, 0, 0xc0]);
        let halves = parse_npy(&bytes).unwrap();
        assert_eq!((halves.row(0), halves.row(1), halves.integers), (&[1.0][..], &[-2.0][..], false));
    }

    #[test]
    fn what_is_no_such_array_is_refused() {
        let data = [0; 24];
        assert!(parse_npy(&npy(HEADER, &data)).is_ok());
        let refused = |bytes: Vec<u8>| parse_npy(&bytes).unwrap_err();
        insta::assert_snapshot!(refused(b"PK".to_vec()), @"is no NumPy array");
        insta::assert_snapshot!(refused(npy(HEADER, &data[1..])), @"has 23 bytes of numbers, the shape (2, 1, 3) of <f4 needs 24");
        insta::assert_snapshot!(refused(npy(&HEADER.replace("False", "True"), &data)), @"is stored column by column (fortran_order), not row by row");
        insta::assert_snapshot!(refused(npy(&HEADER.replace("<f4", ">f4"), &data)), @"has numbers of the kind `>f4`, not f2, f4, f8, u1, i1, u2, i2, i4 or i8 of little end");
        insta::assert_snapshot!(refused(npy(&HEADER.replace("(2, 1, 3)", "(99999999999, 99999999999)"), &data)), @"has an impossible shape: (99999999999, 99999999999)");
        insta::assert_snapshot!(refused(npy(&HEADER.replace("(2, 1, 3)", "(99999999999, 0)"), &[])), @"has no numbers: its shape is (99999999999, 0)");
        let mut nan = data;
        nan[12..16].copy_from_slice(&f32::NAN.to_le_bytes());
        let array = parse_npy(&npy(HEADER, &nan)).unwrap();
        insta::assert_snapshot!(array.check_finite().unwrap_err(), @"has NaN in row 2");
        let whole = npy(HEADER, &data);
        (0..whole.len()).for_each(|length| assert!(parse_npy(&whole[..length]).is_err()));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(at in 0usize..80, bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..12)) {
            let mut file = npy(HEADER, &[0; 24]);
            let end = (at + bytes.len()).min(file.len());
            file.splice(at.min(end)..end, bytes);
            if let Ok(array) = parse_npy(&file) {
                proptest::prop_assert_eq!(array.row(array.rows - 1).len(), array.width);
            }
        }
    }
}
