//! The part of a session about the backend's frames: commands to send, and a subscription with a filter.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mainstay_actors::cache::Selection;
use mainstay_actors::connection::frame::Frame;
use mainstay_actors::connection::inbound::{FrameSubscription, Inbound};
use mainstay_actors::error::Error;
use mainstay_actors::json::{Json, parse_json};
use serde::Deserialize;

use super::protocol::{FrameItem, ServerMessage, decode_base64, invalid_command, to_json};
use super::replies::SendReply;
use crate::connection::Connection;

/// The wait for an open socket, unless the command says otherwise.
const WAIT_DEFAULT: Duration = Duration::from_secs(60);
/// The most patterns of one filter.
const PATTERNS_MAX: usize = 64;

/// The frames that a session listens to.
#[derive(Default)]
pub(super) struct FrameStream(Option<(FrameSubscription, FrameFilter)>);

/// Chooses frames by the `type` of their JSON. Gaps and lags pass in any case.
struct FrameFilter(Vec<Selection>);

impl FrameFilter {
    /// Creates a filter of these patterns; without any, every frame passes.
    fn new(patterns: &[String]) -> Result<Self, Error> {
        if patterns.len() > PATTERNS_MAX {
            return Err(invalid_command(&format!("\"types\" takes at most {PATTERNS_MAX} patterns")));
        }
        let selections = patterns.iter().map(|pattern| Selection::glob(pattern)).collect::<Result<_, _>>();
        selections.map(Self).map_err(|error| invalid_command(&format!("\"types\": {error}")))
    }

    fn admits(&self, inbound: &Inbound) -> bool {
        match inbound {
            _ if self.0.is_empty() => true,
            Inbound::Text(text) => frame_type(text)
                .is_some_and(|kind| self.0.iter().any(|selection| selection.matches_str(&kind))),
            Inbound::Binary(_) => false,
            Inbound::Gap(_) | Inbound::Lagged(_) => true,
        }
    }
}

/// Returns the `type` of a frame that is a JSON object.
fn frame_type(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct TypedFrame {
        r#type: String,
    }
    parse_json(text).ok().map(|TypedFrame { r#type }| r#type)
}

impl FrameStream {
    /// Listens from now on. An earlier subscription goes on with the new filter, so that no frame is lost which has not
    /// gone to the client yet.
    ///
    /// # Errors
    /// `invalid_request` if a pattern cannot be read.
    pub(super) fn listen(&mut self, connection: &Connection, types: &[String]) -> Result<(), Error> {
        let filter = FrameFilter::new(types)?;
        let subscription =
            self.0.take().map_or_else(|| connection.frames(), |(subscription, _)| subscription);
        self.0 = Some((subscription, filter));
        Ok(())
    }

    /// Stops listening.
    pub(super) fn unlisten(&mut self) {
        self.0 = None;
    }

    /// Returns the next frame that passes the filter; `None` while the session listens to none.
    pub(super) async fn next(&mut self) -> Option<ServerMessage> {
        let (subscription, filter) = self.0.as_mut()?;
        loop {
            let inbound = subscription.next().await?;
            if filter.admits(&inbound) {
                return Some(ServerMessage::Frame { frame: inbound.into() });
            }
        }
    }
}

impl From<Inbound> for FrameItem {
    fn from(inbound: Inbound) -> Self {
        match inbound {
            Inbound::Text(text) => Self::Text(text),
            Inbound::Binary(bytes) => Self::Base64(STANDARD.encode(bytes)),
            Inbound::Gap(gap) => Self::Gap(gap),
            Inbound::Lagged(count) => Self::Lagged(count),
        }
    }
}

/// Reads the frame of a command: one of its text and its bytes.
pub(super) fn to_frame(text: Option<String>, base64: Option<String>) -> Result<Frame, Error> {
    match (text, base64) {
        (Some(text), None) => Ok(Frame::Text(text)),
        (None, Some(base64)) => Ok(Frame::from(decode_base64(&base64)?)),
        _ => Err(invalid_command("a frame to send has either \"text\" or \"base64\"")),
    }
}

/// Sends a frame, and returns its outcome.
pub(super) async fn send(
    connection: Connection,
    frame: Frame,
    wait_timeout_ms: Option<u64>,
) -> Result<Json, Error> {
    let wait = wait_timeout_ms.map_or(WAIT_DEFAULT, Duration::from_millis);
    let outcome = connection.send(frame, wait).await?;
    outcome.into_result()?;
    to_json(&SendReply { outcome })
}

#[cfg(test)]
mod tests {
    use mainstay_actors::connection::resumption::Gap;
    use serde_json::json;

    use super::*;

    #[test]
    fn frames_and_markers_have_their_json() {
        let unknown = Gap { after: None, next: None };
        for (inbound, expected) in [
            (Inbound::Text("a\"b".into()), json!({ "text": "a\"b" })),
            (Inbound::Binary(vec![0, 255, 254].into()), json!({ "base64": "AP/+" })),
            (
                Inbound::Gap(Gap { after: Some(1), next: Some(7) }),
                json!({ "gap": { "after": 1, "next": 7 } }),
            ),
            (Inbound::Gap(unknown), json!({ "gap": { "after": null, "next": null } })),
            (Inbound::Lagged(3), json!({ "lagged": 3 })),
        ] {
            assert_eq!(serde_json::to_value(FrameItem::from(inbound)).unwrap(), expected);
        }
    }

    #[test]
    fn filter_chooses_frames_by_their_type() {
        let filter = |patterns: &[&str]| {
            FrameFilter::new(&patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>())
        };
        let text = |text: &str| Inbound::Text(text.into());
        let chat = filter(&["chat.*", "note"]).unwrap();
        for (inbound, expected) in [
            (text(r#"{"type":"chat.message","seq":1}"#), true),
            (text(r#"{"seq":1,"type":"note"}"#), true),
            (text(r#"{"type":"chats"}"#), false),
            (text(r#"{"kind":"note"}"#), false),
            (text("no json"), false),
            (Inbound::Binary(vec![1].into()), false),
            (Inbound::Gap(Gap { after: Some(1), next: Some(7) }), true),
            (Inbound::Lagged(3), true),
        ] {
            assert_eq!(chat.admits(&inbound), expected, "{inbound:?}");
            assert!(filter(&[]).unwrap().admits(&inbound));
        }
        assert_eq!(filter(&["a{"]).err().unwrap().reason, mainstay_actors::error::Reason::InvalidRequest);
        assert!(FrameFilter::new(&vec!["a".to_owned(); PATTERNS_MAX + 1]).is_err());
    }
}
