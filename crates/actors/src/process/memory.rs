//! Detects that a process uses too much memory.

/// The number of consecutive readings above the ceiling: a short peak is no reason for a restart.
const READINGS_ABOVE_MAX: u32 = 3;

/// A ceiling on the memory of a process and its descendants.
#[derive(Debug, Clone)]
pub(crate) struct MemoryCeiling {
    bytes_max: u64,
    readings_above: u32,
}

impl MemoryCeiling {
    /// Creates a ceiling of `bytes` resident bytes.
    #[must_use]
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, readings_above: 0 }
    }

    /// Returns the ceiling, in bytes.
    #[must_use]
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Takes the next reading, and returns true at the third in a row above the ceiling. A failed reading (`None`)
    /// changes nothing.
    pub(crate) fn record_reading(&mut self, resident_bytes: Option<u64>) -> bool {
        let Some(bytes) = resident_bytes else { return false };
        self.readings_above = if bytes > self.bytes_max { self.readings_above + 1 } else { 0 };
        if self.readings_above < READINGS_ABOVE_MAX {
            return false;
        }
        self.readings_above = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exceeded(readings: &[Option<u64>]) -> Vec<bool> {
        let mut ceiling = MemoryCeiling::new(100);
        readings.iter().map(|bytes| ceiling.record_reading(*bytes)).collect()
    }

    #[test]
    fn third_high_reading_in_a_row_exceeds_the_ceiling() {
        assert_eq!(exceeded(&[Some(101), Some(500), Some(101)]), [false, false, true]);
    }

    #[test]
    fn short_peak_or_exact_ceiling_does_not_exceed() {
        assert_eq!(exceeded(&[Some(101), Some(101), Some(100), Some(101), Some(101)]), [false; 5]);
        assert_eq!(exceeded(&[Some(100); 5]), [false; 5]);
    }

    #[test]
    fn missing_reading_changes_nothing() {
        assert_eq!(exceeded(&[Some(101), Some(101), None, Some(101)]), [false, false, false, true]);
    }

    #[test]
    fn count_restarts_after_exceeding() {
        assert_eq!(exceeded(&[Some(101); 6]), [false, false, true, false, false, true]);
    }
}
