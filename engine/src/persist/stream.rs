//! Stores past the cache: whole lines, which are not read before they are written.
//!
//! Non-temporal stores are outside the language's memory model: later ordinary stores may overtake them. So all of
//! them are in this file, and their users (`Persist::write_nt`, `Persist::zero_nt`) state where a fence must follow.

use crate::units::{FRAME_SIZE, LINE_SIZE};

/// The number of bytes from `to` to the next line boundary, at most `len`.
pub(super) fn head_len(to: *const u8, len: usize) -> usize {
    (to.addr().wrapping_neg() % LINE_SIZE).min(len)
}

/// Copies whole lines.
///
/// # Safety
/// `to` is line-aligned and valid for writes of `lines.len()` bytes, a multiple of the line size; no other thread
/// accesses them meanwhile; the thread that makes them known to others calls [`fence`](super::lines::fence) before.
pub(super) unsafe fn copy(to: *mut u8, lines: &[u8]) {
    debug_assert!(to.addr() % LINE_SIZE == 0 && lines.len() % LINE_SIZE == 0);
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller's promise.
    unsafe {
        x86::copy(to, lines)
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    // SAFETY: the caller's promise.
    unsafe {
        std::ptr::copy_nonoverlapping(lines.as_ptr(), to, lines.len())
    }
}

/// Zeroes whole lines. It is as fast as a copy, because the zeros stay in the first-level cache.
///
/// # Safety
/// As [`copy`], with `len` bytes.
pub(super) unsafe fn zero(to: *mut u8, len: usize) {
    static ZEROS: [u8; FRAME_SIZE] = [0; FRAME_SIZE];
    for done in (0..len).step_by(FRAME_SIZE) {
        // SAFETY: a part of the caller's range.
        unsafe { copy(to.wrapping_add(done), &ZEROS[..FRAME_SIZE.min(len - done)]) }
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86 {
    //! Stores a line at once if the processor can (AVX-512), otherwise in four parts (SSE2, which every x86-64 has).
    //! It uses `asm!` because the intrinsics of AVX-512 are younger than the oldest supported compiler. Registers 16
    //! and up need no `vzeroupper`.

    use crate::units::LINE_SIZE;
    use std::arch::asm;

    fn wide() -> bool {
        std::arch::is_x86_feature_detected!("avx512f")
    }

    /// # Safety
    /// As [`super::copy`].
    pub(super) unsafe fn copy(to: *mut u8, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let (end, from) = (to.wrapping_add(lines.len()), lines.as_ptr());
        if wide() {
            // SAFETY: the caller's promise, and the processor has AVX-512F.
            unsafe {
                asm!(
                    "2:",
                    "vmovdqu64 zmm16, [{from}]",
                    "vmovntdq [{to}], zmm16",
                    "add {from}, {line}",
                    "add {to}, {line}",
                    "cmp {to}, {end}",
                    "jb 2b",
                    to = inout(reg) to => _, from = inout(reg) from => _, end = in(reg) end,
                    line = const LINE_SIZE, out("xmm16") _, options(nostack),
                );
            }
        } else {
            // SAFETY: the caller's promise.
            unsafe {
                asm!(
                    "2:",
                    "movdqu {a}, [{from}]",
                    "movdqu {b}, [{from} + 16]",
                    "movdqu {c}, [{from} + 32]",
                    "movdqu {d}, [{from} + 48]",
                    "movntdq [{to}], {a}",
                    "movntdq [{to} + 16], {b}",
                    "movntdq [{to} + 32], {c}",
                    "movntdq [{to} + 48], {d}",
                    "add {from}, {line}",
                    "add {to}, {line}",
                    "cmp {to}, {end}",
                    "jb 2b",
                    to = inout(reg) to => _, from = inout(reg) from => _, end = in(reg) end,
                    line = const LINE_SIZE,
                    a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
                    options(nostack),
                );
            }
        }
    }
}
