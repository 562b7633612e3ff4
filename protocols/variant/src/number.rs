//! Numbers: the types that the formats have for them.

/// The largest number below which each whole number is a double of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A number as the formats write it: in the smallest type that holds it exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int8(i8),
    Uint8(u8),
    Int16(i16),
    Uint16(u16),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Double(f64),
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        let Some(whole) = whole(number) else { return Self::Double(number) };
        if let Ok(number) = i8::try_from(whole) {
            Self::Int8(number)
        } else if let Ok(number) = u8::try_from(whole) {
            Self::Uint8(number)
        } else if let Ok(number) = i16::try_from(whole) {
            Self::Int16(number)
        } else if let Ok(number) = u16::try_from(whole) {
            Self::Uint16(number)
        } else if let Ok(number) = i32::try_from(whole) {
            Self::Int32(number)
        } else if let Ok(number) = u32::try_from(whole) {
            Self::Uint32(number)
        } else {
            Self::Int64(whole)
        }
    }
}

/// The whole number that `number` is: no fraction, no minus zero, and not so large that doubles skip numbers.
pub(crate) fn whole(number: f64) -> Option<i64> {
    let whole = number.trunc() == number && number.abs() <= EXACT;
    (whole && !(number == 0.0 && number.is_sign_negative())).then_some(number as i64)
}

/// A double as text that reads as the same number, here and with C's `scanf`.
pub(crate) fn double_text(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    // Without an exponent the largest would have 309 digits.
    match number.abs() {
        0.0 => format!("{number}"),
        size if size.is_finite() && !(1e-5..1e17).contains(&size) => format!("{number:e}"),
        _ => format!("{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_take_the_smallest_type_that_holds_them() {
        for (number, expected) in [
            (0.0, Number::Int8(0)),
            (127.0, Number::Int8(127)),
            (-128.0, Number::Int8(-128)),
            (128.0, Number::Uint8(128)),
            (255.0, Number::Uint8(255)),
            (-129.0, Number::Int16(-129)),
            (256.0, Number::Int16(256)),
            (32_768.0, Number::Uint16(32_768)),
            (65_536.0, Number::Int32(65_536)),
            (-32_769.0, Number::Int32(-32_769)),
            (2_147_483_648.0, Number::Uint32(1 << 31)),
            (4_294_967_296.0, Number::Int64(1 << 32)),
            (-EXACT, Number::Int64(-(1 << 53))),
            (EXACT, Number::Int64(1 << 53)),
            (EXACT * 2.0, Number::Double(EXACT * 2.0)),
            (0.5, Number::Double(0.5)),
            (f64::INFINITY, Number::Double(f64::INFINITY)),
        ] {
            assert_eq!(Number::from(number), expected, "{number}");
        }
        assert!(matches!(Number::from(-0.0), Number::Double(zero) if zero.is_sign_negative()));
        assert!(matches!(Number::from(f64::NAN), Number::Double(_)));
    }

    #[test]
    fn doubles_read_as_what_was_written() {
        for number in [0.1, -0.0, 1e-300, -1.5e300, f64::MAX, f64::MIN_POSITIVE, 1e17, 123.456, f64::INFINITY]
        {
            let text = double_text(number);
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), number.to_bits(), "{text}");
            assert!(text.len() < 30, "{text}");
        }
        assert_eq!(double_text(f64::NAN), "nan");
        assert_eq!(double_text(f64::NEG_INFINITY), "-inf");
    }
}
