//! Limits how many requests of a group run at the same time: pure.
//!
//! A group is all requests whose path matches a glob, for instance those that a model works on. A request may be in
//! several groups, and runs when each of them has room. A full group holds only its own requests.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cache::{PatternError, Selection};

/// The most groups.
pub const GROUPS_MAX: usize = 64;

/// The limit of one group.
#[derive(Debug, Clone)]
pub struct GroupLimit {
    pattern: Arc<str>,
    paths: Selection,
    max_concurrent: usize,
}

impl GroupLimit {
    /// Limits the requests whose path, without the query, matches `path` to `max_concurrent` at a time; 0 counts as 1.
    /// In `path`, `*` and `?` match text without `/`, and `**` matches any text, as in `/api/model/**`.
    ///
    /// # Errors
    /// Fails if `path` is not a valid pattern.
    pub fn new(path: &str, max_concurrent: usize) -> Result<Self, PatternError> {
        let paths = Selection::glob(path)?;
        Ok(Self { pattern: path.into(), paths, max_concurrent: max_concurrent.max(1) })
    }
}

/// The figures of one group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct GroupStats {
    /// The pattern of the paths, which names the group.
    pub path: Arc<str>,
    /// The number of waiting requests, those in a backoff included.
    pub waiting: usize,
    /// The number of attempts in flight.
    pub running: usize,
    /// The most attempts in flight.
    pub max_concurrent: usize,
}

/// The groups of a request, one bit for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupSet(u64);

impl GroupSet {
    /// Returns the groups to which a path belongs. Groups after [`GROUPS_MAX`] are not looked at.
    pub(super) fn of_path(limits: &[GroupLimit], path: &str) -> Self {
        let matching = limits.iter().take(GROUPS_MAX).enumerate();
        let matching = matching.filter(|(_, limit)| limit.paths.matches_str(path));
        Self(matching.fold(0, |set, (group, _)| set | 1 << group))
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn contains(self, group: usize) -> bool {
        self.0 & 1 << group != 0
    }
}

/// The permits of all groups.
#[derive(Debug)]
pub(super) struct GroupPermits {
    limits: Arc<[GroupLimit]>,
    running: Vec<usize>,
}

impl GroupPermits {
    pub(super) fn new(limits: Arc<[GroupLimit]>) -> Self {
        let running = vec![0; limits.len().min(GROUPS_MAX)];
        Self { limits, running }
    }

    /// Returns whether each of these groups has room for one more.
    pub(super) fn have_room(&self, groups: GroupSet) -> bool {
        let mut each = self.limits.iter().zip(&self.running).enumerate();
        each.all(|(group, (limit, running))| !groups.contains(group) || *running < limit.max_concurrent)
    }

    /// Takes a permit of each of these groups.
    pub(super) fn acquire(&mut self, groups: GroupSet) {
        self.of(groups).for_each(|running| *running += 1);
    }

    /// Returns a permit to each of these groups.
    pub(super) fn release(&mut self, groups: GroupSet) {
        self.of(groups).for_each(|running| *running = running.saturating_sub(1));
    }

    /// Returns the figures of each group. `waiting` has the number of waiting requests of each set of groups.
    pub(super) fn stats(&self, waiting: impl Iterator<Item = (GroupSet, usize)> + Clone) -> Vec<GroupStats> {
        let each = self.limits.iter().zip(&self.running).enumerate();
        let stats = |(group, (limit, running)): (usize, (&GroupLimit, &usize))| GroupStats {
            path: Arc::clone(&limit.pattern),
            waiting: waiting.clone().filter(|(set, _)| set.contains(group)).map(|(_, count)| count).sum(),
            running: *running,
            max_concurrent: limit.max_concurrent,
        };
        each.map(stats).collect()
    }

    fn of(&mut self, groups: GroupSet) -> impl Iterator<Item = &mut usize> {
        let each = self.running.iter_mut().enumerate();
        each.filter(move |(group, _)| groups.contains(*group)).map(|(_, running)| running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Arc<[GroupLimit]> {
        let limits = [("/api/model/**", 2), ("/api/*/slow", 1)];
        limits.into_iter().map(|(path, max)| GroupLimit::new(path, max).unwrap()).collect()
    }

    #[test]
    fn path_belongs_to_every_group_whose_pattern_it_matches() {
        let of = |path| GroupSet::of_path(&limits(), path).0;
        let sets = ["/api/tasks", "/api/model/a/b", "/api/tasks/slow", "/api/model/slow"].map(of);
        assert_eq!(sets, [0, 1, 2, 3]);
    }

    #[test]
    fn request_needs_room_in_each_of_its_groups() {
        let mut permits = GroupPermits::new(limits());
        let [none, model, slow, both] = [0, 1, 2, 3].map(GroupSet);
        permits.acquire(both);
        assert!(permits.have_room(model) && permits.have_room(none));
        assert!(!permits.have_room(slow) && !permits.have_room(both));
        permits.acquire(model);
        assert!(!permits.have_room(model) && permits.have_room(none));
        permits.release(both);
        assert!([none, model, slow, both].iter().all(|groups| permits.have_room(*groups)));
    }

    #[test]
    fn stats_count_a_request_in_each_of_its_groups() {
        let mut permits = GroupPermits::new(limits());
        permits.acquire(GroupSet(3));
        let waiting = [(GroupSet(1), 5), (GroupSet(3), 2)];
        let stats = permits.stats(waiting.into_iter());
        let figures: Vec<_> =
            stats.iter().map(|it| (&*it.path, it.waiting, it.running, it.max_concurrent)).collect();
        assert_eq!(figures, [("/api/model/**", 7, 1, 2), ("/api/*/slow", 2, 1, 1)]);
    }

    #[test]
    fn group_limit_invalid_pattern_errors_and_zero_counts_as_one() {
        assert!(GroupLimit::new("/api/[", 1).is_err());
        let mut permits = GroupPermits::new([GroupLimit::new("/a", 0).unwrap()].into());
        assert!(permits.have_room(GroupSet(1)));
        permits.acquire(GroupSet(1));
        assert!(!permits.have_room(GroupSet(1)));
    }
}
