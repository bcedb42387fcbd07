//! A hint to the processor's caches.

/// Begins to load what will be touched soon. Of many timers or sockets few are in a cache, and the misses of several overlap this way instead of
/// following one another.
#[inline]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of every x86_64, and a prefetch is a hint: it doesn't access memory in the sense of the language, and faults at no
    // address, valid or not.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
