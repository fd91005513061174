use std::{collections::BTreeMap, net::SocketAddr};

use serde::Deserialize;
use serde_json::json;

use super::*;

const DEFAULTS: &str = "
service:
  listen: 127.0.0.1:9464
  format: auto
  drain: 10s
log:
  kind: embedded
  path: data
  retention_bytes: 1024
limits:
  events: 2500
  body: 5MiB
  ratio: 0.5
receivers: []
password: ''
";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    service: Service,
    log: Log,
    limits: Limits,
    receivers: Vec<Receiver>,
    password: Secret,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    listen: SocketAddr,
    format: Format,
    drain: HumanDuration,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Human,
    Json,
    Auto,
}

/// The shape of the real `log` section: serde buffers what is below `kind`.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Log {
    Kafka(Kafka),
    Embedded(Embedded),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kafka {
    brokers: String,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Embedded {
    path: PathBuf,
    retention_bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    events: u16,
    body: ByteSize,
    ratio: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Receiver {
    name: String,
    webhook: Option<Webhook>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Webhook {
    url: String,
    #[serde(default)]
    retries: u8,
}

/// Loads a user's file and environment over the defaults.
fn load_with(file: &str, env: &[(&str, &str)]) -> Result<Example, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.yaml");
    std::fs::write(&path, file).unwrap();
    let prefix = format!("{}/", folder.path().display());
    load(Sources::new(DEFAULTS).with_file(path).with_environment(env.iter().copied()))
        .map_err(|error| error.to_string().replace(&prefix, ""))
}

fn errors(file: &str, env: &[(&str, &str)]) -> String {
    load_with(file, env).unwrap_err()
}

#[test]
fn the_defaults_alone_are_a_configuration() {
    let config: Example = load(Sources::new(DEFAULTS)).unwrap();
    assert_eq!(config.service.format, Format::Auto);
    assert_eq!(config.service.drain.millis(), 10_000);
    assert_eq!(config.limits.body.bytes(), 5 << 20);
    assert!(matches!(config.log, Log::Embedded(Embedded { retention_bytes: 1024, .. })));
}

#[test]
fn stronger_layers_win_and_maps_merge() {
    let file = "service:\n  format: json\n  drain: 20s\nreceivers:\n  - name: a\n  - name: b\n";
    let config = load_with(file, &[("TELEMETRY__SERVICE__DRAIN", "30s"), ("HOME", "/root")]).unwrap();
    assert_eq!(config.service.format, Format::Json);
    assert_eq!(config.service.drain.millis(), 30_000);
    assert_eq!(config.service.listen.port(), 9464);
    assert_eq!(config.receivers.len(), 2);
}

#[test]
fn lists_replace() {
    let defaults = DEFAULTS.replace("receivers: []", "receivers: [{name: a}, {name: b}]");
    let config: Example =
        load(Sources::new(&defaults).with_environment([("TELEMETRY__RECEIVERS", "[{name: c}]")])).unwrap();
    assert_eq!(config.receivers.iter().map(|receiver| receiver.name.as_str()).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn the_command_line_is_strongest() {
    let sources = Sources::new(DEFAULTS)
        .with_environment([("TELEMETRY__SERVICE__LISTEN", "127.0.0.1:1")])
        .with_flags(json!({ "service": { "listen": "127.0.0.1:2" } }))
        .with_flags(json!({ "limits": { "events": 7 } }));
    let config: Example = load(sources).unwrap();
    assert_eq!((config.service.listen.port(), config.limits.events), (2, 7));
}

#[test]
fn further_layers_are_defaults_too_and_may_be_added_last() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my.yaml");
    std::fs::write(&file, "limits: {events: 3}\n").unwrap();
    let sources = |kind: &str| {
        Sources::new(DEFAULTS)
            .with_file(&file)
            .with_environment([("TELEMETRY__LOG__KIND", kind)])
            .with_layer("dev", "limits: {events: 1, ratio: 2}\nlog: {kind: kafka, brokers: dev:9092}\n")
            .with_value("folder", json!({ "service": { "drain": "1s" }, "limits": { "ratio": 3 } }))
    };
    let config: Example = load(sources("kafka")).unwrap();
    assert_eq!((config.limits.events, config.service.drain.millis()), (3, 1_000));
    assert!((config.limits.ratio - 3.0).abs() < f64::EPSILON);
    assert!(matches!(config.log, Log::Kafka(Kafka { brokers, .. }) if brokers == "dev:9092"));
    assert!(load::<Example>(sources("embedded")).is_err(), "the layer's kind replaced the defaults' keys");
}

#[test]
fn flags_are_named_in_problems() {
    let sources = Sources::new(DEFAULTS).with_flags(json!({ "limits": { "events": "x" } }));
    insta::assert_snapshot!(load::<Example>(sources).unwrap_err(), @r#"configuration is not valid: limits.events (command line): found "x", expected a whole number from 0 to 65535"#);
}

#[test]
fn a_section_or_file_with_nothing_in_it_changes_nothing() {
    for file in ["", "# only a comment\n", "---\n", "service:\nlimits:\n  # events: 1\n"] {
        let config = load_with(file, &[]).unwrap();
        assert_eq!(config.limits.events, 2500, "{file:?}");
    }
}

#[test]
fn another_kind_starts_empty() {
    let config = load_with("log:\n  kind: kafka\n  brokers: a:9092\n", &[]).unwrap();
    let Log::Kafka(kafka) = config.log else { panic!("{:?}", config.log) };
    assert_eq!(kafka.brokers, "a:9092");

    let by_env = [("TELEMETRY__LOG__BROKERS", "a:9092,b:9092"), ("TELEMETRY__LOG__KIND", "kafka")];
    let Log::Kafka(kafka) = load_with("", &by_env).unwrap().log else { panic!("kafka was chosen") };
    assert_eq!(kafka.brokers, "a:9092,b:9092");
}

#[test]
fn the_defaults_of_a_kind_come_back_with_it() {
    let file = "log:\n  kind: kafka\n  brokers: a:9092\n";
    let Log::Embedded(embedded) = load_with(file, &[("TELEMETRY__LOG__KIND", "embedded")]).unwrap().log else {
        panic!("embedded was chosen")
    };
    assert_eq!((embedded.path, embedded.retention_bytes), (PathBuf::from("data"), 1024));
}

#[test]
fn variables_hold_yaml_scalars_lists_and_items() {
    let env = [
        ("TELEMETRY__LIMITS__EVENTS", "10"),
        ("TELEMETRY__RECEIVERS__1__NAME", "second"),
        ("TELEMETRY__RECEIVERS__0__NAME", "42"),
        ("TELEMETRY__RECEIVERS__0__WEBHOOK", "{url: 'http://a', retries: 3}"),
        ("TELEMETRY__PASSWORD", "0123"),
    ];
    let config = load_with("", &env).unwrap();
    assert_eq!(config.limits.events, 10);
    assert_eq!(config.receivers[0].name, "42", "a number where text is asked for is that text");
    assert_eq!(config.receivers[0].webhook.as_ref().map(|webhook| webhook.retries), Some(3));
    assert_eq!(config.receivers[0].webhook.as_ref().map(|webhook| webhook.url.as_str()), Some("http://a"));
    assert_eq!(config.receivers[1].name, "second");
    assert_eq!(config.password.expose(), "0123");
}

#[test]
fn a_variable_finds_keys_with_dots_dashes_and_capitals() {
    let file = "log: {kind: kafka, brokers: a, properties: {Security.protocol-x: SSL}}";
    let config = load_with(file, &[("TELEMETRY__LOG__PROPERTIES__SECURITY_PROTOCOL_X", "PLAINTEXT")]).unwrap();
    let Log::Kafka(kafka) = config.log else { panic!("kafka was chosen") };
    assert_eq!(kafka.properties, BTreeMap::from([("Security.protocol-x".to_owned(), "PLAINTEXT".to_owned())]));
}

#[test]
fn references_are_resolved_in_every_layer() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "hunter2\n").unwrap();
    let file = format!(
        "password: ${{file:{}}}\nlimits:\n  events: ${{env:EVENTS}}\nlog:\n  path: ${{env:HOME}}/data\n",
        secret.path().display()
    );
    let env = [("EVENTS", "12"), ("HOME", "/home/ttf"), ("TELEMETRY__SERVICE__FORMAT", "${env:FORMAT:-json}")];
    let config = load_with(&file, &env).unwrap();
    assert_eq!(config.password.expose(), "hunter2");
    assert_eq!(config.limits.events, 12);
    assert_eq!(config.service.format, Format::Json);
    assert!(matches!(config.log, Log::Embedded(Embedded { path, .. }) if path.as_os_str() == "/home/ttf/data"));
}

#[test]
fn one_section_loads_alone() {
    let limits: Limits =
        load_section(Sources::new(DEFAULTS).with_flags(json!({ "service": { "nonsense": 1 } })), "limits").unwrap();
    assert!((limits.ratio - 0.5).abs() < f64::EPSILON);
    let missing = load_section::<Limits>(Sources::new(DEFAULTS), "limit").unwrap_err();
    assert_eq!(missing.to_string(), "configuration is not valid: section `limit` is missing");
}

#[test]
fn unknown_keys_name_their_place_and_the_nearest_key() {
    insta::assert_snapshot!(errors("service:\n  formt: json\n", &[]), @"configuration is not valid: service.formt (my.yaml:2:3): unknown key; did you mean `service.format`?");
    insta::assert_snapshot!(errors("sevice:\n  format: json\n", &[]), @"configuration is not valid: sevice (my.yaml:1:1): unknown key; did you mean `service`?");
    insta::assert_snapshot!(errors("retention_bytes: 5\n", &[]), @"configuration is not valid: retention_bytes (my.yaml:1:1): unknown key; did you mean `log.retention_bytes`?");
    insta::assert_snapshot!(errors("limits:\n  zzz: 5\n", &[]), @"configuration is not valid: limits.zzz (my.yaml:2:3): unknown key, expected `events`, `body` or `ratio`");
    insta::assert_snapshot!(errors("receivers:\n  - name: a\n    webhook: {url: b, retry: 1}\n", &[]), @"configuration is not valid: receivers[0].webhook.retry (my.yaml:3:23): unknown key; did you mean `receivers[0].webhook.retries`?");
    insta::assert_snapshot!(errors("", &[("TELEMETRY__SERVICE__LISTENN", "x")]), @"configuration is not valid: service.listenn (environment variable TELEMETRY__SERVICE__LISTENN): unknown key; did you mean `service.listen`?");
}

#[test]
fn unknown_keys_below_a_kind_are_found() {
    insta::assert_snapshot!(errors("log:\n  retention: 5\n", &[]), @"configuration is not valid: log.retention (my.yaml:2:3): unknown key for kind `embedded`; did you mean `log.retention_bytes`?");
    insta::assert_snapshot!(errors("log:\n  kind: kafka\n  broker: a:9092\n", &[]), @"configuration is not valid: log.broker (my.yaml:3:3): unknown key for kind `kafka`; did you mean `log.brokers`?");
    insta::assert_snapshot!(errors("log:\n  kind: kafka\n  brokers: a\n  path: data\n", &[]), @"configuration is not valid: log.path (my.yaml:4:3): unknown key for kind `kafka`, expected `brokers` or `properties`");
    insta::assert_snapshot!(errors("log:\n  kind: kafkaa\n  brokers: a\n", &[]), @"configuration is not valid: log.kind (my.yaml:2:3): found `kafkaa`, expected `kafka` or `embedded`; did you mean `kafka`?");
}

#[test]
fn wrong_values_say_what_was_found_and_what_is_right() {
    insta::assert_snapshot!(errors("limits:\n  events: many\n", &[]), @r#"configuration is not valid: limits.events (my.yaml:2:3): found "many", expected a whole number from 0 to 65535"#);
    insta::assert_snapshot!(errors("limits:\n  events: 70000\n", &[]), @"configuration is not valid: limits.events (my.yaml:2:3): found `70000`, expected a whole number from 0 to 65535");
    insta::assert_snapshot!(errors("limits:\n  body: 5 megs\n", &[]), @r#"configuration is not valid: limits.body (my.yaml:2:3): found "5 megs", expected a size such as `512B`, `32KiB`, `5MiB` or `1GiB`"#);
    insta::assert_snapshot!(errors("limits: 5\n", &[]), @"configuration is not valid: limits (my.yaml:1:1): found `5`, expected a section");
    insta::assert_snapshot!(errors("service:\n  format: jsonn\n", &[]), @"configuration is not valid: service.format (my.yaml:2:3): found `jsonn`, expected `human`, `json` or `auto`; did you mean `json`?");
    insta::assert_snapshot!(errors("service:\n  listen: localhost\n", &[]), @r#"configuration is not valid: service.listen (my.yaml:2:3): found "localhost", expected an address and a port such as `127.0.0.1:9464`"#);
    insta::assert_snapshot!(errors("log: {kind: kafka, brokers: a, properties: {linger.ms: 5}}\n", &[]), @"configuration is not valid: log.properties.linger.ms (my.yaml:1:45): found a number or a boolean, expected text; put it in quotes");
    insta::assert_snapshot!(errors("service:\n  drain: 10\n", &[]), @"configuration is not valid: service.drain (my.yaml:2:3): found `10`, expected a duration such as `200ms`, `30s`, `5m`, `2h`, `14d` or `1y`");
    insta::assert_snapshot!(errors("receivers:\n  - 5\n", &[]), @"configuration is not valid: receivers[0] (my.yaml:2:5): found `5`, expected a section");
    insta::assert_snapshot!(errors("receivers:\n  name: a\n", &[]), @"configuration is not valid: receivers (my.yaml:1:1): found a section, expected a list");
    insta::assert_snapshot!(errors("log:\n  retention_bytes: lots\n", &[]), @r#"configuration is not valid: log.retention_bytes (my.yaml:2:3): found "lots", expected a whole number, not negative"#);
    insta::assert_snapshot!(errors("log:\n  kind: kafka\n", &[]), @"configuration is not valid: log.brokers (my.yaml:1:1): this key is required and missing");
    insta::assert_snapshot!(errors("", &[("TELEMETRY__LIMITS__EVENTS", "[1, 2]")]), @"configuration is not valid: limits.events (environment variable TELEMETRY__LIMITS__EVENTS): found a list, expected a whole number from 0 to 65535");
}

#[test]
fn all_problems_are_told_at_once() {
    let file = "service:\n  formt: json\n  drain: soon\nlog:\n  retention: 5\nlimits:\n  events: -1\n  ratio: half\n";
    insta::assert_snapshot!(errors(file, &[("TELEMETRY__SERVICE__LISTEN", "here"), ("TELEMETRY__", "x")]), @r###"
    configuration is not valid, 7 problems:
      environment variable TELEMETRY__: the name must be TELEMETRY__SECTION__KEY, with two underscores between words
      limits.events (my.yaml:7:3): found `-1`, expected a whole number from 0 to 65535
      limits.ratio (my.yaml:8:3): found "half", expected a number
      log.retention (my.yaml:5:3): unknown key for kind `embedded`; did you mean `log.retention_bytes`?
      service.drain (my.yaml:3:3): found "soon", expected a duration such as `200ms`, `30s`, `5m`, `2h`, `14d` or `1y`
      service.formt (my.yaml:2:3): unknown key; did you mean `service.format`?
      service.listen (environment variable TELEMETRY__SERVICE__LISTEN): found "here", expected an address and a port such as `127.0.0.1:9464`
    "###);
}

#[test]
fn a_reference_to_nothing_names_the_key_and_the_variable() {
    insta::assert_snapshot!(errors("password: ${env:DB_PASSWORD}\n", &[]), @"configuration is not valid: password (my.yaml:1:1): environment variable DB_PASSWORD is not set, or empty");
    insta::assert_snapshot!(errors("password: ${file:/no/such/file}\n", &[]), @"configuration is not valid: password (my.yaml:1:1): cannot read file /no/such/file: No such file or directory (os error 2)");
    insta::assert_snapshot!(errors("log:\n  path: ${HOME}/data\n", &[]), @"configuration is not valid: log.path (my.yaml:2:3): unknown reference; write `${env:NAME}` or `${file:/path}`, and `$${` for a literal `${`");
    insta::assert_snapshot!(errors("limits:\n  events: ${env:EVENTS}\n", &[]), @"configuration is not valid: limits.events (my.yaml:2:3): environment variable EVENTS is not set, or empty");
}

#[test]
fn what_came_by_reference_is_never_shown() {
    let env = [("VALUE", "hunter2")];
    for file in [
        "limits:\n  events: ${env:VALUE}\n",
        "limits:\n  body: ${env:VALUE}\n",
        "service:\n  format: ${env:VALUE}\n",
        "service:\n  listen: ${env:VALUE}\n",
        "log:\n  retention_bytes: ${env:VALUE}\n",
        "log:\n  kind: ${env:VALUE}\n",
        "log: ${env:VALUE}\n",
        "receivers: [{name: a, webhook: {url: b, retries: '${env:VALUE}'}}]\n",
    ] {
        let message = errors(file, &env);
        assert!(!message.contains("hunter2"), "{message}");
        assert!(message.contains("the referenced value does not fit"), "{message}");
    }
    insta::assert_snapshot!(errors("limits:\n  events: ${env:VALUE}\n", &env), @"configuration is not valid: limits.events (my.yaml:2:3): the referenced value does not fit, expected a whole number from 0 to 65535");
    insta::assert_snapshot!(errors("password: 12345\n", &[]), @"configuration is not valid: password (my.yaml:1:1): a secret must be text; put it in quotes");
}

#[test]
fn broken_yaml_names_line_and_column() {
    insta::assert_snapshot!(errors("service:\n  format: json\n  format: human\n", &[]), @"configuration is not valid: my.yaml:3:3: duplicate mapping key: format");
    insta::assert_snapshot!(errors("service:\n  format: [json\n", &[]), @"configuration is not valid: my.yaml:2:11: unclosed bracket '['");
    insta::assert_snapshot!(errors("service:\n\tformat: json\n", &[]), @"configuration is not valid: my.yaml:2:2: tabs disallowed within this context (block indentation)");
    insta::assert_snapshot!(errors("- a\n- b\n", &[]), @"configuration is not valid: my.yaml:1:1: expected sections (`gateway:`, `log:`, …)");
}

#[test]
fn a_missing_file_is_named() {
    let error = load::<Example>(Sources::new(DEFAULTS).with_file("/no/such/my.yaml")).unwrap_err();
    insta::assert_snapshot!(error, @"configuration is not valid: cannot read configuration file /no/such/my.yaml: No such file or directory (os error 2)");
}

#[test]
fn list_items_are_set_in_order_and_without_gaps() {
    insta::assert_snapshot!(errors("", &[("TELEMETRY__RECEIVERS__2__NAME", "x")]), @"configuration is not valid: environment variable TELEMETRY__RECEIVERS__2__NAME: `2` does not name an item of a list of 0; the next new one is 0");
    insta::assert_snapshot!(errors("", &[("TELEMETRY__RECEIVERS__FIRST__NAME", "x")]), @"configuration is not valid: environment variable TELEMETRY__RECEIVERS__FIRST__NAME: `first` does not name an item of a list of 0; the next new one is 0");
    insta::assert_snapshot!(errors("", &[("TELEMETRY__RECEIVERS", "[a")]), @"configuration is not valid: environment variable TELEMETRY__RECEIVERS: the value is not valid YAML");
}

/// The product's own defaults: complete YAML without duplicate keys, and the sections of this crate in it.
mod product_defaults {
    use super::*;

    const PRODUCT: &str = include_str!("../../../config/telemetry.yaml");

    #[test]
    fn they_are_yaml_without_duplicate_keys() {
        let tree = tree::parse(PRODUCT, &Origin::file_named("config/telemetry.yaml")).unwrap();
        let Kind::Map(sections) = tree.kind else { panic!("sections were expected") };
        for section in ["service", "log", "tenants", "metrics"] {
            assert!(sections.contains_key(section), "{section}");
        }
    }

    #[test]
    fn the_sections_of_this_crate_are_complete() {
        let sources = Sources::new(PRODUCT);
        let service: ServiceConfig = load_section(sources.clone(), "service").unwrap();
        assert_eq!(service.admin_listen.to_string(), "127.0.0.1:9464");
        assert_eq!(service.drain_timeout.millis(), 10_000);

        let metrics: MetricsConfig = load_section(sources.clone(), "metrics").unwrap();
        assert_eq!(metrics.segment_label(|_| Some("pro")), "other");

        let tenants: TenantsConfig = load_section(sources.clone(), "tenants").unwrap();
        assert_eq!(tenants.max_event_age("default").unwrap().to_string(), "400d");
        assert_eq!((tenants.label("default"), tenants.label("acme")), ("default", "other"));

        let log: Log = load_section(sources, "log").unwrap();
        assert!(matches!(log, Log::Embedded(_)), "{log:?}");
    }

    #[test]
    fn segments_on_the_list_get_labels_of_their_own() {
        let sources =
            Sources::new(PRODUCT).with_flags(json!({ "metrics": { "segment_by": "plan", "segment_values": ["pro"] } }));
        let metrics: MetricsConfig = load_section(sources, "metrics").unwrap();
        let plan_is = |value: &'static str| move |name: &str| (name == "plan").then_some(value);
        assert_eq!(metrics.segment_label(plan_is("pro")), "pro");
        assert_eq!(metrics.segment_label(plan_is("free")), "other");
        assert_eq!(metrics.segment_label(|_| None), "other");
    }

    #[test]
    fn tenants_take_what_they_do_not_set_from_the_default() {
        let env = [
            ("TELEMETRY__TENANTS__ACME__KEYS__0__NAME", "web"),
            (
                "TELEMETRY__TENANTS__ACME__KEYS__0__SHA256",
                "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            ),
            ("TELEMETRY__TENANTS__ACME__KEYS__0__SCOPES", "[ingest, read]"),
        ];
        let tenants: TenantsConfig = load_section(Sources::new(PRODUCT).with_environment(env), "tenants").unwrap();
        let key = &tenants.get("acme").unwrap().keys[0];
        assert_eq!((key.name.as_str(), key.scopes.as_slice()), ("web", [KeyScope::Ingest, KeyScope::Read].as_slice()));
        assert_eq!(key.sha256.bytes()[..2], [0x9f, 0x86]);
        assert_eq!(tenants.max_event_age("acme").unwrap().to_string(), "400d");
        assert_eq!(tenants.iter().map(|(id, _)| id).collect::<Vec<_>>(), ["acme", "default"]);
    }

    #[test]
    fn a_key_in_place_of_its_hash_is_refused_and_not_shown() {
        let env = [("TELEMETRY__TENANTS__DEFAULT__KEYS", "[{name: web, sha256: my-secret-key, scopes: [ingest]}]")];
        let error = load_section::<TenantsConfig>(Sources::new(PRODUCT).with_environment(env), "tenants").unwrap_err();
        insta::assert_snapshot!(error, @r#"configuration is not valid: tenants.default.keys[0].sha256 (environment variable TELEMETRY__TENANTS__DEFAULT__KEYS): found another text, expected 64 hexadecimal digits (printf %s "$KEY" | sha256sum)"#);
        let bad_id = Sources::new(PRODUCT).with_environment([("TELEMETRY__TENANTS", "{'a b': {}}")]);
        insta::assert_snapshot!(load_section::<TenantsConfig>(bad_id, "tenants").unwrap_err(), @r#"configuration is not valid: tenants (environment variable TELEMETRY__TENANTS): tenant id "a b" must be 1 to 64 letters, digits, `_` or `-`"#);
    }
}
