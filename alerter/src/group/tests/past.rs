use stream_runtime::keyed::{Context, KeyedProcessor};
use telemetry_schemas::{
    BreachLevel::{Critical, Warning},
    BreachStatus, TtfBreach,
};

use super::drive::Drive;
use crate::{group::processor::Input, testing::breach};

const KEY: &str = "late:acme:onboarding";

impl Drive {
    fn late(&mut self, breach: TtfBreach) {
        let mut kept = self.groups.get(KEY).cloned();
        let ctx = Context { now_ms: self.now_ms };
        self.processor.on_record(&ctx, &KEY.to_owned(), &mut kept, Input::Breach(Box::new(breach)));
        self.groups.insert(KEY.to_owned(), kept.expect("it is counted"));
    }
}

#[test]
fn what_came_too_late_is_told_in_one_word_once_nothing_more_comes() {
    let mut drive = Drive::new("");
    for index in 0..300 {
        let level = if index % 3 == 0 { Critical } else { Warning };
        drive.late(breach(&format!("u-{index}"), level));
        if index % 10 == 0 {
            drive.wait(30);
        }
    }
    assert!(drive.sent.is_empty(), "more may come");
    drive.wait(60);
    assert_eq!(drive.sent.len(), 1);
    let summary = &drive.sent[0];
    assert_eq!((summary.reason.as_str(), summary.status), ("caught_up", BreachStatus::Resolved));
    let text = &summary.alerts[0].annotations["summary"];
    assert!(
        text.starts_with("Caught up: 300 missed deadlines") && text.contains("200 warning, 100 critical"),
        "{text}"
    );
    assert!(!text.contains("u-1"), "no user is named");
    assert!(drive.groups.is_empty());
    drive.wait(3_600);
    assert_eq!(drive.sent.len(), 1, "and never again");
}

#[test]
fn a_trouble_that_does_not_end_is_summed_up_all_the_same() {
    let mut drive = Drive::new("");
    for _ in 0..(6 * 60 + 10) {
        drive.late(breach("u-1", Warning));
        drive.wait(59);
    }
    assert_eq!(drive.sent.len(), 1);
}
