//! Finds the known name that a mistyped one is meant to be. Pure.

/// The length above which a name is not compared: it is no typing error.
const NAME_BYTES_MAX: usize = 64;

/// Returns the known name with the fewest typing errors: at most one in three characters. `-` and capitals do not count. A
/// name without a slash is also compared with the last part of a path.
#[must_use]
pub fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let wanted = plain(name);
    let slips_max = (wanted.chars().count() / 3).max(1);
    let slips = |known: &str| {
        let compared = if wanted.contains('/') { known } else { known.rsplit('/').next().unwrap_or(known) };
        strsim::osa_distance(&wanted, &plain(compared))
    };
    known
        .iter()
        .map(|name| (slips(name), *name))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name)
}
