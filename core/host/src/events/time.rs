//! Times as text, in UTC.

use std::time::{Duration, SystemTime};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// `2026-01-31T23:59:59.123Z`.
pub(super) fn iso(time: SystemTime) -> String {
    let (year, month, day, hour, minute, second) = civil(time);
    let milli = since(time).subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// `20260131_235959`, for names of files.
pub(super) fn compact(time: SystemTime) -> String {
    let (year, month, day, hour, minute, second) = civil(time);
    format!("{year:04}{month:02}{day:02}_{hour:02}{minute:02}{second:02}")
}

/// Whole seconds since 1970.
pub(super) fn unix(time: SystemTime) -> u64 {
    since(time).as_secs()
}

/// When it is next so many seconds after midnight, later than `time`.
pub(super) fn next_daily(time: SystemTime, second_of_day: u64) -> SystemTime {
    let now = unix(time);
    let today = now - now % DAY + second_of_day;
    SystemTime::UNIX_EPOCH + Duration::from_secs(if today > now { today } else { today + DAY })
}

fn since(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Year, month, day, hour, minute, second.
fn civil(time: SystemTime) -> (u64, u64, u64, u64, u64, u64) {
    let (days, second) = (unix(time) / DAY, unix(time) % DAY);
    // Years begin in March here, so that the leap day is the last of one; 400 years have as many days each time.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, day, second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        let at = |milli| SystemTime::UNIX_EPOCH + Duration::from_millis(milli);
        for (milli, text) in [
            (7, "1970-01-01T00:00:00.007Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_798_761_599_000, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(iso(at(milli)), text);
        }
        assert_eq!(compact(at(1_798_761_599_000)), "20261231_235959");
        assert_eq!(iso(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn the_next_time_of_the_day_is_later() {
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        assert_eq!(next_daily(at(10 * DAY + 99), 100), at(10 * DAY + 100));
        assert_eq!(next_daily(at(10 * DAY + 100), 100), at(11 * DAY + 100));
        assert_eq!(next_daily(at(10 * DAY), 0), at(11 * DAY));
    }
}
