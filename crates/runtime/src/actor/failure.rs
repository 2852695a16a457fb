//! Why a handler gives up.

/// Why a handler gives up on its incarnation. Any error converts with `?`, any text with `.into()`.
///
/// Expected failures travel in the reply; a `Failure` means "restart me".
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
