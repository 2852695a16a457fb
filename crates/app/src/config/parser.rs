//! The rules for values. A rule is a function: it reads the value, or says what would be right.

use toml::Spanned;
use toml::de::DeValue;

use super::fault::ConfigFault;

pub(crate) mod address;
pub(crate) mod collection;
pub(crate) mod quantity;
pub(crate) mod text;

/// A value of the file with its place in it.
pub(crate) type TomlValue<'i> = Spanned<DeValue<'i>>;

/// The result of a rule. A list or table may have several faults.
pub(crate) type ParseResult<T> = Result<T, Vec<ConfigFault>>;

/// Returns a fault; see [`ConfigFault::new`].
pub(crate) fn invalid<T>(predicate: impl AsRef<str>) -> ParseResult<T> {
    Err(vec![ConfigFault::new(predicate)])
}

/// Refuses a value of the wrong type. `expected` names the right one with an example.
pub(crate) fn mismatch<T>(expected: &str, value: &TomlValue<'_>) -> ParseResult<T> {
    Err(vec![wrong_type(expected, value)])
}

/// Returns the fault that [`mismatch`] reports.
pub(crate) fn wrong_type(expected: &str, value: &TomlValue<'_>) -> ConfigFault {
    ConfigFault::wrong_type(expected, kind(value.get_ref()))
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Applies `rule` to a value written as TOML, and returns its faults as messages about a key named `k`.
    pub(crate) fn read<T>(toml: &str, rule: impl Fn(&TomlValue<'_>) -> ParseResult<T>) -> Result<T, String> {
        let value = DeValue::parse(toml).unwrap();
        rule(&value).map_err(|faults| {
            let messages: Vec<String> =
                faults.into_iter().map(|fault| fault.within(".k", 0).message()).collect();
            messages.join("\n")
        })
    }

    /// Checks the one-line refusals of several values: each line of `expected` begins with one.
    pub(crate) fn check_errors<T: std::fmt::Debug>(
        expected: &expect_test::Expect,
        rule: impl Fn(&TomlValue<'_>) -> ParseResult<T>,
    ) {
        let tomls = expected.data().lines().filter_map(|line| line.split_once(" \"k"));
        let refusals: String = tomls
            .map(|(toml, _)| format!("{:24} {}\n", toml.trim(), read(toml.trim(), &rule).unwrap_err()))
            .collect();
        assert!(!refusals.is_empty());
        expected.assert_eq(&refusals);
    }
}
