//! Moments as crtmpserver writes them: whole seconds, UTC, years 1 to 9999.

/// 0001-01-01 00:00:00, in seconds from 1970.
const FIRST: f64 = -62_135_596_800.0;

/// 9999-12-31 23:59:59, in seconds from 1970.
const LAST: f64 = 253_402_300_799.0;

const DAY: i64 = 86_400;

/// The whole seconds from 1970 of a moment that the formats can write.
pub(crate) fn seconds(unix_ms: f64) -> Option<i64> {
    let seconds = (unix_ms / 1000.0).floor();
    (FIRST..=LAST).contains(&seconds).then_some(seconds as i64)
}

/// The text of such a moment: `2012-05-31T17:45:00.000`. The fraction is always 0: crtmpserver reads no other.
pub(crate) fn text(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(DAY));
    let time = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000")
}

/// Reads `2012-05-31T17:45:00`, with or without a fraction and `Z`; in ms from 1970.
pub(crate) fn parse_timestamp(text: &str) -> Option<f64> {
    let (date, time) = text.split_once('T')?;
    Some(parse_date(date)? + parse_time(time.strip_suffix('Z').unwrap_or(time))?)
}

/// Reads `2012-05-31`; in ms from 1970.
pub(crate) fn parse_date(text: &str) -> Option<f64> {
    let [year, month, day] = fields(text, '-', [4, 2, 2])?;
    let known = (1..=9999).contains(&year) && (1..=12).contains(&month);
    if !known || !(1..=month_length(year, month)).contains(&day) {
        return None;
    }
    Some((days(year, month, day) * DAY) as f64 * 1000.0)
}

/// Reads `17:45:00`, with or without a fraction; in ms from midnight.
pub(crate) fn parse_time(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let [hour, minute, second] = fields(whole, ':', [2, 2, 2])?;
    let digits = (1..=9).contains(&fraction.len()) && fraction.bytes().all(|digit| digit.is_ascii_digit());
    if hour > 23 || minute > 59 || second > 59 || !digits {
        return None;
    }
    let fraction: f64 = format!("0.{fraction}").parse().ok()?;
    // Finer than a millisecond nobody asked.
    Some((hour * 3600 + minute * 60 + second) as f64 * 1000.0 + (fraction * 1000.0).floor())
}

/// Three numbers of just so many digits.
fn fields(text: &str, between: char, lengths: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let mut found = [0; 3];
    for (field, length) in found.iter_mut().zip(lengths) {
        let part = parts.next()?;
        if part.len() != length || !part.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        *field = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

fn month_length(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a day. Years that begin in March have their odd day at the end, and months that follow
/// a straight line: 153 days in five of them.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 719_469
}

/// The opposite of [`days`]: a guess of the year that is never too early, put right.
fn civil(day: i64) -> (i64, i64, i64) {
    let mut year = 1970 + day.div_euclid(if day < 0 { 366 } else { 365 });
    while days(year, 1, 1) > day {
        year -= ((days(year, 1, 1) - day) / 366).max(1);
    }
    let month = (1..=12).rev().find(|month| days(year, *month, 1) <= day).unwrap_or(1);
    (year, month, day - days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (at, expected) in [
            (0, "1970-01-01T00:00:00.000"),
            (-1, "1969-12-31T23:59:59.000"),
            (951_782_400, "2000-02-29T00:00:00.000"),
            (1_338_486_300, "2012-05-31T17:45:00.000"),
            (4_107_542_400, "2100-03-01T00:00:00.000"),
            (-62_135_596_800, "0001-01-01T00:00:00.000"),
            (253_402_300_799, "9999-12-31T23:59:59.000"),
        ] {
            assert_eq!(text(at), expected);
            assert_eq!(parse_timestamp(expected), Some(at as f64 * 1000.0));
        }
    }

    #[test]
    fn every_day_of_the_years_1_to_9999_is_there_once() {
        let mut expected = days(1, 1, 1);
        assert_eq!(expected * DAY, FIRST as i64);
        for year in 1..=9999 {
            for month in 1..=12 {
                assert_eq!(days(year, month, 1), expected, "{year}-{month}");
                let length = month_length(year, month);
                for day in [1, 2, length] {
                    assert_eq!(civil(expected + day - 1), (year, month, day));
                }
                expected += length;
            }
        }
        assert_eq!(expected * DAY - 1, LAST as i64);
    }

    #[test]
    fn moments_that_have_no_text() {
        for odd in [f64::NAN, f64::INFINITY, -1e300, (FIRST - 1.0) * 1000.0, (LAST + 1.0) * 1000.0] {
            assert_eq!(seconds(odd), None, "{odd}");
        }
        assert_eq!(seconds(1999.0), Some(1));
        assert_eq!(seconds(-1.0), Some(-1));
        assert_eq!(seconds(LAST * 1000.0 + 999.0), Some(LAST as i64));
    }

    #[test]
    fn texts_are_read_strictly() {
        assert_eq!(parse_timestamp("1970-01-01T00:00:01.25Z"), Some(1250.0));
        assert_eq!(parse_timestamp("1970-01-02T00:00:00"), Some(86_400_000.0));
        assert_eq!(parse_date("1970-01-03"), Some(172_800_000.0));
        assert_eq!(parse_time("01:02:03.000"), Some(3_723_000.0));
        for odd in [
            "",
            "T",
            "1970-01-01",
            "0000-01-01T00:00:00",
            "1970-13-01T00:00:00",
            "1970-00-01T00:00:00",
            "1900-02-29T00:00:00",
            "1970-01-32T00:00:00",
            "1970-01-00T00:00:00",
            "1970-01-01T24:00:00",
            "1970-01-01T00:60:00",
            "1970-01-01T00:00:60",
            "1970-01-01T00:00:00.",
            "1970-01-01T00:00:00.-1",
            "1970-01-01T00:00:00.1234567890",
            "1970-01-01T00:00:00+01:00",
            "1970-1-1T0:0:0",
            "+970-01-01T00:00:00",
            "1970-01-01-01T00:00:00",
            "1970\u{661}01-01T00:00:00",
        ] {
            assert_eq!(parse_timestamp(odd), None, "{odd}");
        }
    }
}
