//! Sizes as a person reads them.

use mainstay_runtime::journal::count;

/// Returns a size as a person reads it.
pub(super) fn bytes_text(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match bytes {
        0..KIB => count(bytes, "byte"),
        KIB..MIB => format!("{} KiB", bytes / KIB),
        _ => format!("{} MiB", bytes / MIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_has_the_largest_unit_below_it() {
        let sizes = [0, 1, 1023, 1024, (1 << 20) - 1, 1 << 20, 35 << 20].map(bytes_text);
        assert_eq!(sizes, ["0 bytes", "1 byte", "1023 bytes", "1 KiB", "1023 KiB", "1 MiB", "35 MiB"]);
    }
}
