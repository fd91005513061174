//! What to do about a failed transactional call: the table of signals and verdicts, as a pure function.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::error::is_refusal;
use crate::log::Verdict;

/// What librdkafka says about a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signal {
    pub(super) code: Code,
    /// The producer instance cannot be used any more.
    pub(super) fatal: bool,
    /// The open transaction can only be aborted.
    pub(super) requires_abort: bool,
    /// The same call may succeed later.
    pub(super) retriable: bool,
    /// It failed while the records were being delivered, so before the end of the transaction was asked for:
    /// certainly not committed.
    pub(super) undelivered: bool,
}

impl Signal {
    /// Reads an error; `None` when it is not one a transactional call gives.
    pub(super) fn of(error: &KafkaError) -> Option<Self> {
        match error {
            KafkaError::Transaction(inner) => Some(Self {
                code: inner.code(),
                fatal: inner.is_fatal(),
                requires_abort: inner.txn_requires_abort(),
                retriable: inner.is_retriable(),
                undelivered: false,
            }),
            KafkaError::Flush(code) => Some(Self { undelivered: true, ..Self::plain(*code) }),
            other => other.rdkafka_error_code().map(Self::plain),
        }
    }

    /// A bare code, without flags.
    pub(super) fn plain(code: Code) -> Self {
        Self { code, fatal: code == Code::Fatal, requires_abort: false, retriable: false, undelivered: false }
    }

    /// The error that made the producer unusable.
    pub(super) fn fatal(code: Code) -> Self {
        Self { fatal: true, ..Self::plain(code) }
    }
}

/// The verdict on a signal. Who we are comes first (replaced, fenced, stale), then what became of the
/// transaction; what is not known to be harmless is [`Verdict::Indeterminate`].
pub(super) fn verdict(signal: Signal) -> Verdict {
    match signal.code {
        Code::FencedInstanceId => return Verdict::Replaced,
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => return Verdict::Fenced,
        Code::IllegalGeneration | Code::UnknownMemberId | Code::RebalanceInProgress => return Verdict::Stale,
        // A new producer would be told the same.
        Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedForMessageFormat
        | Code::InvalidTransactionTimeout
        | Code::NotConfigured => return Verdict::Fatal,
        code if is_refusal(code) => return Verdict::Fatal,
        _ => {}
    }
    if signal.undelivered {
        return Verdict::RollBack;
    }
    if signal.fatal {
        return Verdict::Indeterminate;
    }
    if signal.requires_abort {
        return Verdict::RollBack;
    }
    match signal.code {
        // Another call is still under way (a commit that timed out): its outcome is not known, and this
        // call will not be let in.
        Code::Conflict | Code::PreviousInProgress => Verdict::Indeterminate,
        Code::OperationTimedOut | Code::TimedOutQueue | Code::RequestTimedOut => Verdict::Retry,
        _ if signal.retriable => Verdict::Retry,
        _ => Verdict::Indeterminate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abortable(code: Code) -> Signal {
        Signal { requires_abort: true, ..Signal::plain(code) }
    }

    fn retriable(code: Code) -> Signal {
        Signal { retriable: true, ..Signal::plain(code) }
    }

    #[test]
    fn every_signal_of_the_table_has_its_verdict() {
        let flush = Signal { undelivered: true, ..Signal::plain(Code::OperationTimedOut) };
        let table = [
            ("a retriable error", retriable(Code::CoordinatorNotAvailable), Verdict::Retry),
            ("a commit that timed out", retriable(Code::OperationTimedOut), Verdict::Retry),
            ("a time-out without flags", Signal::plain(Code::OperationTimedOut), Verdict::Retry),
            ("a call into a commit under way", retriable(Code::Conflict), Verdict::Indeterminate),
            ("the same call twice", retriable(Code::PreviousInProgress), Verdict::Indeterminate),
            ("an unusable producer", Signal::fatal(Code::InvalidTransactionalState), Verdict::Indeterminate),
            ("an expired transactional id", Signal::fatal(Code::InvalidProducerIdMapping), Verdict::Indeterminate),
            ("an unknown error", Signal::plain(Code::Unknown), Verdict::Indeterminate),
            ("a call out of order", Signal::plain(Code::State), Verdict::Indeterminate),
            ("an abortable error", abortable(Code::MessageTimedOut), Verdict::RollBack),
            ("an abortable time-out", abortable(Code::OperationTimedOut), Verdict::RollBack),
            ("a flush that timed out", flush, Verdict::RollBack),
            ("an old generation", abortable(Code::IllegalGeneration), Verdict::Stale),
            ("an unknown member", abortable(Code::UnknownMemberId), Verdict::Stale),
            ("a fenced producer", Signal::fatal(Code::Fenced), Verdict::Fenced),
            ("a fenced producer, told by the broker", Signal::fatal(Code::ProducerFenced), Verdict::Fenced),
            ("a transaction that timed out", Signal::fatal(Code::InvalidProducerEpoch), Verdict::Fenced),
            ("a replaced member", abortable(Code::FencedInstanceId), Verdict::Replaced),
            ("no permission", Signal::fatal(Code::TransactionalIdAuthorizationFailed), Verdict::Fatal),
            ("no permission for the group", abortable(Code::GroupAuthorizationFailed), Verdict::Fatal),
        ];
        for (name, signal, expected) in table {
            assert_eq!(verdict(signal), expected, "{name}");
        }
    }

    #[test]
    fn nothing_unknown_passes_for_rolled_back() {
        for code in [Code::Unknown, Code::NetworkException, Code::BrokerTransportFailure, Code::KafkaStorageError] {
            assert_eq!(verdict(Signal::plain(code)), Verdict::Indeterminate, "{code}");
        }
    }

    #[test]
    fn a_flush_error_is_read_as_undelivered() {
        let signal = Signal::of(&KafkaError::Flush(Code::OperationTimedOut)).expect("has a code");
        assert_eq!(verdict(signal), Verdict::RollBack);
    }
}
