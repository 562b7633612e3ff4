//! Memory that is about to be needed.
//!
//! Thousands of streams do not fit into a processor's caches, and what one message touches lies behind one pointer
//! after another: most of the time of a server full of small streams would be waiting for memory. So before a worker
//! deals with a group of connections it walks along their pointers, a step for all of them and then the next, and asks
//! for what it finds: while the memory of the first is on its way the others are asked for.
//!
//! A function `fetch(depth)` asks for what lies `depth` pointers away, and expects that what is nearer has been asked
//! for before. Where it knows nothing so far away it does nothing.

/// Asks the processor to bring the memory of `thing` near, and does not wait for it. What it points to is not asked
/// for. Does nothing on processors for which we do not know how.
#[inline]
pub fn fetch<T: ?Sized>(thing: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const LINE: usize = 64;
        let start = std::ptr::from_ref(thing).cast::<i8>();
        for at in (0..size_of_val(thing)).step_by(LINE) {
            // SAFETY: a hint reads nothing and faults nowhere, whatever the address.
            #[expect(unsafe_code, reason = "the language has no other way to say it")]
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at));
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = thing;
}

#[cfg(test)]
mod tests {
    #[test]
    fn anything_can_be_asked_for() {
        super::fetch::<[u8]>(&[]);
        super::fetch(&());
        super::fetch(&[0_u64; 100]);
        super::fetch("text");
    }
}
