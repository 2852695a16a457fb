//! Checks the rules among the keys of a `[[limit]]` block.

use toml::de::DeTable;

use super::fault::{ConfigFault, index_step, key_step};

/// Returns the faults of limits without a path: the default stands for an example, not for a group.
pub(crate) fn find_faults(document: &DeTable<'_>) -> Vec<ConfigFault> {
    let limits = document.get("limit").and_then(|limits| limits.get_ref().as_array());
    let limits = limits.into_iter().flat_map(|limits| limits.iter()).enumerate();
    let without_path = limits
        .filter(|(_, limit)| limit.get_ref().as_table().is_some_and(|table| table.get("path").is_none()));
    let fault = |(index, limit): (usize, &toml::Spanned<toml::de::DeValue<'_>>)| {
        let step = format!("{}{}", key_step("limit"), index_step(index));
        let fault = ConfigFault::new("needs a path of its own, as in path = \"/api/model/**\"");
        fault.within(&step, limit.span().start)
    };
    without_path.map(fault).collect()
}
