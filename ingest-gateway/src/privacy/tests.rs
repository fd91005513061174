//! The policy against the vectors that the clients share, and what the vectors cannot say.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::*;
use crate::validate;

#[derive(Deserialize)]
struct Vectors<C> {
    cases: Vec<C>,
}

fn vectors<C: DeserializeOwned>(text: &str) -> Vec<C> {
    serde_json::from_str::<Vectors<C>>(text).expect("the vectors are readable").cases
}

#[derive(Deserialize)]
struct EventCase {
    name: String,
    tenant: String,
    policy: PrivacyConfig,
    input: Map<String, Value>,
    expected: Option<Map<String, Value>>,
    #[serde(default)]
    redactions: Vec<BTreeMap<String, String>>,
    #[serde(default)]
    sealed: BTreeMap<String, String>,
    #[serde(default)]
    milestones: BTreeMap<String, BTreeSet<String>>,
}

impl EventCase {
    fn policy(&self) -> Policy {
        let milestones = self.milestones.clone().into_iter().collect();
        Policy::compile(&self.policy, milestones).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

fn policies() -> Vec<EventCase> {
    vectors(include_str!("../../../schemas/testdata/privacy/policies.json"))
}

fn consents() -> Vec<EventCase> {
    vectors(include_str!("../../../schemas/testdata/privacy/consent.json"))
}

#[test]
fn events_become_what_the_vectors_say() {
    for case in policies() {
        let policy = case.policy();
        let mut event = case.input.clone();
        let treated = policy.apply(&case.tenant, &mut event).expect("there is consent");
        assert_eq!(Some(&event), case.expected.as_ref(), "{}", case.name);
        let texts = |redaction: &Redaction<'_>| {
            [("path", redaction.path.as_str()), ("class", redaction.class), ("action", redaction.action)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into()
        };
        let mut redactions: Vec<BTreeMap<_, _>> = treated.redactions.iter().map(texts).collect();
        let mut expected = case.redactions.clone();
        redactions.sort();
        expected.sort();
        assert_eq!(redactions, expected, "{}", case.name);
        let opened: BTreeMap<_, _> = treated
            .sealed
            .iter()
            .map(|(path, sealed)| (path.clone(), policy.keyring().open(&case.tenant, path, sealed).expect("it opens")))
            .collect();
        assert_eq!(opened, case.sealed, "{}", case.name);
    }
}

#[test]
fn consent_is_kept_to_as_the_vectors_say() {
    for case in consents() {
        let mut event = case.input.clone();
        let is_kept = case.policy().apply(&case.tenant, &mut event).is_ok();
        assert_eq!(is_kept.then_some(event), case.expected, "{}", case.name);
    }
}

#[derive(Deserialize)]
struct RawCase {
    name: String,
    policy: PrivacyConfig,
    input: String,
    expected: Option<String>,
}

#[test]
fn what_is_no_json_becomes_what_the_vectors_say() {
    for case in vectors::<RawCase>(include_str!("../../../schemas/testdata/privacy/raw.json")) {
        let policy = Policy::compile(&case.policy, Milestones::default()).expect("it compiles");
        let redacted =
            policy.apply_to_raw(case.input.as_bytes()).map(|bytes| String::from_utf8(bytes).expect("is text"));
        assert_eq!(redacted, case.expected, "{}", case.name);
    }
}

#[test]
fn a_treated_event_is_valid_and_treating_it_again_changes_nothing() {
    for case in policies().into_iter().chain(consents()) {
        let policy = case.policy();
        let mut once = case.input.clone();
        if policy.apply(&case.tenant, &mut once).is_err() {
            continue;
        }
        let text = serde_json::to_vec(&once).expect("is JSON");
        assert!(validate::event(&text, 32_768).is_ok(), "{} is not valid any more", case.name);
        let mut twice = once.clone();
        let again = policy.apply(&case.tenant, &mut twice).expect("it was kept once");
        assert_eq!(twice, once, "{}", case.name);
        assert!(again.sealed.is_empty(), "{} seals again", case.name);
    }
}

fn strict() -> PrivacyConfig {
    let detectors =
        ["email", "phone", "card", "national_id", "ip", "secret"].map(|name| (name.to_owned(), json!("mask")));
    serde_json::from_value(json!({"detectors": Value::Object(detectors.into_iter().collect())})).expect("is a policy")
}

fn strict_policy() -> Policy {
    Policy::compile(&strict(), Milestones::default()).expect("it compiles")
}

#[test]
fn a_rejected_event_is_looked_at_everywhere_but_in_its_ids() {
    let mut event = json!({
        "event_name": "ada@example.com", "emial": "ada@example.com", "user_id": "ada@example.com", "properties": "ada@example.com",
        "context": {"library": {"version": "ada@example.com"}}, "anonymous_id": ["ada@example.com"],
    });
    let Value::Object(map) = &mut event else { unreachable!() };
    assert_eq!(strict_policy().apply_to_rejected("acme", map).expect("may be written").redactions.len(), 5);
    assert_eq!(event.to_string().matches("ada@example.com").count(), 1);
    assert_eq!(event["user_id"], "ada@example.com");
}

#[test]
fn nothing_of_a_rejected_event_is_written_without_consent() {
    for consent in [json!(false), json!("yes"), json!(null)] {
        let mut event = json!({"event_name": "x", "context": {"consent": {"analytics": consent}}});
        let Value::Object(map) = &mut event else { unreachable!() };
        assert_eq!(strict_policy().apply_to_rejected("acme", map), None);
    }
}

#[test]
fn bytes_that_cannot_be_looked_at_are_not_written() {
    let policy = strict_policy();
    let utf16: Vec<u8> = "{\"email\":\"ada@example.com\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(policy.apply_to_raw(&utf16), None);
    assert_eq!(policy.apply_to_raw(&[0x1f, 0x8b, 0xff, 0xfe, 0x80, 0x81]), None);
    let latin1 =
        policy.apply_to_raw(b"{\"name\":\"J\xfcrgen\",\"email\":\"juergen@example.de\"}").expect("is nearly text");
    assert_eq!(latin1, b"{\"name\":\"J\xfcrgen\",\"email\":\"***\"}");
}

#[test]
fn what_cannot_be_carried_out_is_an_error_at_the_start() {
    let refused = |policy: Value| {
        let config: PrivacyConfig = serde_json::from_value(policy).expect("is a policy");
        Policy::compile(&config, Milestones::default()).expect_err("must be refused").to_string()
    };
    insta::assert_snapshot!(refused(json!({"fields": {"properties.email": "seal"}})), @r#"privacy.fields."properties.email": action `seal` needs a key under privacy.keys"#);
    insta::assert_snapshot!(refused(json!({"detectors": {"email": "hash"}})), @"privacy.detectors.email: action `hash` needs a key under privacy.keys");
    insta::assert_snapshot!(refused(json!({"fields": {"event_name": "drop"}})), @r#"privacy.fields."event_name": a path starts with `properties.` or `context.`, or is `user_id` or `anonymous_id`"#);
    insta::assert_snapshot!(refused(json!({"fields": {"user_id": "drop"}})), @r#"privacy.fields."user_id": an id can only be hashed or allowed: journeys need it"#);
    insta::assert_snapshot!(refused(json!({"keys": [{"id": "k1", "secret": "short"}]})), @"privacy.keys.0: a secret has 16 bytes or more (openssl rand -hex 32)");
    insta::assert_snapshot!(refused(json!({"keys": [{"id": "k 1", "secret": "long enough, it seems"}]})), @"privacy.keys.0: an id is 1 to 32 letters, digits, `_` or `-`");
    insta::assert_snapshot!(refused(json!({"tenant_keys": {"acme": []}})), @"privacy.tenant_keys.acme: a tenant with keys of its own has at least one");
}

#[test]
fn a_user_is_found_under_every_id_there_may_be() {
    let key = json!([{"id": "k1", "secret": "a secret of the tests"}]);
    let policy = |policy: Value| {
        Policy::compile(&serde_json::from_value(policy).expect("is a policy"), Milestones::default())
            .expect("it compiles")
    };
    let plain = policy(json!({"keys": key})).ids_of_user("acme", "ada");
    assert_eq!((plain.len(), plain[0].as_str()), (2, "ada"));
    let hashed = policy(json!({"keys": key, "fields": {"user_id": "hash"}})).ids_of_user("acme", "ada");
    assert_eq!(hashed, [plain[1].clone()]);
    assert_eq!(strict_policy().ids_of_user("acme", "ada"), ["ada"]);
}

proptest! {
    #[test]
    fn no_address_gets_past_whatever_its_surroundings(front in "\\PC{0,20}[ \"':=<,]", back in "[ \"'>,;]\\PC{0,20}", deep in 0usize..4) {
        let mut value = json!(format!("{front}ada.lovelace@example.com{back}"));
        for level in 0..deep {
            value = if level % 2 == 0 { json!([value]) } else { json!({"k": value}) };
        }
        let mut event = json!({"event_name": "x", "event_type": "track", "user_id": "u", "properties": {"p": value}});
        let Value::Object(map) = &mut event else { unreachable!() };
        prop_assert!(strict_policy().apply("acme", map).is_ok());
        prop_assert!(!event.to_string().contains("lovelace@example"), "{}", event);
    }

    #[test]
    fn any_bytes_are_survived(raw in proptest::collection::vec(any::<u8>(), 0..200), text in "[\"{}:,\\\\u040a-z@.\\[\\]/ ]{0,80}") {
        let policy = strict_policy();
        let _ = policy.apply_to_raw(&raw);
        let _ = policy.apply_to_raw(text.as_bytes());
    }
}
