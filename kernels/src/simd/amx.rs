//! AMX (TILE, BF16) beside AVX-512: eight tile registers of 16 rows of 64 bytes, and their product.
//!
//! Stable Rust has no intrinsics for tiles; [`crate::gemm`] writes the products in assembly. Here stand what they need:
//! the proof that tiles may be used ([`Amx`]) and the configuration of the registers ([`Tiles`]).
//!
//! A process must ask Linux for the permission to use tiles (arch_prctl with ARCH_REQ_XCOMP_PERM; the kernel's
//! Documentation/arch/x86/xstate.rst). It is asked for once, when the set is first looked for. Where it is refused, or
//! there is another system, the set is missing like one that the processor lacks.

use super::{Avx512, Avx512Bf16};
use crate::cpuid;
use std::arch::asm;
use std::cell::Cell;
use std::marker::PhantomData;

/// The token of AMX: holding one proves that the processor has the tiles with their bf16 product, AVX-512 with its bf16
/// conversions, and that the process may use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amx(Avx512Bf16);

impl Amx {
    /// The token, if the processor and the system offer the set.
    pub fn detect() -> Option<Self> {
        use std::sync::OnceLock;
        static PERMITTED: OnceLock<bool> = OnceLock::new();
        let avx512 = Avx512Bf16::detect()?;
        PERMITTED.get_or_init(|| cpuid::has_tiles() && request_permission()).then_some(Self(avx512))
    }

    /// The token of the vector set that goes with it.
    pub fn avx512(self) -> Avx512 {
        self.0.avx512()
    }

    /// That of its conversions to bf16.
    pub fn avx512_bf16(self) -> Avx512Bf16 {
        self.0
    }
}

/// Asks the system for the tiles' state; `false` where it refuses.
#[cfg(target_os = "linux")]
fn request_permission() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: a system call with two numbers; it touches no memory of ours, and `rcx` and `r11` are declared lost.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn request_permission() -> bool {
    false
}

/// The most rows of a tile.
pub(crate) const TILE_ROWS: usize = 16;

/// This thread's tile registers, configured for as long as the value lives, for two row tiles: registers 0 and 1 hold C and
/// 4 holds A of the upper one, 2 and 3 hold C and 5 holds A of the lower one, with as many rows as each has; 6 and 7 hold B
/// with sixteen. Rows have 64 bytes everywhere.
///
/// LDTILECFG takes about 190 cycles and TILERELEASE 40 (Sapphire Rapids), as much as fifteen tile products: a walk over
/// many blocks configures once.
pub(crate) struct Tiles {
    rows: Cell<[usize; 2]>,
    /// The configuration belongs to the thread.
    _thread: PhantomData<*const ()>,
}

/// What LDTILECFG reads: palette, start row, then bytes a row and rows of each register.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Tiles {
    /// Configures the registers for row tiles of `rows` rows each, 1 to 16. One at a time a thread: a second would replace
    /// the first.
    pub(crate) fn configure(_proof: Amx, rows: [usize; 2]) -> Self {
        let tiles = Self { rows: Cell::new([0; 2]), _thread: PhantomData };
        tiles.set_rows(rows);
        tiles
    }

    /// Configures them anew if they are for other rows. What they hold is lost then.
    pub(crate) fn set_rows(&self, rows: [usize; 2]) {
        if self.rows.replace(rows) == rows {
            return;
        }
        assert!(rows.iter().all(|rows| (1..=TILE_ROWS).contains(rows)), "tiles of {rows:?} rows");
        let mut configuration =
            Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        configuration.row_bytes[..8].fill(64);
        let [upper, lower] = rows.map(|rows| rows as u8);
        let b = TILE_ROWS as u8;
        configuration.rows[..8].copy_from_slice(&[upper, upper, lower, lower, upper, lower, b, b]);
        // SAFETY: the value exists only where the set does; the 64 bytes are a valid configuration.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly)) };
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the value exists only where the set does. Giving the state back makes switches of threads cheaper.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
