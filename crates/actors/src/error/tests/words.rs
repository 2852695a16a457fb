//! Checks the style of messages for people.

use crate::error::safe_text::is_safe_prose;

/// The verbs that begin a sentence of advice.
const ADVICE: &str = "Ask Change Check Close Correct Leave Log Look Percent-encode Put Reconnect Refresh Restart Send \
                      Sign Start Try Update Use Wait";

/// Checks that a message is one or two safe sentences: what happened, then what to do. The message of a broken rule
/// may say in one sentence what would be right.
pub(crate) fn assert_message_helps(message: &str) {
    assert!(is_safe_prose(message), "not plain: {message}");
    let sentences: Vec<&str> = message.split_inclusive(". ").collect();
    assert!(message.ends_with('.') && sentences.len() <= 2, "not one or two sentences: {message}");
    let last = sentences.last().and_then(|sentence| sentence.split([' ', ',', '.']).next());
    let advises = sentences.len() == 2 && last.is_some_and(|word| ADVICE.split(' ').any(|verb| verb == word));
    assert!(advises || message.contains(" must "), "it does not say what can be done: {message}");
}

#[test]
fn unhelpful_messages_are_found() {
    for message in [
        "Something went wrong.",
        "The file is missing. See the log",
        "It failed. It failed again. Try again.",
        "The backend at 127.0.0.1:80 is gone. Try again.",
        "It failed. The reason is not known.",
    ] {
        assert!(std::panic::catch_unwind(|| assert_message_helps(message)).is_err(), "{message}");
    }
    assert_message_helps("The backend is busy. Wait a moment; if it stays, look into its log.");
    assert_message_helps("The number must be at most 100.");
}
