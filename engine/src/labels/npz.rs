//! NumPy's archives of arrays (`.npz`): ZIP files whose members are `.npy` files, stored (`numpy.savez`) or deflated
//! (`numpy.savez_compressed`). Read by their central directory (PKWARE's APPNOTE.TXT, sections 4.3.12 and 4.3.16),
//! never trusted: a member is unpacked to no more than its directory says, and its checksum is compared.

use std::io::Read;

use flate2::Crc;
use flate2::read::DeflateDecoder;

/// Bytes of the records of the format without their names: of a file, of the directory, of its end.
const LOCAL: usize = 30;
const ENTRY: usize = 46;
const END: usize = 22;

/// A member of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member<'a> {
    /// Its name, without `.npy`.
    pub(super) name: &'a str,
    method: u16,
    checksum: u32,
    packed: &'a [u8],
    size: usize,
}

/// The members of an archive, in its order.
///
/// # Errors
/// What is wrong with it.
pub(super) fn members(bytes: &[u8]) -> Result<Vec<Member<'_>>, String> {
    let damaged = || "is no NPZ archive, or a damaged one".to_owned();
    let last = bytes.len().checked_sub(END).ok_or_else(damaged)?;
    // A comment may stand behind the end of the directory.
    let end = (last.saturating_sub(0xffff)..=last).rev().find(|&at| bytes[at..].starts_with(b"PK\x05\x06"));
    let end = end.ok_or_else(damaged)?;
    let (count, mut at) = (short(bytes, end + 10).ok_or_else(damaged)?, long(bytes, end + 16).ok_or_else(damaged)?);
    let mut members = Vec::new();
    for _ in 0..count {
        let entry = bytes.get(at..).filter(|entry| entry.starts_with(b"PK\x01\x02")).ok_or_else(damaged)?;
        let shorts = |place: usize| short(entry, place).ok_or_else(damaged);
        let longs = |place: usize| long(entry, place).ok_or_else(damaged);
        let (name, extra, comment) = (shorts(28)?, shorts(30)?, shorts(32)?);
        let text =
            entry.get(ENTRY..ENTRY + name).and_then(|name| std::str::from_utf8(name).ok()).ok_or_else(damaged)?;
        let (flags, method, checksum) = (shorts(8)?, shorts(10)? as u16, longs(16)? as u32);
        let (packed, size, local) = (longs(20)?, longs(24)?, longs(42)?);
        if [packed, size, local].contains(&0xffff_ffff) {
            return Err(format!("has `{text}` in the form for more than 4 GB; write it by numpy.save instead"));
        }
        if flags & 1 != 0 {
            return Err(format!("has `{text}` encrypted"));
        }
        // The record before the data may have another extra field than the directory.
        let head = bytes.get(local..).filter(|head| head.starts_with(b"PK\x03\x04")).ok_or_else(damaged)?;
        let start = LOCAL + short(head, 26).ok_or_else(damaged)? + short(head, 28).ok_or_else(damaged)?;
        let packed = head.get(start..start + packed).ok_or_else(damaged)?;
        members.push(Member { name: text.strip_suffix(".npy").unwrap_or(text), method, checksum, packed, size });
        at += ENTRY + name + extra + comment;
    }
    Ok(members)
}

impl Member<'_> {
    /// Its bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn unpack(&self) -> Result<Vec<u8>, String> {
        let Member { name, method, checksum, packed, size } = *self;
        let bytes = match method {
            0 => packed.to_vec(),
            8 => {
                let mut bytes = Vec::new();
                // One byte more tells a size that is wrong.
                let read = DeflateDecoder::new(packed).take(size as u64 + 1).read_to_end(&mut bytes);
                read.map_err(|error| format!("has `{name}`, which cannot be unpacked: {error}"))?;
                bytes
            }
            _ => return Err(format!("has `{name}` compressed by method {method}, not stored or deflated")),
        };
        let mut found = Crc::new();
        found.update(&bytes);
        if bytes.len() != size || found.sum() != checksum {
            return Err(format!("has `{name}` damaged: its checksum is wrong"));
        }
        Ok(bytes)
    }
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..at + 2).map(|own| usize::from(u16::from_le_bytes([own[0], own[1]])))
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..at + 4).map(|own| u32::from_le_bytes([own[0], own[1], own[2], own[3]]) as usize)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use std::io::Write;

    /// An archive as NumPy writes it.
    pub(crate) fn npz(members: &[(&str, &[u8])], compress: bool) -> Vec<u8> {
        let (mut file, mut directory) = (Vec::new(), Vec::new());
        for (name, data) in members {
            let name = format!("{name}.npy");
            let mut checksum = Crc::new();
            checksum.update(data);
            let packed = if compress {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(data).and_then(|()| encoder.finish()).unwrap_or_default()
            } else {
                data.to_vec()
            };
            let method = if compress { 8u16 } else { 0 };
            let (sizes, offset) = ([packed.len() as u32, data.len() as u32], file.len() as u32);
            let mut common = vec![20, 0, 0, 0];
            common.extend(method.to_le_bytes());
            common.extend([0; 4]);
            common.extend(checksum.sum().to_le_bytes());
            sizes.iter().for_each(|size| common.extend(size.to_le_bytes()));
            common.extend((name.len() as u16).to_le_bytes());
            file.extend(b"PK\x03\x04");
            file.extend(&common);
            // An extra field that the directory has not.
            file.extend([4, 0]);
            file.extend(name.as_bytes());
            file.extend([1; 4]);
            file.extend(&packed);
            directory.extend(b"PK\x01\x02\x14\x03");
            directory.extend(&common);
            directory.extend([0; 12]);
            directory.extend(offset.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let (count, start) = ((members.len() as u16).to_le_bytes(), file.len() as u32);
        file.extend(&directory);
        file.extend(b"PK\x05\x06\0\0\0\0");
        file.extend(count);
        file.extend(count);
        file.extend((directory.len() as u32).to_le_bytes());
        file.extend(start.to_le_bytes());
        file.extend([0; 2]);
        file
    }

    #[test]
    fn stored_and_deflated_members_are_read() {
        for compress in [false, true] {
            let data: Vec<u8> = (0..1000u32).flat_map(|i| (i % 7).to_le_bytes()).collect();
            let mut file = npz(&[("x", &data), ("labels", b"abc")], compress);
            let found = members(&file).unwrap();
            assert_eq!(found.iter().map(|member| member.name).collect::<Vec<_>>(), ["x", "labels"]);
            assert_eq!((found[0].unpack().unwrap(), found[1].unpack().unwrap()), (data, b"abc".to_vec()));
            file.extend(b"a comment");
            assert_eq!(members(&file).unwrap().len(), 2);
        }
    }

    #[test]
    fn damage_is_told() {
        let file = npz(&[("x", &[7; 100])], true);
        let wrong = |file: &[u8]| match members(file) {
            Ok(found) => found.iter().find_map(|member| member.unpack().err()).unwrap_or_default(),
            Err(what) => what,
        };
        assert_eq!(wrong(&file), "");
        (0..file.len()).for_each(|length| assert_eq!(wrong(&file[..length]), "is no NPZ archive, or a damaged one"));
        let mut spoilt = file.clone();
        spoilt[LOCAL + 9 + 2] ^= 0xff;
        assert!(wrong(&spoilt).starts_with("has `x`"), "{}", wrong(&spoilt));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(at in 0usize..200, bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..12)) {
            let mut file = npz(&[("x", &[7; 40])], true);
            let end = (at + bytes.len()).min(file.len());
            file.splice(at.min(end)..end, bytes);
            if let Ok(found) = members(&file) {
                found.iter().for_each(|member| drop(member.unpack()));
            }
        }
    }
}
