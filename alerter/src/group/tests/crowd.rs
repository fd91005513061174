//! More alerts in a group than it can list.

use std::collections::BTreeMap;

use telemetry_schemas::{
    BreachLevel::{Critical, Escalation, Warning},
    BreachStatus, TtfBreach,
    alert::{AlertState, Notification},
};

use super::drive::{Drive, SECOND};
use crate::{
    group::{room::Bounds, state},
    testing::{breach, resolved},
};

const SECTION: &str = "route: { group_by: [journey], group_wait: 5s, group_interval: 60s }";

/// Room for some three alerts of the tests, and for the hashes of a hundred others.
const SMALL: Bounds = Bounds { listed_bytes: 700, unlisted: 100 };

fn user(index: usize) -> String {
    format!("u-{index}")
}

fn fire(drive: &mut Drive, users: std::ops::Range<usize>) {
    drive.transaction(users.map(|index| breach(&user(index), Warning)).collect());
}

fn end(drive: &mut Drive, users: std::ops::Range<usize>) {
    drive.transaction(users.map(|index| resolved(&user(index), Warning)).collect());
}

/// Why, and how many it says are late.
fn said(drive: &mut Drive) -> Vec<(String, usize)> {
    drive.sent.drain(..).map(|sent| (sent.reason.clone(), late(&sent))).collect()
}

/// How many are late, as a notification says.
pub fn late(sent: &Notification) -> usize {
    let firing = sent.alerts.iter().filter(|alert| alert.status == BreachStatus::Firing);
    let users: std::collections::BTreeSet<_> = firing.map(|alert| &alert.user_id).collect();
    users.len() + usize::try_from(sent.left_out).expect("a count")
}

fn word(reason: &str, late: usize) -> (String, usize) {
    (reason.to_owned(), late)
}

/// Ten are late, few of them are listed, and the receiver knows of all.
fn ten_told() -> Drive {
    let mut drive = Drive::bounded(SECTION, SMALL);
    fire(&mut drive, 0..10);
    drive.wait(5);
    assert_eq!(said(&mut drive), [word("first_notification", 10)]);
    drive
}

/// Nothing more is said, however long one waits.
fn assert_silence(drive: &mut Drive) {
    drive.wait(3_600);
    assert_eq!(said(drive), []);
}

fn kept(drive: &Drive) -> &AlertState {
    &drive.groups.values().next().expect("one group").kept
}

#[test]
fn who_is_not_listed_is_counted_in_the_next_message_and_told_by_itself() {
    let mut drive = ten_told();
    assert!((1..10).contains(&kept(&drive).alerts.len()), "{}", kept(&drive).alerts.len());
    // None of these is listed, and yet somebody hears of them.
    fire(&mut drive, 10..30);
    drive.wait(61);
    assert_eq!(said(&mut drive), [word("alerts_added", 30)]);
    assert_silence(&mut drive);
}

#[test]
fn it_is_not_over_while_somebody_is_late_who_is_not_listed() {
    let mut drive = ten_told();
    let listed: Vec<TtfBreach> = kept(&drive).alerts.iter().map(|alert| alert.breach.clone()).collect();
    drive.transaction(listed.iter().map(|breach| resolved(&breach.user_id, Warning)).collect());
    assert_silence(&mut drive);
    // They are told of all the same when there is something to tell: what is worse, and then the end.
    fire(&mut drive, 50..51);
    drive.wait(61);
    assert_eq!(said(&mut drive), [word("alerts_added", 10 - listed.len() + 1)]);
    end(&mut drive, 0..9);
    assert_silence(&mut drive);
    end(&mut drive, 9..51);
    drive.wait(120);
    assert_eq!(said(&mut drive), [word("resolved", 0)]);
    assert!(drive.open().is_empty());
}

#[test]
fn the_same_word_twice_and_the_end_of_strangers_change_no_count() {
    let mut drive = Drive::bounded(SECTION, SMALL);
    fire(&mut drive, 0..10);
    fire(&mut drive, 0..10);
    end(&mut drive, 100..150);
    drive.wait(5);
    assert_eq!(said(&mut drive), [word("first_notification", 10)]);
    fire(&mut drive, 0..10);
    assert_silence(&mut drive);
}

#[test]
fn who_is_listed_and_not_listed_is_one() {
    let mut drive = Drive::bounded(SECTION, SMALL);
    fire(&mut drive, 0..10);
    // Worse ones take the places; the warnings of the same users are still there, by their hashes.
    drive.transaction((0..2).map(|index| breach(&user(index), Critical)).collect());
    drive.wait(5);
    assert_eq!(drive.sent[0].level, Critical);
    assert_eq!(said(&mut drive), [word("first_notification", 10)]);
    drive.transaction((0..2).map(|index| resolved(&user(index), Critical)).collect());
    drive.wait(61);
    fire(&mut drive, 10..11);
    drive.wait(61);
    assert_eq!(said(&mut drive), [word("alerts_added", 11)]);
}

#[test]
fn who_was_over_before_anybody_was_told_is_told_to_nobody_listed_or_not() {
    let mut drive = Drive::bounded(SECTION, SMALL);
    fire(&mut drive, 0..10);
    end(&mut drive, 0..10);
    assert_silence(&mut drive);
    assert!(drive.open().is_empty());
}

#[test]
fn past_the_hashes_it_is_a_count_that_ends_take_down() {
    let bounds = Bounds { unlisted: 5, ..SMALL };
    let mut drive = Drive::bounded(SECTION, bounds);
    fire(&mut drive, 0..20);
    let listed = kept(&drive).alerts.len();
    assert_eq!(kept(&drive).left_out, i64::try_from(20 - 5 - listed).expect("a count"));
    drive.wait(5);
    assert_eq!(said(&mut drive), [word("first_notification", 20)]);
    fire(&mut drive, 20..21);
    drive.wait(61);
    assert_eq!(said(&mut drive), [word("alerts_added", 21)]);
    end(&mut drive, 0..20);
    assert_silence(&mut drive);
    end(&mut drive, 20..21);
    drive.wait(61);
    assert_eq!(said(&mut drive), [word("resolved", 0)]);
}

#[test]
fn a_higher_level_is_listed_and_told_although_there_is_no_room() {
    let mut drive = ten_told();
    drive.take(breach(&user(9), Escalation));
    drive.wait(61);
    assert_eq!(drive.sent[0].level, Escalation);
    assert_eq!(drive.sent[0].alerts[0].user_id, user(9));
    assert_eq!(said(&mut drive), [word("level_raised", 10)]);
}

#[test]
fn a_silence_of_all_that_is_listed_is_one_of_the_others_too() {
    let silenced = format!(
        "{SECTION}\nmaintenance: [{{ name: m, starts_at: '2020-01-01T00:00:00Z', ends_at: \
        '2100-01-01T00:00:00Z', matchers: ['level=warning'] }}]"
    );
    let mut drive = Drive::bounded(&silenced, SMALL);
    fire(&mut drive, 0..10);
    assert_silence(&mut drive);
    assert!(kept(&drive).history.iter().any(|decided| decided.reason == "in_maintenance"));
    end(&mut drive, 0..10);
    drive.wait(60);
    assert_eq!(said(&mut drive), []);
    assert!(drive.open().is_empty());
}

#[test]
fn a_group_of_which_nobody_is_listed_is_forgotten_at_last() {
    let mut drive = Drive::bounded(&format!("{SECTION}\nforget_after: 1h"), Bounds { listed_bytes: 0, unlisted: 100 });
    fire(&mut drive, 0..3);
    drive.wait(5);
    assert_eq!(said(&mut drive), [word("first_notification", 3)]);
    drive.wait(3_601);
    assert!(drive.open().is_empty());
}

#[test]
fn a_whole_flood_fits_into_a_record() {
    let mut drive = Drive::new(SECTION);
    fire(&mut drive, 0..50_000);
    drive.wait(5);
    let wire = crate::wire::Wire::new(telemetry_schemas::Codec::without_registry());
    assert_eq!(late(&drive.sent[0]), 50_000);
    let (state, notification) = (wire.encode(kept(&drive)).len(), wire.encode(&drive.sent[0]).len());
    assert!(state < 950_000 && notification < 950_000, "{state} {notification}");
    assert!(kept(&drive).alerts.len() > 1_000, "{}", kept(&drive).alerts.len());
    assert!(state::has_unlisted(kept(&drive)));
    let began = drive.now_ms;
    end(&mut drive, 0..49_999);
    drive.wait(3_600);
    assert_eq!(drive.sent.len(), 1, "one is late still");
    end(&mut drive, 49_999..50_000);
    drive.wait(60);
    assert_eq!(drive.sent[1].reason, "resolved");
    assert!((drive.now_ms - began) / SECOND >= 3_600);
}

#[test]
fn a_group_stays_within_its_bounds() {
    let mut drive = Drive::new("route: { group_by: [journey] }");
    let filler = "x".repeat(60_000);
    let big = |index: usize, level| TtfBreach {
        segments: BTreeMap::from([("s".to_owned(), filler.clone())]),
        ..breach(&user(index), level)
    };
    drive.transaction((0..20).map(|index| big(index, Warning)).collect());
    drive.take(big(20, Critical));
    let bytes: usize = kept(&drive).alerts.iter().map(|alert| alert.breach.segments["s"].len()).sum();
    assert!(bytes <= Bounds::default().listed_bytes, "{bytes}");
    assert!(kept(&drive).alerts.iter().any(|alert| alert.breach.level == Critical), "a worse one takes the place");
    assert!(drive.metrics.render().contains(r#"ttf_alert_decisions_total{reason="group_full"} 14"#));
    drive.wait(10);
    assert_eq!(drive.sent[0].level, Critical);
    assert_eq!(late(&drive.sent[0]), 21);
}

#[test]
fn the_room_alerts_take_is_counted_along_with_them() {
    let mut drive = Drive::new("route: { group_by: [journey] }");
    let big = |user: &str, size: usize| TtfBreach {
        segments: BTreeMap::from([("s".to_owned(), "x".repeat(size))]),
        ..breach(user, Warning)
    };
    drive.transaction(vec![big("u-0", 150_000), big("u-1", 150_000), big("u-2", 150_000)]);
    let listed = |drive: &Drive| drive.groups.values().next().expect("one group").kept.alerts.len();
    assert_eq!(listed(&drive), 2);
    // Said again in fewer words, and gone before anybody heard of it: both make room.
    drive.transaction(vec![big("u-0", 10), big("u-3", 150_000), big("u-4", 150_000)]);
    assert_eq!(listed(&drive), 3);
    drive.transaction(vec![resolved("u-1", Warning), big("u-5", 150_000), big("u-6", 150_000)]);
    assert_eq!(listed(&drive), 3);
    // What was told and is over makes room after everybody has heard of it.
    drive.wait(10);
    drive.take(resolved("u-3", Warning));
    drive.take(resolved("u-5", Warning));
    drive.wait(400);
    drive.transaction(vec![big("u-7", 150_000), big("u-8", 150_000), big("u-9", 150_000)]);
    assert_eq!(listed(&drive), 3);
}
