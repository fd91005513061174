//! What a configuration allows and hardly anybody means.

use ingest_gateway::config::AuthMode;
use stream_runtime::log::LogConfig;

use super::{
    needs::Role,
    report::{Check, Part},
};
use crate::config::Config;

pub fn look(config: &Config, roles: &[Role]) -> Vec<Check> {
    let mut part = Part::new("configuration");
    let is_shared = matches!(config.log, LogConfig::Kafka(_));
    if roles.contains(&Role::Gateway) && is_shared {
        if config.gateway.auth.mode == AuthMode::Open {
            part.warning("keys", "everybody may send: gateway.auth.mode is open", "set it to `required`");
        } else if config.tenants.iter().all(|(_, tenant)| tenant.keys.is_empty()) {
            part.warning("keys", "no tenant has a key: nobody can send", "add one: tenants.ID.keys, docs/security.md");
        } else {
            part.ok("keys", "required");
        }
        if config.privacy.keys.is_empty() {
            part.skipped("privacy.keys", "none: nothing can be hashed or sealed");
        }
    }
    if roles.contains(&Role::Alerter) && is_shared {
        let tells = config.alerter.receivers.iter().any(|receiver| receiver.log.is_none());
        if tells {
            part.ok("receivers", format!("{} receivers", config.alerter.receivers.len()));
        } else {
            part.warning("receivers", "only the log is told of breaches", "add a receiver: docs/alerting.md");
        }
        if config.alerter.user_id_key.is_none() {
            part.warning(
                "user_id_key",
                "none: who can guess a user's id can find it in messages",
                "set alerter.user_id_key before the first alert",
            );
        }
    }
    if part.checks.is_empty() {
        part.ok("intent", "nothing unusual");
    }
    part.checks
}
