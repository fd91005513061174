//! Section `processor` of the configuration.

use serde::{Deserialize, Serialize};
use stream_runtime::keyed::RuntimeConfig;

/// What `processor.ordinal` says when the host's name is to be asked.
const FROM_HOSTNAME: &str = "auto";

/// The processor is all runtime; what it works out is in section `journeys`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessorConfig {
    pub runtime: RuntimeConfig,
}

/// The configured ordinal, or with `auto` the number a stateful set gave the host (`ttf-processor-3` → `3`),
/// `0` where there is none.
pub(crate) fn ordinal(configured: &str, hostname: Option<&str>) -> String {
    if configured != FROM_HOSTNAME {
        return configured.to_owned();
    }
    let number = hostname.and_then(|name| name.rsplit_once('-')).map(|(_, number)| number);
    match number {
        Some(number) if !number.is_empty() && number.len() <= 5 && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            number.to_owned()
        }
        _ => "0".to_owned(),
    }
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
