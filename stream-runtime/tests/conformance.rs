//! The embedded log keeps what every log promises, in memory and on disk.

#[path = "conformance/mod.rs"]
mod conformance;

use std::sync::Arc;

use conformance::support::Open;
use stream_runtime::log::{Log, config::EmbeddedConfig, embedded::EmbeddedLog};

type Behaviour<'a> = &'a dyn Fn(Open<'_>);

mod in_memory {
    use super::{Arc, Behaviour, EmbeddedLog, Log};

    fn with_log(behaviour: Behaviour<'_>) {
        let log = EmbeddedLog::in_memory();
        behaviour(&|| Arc::new(log.clone()) as Arc<dyn Log>);
    }

    crate::conformance_suite!(with_log);
}

mod on_disk {
    use super::{Arc, Behaviour, EmbeddedConfig, EmbeddedLog, Log};

    /// Opening again closes and reopens the store.
    fn with_log(behaviour: Behaviour<'_>) {
        let folder = tempfile::tempdir().unwrap();
        let config = EmbeddedConfig { path: folder.path().join("log"), retention_bytes: u64::MAX };
        behaviour(&|| Arc::new(EmbeddedLog::open(&config).unwrap()) as Arc<dyn Log>);
    }

    crate::conformance_suite!(with_log);
}
