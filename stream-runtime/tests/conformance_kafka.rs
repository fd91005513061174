//! The log on Apache Kafka keeps what every log promises. Needs the brokers named by `TTF_TEST_KAFKA`.

#[path = "conformance/mod.rs"]
mod conformance;

use std::{collections::BTreeMap, sync::Arc};

use conformance::support::Open;
use stream_runtime::log::{Log, config::KafkaConfig, kafka::KafkaLog};

fn with_log(behaviour: &dyn Fn(Open<'_>)) {
    let brokers = std::env::var("TTF_TEST_KAFKA").unwrap_or_else(|_| {
        panic!("TTF_TEST_KAFKA names no broker: start the servers with `make services-up` or run `make test`")
    });
    let config = KafkaConfig { brokers, properties: BTreeMap::new() };
    behaviour(&|| Arc::new(KafkaLog::open(&config, "conformance").unwrap()) as Arc<dyn Log>);
}

conformance_suite!(with_log);
