//! What the processor says of itself beyond what the standard library asks it.

use std::sync::OnceLock;

/// Bytes of data that a core's first-level cache holds, from which the sizes of blocks follow and no bit of a result; 32 KB where the
/// processor does not tell.
pub(crate) fn first_level_cache() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| list_of_caches().unwrap_or(32 << 10))
}

/// The caches are listed in leaf 4 (Intel, Software Developer's Manual, volume 2A) or, in the same form, in leaf 0x8000_001D (AMD,
/// Programmer's Manual, volume 3).
#[cfg(target_arch = "x86_64")]
fn list_of_caches() -> Option<usize> {
    for list in [4, 0x8000_001D] {
        for index in 0..8 {
            let Some(cache) = leaf(list, index) else { break };
            let (kind, level) = (cache.eax & 31, cache.eax >> 5 & 7);
            if (kind, level) == (1, 1) {
                let [ways, parts, line] = [cache.ebx >> 22, cache.ebx >> 12 & 0x3ff, cache.ebx & 0xfff];
                return Some([ways, parts, line, cache.ecx].map(|less_one| less_one as usize + 1).iter().product());
            }
        }
    }
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn list_of_caches() -> Option<usize> {
    None
}

/// Whether the processor has AMX-TILE and AMX-BF16: leaf 7, bits 24 and 22 of EDX.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_tiles() -> bool {
    const BOTH: u32 = 1 << 24 | 1 << 22;
    leaf(7, 0).is_some_and(|features| features.edx & BOTH == BOTH)
}

/// A leaf of CPUID, if the processor has it.
#[cfg(target_arch = "x86_64")]
#[allow(unused_unsafe, reason = "CPUID became safe to call after the stated version of Rust")]
fn leaf(leaf: u32, index: u32) -> Option<std::arch::x86_64::CpuidResult> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    // SAFETY: every x86-64 processor has CPUID, and the first leaf of each range, which tells the last.
    let last = unsafe { __cpuid(leaf & 0x8000_0000) }.eax;
    // SAFETY: it has this leaf.
    (leaf <= last).then(|| unsafe { __cpuid_count(leaf, index) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_level_cache_is_what_the_system_says() {
        let told = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index0/size");
        let told = told.ok().and_then(|size| size.trim().strip_suffix('K')?.parse::<usize>().ok());
        match (list_of_caches(), told) {
            (Some(bytes), Some(kilobytes)) => assert_eq!(bytes, kilobytes << 10),
            _ => println!("SKIPPED: the processor or the system does not tell"),
        }
        assert!((8 << 10..1 << 20).contains(&first_level_cache()), "{}", first_level_cache());
    }
}
