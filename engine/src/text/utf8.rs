//! UTF-8 from a stream of bytes that may be cut anywhere.

use super::EncodingErrors;

/// A byte that cannot stand where it does in UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidUtf8 {
    /// Offset in the bytes given.
    pub(crate) offset: usize,
    /// The byte itself.
    pub(crate) byte: u8,
}

/// Appends the text of `bytes` to `out` and returns how many bytes were used. Unless `last`, the first bytes of a
/// character at the very end (at most 3) are left for the next call.
///
/// Replacement is by maximal subparts, as the Unicode standard recommends and `String::from_utf8_lossy` does.
pub(crate) fn decode_into(
    bytes: &[u8],
    last: bool,
    errors: EncodingErrors,
    out: &mut String,
) -> Result<usize, InvalidUtf8> {
    let mut used = 0;
    loop {
        let rest = &bytes[used..];
        let error = match std::str::from_utf8(rest) {
            Ok(text) => {
                out.push_str(text);
                return Ok(bytes.len());
            }
            Err(error) => error,
        };
        let valid = error.valid_up_to();
        if let Ok(text) = std::str::from_utf8(&rest[..valid]) {
            out.push_str(text);
        }
        used += valid;
        let invalid = match error.error_len() {
            Some(len) => len,
            None if !last => return Ok(used),
            None => rest.len() - valid,
        };
        match errors {
            EncodingErrors::Strict => return Err(InvalidUtf8 { offset: used, byte: bytes[used] }),
            EncodingErrors::Replace => out.push(char::REPLACEMENT_CHARACTER),
            EncodingErrors::Skip => {}
        }
        used += invalid;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes in two pieces, the second with what the first left.
    fn in_two(bytes: &[u8], cut: usize, errors: EncodingErrors) -> Result<String, usize> {
        let mut out = String::new();
        let used = decode_into(&bytes[..cut], false, errors, &mut out).map_err(|e| e.offset)?;
        decode_into(&bytes[used..], true, errors, &mut out).map_err(|e| used + e.offset)?;
        Ok(out)
    }

    #[test]
    fn names_the_first_invalid_byte() {
        let bytes = b"caf\xc3\xa9 \xff!";
        assert_eq!(in_two(bytes, 4, EncodingErrors::Strict), Err(6));
        assert_eq!(in_two(bytes, 4, EncodingErrors::Replace), Ok("café \u{fffd}!".to_owned()));
        assert_eq!(in_two(bytes, 4, EncodingErrors::Skip), Ok("café !".to_owned()));
        // A character that the end of the text cuts.
        assert_eq!(in_two(b"ab\xe3\x81", 3, EncodingErrors::Strict), Err(2));
        assert_eq!(in_two(b"ab\xe3\x81", 3, EncodingErrors::Replace), Ok("ab\u{fffd}".to_owned()));
    }

    proptest! {
        #[test]
        fn the_cut_does_not_matter(bytes in proptest::collection::vec(any::<u8>(), 0..40), cut in 0..40_usize) {
            let cut = cut.min(bytes.len());
            prop_assert_eq!(
                in_two(&bytes, cut, EncodingErrors::Replace),
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            );
            prop_assert_eq!(in_two(&bytes, cut, EncodingErrors::Strict).ok(), String::from_utf8(bytes).ok());
        }
    }
}
