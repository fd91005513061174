//! librdkafka's errors as errors of the log.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::log::LogError;

/// True when `code` says that a topic (or that partition of it) is not there.
pub(super) fn is_unknown_topic(code: Code) -> bool {
    matches!(code, Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition)
}

/// True when nothing but a change of permissions or credentials helps.
pub(super) fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
    )
}

/// True when librdkafka mends it by itself: one broker of several, or one that will be back.
pub(super) fn is_mended(code: Code) -> bool {
    matches!(code, Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut | Code::NetworkException)
}

/// Classes an error of a call made while `doing` something, about `topic` when it was about one.
pub(super) fn classify(error: &KafkaError, doing: &str, topic: Option<&str>) -> LogError {
    match error {
        KafkaError::ClientConfig(_, description, key, _) => LogError::Invalid(bad_property(key, description)),
        KafkaError::ClientCreation(description) => LogError::Invalid(format!("{doing}: {description}")),
        KafkaError::Nul(_) => LogError::Invalid(format!("{doing}: a name contains a zero byte")),
        other => match other.rdkafka_error_code() {
            Some(code) => classify_code(code, doing, topic),
            None => LogError::Unavailable(format!("{doing}: {other}")),
        },
    }
}

/// Like [`classify`], from the bare code.
pub(super) fn classify_code(code: Code, doing: &str, topic: Option<&str>) -> LogError {
    match (code, topic) {
        (code, Some(topic)) if is_unknown_topic(code) => LogError::UnknownTopic(topic.to_owned()),
        (Code::QueueFull, _) => LogError::QueueFull,
        (Code::FencedInstanceId, _) => LogError::Replaced(format!("{doing}: {code}")),
        (Code::Fatal, _) => LogError::Fatal(format!("{doing}: {code}")),
        (code, _) if is_refusal(code) => LogError::Fatal(format!("{doing}: {code}")),
        (code, _) => LogError::Unavailable(format!("{doing}: {code}")),
    }
}

/// Says what is wrong with a property without repeating its value, which may be a secret.
pub(super) fn bad_property(key: &str, description: &str) -> String {
    const SECRET: [&str; 5] = ["password", "secret", "pem", "sasl.oauthbearer.config", "jaas"];
    if SECRET.iter().any(|word| key.contains(word)) {
        format!("kafka property `{key}` has a value librdkafka does not take")
    } else {
        format!("kafka property `{key}`: {description}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_topic_is_named() {
        let error = classify(&KafkaError::MetadataFetch(Code::UnknownTopicOrPartition), "reading", Some("orders"));
        assert!(matches!(error, LogError::UnknownTopic(topic) if topic == "orders"));
    }

    #[test]
    fn what_may_pass_is_retriable_and_what_does_not_is_not() {
        let of = |code| classify_code(code, "reading", None);
        assert!(of(Code::BrokerTransportFailure).is_retriable());
        assert!(of(Code::OperationTimedOut).is_retriable());
        assert!(of(Code::QueueFull).is_retriable());
        assert!(matches!(of(Code::FencedInstanceId), LogError::Replaced(_)));
        assert!(matches!(of(Code::TopicAuthorizationFailed), LogError::Fatal(_)));
        assert!(matches!(of(Code::Fatal), LogError::Fatal(_)));
    }

    #[test]
    fn the_value_of_a_secret_is_not_repeated() {
        let text = bad_property("sasl.password", "Invalid value \"hunter2\"");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(bad_property("linger.ms", "out of range").contains("out of range"));
    }
}
