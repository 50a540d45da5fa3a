//! SSE2, AVX2 and AVX-512: one algorithm, written over a trait of lanes.
//!
//! ```text
//! head = load(0) ^ key;  tail = load(length - LANE) ^ key       both loaded before anything is stored,
//! for each aligned lane between: load, xor, gather, store        so what they overlap is unmasked once, not twice
//! store(0, head);  store(length - LANE, tail)
//! ```
//! The overlap replaces loops over the odd bytes at either end, and lets the middle be aligned: an unaligned store of 64
//! bytes touches two cache lines each time, and payloads never lie aligned behind their headers. What is at most four lanes
//! long has no middle: two lanes from either end, without a loop ([`unmask_ends`]). Up to four lanes of SSE2, which every
//! x86_64 has, that is inlined into the caller, as a call would cost as much as the work; whole numbers are the lanes of
//! what is shorter still.

use std::arch::x86_64::*;

use super::{Unmasker, rotate, scalar};

/// The ways that this processor has, the fastest first.
pub(super) fn present() -> Vec<Unmasker> {
    let mut all = Vec::new();
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: AVX-512F was detected.
        all.push(Unmasker { name: "avx512", unmask_ascii: |bytes, key| unsafe { avx512(bytes, key) } });
    }
    if is_x86_feature_detected!("avx2") {
        // SAFETY: AVX2 was detected.
        all.push(Unmasker { name: "avx2", unmask_ascii: |bytes, key| unsafe { avx2(bytes, key) } });
    }
    all.push(Unmasker { name: "sse2", unmask_ascii: sse2 });
    all
}

/// Most lanes that [`unmask_ends`] takes.
const ENDS_LANES_MAX: usize = 4;

/// Longest payload that is unmasked without asking what the processor has.
const SHORT_BYTES_MAX: usize = ENDS_LANES_MAX * size_of::<__m128i>();

/// The best way for this length on this processor.
#[inline]
pub(super) fn unmask_ascii(bytes: &mut [u8], key: [u8; 4]) -> bool {
    if bytes.len() <= SHORT_BYTES_MAX { short(bytes, key) } else { long(bytes, key) }
}

/// The standard library asks the processor once and keeps the answer; here it is a load and a branch that is foreseen,
/// where a call through a pointer would be a call.
fn long(bytes: &mut [u8], key: [u8; 4]) -> bool {
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: AVX-512F was detected.
        unsafe { avx512(bytes, key) }
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: AVX2 was detected.
        unsafe { avx2(bytes, key) }
    } else {
        sse2(bytes, key)
    }
}

#[target_feature(enable = "avx512f")]
fn avx512(bytes: &mut [u8], key: [u8; 4]) -> bool {
    if bytes.len() <= SHORT_BYTES_MAX {
        return short(bytes, key);
    }
    // SAFETY: this function runs with AVX-512F, and what is longer than `SHORT_BYTES_MAX` fills a lane.
    unsafe { unmask_lanes::<__m512i>(bytes, key) }
}

#[target_feature(enable = "avx2")]
fn avx2(bytes: &mut [u8], key: [u8; 4]) -> bool {
    if bytes.len() <= SHORT_BYTES_MAX {
        return short(bytes, key);
    }
    // SAFETY: this function runs with AVX2, and what is longer than `SHORT_BYTES_MAX` fills a lane.
    unsafe { unmask_lanes::<__m256i>(bytes, key) }
}

fn sse2(bytes: &mut [u8], key: [u8; 4]) -> bool {
    if bytes.len() <= SHORT_BYTES_MAX {
        return short(bytes, key);
    }
    // SAFETY: every x86_64 has SSE2, and what is longer than `SHORT_BYTES_MAX` fills a lane.
    unsafe { unmask_lanes::<__m128i>(bytes, key) }
}

/// At most `SHORT_BYTES_MAX` bytes.
#[inline(always)]
fn short(bytes: &mut [u8], key: [u8; 4]) -> bool {
    debug_assert!(bytes.len() <= SHORT_BYTES_MAX);
    // SAFETY: every x86_64 has SSE2 and numbers; the bytes fill one lane of those named and are at most four of them.
    unsafe {
        match bytes.len() {
            16.. => unmask_ends::<__m128i>(bytes, key),
            8.. => unmask_ends::<u64>(bytes, key),
            4.. => unmask_ends::<u32>(bytes, key),
            _ => scalar::unmask_ascii(bytes, key),
        }
    }
}

/// A register of bytes.
///
/// # Safety
/// Each method runs only on a processor that has the type's instructions; `load` and `store` touch `size_of::<Self>()`
/// bytes at any address.
unsafe trait Lane: Copy {
    unsafe fn splat(key: [u8; 4]) -> Self;
    unsafe fn load(from: *const u8) -> Self;
    unsafe fn store(self, to: *mut u8);
    unsafe fn xor(self, other: Self) -> Self;
    unsafe fn or(self, other: Self) -> Self;
    unsafe fn has_sign_bit(self) -> bool;
}

/// The algorithm of the module's head. No closures: they would not have the caller's instructions, and each lane would be
/// a call (ten times slower, which is why it is written out).
///
/// # Safety
/// The processor has the lane's instructions, and `bytes` is at least one lane long.
#[inline(always)]
unsafe fn unmask_lanes<L: Lane>(bytes: &mut [u8], key: [u8; 4]) -> bool {
    let lane = size_of::<L>();
    let (start, length) = (bytes.as_mut_ptr(), bytes.len());
    if length <= ENDS_LANES_MAX * lane {
        // SAFETY: the caller has the instructions, and the bytes fill a lane.
        return unsafe { unmask_ends::<L>(bytes, key) };
    }
    let tail_at = length - lane;
    // SAFETY: the caller has the instructions. Every access is of one lane at an offset of at most `tail_at`, so inside of
    // `bytes`: 0, `tail_at`, and in the loops `at < tail_at` or `at + 4 * lane <= tail_at`.
    unsafe {
        let head = L::load(start).xor(L::splat(key));
        let tail = L::load(start.add(tail_at)).xor(L::splat(rotate(key, tail_at)));
        let mut seen = head.or(tail);
        let mut at = lane - (start as usize) % lane;
        let middle_key = L::splat(rotate(key, at));
        while at + 4 * lane <= tail_at {
            let to = start.add(at);
            let a = L::load(to).xor(middle_key);
            let b = L::load(to.add(lane)).xor(middle_key);
            let c = L::load(to.add(2 * lane)).xor(middle_key);
            let d = L::load(to.add(3 * lane)).xor(middle_key);
            seen = seen.or(a.or(b).or(c.or(d)));
            a.store(to);
            b.store(to.add(lane));
            c.store(to.add(2 * lane));
            d.store(to.add(3 * lane));
            at += 4 * lane;
        }
        while at < tail_at {
            let unmasked = L::load(start.add(at)).xor(middle_key);
            seen = seen.or(unmasked);
            unmasked.store(start.add(at));
            at += lane;
        }
        head.store(start);
        tail.store(start.add(tail_at));
        !seen.has_sign_bit()
    }
}

/// Two lanes from either end, or one; what they overlap is loaded by both before it is stored by either.
///
/// # Safety
/// The processor has the lane's instructions, and `bytes` is one to four lanes long.
#[inline(always)]
unsafe fn unmask_ends<L: Lane>(bytes: &mut [u8], key: [u8; 4]) -> bool {
    let lane = size_of::<L>();
    let (start, length) = (bytes.as_mut_ptr(), bytes.len());
    debug_assert!((lane..=ENDS_LANES_MAX * lane).contains(&length));
    let tail_at = length - lane;
    // SAFETY: the caller has the instructions. Every access is of one lane at an offset of at most `tail_at`, so inside of
    // `bytes`: 0, `tail_at`, and where that is more than `lane`, `lane` and `tail_at - lane`.
    unsafe {
        // A lane is a multiple of the key's length, so the key stands the same at `tail_at` and at `length`.
        let (head_key, tail_key) = (L::splat(key), L::splat(rotate(key, length)));
        let head = L::load(start).xor(head_key);
        let tail = L::load(start.add(tail_at)).xor(tail_key);
        let mut seen = head.or(tail);
        if length > 2 * lane {
            let behind_head = L::load(start.add(lane)).xor(head_key);
            let before_tail = L::load(start.add(tail_at - lane)).xor(tail_key);
            seen = seen.or(behind_head.or(before_tail));
            behind_head.store(start.add(lane));
            before_tail.store(start.add(tail_at - lane));
        }
        head.store(start);
        tail.store(start.add(tail_at));
        !seen.has_sign_bit()
    }
}

// SAFETY: the methods are single SSE2 instructions; loads and stores are the unaligned ones.
unsafe impl Lane for __m128i {
    #[inline(always)]
    unsafe fn splat(key: [u8; 4]) -> Self {
        // SAFETY: the trait's contract: the processor has SSE2.
        unsafe { _mm_set1_epi32(i32::from_ne_bytes(key)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the trait's contract: SSE2, and 16 readable bytes.
        unsafe { _mm_loadu_si128(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the trait's contract: SSE2, and 16 writable bytes.
        unsafe { _mm_storeu_si128(to.cast(), self) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: the trait's contract: the processor has SSE2.
        unsafe { _mm_xor_si128(self, other) }
    }
    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: the trait's contract: the processor has SSE2.
        unsafe { _mm_or_si128(self, other) }
    }
    #[inline(always)]
    unsafe fn has_sign_bit(self) -> bool {
        // SAFETY: the trait's contract: the processor has SSE2.
        unsafe { _mm_movemask_epi8(self) != 0 }
    }
}

// SAFETY: the methods are single AVX2 instructions; loads and stores are the unaligned ones.
unsafe impl Lane for __m256i {
    #[inline(always)]
    unsafe fn splat(key: [u8; 4]) -> Self {
        // SAFETY: the trait's contract: the processor has AVX2.
        unsafe { _mm256_set1_epi32(i32::from_ne_bytes(key)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the trait's contract: AVX2, and 32 readable bytes.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the trait's contract: AVX2, and 32 writable bytes.
        unsafe { _mm256_storeu_si256(to.cast(), self) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: the trait's contract: the processor has AVX2.
        unsafe { _mm256_xor_si256(self, other) }
    }
    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: the trait's contract: the processor has AVX2.
        unsafe { _mm256_or_si256(self, other) }
    }
    #[inline(always)]
    unsafe fn has_sign_bit(self) -> bool {
        // SAFETY: the trait's contract: the processor has AVX2.
        unsafe { _mm256_movemask_epi8(self) != 0 }
    }
}

// SAFETY: the methods are single AVX-512F instructions; loads and stores are the unaligned ones.
unsafe impl Lane for __m512i {
    #[inline(always)]
    unsafe fn splat(key: [u8; 4]) -> Self {
        // SAFETY: the trait's contract: the processor has AVX-512F.
        unsafe { _mm512_set1_epi32(i32::from_ne_bytes(key)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the trait's contract: AVX-512F, and 64 readable bytes.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the trait's contract: AVX-512F, and 64 writable bytes.
        unsafe { _mm512_storeu_si512(to.cast(), self) }
    }
    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: the trait's contract: the processor has AVX-512F.
        unsafe { _mm512_xor_si512(self, other) }
    }
    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: the trait's contract: the processor has AVX-512F.
        unsafe { _mm512_or_si512(self, other) }
    }
    #[inline(always)]
    unsafe fn has_sign_bit(self) -> bool {
        // SAFETY: the trait's contract: the processor has AVX-512F. (AVX-512F alone has no test of bytes: of words it has.)
        unsafe { _mm512_test_epi32_mask(self, _mm512_set1_epi32(i32::from_ne_bytes([0x80; 4]))) != 0 }
    }
}

/// A whole number as a lane; `$keys` times a 32-bit key is the key as often as it fits.
macro_rules! number_lane {
    ($number:ty, $keys:literal) => {
        // SAFETY: numbers need no instructions of their own; loads and stores are the unaligned ones.
        unsafe impl Lane for $number {
            #[inline(always)]
            unsafe fn splat(key: [u8; 4]) -> Self {
                Self::from(u32::from_ne_bytes(key)) * $keys
            }
            #[inline(always)]
            unsafe fn load(from: *const u8) -> Self {
                // SAFETY: the trait's contract: as many readable bytes as the number has.
                unsafe { from.cast::<Self>().read_unaligned() }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut u8) {
                // SAFETY: the trait's contract: as many writable bytes as the number has.
                unsafe { to.cast::<Self>().write_unaligned(self) }
            }
            #[inline(always)]
            unsafe fn xor(self, other: Self) -> Self {
                self ^ other
            }
            #[inline(always)]
            unsafe fn or(self, other: Self) -> Self {
                self | other
            }
            #[inline(always)]
            unsafe fn has_sign_bit(self) -> bool {
                self & Self::from_ne_bytes([0x80; size_of::<Self>()]) != 0
            }
        }
    };
}

number_lane!(u32, 1);
number_lane!(u64, 0x1_0000_0001);
