//! The settings of an S3 bucket as a whole: lifecycle rules and the lock every new object gets.
//!
//! Requests are signed URLs, so that they use the credentials of the store, wherever those come from.
//! API: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html>,
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectLockConfiguration.html>.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use object_store::{
    aws::AmazonS3,
    path::Path,
    signer::{SignedUrlOptions, Signer},
};
use sha2::{Digest, Sha256};
use stream_runtime::sink::SinkError;

use crate::config::{ObjectLockConfig, ObjectLockMode};

/// Our rules' ids start so; those of others are left as they are.
const OURS: &str = "ttf-";
/// What a lock still holds is not ended by it. A deletion by mistake can be undone for a month.
const SWEEP: &str = "<NoncurrentVersionExpiration><NoncurrentDays>30</NoncurrentDays></NoncurrentVersionExpiration>\
                     <AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
const PATIENCE: Duration = Duration::from_secs(30);
const SHA256: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");

/// One rule of a bucket's lifecycle.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Rule {
    pub id: String,
    pub prefix: String,
    pub expire_after_days: u32,
    /// Whether it ends what an expiry leaves: versions that are no longer current (a bucket with object lock keeps versions,
    /// and an expiry only hides them), and uploads in parts that nobody finished.
    pub sweeps: bool,
}

/// A bucket as a whole.
#[derive(Debug)]
pub struct Bucket {
    store: Arc<AmazonS3>,
    client: reqwest::Client,
}

impl Bucket {
    pub fn new(store: Arc<AmazonS3>) -> Result<Self, SinkError> {
        let client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .build()
            .map_err(|error| SinkError::Fatal(format!("cannot make an HTTP client: {error}")))?;
        Ok(Self { store, client })
    }

    /// Our lifecycle rules as the bucket has them, in the order of their ids.
    pub async fn rules(&self) -> Result<Vec<Rule>, SinkError> {
        let mut rules: Vec<Rule> = elements(&self.lifecycle().await?, "Rule").into_iter().filter_map(parse).collect();
        rules.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(rules)
    }

    /// Makes these our rules; those of others stay.
    pub async fn put_rules(&self, rules: &[Rule]) -> Result<(), SinkError> {
        let there = self.lifecycle().await?;
        let others = elements(&there, "Rule").into_iter().filter(|rule| parse(rule).is_none());
        let others = others.map(|rule| format!("<Rule>{rule}</Rule>"));
        let all = others.chain(rules.iter().map(Rule::to_xml)).collect::<Vec<_>>().concat();
        let body = format!(
            "<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{all}</LifecycleConfiguration>"
        );
        self.put("lifecycle", body).await
    }

    /// The retention that new objects get, as the bucket has it: mode and days.
    pub async fn object_lock(&self) -> Result<Option<(ObjectLockMode, u32)>, SinkError> {
        let (status, body) = self.call(Method::GET, "object-lock", None).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body = accepted("object-lock", status, body)?;
        let mode = match element(&body, "Mode") {
            Some("COMPLIANCE") => ObjectLockMode::Compliance,
            Some("GOVERNANCE") => ObjectLockMode::Governance,
            _ => return Ok(None),
        };
        let days = element(&body, "Days").and_then(|days| days.parse().ok());
        let years = element(&body, "Years").and_then(|years| years.parse::<u32>().ok()).map(|years| years * 365);
        Ok(days.or(years).map(|days| (mode, days)))
    }

    /// Sets the retention that new objects get. The bucket must have been made with object lock.
    pub async fn put_object_lock(&self, lock: ObjectLockConfig) -> Result<(), SinkError> {
        let mode = match lock.mode {
            ObjectLockMode::Governance => "GOVERNANCE",
            ObjectLockMode::Compliance => "COMPLIANCE",
        };
        let body = format!(
            "<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>{mode}</Mode>\
             <Days>{}</Days></DefaultRetention></Rule></ObjectLockConfiguration>",
            lock.days()
        );
        self.put("object-lock", body).await
    }

    async fn lifecycle(&self) -> Result<String, SinkError> {
        let (status, body) = self.call(Method::GET, "lifecycle", None).await?;
        if status == StatusCode::NOT_FOUND && body.contains("NoSuchLifecycleConfiguration") {
            return Ok(String::new());
        }
        accepted("lifecycle", status, body)
    }

    async fn put(&self, what: &'static str, body: String) -> Result<(), SinkError> {
        let (status, answer) = self.call(Method::PUT, what, Some(body)).await?;
        accepted(what, status, answer).map(drop)
    }

    async fn call(
        &self,
        method: Method,
        what: &'static str,
        body: Option<String>,
    ) -> Result<(StatusCode, String), SinkError> {
        let mut headers = HeaderMap::new();
        let mut options = SignedUrlOptions::new().with_query([(what, "")]);
        if let Some(body) = &body {
            let sum = BASE64_STANDARD.encode(Sha256::digest(body));
            let sum = HeaderValue::from_str(&sum).map_err(|error| SinkError::Fatal(error.to_string()))?;
            options = options.with_signed_header(SHA256, sum.clone());
            headers.insert(SHA256, sum);
        }
        let away = |error: &dyn std::fmt::Display| SinkError::Unavailable(format!("bucket {what}: {error}"));
        let url = self.store.signed_url_opts(method.clone(), &Path::default(), PATIENCE, &options).await;
        let request = self.client.request(method, url.map_err(|error| away(&error))?).headers(headers);
        let request = match body {
            Some(body) => request.body(body),
            None => request,
        };
        // The URL carries a signature: no error may show it.
        let answer = request.send().await.map_err(|error| away(&error.without_url()))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| away(&error.without_url()))?;
        Ok((status, text))
    }
}

impl ObjectLockConfig {
    /// How long in whole days, at least one.
    pub fn days(&self) -> u32 {
        const DAY: i64 = 86_400_000;
        u32::try_from((self.keep.millis() + DAY - 1) / DAY).unwrap_or(u32::MAX).max(1)
    }
}

impl Rule {
    fn to_xml(&self) -> String {
        let sweep = if self.sweeps { SWEEP } else { "" };
        format!(
            "<Rule><ID>{}</ID><Filter><Prefix>{}</Prefix></Filter><Status>Enabled</Status>\
             <Expiration><Days>{}</Days></Expiration>{sweep}</Rule>",
            escaped(&self.id),
            escaped(&self.prefix),
            self.expire_after_days
        )
    }
}

fn accepted(what: &str, status: StatusCode, body: String) -> Result<String, SinkError> {
    if status.is_success() {
        return Ok(body);
    }
    let code = element(&body, "Code").unwrap_or("no reason given");
    let message = format!("bucket {what}: the server answered {status} ({code})");
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        Err(SinkError::Unavailable(message))
    } else {
        Err(SinkError::Fatal(message))
    }
}

/// Our rule of this XML, when it is one.
fn parse(rule: &str) -> Option<Rule> {
    let id = element(rule, "ID").filter(|id| id.starts_with(OURS))?;
    let expiration = element(rule, "Expiration")?;
    Some(Rule {
        id: unescaped(id),
        prefix: unescaped(element(rule, "Prefix").unwrap_or_default()),
        expire_after_days: element(expiration, "Days")?.trim().parse().ok()?,
        sweeps: element(rule, "NoncurrentDays").is_some() && element(rule, "DaysAfterInitiation").is_some(),
    })
}

/// What is inside the elements of this name; the documents at hand nest none in itself.
fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = xml;
    while let Some((_, after)) = rest.split_once(&open) {
        let Some((inside, after)) = after.split_once(&close) else { break };
        found.push(inside);
        rest = after;
    }
    found
}

fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    elements(xml, name).first().copied()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_back_as_it_was_written() {
        for sweeps in [false, true] {
            let prefix = "a&b/dataset=events/".into();
            let rule = Rule { id: "ttf-events".into(), prefix, expire_after_days: 2_557, sweeps };
            let xml = rule.to_xml();
            assert_eq!(elements(&xml, "Rule").into_iter().filter_map(parse).collect::<Vec<_>>(), [rule]);
        }
    }

    #[test]
    fn rules_of_others_are_not_ours() {
        let other = "<ID>theirs</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status><Expiration><Days>3</Days></Expiration>";
        assert_eq!(parse(other), None);
    }

    #[test]
    fn a_lock_is_rounded_up_to_days() {
        let lock = |millis| ObjectLockConfig {
            mode: ObjectLockMode::Compliance,
            keep: service_kit::config::HumanDuration::from_millis(millis),
        };
        assert_eq!([lock(0).days(), lock(86_400_000).days(), lock(86_400_001).days()], [1, 1, 2]);
    }
}
