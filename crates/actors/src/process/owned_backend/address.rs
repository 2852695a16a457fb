//! Assigns the address and the secret of one start of the backend.

use std::net::{Ipv4Addr, TcpListener};

use crate::error::{Error, Reason};
use crate::network::BackendAddress;
use crate::network::urls::BaseUrl;

/// The size of the secret, in random bytes.
const TOKEN_BYTES: usize = 32;

/// Returns a free port on this computer, and a new secret.
///
/// The port is free at this moment, and another program may take it before the backend does. The backend then fails to
/// listen, and its next start is given another port. What listens there instead does not know the secret.
pub(super) fn assign_address() -> Result<BackendAddress, Error> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Error::new(Reason::Internal).with_details(&format!("{what}: {error}"))
    };
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| failed("no port is free for the backend", &error))?
        .port();
    let url = BaseUrl::parse(&format!("http://{}:{port}", Ipv4Addr::LOCALHOST))
        .map_err(|error| failed("the backend's address", &error))?;
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| failed("the system gives no random number", &error))?;
    let token = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(BackendAddress { url, token: Some(token) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_is_given_a_free_port_and_a_new_secret() {
        let (first, second) = (assign_address().unwrap(), assign_address().unwrap());
        assert_ne!(first.token, second.token);
        assert_eq!(first.token.as_ref().map(String::len), Some(2 * TOKEN_BYTES));
        assert!(first.url.is_loopback());
        let port = first.url.port();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let shown = format!("{first:?}");
        assert!(!shown.contains(&first.token.unwrap()), "{shown}");
    }
}
