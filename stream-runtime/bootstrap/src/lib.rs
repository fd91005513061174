//! One function of librdkafka that its Rust binding does not offer: naming servers to a client that runs.

use std::ffi::CStr;

use rdkafka::{ClientContext, client::Client};

/// Names servers (`host:port,…`) to a client that runs, in addition to those it knows. Returns how many of them could be
/// read; a server that the client knows by this name already is not added twice.
#[must_use]
pub fn add_servers<C: ClientContext>(client: &Client<C>, servers: &CStr) -> i32 {
    // SAFETY: the handle lives as long as the client that is lent to us. librdkafka copies the text, which ends with a
    // zero, and lets any thread call this at any time (`@locality any thread`).
    unsafe { rdkafka::bindings::rd_kafka_brokers_add(client.native_ptr(), servers.as_ptr()) }
}

#[cfg(test)]
mod tests {
    use rdkafka::{
        ClientConfig,
        producer::{BaseProducer, DefaultProducerContext, Producer},
    };

    use super::*;

    #[test]
    fn servers_are_read_as_in_the_settings() {
        let producer: BaseProducer<DefaultProducerContext> = ClientConfig::new().create().unwrap();
        assert_eq!(add_servers(producer.client(), c"127.0.0.1:1, 127.0.0.1:2"), 2);
        assert_eq!(add_servers(producer.client(), c""), 0);
    }
}
