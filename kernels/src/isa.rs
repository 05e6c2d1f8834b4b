//! Which instruction sets this processor has, and which of them a run uses.
//!
//! An [`Isa`] names a set and can be obtained only if the processor has it ([`Isa::best`], [`Isa::available`],
//! [`Isa::from_name`]), so a kernel that receives one may use it. The environment variable `UNROLL_ISA` (`portable`,
//! `avx2`, `avx512`, `avx512_bf16`, `amx`) caps the choice; `UNROLL_REQUIRE_ISA` (a comma-separated list) makes tests
//! fail, rather than skip, where a set is missing.
//!
//! `avx512_bf16` is AVX-512 with dot products of bf16, and `amx` adds tile products to that. Everything but products in
//! bf16 runs on both as on `avx512`, to the same bits.

use crate::gemm::Precision;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Amx, Avx2, Avx512, Avx512Bf16};
use crate::simd::{Kernel, Portable, Simd};
use std::fmt;
use std::sync::OnceLock;

/// An instruction set that this processor has: the value is the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Isa(Set);

/// The sets in ascending order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(Avx512Bf16),
    #[cfg(target_arch = "x86_64")]
    Amx(Amx),
}

/// Names of every set this crate has kernels for, the plainest first.
pub const NAMES: [&str; 5] = ["portable", "avx2", "avx512", "avx512_bf16", "amx"];

impl Isa {
    /// The portable set, which every processor has.
    pub const PORTABLE: Self = Self(Set::Portable);

    /// Every set that this processor has, the plainest first; `UNROLL_ISA` does not cap this list.
    pub fn available() -> Vec<Self> {
        NAMES.iter().filter_map(|name| Self::detect(name)).collect()
    }

    /// The best set that this processor has and `UNROLL_ISA` allows. The variable is read once.
    ///
    /// # Panics
    ///
    /// When `UNROLL_ISA` holds no known name; the message lists the names. Programs ask [`Self::from_environment`] first.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::from_environment().unwrap_or_else(|wrong| panic!("{wrong}")))
    }

    /// The best set that this processor has and `UNROLL_ISA` allows.
    ///
    /// # Errors
    ///
    /// When `UNROLL_ISA` holds no known name; the message lists the names.
    pub fn from_environment() -> Result<Self, String> {
        let cap = std::env::var_os("UNROLL_ISA").unwrap_or_default();
        let cap = cap.to_string_lossy();
        let best = NAMES.len() - 1;
        let rank = if cap.is_empty() { Some(best) } else { NAMES.iter().position(|&name| name == cap) };
        let rank = rank.ok_or_else(|| format!("UNROLL_ISA={cap}: known names are {}", NAMES.join(", ")))?;
        Ok(NAMES[..=rank].iter().rev().find_map(|name| Self::detect(name)).unwrap_or(Self::PORTABLE))
    }

    /// The set of this name, if the name is known and the processor has it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::detect(name)
    }

    fn detect(name: &str) -> Option<Self> {
        match name {
            "portable" => Some(Self::PORTABLE),
            #[cfg(target_arch = "x86_64")]
            "avx2" => Avx2::detect().map(|token| Self(Set::Avx2(token))),
            #[cfg(target_arch = "x86_64")]
            "avx512" => Avx512::detect().map(|token| Self(Set::Avx512(token))),
            #[cfg(target_arch = "x86_64")]
            "avx512_bf16" => Avx512Bf16::detect().map(|token| Self(Set::Avx512Bf16(token))),
            #[cfg(target_arch = "x86_64")]
            "amx" => Amx::detect().map(|token| Self(Set::Amx(token))),
            _ => None,
        }
    }

    /// `portable`, `avx2`, `avx512`, `avx512_bf16` or `amx`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Bf16(_) => "avx512_bf16",
            #[cfg(target_arch = "x86_64")]
            Set::Amx(_) => "amx",
        }
    }

    /// The set that everything but a product in bf16 runs on: `avx512` for those that only have more products.
    pub fn vectors(self) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = self.avx512() {
            return Self(Set::Avx512(token));
        }
        self
    }

    /// f32 lanes of one register of this set.
    pub fn lanes(self) -> usize {
        match self.0 {
            Set::Portable => Portable::LANES,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(_) => Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(_) | Set::Avx512Bf16(_) | Set::Amx(_) => Avx512::LANES,
        }
    }

    /// The token of AVX-512, if this set includes it.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn avx512(self) -> Option<Avx512> {
        match self.0 {
            Set::Avx512(token) => Some(token),
            Set::Avx512Bf16(token) => Some(token.avx512()),
            Set::Amx(token) => Some(token.avx512()),
            _ => None,
        }
    }

    /// The token of AVX-512 with bf16, if this set includes it.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn avx512_bf16(self) -> Option<Avx512Bf16> {
        match self.0 {
            Set::Avx512Bf16(token) => Some(token),
            Set::Amx(token) => Some(token.avx512_bf16()),
            _ => None,
        }
    }

    /// The token of AMX, if this is its set.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn amx(self) -> Option<Amx> {
        match self.0 {
            Set::Amx(token) => Some(token),
            _ => None,
        }
    }

    /// Whether both sets promise the same bits of products in this precision: all but the portable one, and in bf16 those that add
    /// up in blocks (see [`crate::gemm`]), as long as no sum is subnormal.
    pub fn agrees(self, other: Self, precision: Precision) -> bool {
        let fused = |isa: Self| isa != Self::PORTABLE;
        let dots = |isa: Self| precision == Precision::Bf16 && isa.name() == "avx512_bf16";
        self == other || fused(self) && fused(other) && dots(self) == dots(other)
    }

    /// Runs a kernel's one generic body compiled for this set. This is the ladder that every operation goes through.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Amx(token) => token.avx512().vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Bf16(token) => token.avx512().vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512(token) => token.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2(token) => token.vectorize(kernel),
            Set::Portable => Portable.vectorize(kernel),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The sets a test runs on: all that the processor has. Prints SKIPPED for each that is missing.
///
/// # Panics
///
/// When a set that `UNROLL_REQUIRE_ISA` names is missing.
pub fn sets_under_test() -> Vec<Isa> {
    let required = std::env::var("UNROLL_REQUIRE_ISA").unwrap_or_default();
    for name in NAMES {
        if Isa::detect(name).is_none() {
            let must = required.split(',').any(|r| r.trim() == name);
            assert!(!must, "UNROLL_REQUIRE_ISA names {name}, which this processor does not offer");
            println!("SKIPPED: this processor has no {name}");
        }
    }
    Isa::available()
}

/// Of results of several sets, two that differ although the sets agree in this precision.
pub fn who_differs<T: PartialEq>(precision: Precision, results: &[(Isa, T)]) -> Option<[Isa; 2]> {
    let pairs = results.iter().flat_map(|first| results.iter().map(move |second| [first, second]));
    let differs = |[(a, x), (b, y)]: &[&(Isa, T); 2]| a.agrees(*b, precision) && x != y;
    pairs.filter(differs).map(|pair| pair.map(|&(isa, _)| isa)).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for isa in sets_under_test() {
            assert_eq!(Isa::from_name(isa.name()), Some(isa));
        }
        assert_eq!(Isa::from_name("sse9"), None);
    }
}
