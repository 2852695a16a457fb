//! Incidents: the events of a journal grouped by what they are about, from the first sign to the end.
//!
//! [`IncidentLog`] is a pure fold. It takes the events in order, from any journal, and states nothing that they do not:
//! each text is the summary of an event, or is counted from events. Every exit and every decision belongs to exactly one
//! incident.
//!
//! An incident is open while one of its conditions lasts, such as an actor that is down, or a connection that is lost. A
//! later event belongs to the open incident that is about the same actor, or about the backend; if there is none, it
//! begins another incident. A decision about several children, or for a supervisor, brings these actors into its incident.
//!
//! - `condition`: the conditions that an event begins and ends, and the subjects that it is about
//! - `incident`: one incident
//! - `log`: the fold
//! - `policy_text`: the policy behind a decision, in words
//! - `query`: the incidents about what a person names
//! - `story`: an incident in about ten lines

mod condition;
mod incident;
mod log;
mod policy_text;
mod query;
mod story;
#[cfg(test)]
mod tests;

pub use incident::{Incident, IncidentEvent, IncidentMessage, IncidentTotals};
pub use log::IncidentLog;
pub use query::IncidentQuery;

#[cfg(test)]
pub(crate) use tests::{EXAMPLES, example_record};
