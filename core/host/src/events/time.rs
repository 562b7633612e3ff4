//! Times as text, in UTC.

use std::time::{Duration, SystemTime};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// `2026-01-31T23:59:59.123Z`.
pub(crate) fn iso(time: SystemTime) -> String {
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
pub(crate) fn next_daily(time: SystemTime, second_of_day: u64) -> SystemTime {
    let now = unix(time);
    let today = now - now % DAY + second_of_day;
    SystemTime::UNIX_EPOCH + Duration::from_secs(if today > now { today } else { today + DAY })
}

/// The time that `2026-12-31T23:59:59` means, from 1970 to 9999.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let (date, time) = text.split_once('T')?;
    let second = second_of_day(time)?;
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 4).filter(|year| *year >= 1970)?;
    let month = digits(parts.next()?, 2).filter(|month| (1..=12).contains(month))?;
    let day = digits(parts.next()?, 2).filter(|day| (1..=31).contains(day))?;
    if parts.next().is_some() {
        return None;
    }
    // The days of years that begin in March, as in `civil`.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = years * 365 + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day - 1;
    let second = days.checked_sub(719_468)? * DAY + second;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    // A day that the month does not have is another one.
    (civil(time).2 == day).then_some(time)
}

/// The seconds since midnight that `23:59:59` means.
pub(crate) fn second_of_day(text: &str) -> Option<u64> {
    let mut parts = text.split(':');
    let mut part = |end: u64| digits(parts.next()?, 2).filter(|number| *number < end);
    let second = part(24)? * 3600 + part(60)? * 60 + part(60)?;
    parts.next().is_none().then_some(second)
}

/// A number of exactly so many digits.
fn digits(text: &str, count: usize) -> Option<u64> {
    let plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
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
    fn what_is_written_is_read() {
        for day in (0..60_000).step_by(11) {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(day * DAY + 3661);
            assert_eq!(parse(&iso(time)[..19]), Some(time));
        }
        for text in [
            "1969-12-31T23:59:59",
            "2026-02-29T00:00:00",
            "2026-00-01T00:00:00",
            "2026-13-01T00:00:00",
            "2026-01-00T00:00:00",
            "2026-04-31T00:00:00",
            "2026-01-01T24:00:00",
            "2026-01-01 00:00:00",
            "2026-01-01T00:00:00Z",
            "26-01-01T00:00:00",
            "2026-01-01-01T00:00:00",
            "99999-01-01T00:00:00",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(parse("9999-12-31T23:59:59").is_some());
    }

    #[test]
    fn the_next_time_of_the_day_is_later() {
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        assert_eq!(next_daily(at(10 * DAY + 99), 100), at(10 * DAY + 100));
        assert_eq!(next_daily(at(10 * DAY + 100), 100), at(11 * DAY + 100));
        assert_eq!(next_daily(at(10 * DAY), 0), at(11 * DAY));
    }
}
