//! The certificate of an erasure: what was erased where and when, without saying whom.

use std::collections::BTreeMap;

use serde::Serialize;
use telemetry_schemas::{
    erasure::Erasure,
    time::{EventTime, rfc3339},
    topics::{
        ALERT_GROUPS, ALERT_NOTIFICATIONS, ALERT_STATE, CATALOGUE, ERASURES, EVENTS, EVENTS_RAW, EVENTS_REJECTED,
        TTF_BREACHES, TTF_RECORDS,
    },
};

/// What the database keeps of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    pub erasure_id: String,
    pub tenant: String,
    /// The user, as a keyed hash.
    pub user_hash: String,
    #[serde(with = "rfc3339")]
    pub erased_at: EventTime,
    /// Name of the key the request came with.
    pub requested_by: String,
    /// Where on the erasures topic the request is.
    pub partition: i32,
    pub offset: i64,
    #[serde(with = "rfc3339")]
    pub database_at: EventTime,
    /// Rows deleted, by table.
    pub deleted: BTreeMap<String, u64>,
    #[serde(with = "rfc3339::option")]
    pub live_view_at: Option<EventTime>,
    #[serde(with = "rfc3339::option")]
    pub processor_at: Option<EventTime>,
    #[serde(with = "rfc3339::option")]
    pub complete_at: Option<EventTime>,
}

/// Something that is done after the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The live view forgot the user, or its copies expired.
    LiveView,
    /// The processor is past the request: the user's journeys are dropped.
    Processor,
    /// All of it.
    Complete,
}

impl Step {
    pub const fn name(self) -> &'static str {
        match self {
            Self::LiveView => "live_view",
            Self::Processor => "processor",
            Self::Complete => "complete",
        }
    }
}

/// Topics that may hold copies of what was erased, until they age out.
pub const TOPICS_WITH_COPIES: [&str; 9] = [
    EVENTS_RAW,
    EVENTS,
    EVENTS_REJECTED,
    TTF_RECORDS,
    TTF_BREACHES,
    ALERT_GROUPS,
    // A group is dropped `alerter.keep_history` after its end, `alerter.forget_after` after the last it heard.
    ALERT_STATE,
    ALERT_NOTIFICATIONS,
    ERASURES,
];

impl Certificate {
    /// Until when copies in the topics may still be there: the longest of their retentions after the erasure. What comes
    /// later ages out likewise, from when it came.
    pub fn copies_until(&self) -> EventTime {
        let kept = CATALOGUE.iter().filter(|topic| TOPICS_WITH_COPIES.contains(&topic.name));
        let longest = kept.filter_map(telemetry_schemas::topics::Topic::retention).max_by_key(|kept| kept.0);
        let written_until = self.erased_at.min(self.database_at);
        EventTime(written_until.0 + longest.map_or(0, |kept| kept.0))
    }

    /// Whether what the user does later is refused, too.
    pub fn is_for_good(&self) -> bool {
        self.erased_at >= Erasure::FOR_GOOD
    }

    pub fn is_complete(&self) -> bool {
        self.complete_at.is_some()
    }

    /// The whole certificate as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let at = |at: Option<EventTime>| at.map(EventTime::to_rfc3339);
        serde_json::json!({
            "erasure_id": self.erasure_id,
            "tenant": self.tenant,
            "user_hash": self.user_hash,
            "requested_by": self.requested_by,
            "erased_at": self.erased_at.to_rfc3339(),
            "status": if self.is_complete() { "complete" } else { "in_progress" },
            "complete_at": at(self.complete_at),
            "stores": {
                "database": {"at": self.database_at.to_rfc3339(), "deleted": self.deleted},
                "archive": {
                    "at": self.database_at.to_rfc3339(),
                    "how": "the pseudonym that objects carry names nobody any more; no object was changed",
                },
                "live_view": {
                    "at": at(self.live_view_at),
                    "how": "entries are dropped; a cache server that is put back from an older copy of itself is not believed, and what it holds ends with its time to live",
                },
                "processor": {
                    "at": at(self.processor_at),
                    "how": "journeys are dropped; a marker with the time of the erasure stays, so that nothing older comes back",
                },
                "topics": {"copies_until": self.copies_until().to_rfc3339(), "topics": TOPICS_WITH_COPIES},
            },
            "later_events": if self.is_for_good() {
                "nothing of them is kept; copies in the topics age out"
            } else {
                "start anew, under a new pseudonym"
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_in_the_topics_are_gone_after_thirty_days() {
        let certificate = Certificate {
            erasure_id: "e".into(),
            tenant: "acme".into(),
            user_hash: "hash".into(),
            erased_at: EventTime(1_000),
            requested_by: "dpo".into(),
            partition: 0,
            offset: 7,
            database_at: EventTime(2_000),
            deleted: BTreeMap::from([("events".to_owned(), 3)]),
            live_view_at: Some(EventTime(2_001)),
            processor_at: None,
            complete_at: None,
        };
        assert_eq!(certificate.copies_until(), EventTime(1_000 + 30 * 86_400_000));
        let json = certificate.to_json();
        assert_eq!(json["status"], "in_progress");
        assert_eq!(json["stores"]["database"]["deleted"]["events"], 3);
        assert!(json["stores"]["processor"]["at"].is_null());
        assert!(json["stores"]["live_view"]["how"].as_str().is_some_and(|said| said.contains("older copy")));
        assert!(json["later_events"].as_str().is_some_and(|said| said.contains("anew")));
        let for_good = Certificate { erased_at: Erasure::FOR_GOOD, ..certificate };
        assert_eq!(
            for_good.copies_until(),
            EventTime(2_000 + 30 * 86_400_000),
            "not thirty days after the last day of all"
        );
        assert!(for_good.to_json()["later_events"].as_str().is_some_and(|said| said.contains("nothing")));
    }
}
