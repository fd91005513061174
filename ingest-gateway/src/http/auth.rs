//! Who calls: API keys, their tenants and scopes.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use parking_lot::RwLock;
use service_kit::config::{KeyScope, TenantsConfig};
use sha2::{Digest, Sha256};

use super::error::ApiError;
use crate::{
    config::{AuthConfig, AuthMode},
    limits::Allowance,
};

/// The keys of all tenants.
#[derive(Debug)]
pub struct Keys {
    mode: AuthMode,
    keyless_tenant: Arc<str>,
    known: RwLock<Arc<Vec<Key>>>,
    /// Of requests without a key.
    keyless_allowance: RwLock<Arc<Allowance>>,
}

#[derive(Debug, Clone)]
struct Key {
    sha256: [u8; 32],
    tenant: Arc<str>,
    name: Arc<str>,
    scopes: Vec<KeyScope>,
    allowance: Arc<Allowance>,
}

impl Key {
    fn caller(&self) -> Caller {
        Caller {
            tenant: self.tenant.clone(),
            name: self.name.clone(),
            lane: Lane::Key(self.scopes.clone()),
            allowance: self.allowance.clone(),
        }
    }
}

/// Who sent a request.
#[derive(Debug, Clone)]
pub struct Caller {
    pub tenant: Arc<str>,
    /// The key's name, for the audit log.
    pub name: Arc<str>,
    lane: Lane,
    /// How much it may send.
    pub allowance: Arc<Allowance>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Lane {
    Key(Vec<KeyScope>),
    /// No key where none is needed.
    Open,
    /// No key where one is needed.
    SmokeTest,
}

impl Caller {
    /// True when only `test` events may be taken from this caller.
    pub fn is_smoke_test(&self) -> bool {
        self.lane == Lane::SmokeTest
    }

    /// True when the key can do more than send events, and so may not stand where others see it.
    pub fn is_more_than_ingest(&self) -> bool {
        matches!(&self.lane, Lane::Key(scopes) if scopes.iter().any(|scope| *scope != KeyScope::Ingest))
    }

    /// Refuses a caller that lacks a scope. The smoke test has none but the one for its test events.
    pub fn require(&self, scope: KeyScope) -> Result<(), ApiError> {
        match &self.lane {
            Lane::Open => Ok(()),
            Lane::Key(scopes) if scopes.contains(&scope) => Ok(()),
            Lane::SmokeTest if scope == KeyScope::Ingest => Ok(()),
            Lane::SmokeTest => Err(key_missing()),
            Lane::Key(_) => {
                let message = format!("this key lacks the scope `{}`", scope_name(scope));
                Err(ApiError::new(StatusCode::FORBIDDEN, "scope_missing", message)
                    .with_hint("use a key that has it, or add it under tenants.<tenant>.keys"))
            }
        }
    }
}

/// A key is needed and none was given.
pub fn key_missing() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "key_missing", "an API key is needed")
        .with_hint("send `Authorization: Bearer <key>`; without a key only events of event_type `test` are taken")
}

fn key_unknown() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "key_unknown", "this API key is not known")
        .with_hint("keys are listed by their SHA-256 under tenants.<tenant>.keys")
}

impl Keys {
    pub fn new(auth: &AuthConfig, tenants: &TenantsConfig) -> Self {
        Self {
            mode: auth.mode,
            keyless_tenant: auth.keyless_tenant.as_str().into(),
            known: RwLock::new(Arc::new(known(tenants))),
            keyless_allowance: RwLock::new(Arc::new(keyless_allowance(&auth.keyless_tenant, tenants))),
        }
    }

    /// Takes other keys and limits from now on. Requests under way go on as they began.
    pub fn replace(&self, tenants: &TenantsConfig) {
        *self.known.write() = Arc::new(known(tenants));
        *self.keyless_allowance.write() = Arc::new(keyless_allowance(&self.keyless_tenant, tenants));
    }

    /// Tells who sent a request with these headers.
    pub fn identify(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let key = presented(headers)?.and_then(|key| self.find(&key).map_or(Some(Err(())), |key| Some(Ok(key))));
        match (key, self.mode) {
            (Some(Ok(key)), _) => Ok(key.caller()),
            // Clients that insist on some key work without one being set up.
            (Some(Err(())) | None, AuthMode::Open) => Ok(self.keyless("open", Lane::Open)),
            (Some(Err(())), AuthMode::Required) => Err(key_unknown()),
            (None, AuthMode::Required) => Ok(self.keyless("smoke-test", Lane::SmokeTest)),
        }
    }

    /// Tells who sent a request that presents these keys, and which of them said so: the first that is known counts.
    /// Without one there is no smoke test here.
    pub fn identify_any<'k>(&self, keys: impl Iterator<Item = &'k str>) -> Result<(Caller, Option<usize>), ApiError> {
        let mut presented = 0;
        for (index, key) in keys.enumerate() {
            presented += 1;
            if let Some(key) = self.find(key) {
                return Ok((key.caller(), Some(index)));
            }
        }
        match (self.mode, presented) {
            (AuthMode::Open, _) => Ok((self.keyless("open", Lane::Open), None)),
            (AuthMode::Required, 0) => Err(key_missing()),
            (AuthMode::Required, _) => Err(key_unknown()),
        }
    }

    fn keyless(&self, name: &str, lane: Lane) -> Caller {
        let allowance = match lane {
            Lane::Open => self.keyless_allowance.read().clone(),
            // Has its own limit.
            _ => Arc::default(),
        };
        Caller { tenant: self.keyless_tenant.clone(), name: name.into(), lane, allowance }
    }

    /// Compares with every key in full, so that the time taken tells nothing about any of them.
    fn find(&self, presented: &str) -> Option<Key> {
        let known = self.known.read().clone();
        let sha256: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        let mut found = None;
        for key in known.iter() {
            let difference = key.sha256.iter().zip(&sha256).fold(0, |difference, (a, b)| difference | (a ^ b));
            if std::hint::black_box(difference) == 0 {
                found = Some(key);
            }
        }
        found.cloned()
    }
}

fn known(tenants: &TenantsConfig) -> Vec<Key> {
    let keys = tenants.iter().flat_map(|(tenant, config)| config.keys.iter().map(move |key| (tenant, config, key)));
    keys.map(|(tenant, config, key)| Key {
        sha256: *key.sha256.bytes(),
        tenant: tenant.into(),
        name: key.name.as_str().into(),
        scopes: key.scopes.clone(),
        allowance: Arc::new(Allowance::new(tenant, &config.limits, Some((&key.name, &key.limits)))),
    })
    .collect()
}

fn keyless_allowance(tenant: &str, tenants: &TenantsConfig) -> Allowance {
    tenants.get(tenant).map(|config| Allowance::new(tenant, &config.limits, None)).unwrap_or_default()
}

/// The key a request carries: `Authorization: Bearer`, `X-Api-Key`, or the user of HTTP Basic.
pub fn presented(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let malformed = || {
        ApiError::new(StatusCode::UNAUTHORIZED, "key_malformed", "the Authorization header cannot be read")
            .with_hint("send `Authorization: Bearer <key>`, or `Basic` with the key as the user")
    };
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, rest) = value.to_str().ok().and_then(|text| text.trim().split_once(' ')).ok_or_else(malformed)?;
        let key = match scheme.to_ascii_lowercase().as_str() {
            "bearer" => rest.trim().to_owned(),
            "basic" => basic_user(rest.trim()).ok_or_else(malformed)?,
            _ => return Err(malformed()),
        };
        return if key.is_empty() { Err(malformed()) } else { Ok(Some(key)) };
    }
    let key = headers.get("x-api-key").map(|value| value.to_str().map(|key| key.trim().to_owned()));
    key.transpose().map_err(|_| malformed())
}

fn basic_user(encoded: &str) -> Option<String> {
    let decoded = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    let user = decoded.split_once(':').map_or(decoded.as_str(), |(user, _)| user);
    Some(user.to_owned())
}

const fn scope_name(scope: KeyScope) -> &'static str {
    match scope {
        KeyScope::Ingest => "ingest",
        KeyScope::Read => "read",
        KeyScope::Admin => "admin",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::testing;

    fn identify(mode: AuthMode, name: &'static str, value: &str) -> Result<(String, Caller), &'static str> {
        let auth = AuthConfig { mode, ..testing::gateway_config().auth };
        let keys = Keys::new(&auth, &testing::tenants());
        let mut headers = HeaderMap::new();
        if !value.is_empty() {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        keys.identify(&headers).map(|caller| (caller.name.to_string(), caller)).map_err(|error| error.code)
    }

    fn name(mode: AuthMode, header: &'static str, value: &str) -> Result<String, &'static str> {
        identify(mode, header, value).map(|(name, _)| name)
    }

    #[test]
    fn a_key_is_found_wherever_clients_put_it() {
        let basic = format!("Basic {}", BASE64.encode("acme-secret:"));
        assert_eq!(name(AuthMode::Required, "authorization", "Bearer acme-secret"), Ok("acme ingest".into()));
        assert_eq!(name(AuthMode::Required, "authorization", "bearer  acme-secret"), Ok("acme ingest".into()));
        assert_eq!(name(AuthMode::Required, "authorization", &basic), Ok("acme ingest".into()));
        assert_eq!(name(AuthMode::Required, "x-api-key", "acme-secret"), Ok("acme ingest".into()));
    }

    #[test]
    fn a_wrong_key_is_refused_and_no_key_is_a_smoke_test() {
        assert_eq!(name(AuthMode::Required, "x-api-key", "acme-secre"), Err("key_unknown"));
        assert_eq!(name(AuthMode::Required, "authorization", "Digest x"), Err("key_malformed"));
        assert_eq!(name(AuthMode::Required, "authorization", "Basic %%%"), Err("key_malformed"));
        let (_, caller) = identify(AuthMode::Required, "x-api-key", "").unwrap();
        assert!(caller.is_smoke_test());
        assert_eq!(caller.require(KeyScope::Read).unwrap_err().code, "key_missing");
    }

    #[test]
    fn where_keys_are_not_needed_any_key_will_do() {
        for key in ["", "whatever"] {
            let (_, caller) = identify(AuthMode::Open, "x-api-key", key).unwrap();
            assert_eq!(&*caller.tenant, "default");
            assert!(caller.require(KeyScope::Admin).is_ok());
        }
        let (_, caller) = identify(AuthMode::Open, "x-api-key", "acme-secret").unwrap();
        assert_eq!(&*caller.tenant, "acme");
    }

    #[test]
    fn a_key_does_only_what_its_scopes_say() {
        let (_, caller) = identify(AuthMode::Required, "x-api-key", "acme-secret").unwrap();
        assert!(caller.require(KeyScope::Ingest).is_ok());
        assert_eq!(caller.require(KeyScope::Admin).unwrap_err().status, StatusCode::FORBIDDEN);
    }
}
