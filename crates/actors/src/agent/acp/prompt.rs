//! What an agent can be told. Pure.

use agent_client_protocol::v1::schema::{ContentBlock, PromptCapabilities, TextContent};
use serde_json::Value;

use super::fault::AcpFault;

/// The blocks of one prompt, at most.
const BLOCKS_MAX: usize = 256;

/// What one agent accepts beside text and links, which all of them do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepts {
    /// Images.
    pub image: bool,
    /// Sound.
    pub audio: bool,
    /// Resources with their contents.
    pub resource: bool,
}

impl From<&PromptCapabilities> for Accepts {
    fn from(offered: &PromptCapabilities) -> Self {
        Self { image: offered.image, audio: offered.audio, resource: offered.embedded_context }
    }
}

/// What an agent is told in one turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpPrompt(pub(super) Vec<ContentBlock>);

impl AcpPrompt {
    /// Plain words.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self(vec![ContentBlock::Text(TextContent::new(text))])
    }

    /// What a letter's body says: a text; an object with a `text`; or the protocol's content blocks, as an array or in
    /// the member `prompt`.
    ///
    /// # Errors
    ///
    /// [`AcpFault::Unfit`] says what is wrong, where, and what would be right.
    pub fn of_body(body: &Value) -> Result<Self, AcpFault> {
        let blocks = match body {
            Value::String(text) => return Self::checked_text(text),
            Value::Array(blocks) => blocks,
            Value::Object(members) => match (members.get("text"), members.get("prompt")) {
                (Some(Value::String(text)), None) => return Self::checked_text(text),
                (None, Some(Value::Array(blocks))) => blocks,
                (None, Some(Value::String(text))) => return Self::checked_text(text),
                _ => return Err(unfit()),
            },
            _ => return Err(unfit()),
        };
        if blocks.is_empty() || blocks.len() > BLOCKS_MAX {
            let words =
                format!("a prompt has 1 to {BLOCKS_MAX} content blocks; this one has {}", blocks.len());
            return Err(AcpFault::Unfit(words));
        }
        let read = |(index, block): (usize, &Value)| {
            serde_json::from_value(block.clone()).map_err(|error| {
                let words = "no content block of the protocol, which is an object such as";
                AcpFault::Unfit(format!(
                    "block {index} is {words} {{\"type\": \"text\", \"text\": \"…\"}}: {}",
                    crate::error::excerpt(&error.to_string(), 100)
                ))
            })
        };
        blocks.iter().enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }

    fn checked_text(text: &str) -> Result<Self, AcpFault> {
        if text.trim().is_empty() {
            return Err(AcpFault::Unfit("a prompt cannot be empty".to_owned()));
        }
        Ok(Self::text(text))
    }

    /// Whether an agent that accepts this can be told it.
    pub(super) fn check(&self, accepts: Accepts) -> Result<(), AcpFault> {
        let refused = |(index, block): (usize, &ContentBlock)| {
            let (what, accepted) = match block {
                ContentBlock::Image(_) => ("an image", accepts.image),
                ContentBlock::Audio(_) => ("sound", accepts.audio),
                ContentBlock::Resource(_) => ("a resource with its contents", accepts.resource),
                _ => return None,
            };
            (!accepted).then(|| format!("block {index} is {what}, which this agent does not accept"))
        };
        self.0.iter().enumerate().find_map(refused).map_or(Ok(()), |words| Err(AcpFault::Unfit(words)))
    }
}

fn unfit() -> AcpFault {
    let words = "a prompt is a text, {\"text\": \"…\"}, or the protocol's content blocks in an array or in \"prompt\"";
    AcpFault::Unfit(words.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(body: &Value) -> String {
        AcpPrompt::of_body(body).unwrap_err().to_string()
    }

    #[test]
    fn a_text_is_one_however_it_is_given() {
        let block = json!({ "type": "text", "text": "hello" });
        for body in [
            json!("hello"),
            json!({ "text": "hello" }),
            json!({ "prompt": "hello" }),
            json!([block]),
            json!({ "prompt": [block] }),
        ] {
            assert_eq!(AcpPrompt::of_body(&body).unwrap(), AcpPrompt::text("hello"), "{body}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_explained() {
        for body in
            [json!(null), json!(7), json!({}), json!({ "text": 7 }), json!({ "text": "a", "prompt": [] })]
        {
            assert!(words(&body).starts_with("a prompt is a text"), "{body}");
        }
        assert_eq!(words(&json!(" ")), "a prompt cannot be empty");
        assert_eq!(words(&json!([])), "a prompt has 1 to 256 content blocks; this one has 0");
        assert!(
            words(&json!([{ "type": "text", "text": "a" }, { "type": "smell" }]))
                .starts_with("block 1 is no")
        );
        assert!(words(&json!(vec![json!({ "type": "text", "text": "a" }); 257])).ends_with("has 257"));
    }

    #[test]
    fn an_agent_is_told_only_what_it_accepts() {
        let image = json!([{ "type": "image", "data": "AA==", "mimeType": "image/png" }]);
        let prompt = AcpPrompt::of_body(&image).unwrap();
        let refusal = prompt.check(Accepts::default()).unwrap_err().to_string();
        assert_eq!(refusal, "block 0 is an image, which this agent does not accept");
        assert_eq!(prompt.check(Accepts { image: true, ..Accepts::default() }), Ok(()));
        assert_eq!(AcpPrompt::text("a").check(Accepts::default()), Ok(()));
    }
}
