//! Reads one table of the file: known keys by their rules, and every other key is a fault.

use std::time::Duration;

use toml::de::DeTable;

use super::duration::format_duration;
use super::fault::{ConfigFault, index_step, key_step};
use super::parser::{ParseResult, TomlValue, wrong_type};

/// A section of the file. Only the macro `section` implements it.
pub(crate) trait ConfigSection: Clone + Default {
    /// The line that begins it: `[name]`, or `[[name]]` if it repeats.
    const HEADER: &'static str;
    /// The section's purpose, as lines of comment.
    const ABOUT: &'static str;
    /// The section's keys with their defaults, as lines of TOML, each below its meaning as lines of comment.
    const KEYS: &'static str;

    /// Reads it; keys that are absent or wrong have the value of `base`.
    fn read(table: &mut TableReader<'_, '_>, base: Option<&Self>) -> Self;

    /// Returns the section's key in the table above.
    fn key() -> &'static str {
        Self::HEADER.trim_matches(['[', ']'])
    }
}

/// A table while it is read. Reading a key makes it known, so the keys that are read and the valid ones cannot differ.
/// Faults are collected: a wrong value counts as absent, and reading continues.
pub(crate) struct TableReader<'t, 'i> {
    table: &'t DeTable<'i>,
    known_keys: Vec<&'static str>,
    /// Keys whose own value is wrong, so that it causes no second fault.
    invalid_keys: Vec<&'static str>,
    faults: Vec<ConfigFault>,
}

impl<'t, 'i> TableReader<'t, 'i> {
    pub(crate) fn new(table: &'t DeTable<'i>) -> Self {
        Self { table, known_keys: Vec::new(), invalid_keys: Vec::new(), faults: Vec::new() }
    }

    /// Reads the value of a key by its rule; returns that of `base` if the key is absent or wrong.
    pub(crate) fn read<T: Clone + Default>(
        &mut self,
        key: &'static str,
        base: Option<&T>,
        rule: impl Fn(&TomlValue<'_>) -> ParseResult<T>,
    ) -> T {
        self.read_own(key, rule).unwrap_or_else(|| base.cloned().unwrap_or_default())
    }

    /// Reads the value of a key by its rule; returns `None` if the key is absent or wrong.
    pub(crate) fn read_own<T>(
        &mut self,
        key: &'static str,
        rule: impl Fn(&TomlValue<'_>) -> ParseResult<T>,
    ) -> Option<T> {
        let value = self.value(key)?;
        let read = rule(value);
        read.inspect_err(|_| self.invalid_keys.push(key))
            .map_err(|faults| self.report(faults, &key_step(key), value))
            .ok()
    }

    /// Reads the section of this table that has its header's name.
    pub(crate) fn section<S: ConfigSection>(&mut self) -> S {
        let base = S::default();
        match self.value(S::key()) {
            Some(value) => self.descend(&key_step(S::key()), value, &base),
            None => base,
        }
    }

    /// Reads a list of at most `sections_max` sections, each with `base` for the keys that it does not set.
    pub(crate) fn sections<S: ConfigSection>(&mut self, base: &S, sections_max: usize) -> Vec<S> {
        let step = key_step(S::key());
        let Some(value) = self.value(S::key()) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            let expected = format!("a list of tables, each begun by a line {}", S::HEADER);
            self.report(vec![wrong_type(&expected, value)], &step, value);
            return Vec::new();
        };
        if let Some(first) = items.get(sections_max) {
            let fault = ConfigFault::new(format!("must not have more than {sections_max} entries"));
            self.report(vec![fault], &step, first);
        }
        let items = items.iter().take(sections_max).enumerate();
        items
            .map(|(index, value)| self.descend(&format!("{step}{}", index_step(index)), value, base))
            .collect()
    }

    /// Checks that the first of two keys is not above the second. The fault stands at the key that this table sets.
    pub(crate) fn ordered(&mut self, low: (&'static str, Duration), high: (&'static str, Duration)) {
        let sound = |key: &str| !self.invalid_keys.contains(&key);
        if low.1 <= high.1 || !sound(low.0) || !sound(high.0) {
            return;
        }
        let sides = [(low.0, "longer", high), (high.0, "shorter", low)];
        let here = sides.into_iter().find_map(|side| Some((side, self.table.get(side.0)?)));
        if let Some(((key, than, (other, duration)), value)) = here {
            let limit = format_duration(duration);
            let fault =
                ConfigFault::new(format!("must not be {than} than \"{other}\", which is \"{limit}\""));
            self.report(vec![fault], &key_step(key), value);
        }
    }

    /// Returns all faults of the table and of those below it, unknown keys included.
    pub(crate) fn finish(mut self) -> Vec<ConfigFault> {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !self.known_keys.contains(&name) {
                self.faults.push(ConfigFault::unknown(name, &self.known_keys, key.span().start));
            }
        }
        self.faults
    }

    fn value(&mut self, key: &'static str) -> Option<&'t TomlValue<'i>> {
        self.known_keys.push(key);
        self.table.get(key)
    }

    fn descend<S: ConfigSection>(&mut self, step: &str, value: &TomlValue<'_>, base: &S) -> S {
        let Some(table) = value.get_ref().as_table() else {
            let expected = format!("a table, begun by a line {}", S::HEADER);
            self.report(vec![wrong_type(&expected, value)], step, value);
            return base.clone();
        };
        let mut below = TableReader::new(table);
        let section = S::read(&mut below, Some(base));
        self.report(below.finish(), step, value);
        section
    }

    fn report(&mut self, faults: Vec<ConfigFault>, step: &str, value: &TomlValue<'_>) {
        self.faults.extend(faults.into_iter().map(|fault| fault.within(step, value.span().start)));
    }
}
