//! What the process takes of the machine: memory, open files, threads.

use std::{fs, path::Path};

use nix::unistd::{SysconfVar, sysconf};
use serde_json::{Value, json};

use super::memory;

/// What the process holds now. What the system does not tell is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes of the heap that are in use, by the allocator.
    pub(crate) allocated_bytes: Option<u64>,
    /// Bytes of the process that are in memory, by the kernel.
    pub(crate) resident_bytes: Option<u64>,
    /// Open files and sockets.
    pub(crate) open_files: Option<u64>,
    /// Threads.
    pub(crate) threads: Option<u64>,
}

impl Usage {
    /// Looks now.
    pub(crate) fn now() -> Self {
        // The folder through which the files are counted is open for that time, and one of them.
        let open_files = entries("/proc/self/fd").map(|count| count.saturating_sub(1));
        Self {
            allocated_bytes: Some(allocated()),
            resident_bytes: resident(),
            open_files,
            threads: entries("/proc/self/task"),
        }
    }

    /// The object `process` of the counters.
    pub(crate) fn json(&self) -> Value {
        json!({
            "allocatedBytes": self.allocated_bytes,
            "residentBytes": self.resident_bytes,
            "openFiles": self.open_files,
            "threads": self.threads,
        })
    }
}

fn entries(folder: &str) -> Option<u64> {
    u64::try_from(fs::read_dir(Path::new(folder)).ok()?.count()).ok()
}

fn resident() -> Option<u64> {
    let pages = resident_pages(&fs::read_to_string("/proc/self/statm").ok()?)?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    pages.checked_mul(u64::try_from(page).ok()?)
}

/// The second number of `/proc/self/statm`.
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// What the program has asked for, and what has been asked of the C library: by plugins, and by Lua.
fn allocated() -> u64 {
    memory::allocated().saturating_add(of_c_library())
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn of_c_library() -> u64 {
    // SAFETY: the call takes nothing and may be made from any thread; it locks what it looks at.
    let info = unsafe { nix::libc::mallinfo2() };
    // What lies in the heaps of all threads, and what has a mapping of its own.
    info.uordblks.saturating_add(info.hblkhd) as u64
}

/// Other C libraries do not tell.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn of_c_library() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use std::{fs::File, hint::black_box, thread};

    use super::*;

    #[test]
    fn pages_are_the_second_number() {
        assert_eq!(resident_pages("1000 57 12 1 0 300 0\n"), Some(57));
        assert_eq!(resident_pages(""), None);
        assert_eq!(resident_pages("1000 many"), None);
    }

    #[test]
    fn what_is_not_told_is_null() {
        let usage = Usage { threads: Some(3), ..Usage::default() };
        let expected =
            json!({ "allocatedBytes": null, "residentBytes": null, "openFiles": null, "threads": 3 });
        assert_eq!(usage.json(), expected);
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn memory_files_and_threads_are_seen() {
        const MEMORY: u64 = 256 << 20;
        const FILES: u64 = 100;
        let _alone = memory::ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = Usage::now();
        let memory = black_box(vec![1_u8; MEMORY as usize]);
        let files: Vec<File> = (0..FILES).map(|_| File::open("/dev/null").unwrap()).collect();
        let during = thread::spawn(Usage::now).join().unwrap();
        let grown = |of: fn(&Usage) -> Option<u64>| of(&during).unwrap().saturating_sub(of(&before).unwrap());
        assert!(grown(|usage| usage.allocated_bytes) > MEMORY / 2);
        // What others have given back may stay with the program, and be used again: it does not grow then.
        assert!(during.resident_bytes.unwrap() > MEMORY / 2);
        assert!(grown(|usage| usage.open_files) > FILES / 2);
        assert!(during.threads.unwrap() >= 2);
        drop((memory, files));
        let after = Usage::now();
        assert!(after.allocated_bytes.unwrap() < during.allocated_bytes.unwrap() - MEMORY / 2);
        assert!(after.open_files.unwrap() < during.open_files.unwrap() - FILES / 2);
    }
}
