//! Maps a WebSocket's close codes to reasons (RFC 6455, 7.4, and IANA's registry).

use super::Reason;

impl Reason {
    /// Returns the reason for the peer's close code; `None` is a close frame without a code.
    ///
    /// Codes from 4000 on are the backend's own. Of them, 4401 and 4403 are read as the HTTP statuses that they
    /// imitate, which is what most backends mean.
    #[must_use]
    pub(crate) const fn from_close_code(code: Option<u16>) -> Self {
        match code {
            Some(1002 | 1003 | 1007 | 1010) => Self::BadRequest,
            Some(1008 | 4403) => Self::Forbidden,
            Some(1009) => Self::RequestTooLarge,
            Some(1011) => Self::ServerError,
            Some(1012 | 1013) => Self::Unavailable,
            Some(4401) => Self::Unauthenticated,
            Some(_) | None => Self::ConnectionClosed,
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn each_close_code_has_its_reason() {
        let mut table = format!("none {}\n", Reason::from_close_code(None));
        let mut last = None;
        for code in 1000..=4999 {
            let reason = Reason::from_close_code(Some(code));
            if last != Some(reason) {
                table.push_str(&format!("{code} {reason}\n"));
            }
            last = Some(reason);
        }
        expect![[r#"
            none connection_closed
            1000 connection_closed
            1002 bad_request
            1004 connection_closed
            1007 bad_request
            1008 forbidden
            1009 request_too_large
            1010 bad_request
            1011 server_error
            1012 unavailable
            1014 connection_closed
            4401 unauthenticated
            4402 connection_closed
            4403 forbidden
            4404 connection_closed
        "#]]
        .assert_eq(&table);
    }
}
