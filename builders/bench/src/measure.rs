//! What a process takes of the machine.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A look at some processes, taken together.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// Time on a processor so far, in nanoseconds: exact, not counted in ticks.
    pub cpu: u64,
    /// Time in which they could have run and something else did, in nanoseconds.
    #[serde(default)]
    pub waited: u64,
    /// Resident memory in KiB.
    pub resident: u64,
    /// Their threads.
    pub threads: Vec<Thread>,
}

/// A thread of a sample.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Thread {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Time on a processor so far, in nanoseconds.
    pub cpu: u64,
    /// How often it has gone to sleep by itself.
    pub sleeps: u64,
}

impl Sample {
    /// Looks at processes. Threads that ended before are not in it.
    ///
    /// # Errors
    ///
    /// If a process is gone.
    pub fn of(processes: &[u32]) -> io::Result<Self> {
        let mut sample = Self::default();
        for process in processes {
            let folder = Path::new("/proc").join(process.to_string());
            let status = fs::read_to_string(folder.join("status"))?;
            sample.resident += field(&status, "VmRSS:").unwrap_or(0);
            for task in fs::read_dir(folder.join("task"))?.flatten() {
                // A thread may end between the listing and the look.
                let Some((thread, waited)) = thread(&task.path()) else { continue };
                sample.cpu += thread.cpu;
                sample.waited += waited;
                sample.threads.push(thread);
            }
        }
        Ok(sample)
    }
}

/// A thread, and how long it has waited for a processor in nanoseconds.
fn thread(folder: &Path) -> Option<(Thread, u64)> {
    let (cpu, waited) = run_time(&fs::read_to_string(folder.join("schedstat")).ok()?)?;
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let thread = Thread {
        id: folder.file_name()?.to_str()?.parse().ok()?,
        name: fs::read_to_string(folder.join("comm")).ok()?.trim().to_owned(),
        cpu,
        sleeps: field(&status, "voluntary_ctxt_switches:")?,
    };
    Some((thread, waited))
}

/// The time on a processor and the time of waiting for one, in nanoseconds: the first two numbers in `schedstat`.
fn run_time(schedstat: &str) -> Option<(u64, u64)> {
    let mut numbers = schedstat.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The number behind a label at the beginning of a line.
fn field(status: &str, label: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(run_time("213789998 10075719 533\n"), Some((213_789_998, 10_075_719)));
        assert_eq!(run_time(""), None);
        let status =
            "Name:\tx\nVmRSS:\t   20480 kB\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t9\n";
        assert_eq!(field(status, "VmRSS:"), Some(20_480));
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(7));
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let sample = Sample::of(&[std::process::id()]).expect("it runs");
        assert!(sample.cpu > 0 && sample.resident > 0 && !sample.threads.is_empty());
        assert!(Sample::of(&[u32::MAX]).is_err());
    }
}
