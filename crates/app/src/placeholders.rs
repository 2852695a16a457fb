//! Replaces placeholders in the command, the environment and the readiness of a program. Pure.

use std::path::PathBuf;

use mainstay_actors::network::BackendAddress;
use mainstay_actors::network::urls::BaseUrl;
#[cfg(feature = "cli")]
use mainstay_actors::suggestion::nearest;
use thiserror::Error;

/// The names of all placeholders.
pub(crate) const NAMES: [&str; 4] = ["port", "url", "token", "data_dir"];

/// The values of the placeholders, as far as they are known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Placeholders {
    /// The backend's address, for `{url}` and `{port}`.
    pub(crate) url: Option<BaseUrl>,
    /// The secret of the backend's present start.
    pub(crate) token: Option<String>,
    /// The data folder.
    pub(crate) data_dir: Option<PathBuf>,
}

/// A placeholder that has no value here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MissingPlaceholder {
    /// Only a backend whose address is assigned is given a secret.
    #[error("{{token}} has no value: the runtime makes a secret only for a backend with url = \"auto\"")]
    Token,
    /// The runtime has no data folder.
    #[error("{{data_dir}} has no value: this runtime has no data folder")]
    DataDir,
    /// The backend has no address yet.
    #[error("{{url}} and {{port}} have no value: the backend has no address yet")]
    Url,
}

impl MissingPlaceholder {
    /// Returns whether a text holds a placeholder that has no value for this reason.
    pub(crate) fn is_in(self, text: &str) -> bool {
        let (token, data_dir) = (Some(String::new()), Some(PathBuf::new()));
        let url = BaseUrl::parse("http://127.0.0.1").ok();
        let values = match self {
            Self::Token => Placeholders { url, token: None, data_dir },
            Self::DataDir => Placeholders { url, token, data_dir: None },
            Self::Url => Placeholders { url: None, token, data_dir },
        };
        values.expand(text).is_err()
    }
}

impl Placeholders {
    /// Returns the values with those of the backend's present start.
    pub(crate) fn with_address(self, address: &BackendAddress) -> Self {
        Self { url: Some(address.url.clone()), token: address.token.clone(), ..self }
    }

    /// Replaces `{port}`, `{url}`, `{token}` and `{data_dir}`. Other braces stay, and so does a shell's `${port}`.
    pub(crate) fn expand(&self, text: &str) -> Result<String, MissingPlaceholder> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            expanded.push_str(before);
            let name = from.find('}').map(|end| &from[1..end]).filter(|_| !before.ends_with('$'));
            match name.map(|name| (name, self.value(name))) {
                Some((name, Some(value))) => {
                    expanded.push_str(&value?);
                    rest = &from[name.len() + 2..];
                }
                _ => {
                    expanded.push('{');
                    rest = &from[1..];
                }
            }
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    /// Returns the value of a placeholder; `None` if the name is none.
    fn value(&self, name: &str) -> Option<Result<String, MissingPlaceholder>> {
        let url = self.url.as_ref().ok_or(MissingPlaceholder::Url);
        Some(match name {
            "port" => url.map(|url| url.port().to_string()),
            "url" => url.map(|url| url.to_string().trim_end_matches('/').to_owned()),
            "token" => self.token.clone().ok_or(MissingPlaceholder::Token),
            "data_dir" => {
                let folder = self.data_dir.as_ref().ok_or(MissingPlaceholder::DataDir);
                folder.map(|folder| folder.to_string_lossy().into_owned())
            }
            _ => return None,
        })
    }
}

/// Returns whether a text holds a placeholder for the backend's address.
pub(crate) fn names_address(text: &str) -> bool {
    MissingPlaceholder::Url.is_in(text)
}

/// Returns the first name in braces that is none of a placeholder but nearly one, and that placeholder's name.
#[cfg(feature = "cli")]
pub(crate) fn find_misspelt(text: &str) -> Option<(&str, &'static str)> {
    text.match_indices('{').find_map(|(at, _)| {
        let name = text[at + 1..].split_once('}')?.0;
        if text[..at].ends_with('$') || NAMES.contains(&name) {
            return None;
        }
        Some((name, nearest(name, &NAMES)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_and_other_braces_stay() {
        let values = Placeholders {
            url: BaseUrl::parse("http://127.0.0.1:4711/api/").ok(),
            token: Some("t0ken".to_owned()),
            data_dir: Some("/data/x".into()),
        };
        for (text, expected) in [
            ("--port={port}", "--port=4711"),
            ("{url}/docs {token}{token}", "http://127.0.0.1:4711/api/docs t0kent0ken"),
            ("{data_dir}/db", "/data/x/db"),
            ("${port} ${url:-x} {other} {} {{port}} { {port", "${port} ${url:-x} {other} {} {4711} { {port"),
            (r#"{"port":{port}}"#, r#"{"port":4711}"#),
            ("none", "none"),
        ] {
            assert_eq!(values.expand(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[cfg(feature = "cli")]
    #[test]
    fn misspelt_placeholder_is_found_with_the_nearest_one() {
        for (text, found) in [
            ("--port={prot}", Some(("prot", "port"))),
            ("{port}{{tokn}}", Some(("tokn", "token"))),
            ("{data-dir}/db", Some(("data-dir", "data_dir"))),
            ("{url} ${prot} {other} {} {", None),
            (r#"{"port":{port}}"#, None),
        ] {
            assert_eq!(find_misspelt(text), found, "{text}");
        }
    }

    #[test]
    fn placeholder_without_value_is_an_error() {
        let none = Placeholders::default();
        assert_eq!(none.expand("{port}"), Err(MissingPlaceholder::Url));
        assert_eq!(none.expand("{token}"), Err(MissingPlaceholder::Token));
        assert_eq!(none.expand("{data_dir}"), Err(MissingPlaceholder::DataDir));
        assert_eq!(none.expand("${token}").as_deref(), Ok("${token}"));
    }
}
