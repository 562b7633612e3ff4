//! Time on the wire, and time without end.

/// Turns times modulo 2³² into times that go on for ever.
///
/// Each time is put at the distance of less than 2³¹ ms (24 days) from the one before it, forward or back: the
/// serial arithmetic of Adobe's RTMP specification 1.0, section 5.3.1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwrapper {
    last: Option<i64>,
}

impl Unwrapper {
    /// An unwrapper that takes its first time as it is.
    pub const fn new() -> Self {
        Self { last: None }
    }

    /// The time in milliseconds that `wire` stands for.
    pub fn unwrap(&mut self, wire: u32) -> i64 {
        let time = match self.last {
            None => i64::from(wire),
            Some(last) => last.saturating_add(i64::from(wire.wrapping_sub(last as u32).cast_signed())),
        };
        self.last = Some(time);
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TIME-03.
    #[test]
    fn time_goes_on_beyond_32_bits() {
        let mut unwrapper = Unwrapper::new();
        assert_eq!(unwrapper.unwrap(u32::MAX - 10), 4_294_967_285);
        assert_eq!(unwrapper.unwrap(9), 4_294_967_305);
        assert_eq!(unwrapper.unwrap(u32::MAX), 4_294_967_295, "a step back over the edge");
        assert_eq!(unwrapper.unwrap(0), 4_294_967_296);
    }

    /// TIME-02.
    #[test]
    fn the_31_bit_edge_is_nothing_special() {
        let mut unwrapper = Unwrapper::new();
        assert_eq!(unwrapper.unwrap(0x7FFF_FFFF), 0x7FFF_FFFF);
        assert_eq!(unwrapper.unwrap(0x8000_0001), 0x8000_0001);
        assert_eq!(unwrapper.unwrap(0x7FFF_FFF0), 0x7FFF_FFF0);
    }

    #[test]
    fn time_may_step_back_below_zero() {
        let mut unwrapper = Unwrapper::new();
        unwrapper.unwrap(5);
        assert_eq!(unwrapper.unwrap(u32::MAX), -1);
    }
}
