//! When a process takes more memory than it may. Pure.

/// So many readings in a row have to be above the ceiling: a peak that passes is no reason to restart anything.
const READINGS: u32 = 3;

/// A ceiling on the memory of a process and all that it started, read now and then.
#[derive(Debug, Clone)]
pub struct MemoryCeiling {
    bytes_max: u64,
    readings_above: u32,
}

impl MemoryCeiling {
    /// A ceiling of so many resident bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max, readings_above: 0 }
    }

    /// The ceiling, in bytes.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Takes the next reading, and says whether it is time to do something: it is the third in a row above the ceiling.
    /// One that could not be had (`None`) says nothing.
    pub fn is_exceeded_by(&mut self, resident_bytes: Option<u64>) -> bool {
        let Some(bytes) = resident_bytes else { return false };
        self.readings_above = if bytes > self.bytes_max { self.readings_above + 1 } else { 0 };
        if self.readings_above < READINGS {
            return false;
        }
        self.readings_above = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(readings: &[Option<u64>]) -> Vec<bool> {
        let mut ceiling = MemoryCeiling::new(100);
        readings.iter().map(|bytes| ceiling.is_exceeded_by(*bytes)).collect()
    }

    #[test]
    fn the_third_reading_in_a_row_above_the_ceiling_exceeds_it() {
        assert_eq!(verdicts(&[Some(101), Some(500), Some(101)]), [false, false, true]);
    }

    #[test]
    fn a_peak_that_passes_is_let_be_and_the_ceiling_itself_may_be_reached() {
        assert_eq!(verdicts(&[Some(101), Some(101), Some(100), Some(101), Some(101)]), [false; 5]);
        assert_eq!(verdicts(&[Some(100); 5]), [false; 5]);
    }

    #[test]
    fn a_reading_that_could_not_be_had_says_nothing() {
        assert_eq!(verdicts(&[Some(101), Some(101), None, Some(101)]), [false, false, false, true]);
    }

    #[test]
    fn after_it_was_exceeded_it_counts_anew() {
        assert_eq!(verdicts(&[Some(101); 6]), [false, false, true, false, false, true]);
    }
}
