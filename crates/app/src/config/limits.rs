//! Checks the rules among the keys of a `[[limit]]` block.

use std::collections::BTreeSet;

use toml::de::DeTable;

use super::fault::{ConfigFault, index_step, key_step};

/// Returns the faults of limits without a path, since the default stands for an example, and of those with the path of
/// another one: a path names its group.
pub(crate) fn find_faults(document: &DeTable<'_>) -> Vec<ConfigFault> {
    let limits = document.get("limit").and_then(|limits| limits.get_ref().as_array());
    let limits = limits.into_iter().flat_map(|limits| limits.iter()).enumerate();
    let mut paths = BTreeSet::new();
    let faults = limits.filter_map(|(index, limit)| {
        let step = format!("{}{}", key_step("limit"), index_step(index));
        let fault = match limit.get_ref().as_table()?.get("path") {
            None => ConfigFault::new("needs a path of its own, as in path = \"/api/model/**\""),
            Some(path) if !paths.insert(path.get_ref().as_str()?) => {
                let fault = ConfigFault::new("repeats that of an earlier limit; keep one of the two");
                fault.within(&key_step("path"), path.span().start)
            }
            Some(_) => return None,
        };
        Some(fault.within(&step, limit.span().start))
    });
    faults.collect()
}
