//! Section `processor` of the configuration.

use serde::{Deserialize, Serialize};
use stream_runtime::keyed::RuntimeConfig;
pub(crate) use stream_runtime::keyed::ordinal;

/// The processor is all runtime; what it works out is in section `journeys`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessorConfig {
    pub runtime: RuntimeConfig,
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{ProcessorConfig, ordinal};

    #[test]
    fn the_default_configuration_has_every_key_and_no_other() {
        #[derive(Deserialize)]
        struct Defaults {
            processor: ProcessorConfig,
        }
        let yaml = include_str!("../../config/telemetry.yaml");
        let defaults: Defaults = serde_saphyr::from_str(yaml).unwrap();
        assert_eq!(defaults.processor.runtime.commit_interval.millis(), 200);
        assert_eq!(defaults.processor.runtime.timer_grace.millis(), 0, "each journey has a grace of its own");
    }

    #[test]
    fn auto_takes_the_number_of_a_stateful_set() {
        assert_eq!(ordinal("auto", Some("ttf-processor-13")), "13");
        for without in [None, Some("laptop"), Some("web-7f9c"), Some("x-"), Some("ip-10-0-0-1234567")] {
            assert_eq!(ordinal("auto", without), "0", "{without:?}");
        }
        assert_eq!(ordinal("7", Some("ttf-processor-13")), "7");
    }
}
