//! Reads the JSON of an argument: as it stands there, from a file, or from standard input.

use std::io::{self, Read};

use mainstay_actors::json::{Json, explain_syntax};
use mainstay_runtime::private_files::explain_unread;

use crate::cli::config_check::STDIN;
use crate::cli::error::CliError;

/// Reads an answer as [`read_json_or_file`] does. A text that cannot be meant as JSON is taken as it is: most answers are a word.
pub(in crate::cli) fn read_answer(text: &str) -> Result<Json, CliError> {
    let is_plain = !text.trim_start().starts_with(['{', '[', '"', '@']);
    match read_json_or_file(text, "the answer") {
        Err(_) if is_plain => Ok(Json::from(serde_json::Value::from(text))),
        read => read,
    }
}

/// Reads JSON as [`read_json_or_file`] does, or from standard input for a dash.
pub(in crate::cli) fn read_json(text: &str, name: &str) -> Result<Json, CliError> {
    if !["-", "@-"].contains(&text) {
        return read_json_or_file(text, name);
    }
    let mut text = Vec::new();
    let read = io::stdin().read_to_end(&mut text);
    read.map_err(|error| CliError::usage(format!("{name}: {STDIN} {}", explain_unread(&error))))?;
    parse_json(&text, STDIN)
}

/// Reads JSON, or the file with JSON that is named after an @; `name` is what the argument is called.
fn read_json_or_file(text: &str, name: &str) -> Result<Json, CliError> {
    let Some(file) = text.strip_prefix('@') else { return parse_json(text.as_bytes(), name) };
    let text = std::fs::read(file)
        .map_err(|error| CliError::usage(format!("{name}: {file} {}", explain_unread(&error))))?;
    parse_json(&text, file)
}

fn parse_json(text: &[u8], what: &str) -> Result<Json, CliError> {
    Json::parse(text).map_err(|error| match error.is_data() {
        true => CliError::usage(format!("{what} cannot be passed on: {error}")),
        false => CliError::usage(format!("{what} {}", explain_syntax(text, &error))),
    })
}
