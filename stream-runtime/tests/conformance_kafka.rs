//! The log on Apache Kafka keeps what every log promises. Needs the brokers named by `TTF_TEST_KAFKA`.

#[path = "conformance/mod.rs"]
mod conformance;
mod support;

use conformance::support::Open;

fn with_log(behaviour: &dyn Fn(Open<'_>)) {
    behaviour(&support::kafka::open);
}

conformance_suite!(with_log);
