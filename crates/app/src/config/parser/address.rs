//! The rules for the backend's address and for that of a proxy.

use mainstay_actors::network::proxy::{Proxy, ProxyChoice};
use mainstay_actors::network::urls::BaseUrl;

use super::text::string;
use super::{ParseResult, TomlValue, invalid};

/// Stands for an address that the runtime assigns to each start of the backend.
pub(crate) const URL_AUTO: &str = "auto";

/// Parses the backend's address: `auto`, or an `http` or `https` URL with a host, and neither credentials nor a query: no secret stands in a file.
pub(crate) fn base_url(value: &TomlValue<'_>) -> ParseResult<String> {
    let text = string(value, "a string with a URL, as in \"http://localhost:8000\"")?;
    if text == URL_AUTO {
        return Ok(text.to_owned());
    }
    BaseUrl::parse(text).map(|_| text.to_owned()).or_else(|error| invalid(error.to_string()))
}

/// Reads the choice of a proxy. It never has credentials: a file is no place for a secret.
pub(crate) fn proxy(value: &TomlValue<'_>) -> ParseResult<ProxyChoice> {
    match string(value, "\"system\", \"none\" or a string with the URL of a proxy")? {
        "system" => Ok(ProxyChoice::System),
        "none" => Ok(ProxyChoice::Direct),
        url if url.contains('@') => invalid(
            "must not hold a user or password: put the whole URL in an environment variable and name that in \"proxy_env\"",
        ),
        url => Proxy::parse(url).map(ProxyChoice::Explicit).or_else(|error| {
            invalid(format!("must be \"system\", \"none\" or the URL of a proxy, which {error}"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::config::parser::tests::{check_errors, read};

    #[test]
    fn address_is_http_or_https_with_a_host() {
        for url in [
            "http://127.0.0.1:1",
            "https://[fe80::1]:65535",
            "http://my_host/mail@home/",
            "HTTP://localhost",
            "http://bücher.example",
        ] {
            assert_eq!(read(&format!("\"{url}\""), base_url), Ok(url.to_owned()));
        }
    }

    #[test]
    fn invalid_url_error_says_what_is_valid() {
        check_errors(
            &expect![[r#"
            ""                       "k" must start with "http://" or "https://"
            "http://host:0"          "k" must have a valid host, and a port from 1 to 65535 if any, as in "http://localhost:8000"
            "http://host/a b"        "k" must be a URL, with everything special in its path percent-encoded
            8000                     "k" must be a string with a URL, as in "http://localhost:8000", not an integer
        "#]],
            base_url,
        );
    }

    #[test]
    fn secret_in_the_address_is_refused_and_not_repeated() {
        for url in [
            "http://user:hush@host",
            "http://hush@host:8000/path",
            "ws://user:hush@host",
            "user:hush@host",
            "http://host/path?token=hush",
            "http://host#hush",
            "http://host?hush@host",
        ] {
            let refusal = read(&format!("\"{url}\""), base_url).unwrap_err();
            assert!(refusal.contains("token_env") && !refusal.contains("hush"), "{refusal}");
        }
    }

    #[test]
    fn proxy_is_system_none_or_url() {
        assert_eq!(read("\"system\"", proxy), Ok(ProxyChoice::System));
        assert_eq!(read("\"none\"", proxy), Ok(ProxyChoice::Direct));
        for url in
            ["http://proxy.example:3128", "https://10.0.0.1", "socks5://[::1]", "socks5h://localhost:9050"]
        {
            let named = ProxyChoice::Explicit(Proxy::parse(url).unwrap());
            assert_eq!(read(&format!("\"{url}\""), proxy), Ok(named));
        }
        check_errors(
            &expect![[r#"
            ""                       "k" must be "system", "none" or the URL of a proxy, which must start with "http://", "https://", "socks5://" or "socks5h://"
            "direct"                 "k" must be "system", "none" or the URL of a proxy, which must start with "http://", "https://", "socks5://" or "socks5h://"
            "socks4://proxy"         "k" must be "system", "none" or the URL of a proxy, which must start with "http://", "https://", "socks5://" or "socks5h://"
            "http://proxy:0"         "k" must be "system", "none" or the URL of a proxy, which must have a valid host, and a port from 1 to 65535 if any, as in "http://proxy.example:3128"
            "http://proxy/pac"       "k" must be "system", "none" or the URL of a proxy, which must end behind its host and port: a proxy has no path
            false                    "k" must be "system", "none" or a string with the URL of a proxy, not a boolean
        "#]],
            proxy,
        );
    }

    #[test]
    fn proxy_with_a_password_is_refused_and_not_repeated() {
        for url in ["http://user:hush@proxy", "hush@proxy", "http://user:hu/sh@proxy", "ftp://hush@proxy"] {
            let refusal = read(&format!("\"{url}\""), proxy).unwrap_err();
            assert!(refusal.contains("proxy_env") && !refusal.contains("hush"), "{refusal}");
        }
    }
}
