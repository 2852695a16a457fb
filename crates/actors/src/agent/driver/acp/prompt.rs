//! The prompts that an agent can be sent. Pure.

use std::borrow::Cow;

use agent_client_protocol::v1::schema::{ContentBlock, PromptCapabilities, TextContent};
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::AcpError;
use crate::json::{Json, Members};
use crate::json_text::repair_line;

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

/// The content of one turn's prompt, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcpPrompt {
    /// The blocks as an array.
    json: Json,
    blocks: Vec<ContentBlock>,
}

impl AcpPrompt {
    /// Creates a prompt of plain text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        let blocks = vec![ContentBlock::Text(TextContent::new(text))];
        // A block is always JSON.
        Self { json: Json::from_serialize(&blocks).unwrap_or_default(), blocks }
    }

    /// Parses a message's body: a text, an object with a `text`, or the protocol's content blocks, as an array or in
    /// the member `prompt`.
    ///
    /// # Errors
    ///
    /// Fails with [`AcpError::InvalidPrompt`], which says what is wrong, where, and what is valid.
    pub fn from_body(body: &Json) -> Result<Self, AcpError> {
        // Readers of the protocol refuse half of a surrogate pair.
        let body = match repair_line(body.as_str().as_bytes()) {
            Cow::Borrowed(_) => body,
            Cow::Owned(repaired) => &Json::parse(&repaired).map_err(|_| invalid_prompt())?,
        };
        if let Ok(text) = body.read::<String>() {
            return Self::from_text(&text);
        }
        let Ok(members) = Members::parse(body.as_str()) else { return Self::from_blocks(body.clone()) };
        let text_of = |name| members.read::<String>(name);
        match (members.get("text"), members.read::<Json>("prompt")) {
            (Some(_), None) => Self::from_text(&text_of("text").ok_or_else(invalid_prompt)?),
            (None, Some(prompt)) => match text_of("prompt") {
                Some(text) => Self::from_text(&text),
                None => Self::from_blocks(prompt),
            },
            _ => Err(invalid_prompt()),
        }
    }

    fn from_blocks(json: Json) -> Result<Self, AcpError> {
        let blocks: Vec<&RawValue> = json.read().map_err(|_| invalid_prompt())?;
        if blocks.is_empty() || blocks.len() > BLOCKS_MAX {
            let words =
                format!("a prompt has 1 to {BLOCKS_MAX} content blocks; this one has {}", blocks.len());
            return Err(AcpError::InvalidPrompt(words));
        }
        let blocks = blocks.iter().enumerate().map(read_block).collect::<Result<_, _>>()?;
        Ok(Self { json, blocks })
    }

    fn from_text(text: &str) -> Result<Self, AcpError> {
        if text.trim().is_empty() {
            return Err(AcpError::InvalidPrompt("a prompt cannot be empty".to_owned()));
        }
        Ok(Self::text(text))
    }

    /// Returns the parameters of the request that sends the prompt to this session.
    pub(super) fn to_params(&self, session: &str) -> String {
        format!("{{\"sessionId\":{},\"prompt\":{}}}", Json::from(&Value::from(session)), self.json)
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
        self.blocks
            .iter()
            .enumerate()
            .find_map(refused)
            .map_or(Ok(()), |words| Err(AcpError::InvalidPrompt(words)))
    }
}

/// Reads a block as the protocol has it. Its `_meta` may hold anything.
fn read_block((index, block): (usize, &&RawValue)) -> Result<ContentBlock, AcpError> {
    let known = Members::parse(block.get());
    let known = known.map(|members| members.rebuild(|name, value| (name != "_meta").then_some(value)));
    known.and_then(|block| serde_json::from_str(&block)).map_err(|error| {
        let words = "no content block of the protocol, which is an object such as";
        AcpError::InvalidPrompt(format!(
            "block {index} is {words} {{\"type\": \"text\", \"text\": \"…\"}}: {error}"
        ))
    })
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
        AcpPrompt::from_body(&body.into()).unwrap_err().to_string()
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
            assert_eq!(
                AcpPrompt::from_body(&body.clone().into()).unwrap().blocks,
                AcpPrompt::text("hello").blocks,
                "{body}"
            );
        }
    }

    #[test]
    fn to_params_has_the_blocks_as_written() {
        let blocks =
            r#"[{"text":"\u00e4","type":"text","own":-0.0,"_meta":{"n":1e999,"n":18446744073709551616}}]"#;
        for body in [blocks.to_owned(), format!(r#"{{"prompt": {blocks}}}"#)] {
            let prompt = AcpPrompt::from_body(&Json::parse(&body).unwrap()).unwrap();
            let expected = format!(r#"{{"sessionId":"s\"1","prompt":{blocks}}}"#);
            assert_eq!(prompt.to_params("s\"1"), expected);
            assert_eq!(prompt.blocks, AcpPrompt::text("ä").blocks);
        }
    }

    #[test]
    fn from_body_replaces_halves_of_surrogate_pairs() {
        for body in [r#""a\ud800""#, r#"{"text":"a\ud800"}"#, r#"[{"type":"text","text":"a\ud800"}]"#] {
            let prompt = AcpPrompt::from_body(&Json::parse(body).unwrap()).unwrap();
            assert_eq!(prompt.blocks, AcpPrompt::text("a\u{fffd}").blocks, "{body}");
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
        let prompt = AcpPrompt::from_body(&image.into()).unwrap();
        let refusal = prompt.check_accepted(AcceptedContent::default()).unwrap_err().to_string();
        assert_eq!(refusal, "block 0 is an image, which this agent does not accept");
        assert_eq!(
            prompt.check_accepted(AcceptedContent { image: true, ..AcceptedContent::default() }),
            Ok(())
        );
        assert_eq!(AcpPrompt::text("a").check_accepted(AcceptedContent::default()), Ok(()));
    }
}
