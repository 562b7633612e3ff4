//! The allocator of the program, and how much it has given out.
//!
//! Each message of a publisher is a piece of memory that lives for the seconds of a group of pictures, among
//! a hundred thousand others. The allocator of the C library keeps its books beside each piece, and with a
//! thousand publishers looking at them took a fifth of a worker's time: mimalloc keeps them together.

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
    sync::atomic::{AtomicI64, AtomicUsize, Ordering},
};

use mimalloc::MiMalloc;

/// Counters that threads share out among themselves. More threads than that share some.
const COUNTERS: usize = 64;

/// Memory as the program asks for it, counted.
pub(crate) struct Memory;

/// A counter on a cache line of its own, so that threads do not wait for each other.
#[repr(align(128))]
struct Counter(AtomicI64);

static COUNTED: [Counter; COUNTERS] = [const { Counter(AtomicI64::new(0)) }; COUNTERS];
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The counter of this thread. It has no destructor: memory is asked for until the thread's very end.
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Has the allocator ask for large pages and give back no smaller ones, unless the environment forbids it
/// (`MIMALLOC_ALLOW_THP=0`). To be called before other threads ask for memory.
///
/// Streams are spread over hundreds of megabytes, in which the processor has to look up each page of 4 KiB again and
/// again; and what leaves with one group of pictures is needed for the next, so giving it back by the page is work for
/// nothing.
pub(crate) fn use_large_pages() {
    /// `mi_option_allow_thp`, for which the crate has no name.
    const ALLOW_LARGE_PAGES: libmimalloc_sys::mi_option_t = 43;
    const IF_THE_SYSTEM_DOES: std::ffi::c_long = 1;
    const WHEREVER_POSSIBLE: std::ffi::c_long = 2;
    // SAFETY: both functions look at a table of numbers, and nobody else does at this time.
    unsafe {
        if libmimalloc_sys::mi_option_get(ALLOW_LARGE_PAGES) == IF_THE_SYSTEM_DOES {
            libmimalloc_sys::mi_option_set(ALLOW_LARGE_PAGES, WHEREVER_POSSIBLE);
        }
    }
}

/// Bytes that have been asked for and not been given back.
pub(crate) fn allocated() -> u64 {
    let sum = COUNTED.iter().map(|counter| counter.0.load(Ordering::Relaxed)).sum::<i64>();
    // Counters are read one after the other while threads go on.
    u64::try_from(sum).unwrap_or_default()
}

fn count(bytes: i64) {
    let mine = MINE.try_with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % COUNTERS);
        }
        mine.get()
    });
    COUNTED[mine.unwrap_or_default()].0.fetch_add(bytes, Ordering::Relaxed);
}

/// Tests that look at the memory of the whole process take their turns. All others use little.
#[cfg(test)]
pub(super) static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// No piece of memory is larger than this type holds.
fn size(layout: Layout) -> i64 {
    layout.size() as i64
}

// SAFETY: everything is handed on to an allocator that keeps the rules; counting touches no memory of theirs.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the rules of this very function.
        let memory = unsafe { MiMalloc.alloc(layout) };
        if !memory.is_null() {
            count(size(layout));
        }
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let memory = unsafe { MiMalloc.alloc_zeroed(layout) };
        if !memory.is_null() {
            count(size(layout));
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(memory, layout) };
        count(-size(layout));
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        let memory = unsafe { MiMalloc.realloc(memory, layout, new_size) };
        if !memory.is_null() {
            count(new_size as i64 - size(layout));
        }
        memory
    }
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, sync::PoisonError, thread};

    use super::*;

    #[test]
    fn what_is_asked_for_is_counted_until_it_is_given_back_by_whichever_thread() {
        const MUCH: usize = 32 << 20;
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let before = allocated();
        let mut memory = black_box(Vec::<u8>::with_capacity(MUCH));
        memory.reserve_exact(2 * MUCH);
        // Other tests ask for a little and give it back meanwhile.
        let grown = allocated().saturating_sub(before);
        assert!((MUCH as u64 * 3 / 2..4 * MUCH as u64).contains(&grown), "{grown}");
        thread::spawn(move || drop(memory)).join().unwrap();
        assert!(allocated().saturating_sub(before) < MUCH as u64);
    }
}
