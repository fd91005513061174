//! The privacy policy: compiled once, applied to the JSON of every event, valid or not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    config::{
        Action, AfterErasure, ConsentConfig, Detector, PrivacyConfig, PrivacyKey, PropertyLists, WithoutAnalytics,
    },
    consent::{self, ConsentMissing, Milestones},
    detect::Detectors,
    fields::Rule,
    keyring::{Keyring, is_key_id},
};

/// What a masked value becomes.
pub(super) const MASK: &str = "***";

/// A secret that is shorter can be found by trying.
const MIN_SECRET_BYTES: usize = 16;

/// A configured policy that cannot be carried out; better no start than a promise not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error(
        "privacy.fields.\"{path}\": a path starts with `properties.` or `context.`, or is `user_id` or `anonymous_id`"
    )]
    UnknownRoot { path: String },
    #[error("privacy.fields.\"{path}\": an id can only be hashed or allowed: journeys need it")]
    IdNeeded { path: String },
    #[error("{setting}: action `{action}` needs a key under privacy.keys")]
    KeyMissing { setting: String, action: &'static str },
    #[error("tenant `{tenant}`: {error}")]
    OfTenant { tenant: String, error: Box<PolicyError> },
    #[error("{setting}: {problem}")]
    BadKey { setting: String, problem: &'static str },
}

/// A compiled policy.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: Vec<Rule>,
    /// Paths with a rule, `allow` included: detectors pass them over.
    ruled: BTreeSet<String>,
    /// `user_id`, `anonymous_id`: those that are replaced by pseudonyms.
    persons: Vec<&'static str>,
    lists: PropertyLists,
    consent: ConsentConfig,
    milestones: Milestones,
    after_erasure: AfterErasure,
    actions: [Action; 6],
    pub(super) detectors: Detectors,
    pub(super) keyring: Keyring,
}

/// One value that was changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Redaction<'p> {
    /// Where it stood; lists have no place in it.
    pub path: String,
    /// A detector, the path of a rule, `property` or `consent`; a bounded set.
    pub class: &'p str,
    pub action: &'static str,
}

/// What was done to an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Treated<'p> {
    pub redactions: Vec<Redaction<'p>>,
    /// Encrypted values by path.
    pub sealed: BTreeMap<String, String>,
}

/// One run over one event.
pub(super) struct Pass<'p> {
    pub policy: &'p Policy,
    pub tenant: &'p str,
    pub event_type: Option<String>,
    /// False where there is no place for sealed values: they are masked, or left out.
    keeps_seals: bool,
    done: Treated<'p>,
}

impl Policy {
    /// # Errors
    /// What cannot be carried out, with its setting.
    pub fn compile(config: &PrivacyConfig, milestones: Milestones) -> Result<Self, PolicyError> {
        check_keys(config)?;
        let has_keys = !config.keys.is_empty();
        let needs_key = |setting: String, action: Action| {
            if action.needs_key() && !has_keys {
                return Err(PolicyError::KeyMissing { setting, action: action.as_str() });
            }
            Ok(())
        };
        let mut rules = Vec::new();
        let mut persons = Vec::new();
        for (path, action) in &config.fields {
            needs_key(format!("privacy.fields.\"{path}\""), *action)?;
            if let Some(person) = ["user_id", "anonymous_id"].into_iter().find(|person| person == path) {
                match action {
                    Action::Allow => {}
                    Action::Hash => persons.push(person),
                    _ => return Err(PolicyError::IdNeeded { path: path.clone() }),
                }
                continue;
            }
            let segments: Vec<String> = path.split('.').map(str::to_owned).collect();
            let has_root = matches!(segments[0].as_str(), "properties" | "context");
            if !has_root || segments.len() < 2 || segments.iter().any(String::is_empty) {
                return Err(PolicyError::UnknownRoot { path: path.clone() });
            }
            if *action != Action::Allow {
                rules.push(Rule { path: path.clone(), segments, action: *action });
            }
        }
        let mut actions = [Action::Allow; 6];
        for (detector, action) in &config.detectors {
            needs_key(format!("privacy.detectors.{}", detector.as_str()), *action)?;
            actions[*detector as usize] = *action;
        }
        let on = config.detectors.iter().filter(|(_, action)| **action != Action::Allow).map(|(detector, _)| *detector);
        Ok(Self {
            rules,
            ruled: config.fields.keys().cloned().collect(),
            persons,
            lists: config.properties.clone(),
            consent: config.consent,
            milestones,
            after_erasure: config.after_erasure,
            actions,
            detectors: Detectors::new(on),
            keyring: Keyring::new(config),
        })
    }

    /// Treats an event that meets the schema; it still does afterwards.
    ///
    /// # Errors
    /// The person did not agree to analytics, and nothing of the event may be kept.
    pub fn apply<'p>(&'p self, tenant: &'p str, event: &mut Map<String, Value>) -> Result<Treated<'p>, ConsentMissing> {
        let mut pass = Pass::new(self, tenant, event, true);
        if !consent::is_granted(self.consent, event) {
            consent::reduce(self.consent, &self.milestones, &self.keyring, tenant, event)?;
            pass.note(String::new(), "consent", Action::Drop);
        }
        pass.structured(event);
        if self.detectors.is_any_on() {
            pass.event(event);
        }
        Ok(pass.done)
    }

    /// Treats what goes to the rejected topic of an event that was read. There is no place for sealed values there:
    /// they become `***`. `None`: nothing of it may be written.
    pub fn apply_to_rejected<'p>(&'p self, tenant: &'p str, event: &mut Map<String, Value>) -> Option<Treated<'p>> {
        if !consent::is_granted(self.consent, event) {
            return None;
        }
        let mut pass = Pass::new(self, tenant, event, false);
        pass.structured(event);
        if self.detectors.is_any_on() {
            pass.everything(event);
        }
        Some(pass.done)
    }

    /// The text with everything that a detector finds masked. For names of keys and such, which are bounded.
    pub fn masked(&self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        let mut from = 0;
        for find in self.detectors.find(text) {
            masked.push_str(&text[from..find.range.start]);
            masked.push_str(MASK);
            from = find.range.end;
        }
        masked.push_str(&text[from..]);
        masked
    }

    /// Every id under which a user's data may be kept: the one that stands in events, and the pseudonym of those without
    /// consent.
    pub fn ids_of_user(&self, tenant: &str, user_id: &str) -> Vec<String> {
        let mut ids = vec![self.id_of_user(tenant, user_id)];
        if self.consent.without_analytics == WithoutAnalytics::Milestones {
            ids.extend(self.keyring.user_pseudonym(tenant, user_id).filter(|pseudonym| *pseudonym != ids[0]));
        }
        ids
    }

    /// What becomes of what an erased user does later.
    pub fn after_erasure(&self) -> AfterErasure {
        self.after_erasure
    }

    /// The id under which a user's events are kept.
    pub fn id_of_user(&self, tenant: &str, user_id: &str) -> String {
        let is_hashed = self.persons.contains(&"user_id") && !super::keyring::is_pseudonym(user_id);
        let pseudonym = if is_hashed { self.keyring.user_pseudonym(tenant, user_id) } else { None };
        pseudonym.unwrap_or_else(|| user_id.to_owned())
    }

    /// The keys that open what was sealed.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    pub(super) fn action(&self, detector: Detector) -> Option<Action> {
        Some(self.actions[detector as usize]).filter(|action| *action != Action::Allow)
    }

    pub(super) fn action_or_mask(&self, detector: Detector) -> Action {
        self.action(detector).unwrap_or(Action::Mask)
    }

    /// True when the path, or what it is part of, has a rule of its own.
    pub(super) fn has_rule(&self, path: &str) -> bool {
        let places = path.match_indices('.').map(|(place, _)| place).chain([path.len()]);
        places.into_iter().any(|end| self.ruled.contains(&path[..end]))
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(super) fn property_lists(&self) -> &PropertyLists {
        &self.lists
    }
}

impl<'p> Pass<'p> {
    fn new(policy: &'p Policy, tenant: &'p str, event: &Map<String, Value>, keeps_seals: bool) -> Self {
        let event_type = event.get("event_type").and_then(Value::as_str);
        let event_type = event_type.filter(|name| matches!(*name, "performance" | "error")).map(str::to_owned);
        Self { policy, tenant, event_type, keeps_seals, done: Treated::default() }
    }

    /// What goes by names and paths.
    fn structured(&mut self, event: &mut Map<String, Value>) {
        let policy = self.policy;
        self.lists(&policy.lists, event);
        for rule in &policy.rules {
            self.rule(rule, event);
        }
        for person in &policy.persons {
            self.person(person, event);
        }
    }

    pub fn note(&mut self, path: String, class: &'p str, action: Action) {
        self.done.redactions.push(Redaction { path, class, action: action.as_str() });
    }

    pub fn hash(&self, value: &str) -> Option<String> {
        self.policy.keyring.hash(self.tenant, value)
    }

    /// Puts a value into the sealed map, under its path.
    pub fn seal(&mut self, path: &str, value: &Value) {
        if !self.keeps_seals {
            return;
        }
        let mut place = path.to_owned();
        let mut count = 1;
        while self.done.sealed.contains_key(&place) {
            count += 1;
            place = format!("{path}#{count}");
        }
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if let Some(sealed) = self.policy.keyring.seal(self.tenant, &place, &text) {
            self.done.sealed.insert(place, sealed);
        }
    }
}

fn check_keys(config: &PrivacyConfig) -> Result<(), PolicyError> {
    check_key_list("privacy.keys", &config.keys)?;
    config.tenant_keys.iter().try_for_each(|(tenant, keys)| {
        let setting = format!("privacy.tenant_keys.{tenant}");
        if keys.is_empty() {
            return Err(PolicyError::BadKey { setting, problem: "a tenant with keys of its own has at least one" });
        }
        check_key_list(&setting, keys)
    })
}

fn check_key_list(setting: &str, keys: &[PrivacyKey]) -> Result<(), PolicyError> {
    for (index, key) in keys.iter().enumerate() {
        let is_known = keys[..index].iter().any(|earlier| earlier.id == key.id);
        let rules = [
            (is_key_id(&key.id), "an id is 1 to 32 letters, digits, `_` or `-`"),
            (!is_known, "this id is there twice"),
            (key.secret.expose().len() >= MIN_SECRET_BYTES, "a secret has 16 bytes or more (openssl rand -hex 32)"),
        ];
        if let Some((_, problem)) = rules.into_iter().find(|(holds, _)| !holds) {
            return Err(PolicyError::BadKey { setting: format!("{setting}.{index}"), problem });
        }
    }
    Ok(())
}
