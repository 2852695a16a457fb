//! What it means for a caller that an actor gave no answer.

use mainstay_runtime::CallError;

use super::{Error, Reason};

/// The error of a call that an actor did not answer.
#[must_use]
pub fn of_call(error: CallError) -> Error {
    let reason = match error {
        CallError::Crashed => Reason::Crashed,
        CallError::Stopped => Reason::Stopped,
        CallError::Expired => Reason::Expired,
        CallError::Full => Reason::QueueFull,
        CallError::TimedOut => Reason::NoAnswer,
        CallError::Unanswered => Reason::Internal,
    };
    Error::new(reason).with_details(&error.to_string())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::error::words::assert_helps;

    #[test]
    fn each_unanswered_call_has_a_code_a_reason_and_says_whether_a_repeat_is_safe() {
        use CallError::{Crashed, Expired, Full, Stopped, TimedOut, Unanswered};
        let row = |call| {
            let error = of_call(call);
            assert_helps(&error.message);
            let repeat = if error.retryable { "retryable" } else { "final" };
            format!("{call:?}: {} {} {repeat}\n", error.code, error.reason)
        };
        let table: String = [Crashed, Stopped, Expired, Full, TimedOut, Unanswered].map(row).concat();
        expect![[r#"
            Crashed: SERVER_ERROR crashed final
            Stopped: SERVER_ERROR stopped final
            Expired: TIMEOUT expired retryable
            Full: SERVER_ERROR queue_full retryable
            TimedOut: TIMEOUT no_answer final
            Unanswered: SERVER_ERROR internal final
        "#]]
        .assert_eq(&table);
    }
}
