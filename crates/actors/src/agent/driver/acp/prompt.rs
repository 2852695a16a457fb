//! The prompts that an agent can be sent. Pure.

use agent_client_protocol::v1::schema::{ContentBlock, PromptCapabilities, TextContent};
use serde_json::Value;

use super::error::AcpError;

/// The most blocks of one prompt.
const BLOCKS_MAX: usize = 256;

/// The content that an agent accepts beside text and links, which all agents accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AcceptedContent {
    /// Images.
    pub image: bool,
    /// Audio.
    pub audio: bool,
    /// Resources with their contents.
    pub resource: bool,
}

impl From<&PromptCapabilities> for AcceptedContent {
    fn from(offered: &PromptCapabilities) -> Self {
        Self { image: offered.image, audio: offered.audio, resource: offered.embedded_context }
    }
}

/// The content of one turn's prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpPrompt(pub(super) Vec<ContentBlock>);

impl AcpPrompt {
    /// Creates a prompt of plain text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self(vec![ContentBlock::Text(TextContent::new(text))])
    }

    /// Parses a message's body: a text, an object with a `text`, or the protocol's content blocks, as an array or in
    /// the member `prompt`.
    ///
    /// # Errors
    ///
    /// Fails with [`AcpError::InvalidPrompt`], which says what is wrong, where, and what is valid.
    pub fn from_body(body: &Value) -> Result<Self, AcpError> {
        let blocks = match body {
            Value::String(text) => return Self::from_text(text),
            Value::Array(blocks) => blocks,
            Value::Object(members) => match (members.get("text"), members.get("prompt")) {
                (Some(Value::String(text)), None) => return Self::from_text(text),
                (None, Some(Value::Array(blocks))) => blocks,
                (None, Some(Value::String(text))) => return Self::from_text(text),
                _ => return Err(invalid_prompt()),
            },
            _ => return Err(invalid_prompt()),
        };
        if blocks.is_empty() || blocks.len() > BLOCKS_MAX {
            let words =
                format!("a prompt has 1 to {BLOCKS_MAX} content blocks; this one has {}", blocks.len());
            return Err(AcpError::InvalidPrompt(words));
        }
        let read = |(index, block): (usize, &Value)| {
            serde_json::from_value(block.clone()).map_err(|error| {
                let words = "no content block of the protocol, which is an object such as";
                AcpError::InvalidPrompt(format!(
                    "block {index} is {words} {{\"type\": \"text\", \"text\": \"…\"}}: {error}"
                ))
            })
        };
        blocks.iter().enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }

    fn from_text(text: &str) -> Result<Self, AcpError> {
        if text.trim().is_empty() {
            return Err(AcpError::InvalidPrompt("a prompt cannot be empty".to_owned()));
        }
        Ok(Self::text(text))
    }

    /// Checks that an agent which accepts this content can be sent the prompt.
    pub(super) fn check_accepted(&self, accepts: AcceptedContent) -> Result<(), AcpError> {
        let refused = |(index, block): (usize, &ContentBlock)| {
            let (what, accepted) = match block {
                ContentBlock::Image(_) => ("an image", accepts.image),
                ContentBlock::Audio(_) => ("sound", accepts.audio),
                ContentBlock::Resource(_) => ("a resource with its contents", accepts.resource),
                _ => return None,
            };
            (!accepted).then(|| format!("block {index} is {what}, which this agent does not accept"))
        };
        self.0
            .iter()
            .enumerate()
            .find_map(refused)
            .map_or(Ok(()), |words| Err(AcpError::InvalidPrompt(words)))
    }
}

fn invalid_prompt() -> AcpError {
    let words = "a prompt is a text, {\"text\": \"…\"}, or the protocol's content blocks in an array or in \"prompt\"";
    AcpError::InvalidPrompt(words.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn error_text(body: &Value) -> String {
        AcpPrompt::from_body(body).unwrap_err().to_string()
    }

    #[test]
    fn from_body_accepts_every_text_form() {
        let block = json!({ "type": "text", "text": "hello" });
        for body in [
            json!("hello"),
            json!({ "text": "hello" }),
            json!({ "prompt": "hello" }),
            json!([block]),
            json!({ "prompt": [block] }),
        ] {
            assert_eq!(AcpPrompt::from_body(&body).unwrap(), AcpPrompt::text("hello"), "{body}");
        }
    }

    #[test]
    fn from_body_invalid_prompt_errors() {
        for body in
            [json!(null), json!(7), json!({}), json!({ "text": 7 }), json!({ "text": "a", "prompt": [] })]
        {
            assert!(error_text(&body).starts_with("a prompt is a text"), "{body}");
        }
        assert_eq!(error_text(&json!(" ")), "a prompt cannot be empty");
        assert_eq!(error_text(&json!([])), "a prompt has 1 to 256 content blocks; this one has 0");
        assert!(
            error_text(&json!([{ "type": "text", "text": "a" }, { "type": "smell" }]))
                .starts_with("block 1 is no")
        );
        assert!(error_text(&json!(vec![json!({ "type": "text", "text": "a" }); 257])).ends_with("has 257"));
    }

    #[test]
    fn check_accepted_rejects_unsupported_blocks() {
        let image = json!([{ "type": "image", "data": "AA==", "mimeType": "image/png" }]);
        let prompt = AcpPrompt::from_body(&image).unwrap();
        let refusal = prompt.check_accepted(AcceptedContent::default()).unwrap_err().to_string();
        assert_eq!(refusal, "block 0 is an image, which this agent does not accept");
        assert_eq!(
            prompt.check_accepted(AcceptedContent { image: true, ..AcceptedContent::default() }),
            Ok(())
        );
        assert_eq!(AcpPrompt::text("a").check_accepted(AcceptedContent::default()), Ok(()));
    }
}
