//! Writing cache lines back: the instruction, and the fence that completes it.

use crate::units::LINE_SIZE;
#[cfg(target_arch = "x86_64")]
use std::arch::asm;

/// The instruction that writes a cache line back.
///
/// It is chosen by CPUID at run time, never at compile time: a processor (or valgrind) without `clwb` would kill the
/// process at the first one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlushInstruction {
    /// Writes the line back and keeps it cached.
    Clwb,
    /// Writes the line back and drops it from the cache.
    Clflushopt,
    /// As `Clflushopt`, one line at a time.
    Clflush,
    /// This processor has no known instruction. Only media that need none are safe here.
    Nothing,
}

impl FlushInstruction {
    /// The best instruction of this processor.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[must_use]
    #[allow(unused_unsafe, reason = "newer compilers call CPUID safe, the oldest supported one does not")]
    pub fn detect() -> Self {
        use std::arch::x86_64::{__cpuid, __cpuid_count};
        // Asked only once, because in a virtual machine the host answers CPUID, which takes tens of microseconds.
        static BEST: crate::sync::Global<FlushInstruction> = crate::sync::Global::new(|| {
            // SAFETY: every x86-64 processor has CPUID.
            let (highest, leaf1) = unsafe { (__cpuid(0).eax, __cpuid(1).edx) };
            // SAFETY: as above.
            let leaf7 = if highest >= 7 { unsafe { __cpuid_count(7, 0).ebx } } else { 0 };
            FlushInstruction::choose(leaf1, leaf7)
        });
        *BEST.get()
    }

    /// The best instruction of this processor.
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    #[must_use]
    pub fn detect() -> Self {
        Self::Nothing
    }

    /// The best instruction for a processor that returns `edx` for CPUID leaf 1 and `ebx` for leaf 7.
    #[must_use]
    pub const fn choose(edx: u32, ebx: u32) -> Self {
        if ebx & 1 << 24 != 0 {
            Self::Clwb
        } else if ebx & 1 << 23 != 0 {
            Self::Clflushopt
        } else if edx & 1 << 19 != 0 {
            Self::Clflush
        } else {
            Self::Nothing
        }
    }

    /// Starts writing back `count` lines from `first`.
    ///
    /// # Safety
    /// The lines are mapped, and this processor has the instruction.
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))]
    pub(super) unsafe fn flush(self, first: *const u8, count: u64) {
        for line in (0..count as usize).map(|i| first.wrapping_add(i * LINE_SIZE)) {
            #[cfg(target_arch = "x86_64")]
            match self {
                // SAFETY: the caller's promise; a write-back changes no memory, register or flag.
                Self::Clwb => unsafe { asm!("clwb [{}]", in(reg) line, options(nostack, preserves_flags)) },
                // SAFETY: as above.
                Self::Clflushopt => unsafe {
                    asm!("clflushopt [{}]", in(reg) line, options(nostack, preserves_flags))
                },
                // SAFETY: as above.
                Self::Clflush => unsafe {
                    asm!("clflush [{}]", in(reg) line, options(nostack, preserves_flags))
                },
                Self::Nothing => {}
            }
        }
    }
}

/// Orders this thread's flushes and non-temporal stores before all its later stores, and completes them.
pub(super) fn fence() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: `sfence` changes neither registers nor flags; the compiler must not move stores over it (no `nomem`).
    unsafe {
        asm!("sfence", options(nostack, preserves_flags));
    }
    // ORDERING: SeqCst: stands in for a store fence, which orders stores before later loads of others, too; AcqRel
    // would let a store pass a later load.
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}
