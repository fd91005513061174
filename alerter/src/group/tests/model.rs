use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;
use proptest::prelude::*;
use service_kit::Metrics;
use stream_runtime::{
    keyed::test_driver::{Setup, TestDriver},
    log::NewRecord,
};
use telemetry_schemas::{BreachLevel, Codec, EventTime, TtfBreach, alert::Notification, topics};

use super::{
    crowd::late,
    drive::{Drive, SECOND, keeping},
};
use crate::{
    group::{codec::GroupCodec, processor::GroupProcessor, room::Bounds},
    metrics::AlerterMetrics,
    mutes::Mutes,
    route::{Routes, all_labels},
    testing::{NOW, breach, config, resolved},
    wire::Wire,
};

const WAIT: i64 = 5;
const INTERVAL: i64 = 20;
const REPEAT: i64 = 90;

#[derive(Debug, Clone, Copy)]
enum Step {
    Fire(usize, usize),
    Resolve(usize, usize),
    ResolveAll(usize),
    Wait(i64),
    /// What follows is in another transaction.
    Commit,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..3_usize, 0..3_usize).prop_map(|(user, level)| Step::Fire(user, level)),
        2 => (0..3_usize, 0..3_usize).prop_map(|(user, level)| Step::Resolve(user, level)),
        2 => (0..3_usize).prop_map(Step::ResolveAll),
        4 => (1..40_i64).prop_map(Step::Wait),
        1 => Just(Step::Wait(120)),
        2 => Just(Step::Commit),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..40)
}

fn user(index: usize) -> String {
    format!("u-{index}")
}

fn breaches(step: Step) -> Vec<TtfBreach> {
    match step {
        Step::Fire(index, level) => vec![breach(&user(index), BreachLevel::ALL[level])],
        Step::Resolve(index, level) => vec![resolved(&user(index), BreachLevel::ALL[level])],
        Step::ResolveAll(index) => BreachLevel::ALL.map(|level| resolved(&user(index), level)).into(),
        Step::Wait(_) | Step::Commit | Step::Crash => Vec::new(),
    }
}

fn section(group_by: &str, repeat: bool) -> String {
    let repeat = if repeat { format!("{REPEAT}s") } else { "never".to_owned() };
    format!(
        "route: {{ group_by: {group_by}, group_wait: {WAIT}s, group_interval: {INTERVAL}s, repeat_interval: {repeat} }}"
    )
}

/// What a person who sits beside the group and writes down who is late would say, second by second.
#[derive(Default)]
struct Naive {
    now: i64,
    late: BTreeSet<(usize, usize)>,
    /// Level and people of the last word, and when it was said.
    told: Option<(usize, BTreeSet<usize>, i64)>,
    speak_at: Option<i64>,
    repeat: bool,
    said: Vec<(i64, &'static str, usize, usize)>,
}

impl Naive {
    fn hear(&mut self, step: Step) {
        let changed = match step {
            Step::Fire(user, level) => self.late.insert((user, level)),
            Step::Resolve(user, level) => self.late.remove(&(user, level)),
            Step::ResolveAll(user) => {
                let before = self.late.len();
                self.late.retain(|(whose, _)| *whose != user);
                self.late.len() != before
            }
            _ => false,
        };
        if changed {
            let after_last = self.told.as_ref().map_or(i64::MIN, |(_, _, at)| at + INTERVAL);
            let at = (self.now + WAIT).max(after_last);
            self.speak_at = Some(self.speak_at.map_or(at, |known| known.min(at)));
        }
        if self.late.is_empty() && self.told.is_none() {
            self.speak_at = None;
        }
    }

    fn pass_second(&mut self) {
        self.now += 1;
        if self.speak_at.is_none_or(|at| self.now < at) {
            return;
        }
        self.speak_at = None;
        let level = self.late.iter().map(|(_, level)| *level).max();
        let people: BTreeSet<usize> = self.late.iter().map(|(user, _)| *user).collect();
        let word = match (&self.told, level) {
            (Some((level, ..)), None) => Some(("resolved", *level)),
            (None, Some(level)) => Some(("first_notification", level)),
            (Some((told, ..)), Some(level)) if level > *told => Some(("level_raised", level)),
            (Some((_, known, _)), Some(level)) if !people.is_subset(known) => Some(("alerts_added", level)),
            (Some((.., at)), Some(level)) if self.repeat && self.now >= at + REPEAT => {
                Some(("repeat_interval_elapsed", level))
            }
            _ => None,
        };
        if let Some((word, level)) = word {
            self.said.push((self.now, word, level, people.len()));
            self.told = self.late.first().is_some().then_some((level, people, self.now));
        }
        if let (true, Some((.., at))) = (self.repeat, &self.told) {
            self.speak_at = Some(at + REPEAT);
        }
    }
}

/// When, why, the level, and how many are late.
fn said(notifications: &[Notification]) -> Vec<(i64, String, BreachLevel, usize)> {
    let at = |sent: &Notification| (sent.created_at.0 - NOW.0) / SECOND;
    notifications.iter().map(|sent| (at(sent), sent.reason.clone(), sent.level, late(sent))).collect()
}

/// Runs the steps without any crash; what follows each other without a commit is one transaction.
fn drive(section: &str, steps: &[Step]) -> Vec<Notification> {
    drive_bounded(section, steps, Bounds::default())
}

fn drive_bounded(section: &str, steps: &[Step], bounds: Bounds) -> Vec<Notification> {
    let mut drive = Drive::bounded(section, bounds);
    let mut open = Vec::new();
    for step in steps {
        open.extend(breaches(*step));
        if matches!(step, Step::Wait(_) | Step::Commit) {
            drive.transaction(std::mem::take(&mut open));
        }
        if let Step::Wait(seconds) = step {
            drive.wait(*seconds);
        }
    }
    drive.transaction(open);
    drive.wait(300);
    drive.sent
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Also where the group lists nobody, one or two of them: what is said, when and of how many is the same.
    #[test]
    fn what_is_said_is_what_the_naive_oracle_says(
        steps in steps(),
        repeat in any::<bool>(),
        listed_bytes in prop_oneof![Just(Bounds::default().listed_bytes), 0..1_200_usize],
    ) {
        let mut naive = Naive { repeat, ..Naive::default() };
        for step in &steps {
            naive.hear(*step);
            if let Step::Wait(seconds) = step {
                (0..*seconds).for_each(|_| naive.pass_second());
            }
        }
        (0..300).for_each(|_| naive.pass_second());
        let expected: Vec<_> = naive
            .said
            .iter()
            .map(|(at, word, level, late)| (*at, (*word).to_owned(), BreachLevel::ALL[*level], *late))
            .collect();
        let bounds = Bounds { listed_bytes, ..Bounds::default() };
        let sent = drive_bounded(&section("[journey]", repeat), &steps, bounds);
        prop_assert_eq!(said(&sent), expected);
        let ids: BTreeSet<_> = sent.iter().map(|sent| &sent.notification_id).collect();
        prop_assert_eq!(ids.len(), sent.len());
    }

    /// Without repeats each word changes what the receiver knows, and the last word is the truth.
    #[test]
    fn nothing_is_said_without_a_change_and_every_end_is_told(steps in steps()) {
        let mut late: BTreeMap<String, BTreeSet<BreachLevel>> = BTreeMap::new();
        for breach in steps.iter().flat_map(|step| breaches(*step)) {
            let levels = late.entry(breach.user_id.clone()).or_default();
            if breach.status == telemetry_schemas::BreachStatus::Firing {
                levels.insert(breach.level);
            } else {
                levels.remove(&breach.level);
            }
        }
        let mut by_group: BTreeMap<String, Vec<Notification>> = BTreeMap::new();
        for sent in drive(&section("[journey, user_id]", false), &steps) {
            by_group.entry(sent.labels["user_id"].clone()).or_default().push(sent);
        }
        for (user, sent) in &by_group {
            let mut known = None;
            for word in sent {
                match word.reason.as_str() {
                    "first_notification" => prop_assert_eq!(known, None),
                    "level_raised" => prop_assert!(known < Some(word.level) && known.is_some()),
                    "resolved" => prop_assert!(known.is_some()),
                    other => prop_assert!(false, "{}", other),
                }
                known = (word.reason != "resolved").then_some(word.level);
            }
            let truth = late.get(user).and_then(|levels| levels.last()).copied();
            prop_assert_eq!(known.is_some(), truth.is_some(), "{}", user);
            prop_assert!(known >= truth);
        }
        for (user, levels) in &late {
            prop_assert!(levels.is_empty() || by_group.contains_key(user), "{} is late and nobody was told", user);
        }
    }
}

pub fn test_driver(section: &str) -> (TestDriver<GroupProcessor, GroupCodec>, Routes) {
    let config = config(section);
    let routes = Routes::new(&config);
    let mutes = Arc::new(RwLock::new(Mutes::new(&config)));
    let metrics = AlerterMetrics::new(&Metrics::default());
    let processor = GroupProcessor::new(Arc::new(routes.clone()), keeping(&config), mutes, &metrics);
    let setup = Setup {
        start_ms: NOW.0,
        timer_grace: Duration::ZERO,
        ..Setup::new(
            &[topics::ALERT_GROUPS, topics::ALERT_COMMANDS],
            topics::ALERT_STATE,
            &[topics::ALERT_NOTIFICATIONS, topics::EVENTS_REJECTED],
        )
    };
    let codec = GroupCodec::new(Wire::new(Codec::without_registry()));
    (TestDriver::new(&setup, processor, codec).expect("it starts"), routes)
}

fn through_the_runtime(section: &str, steps: &[Step]) -> Vec<Notification> {
    let (mut driver, routes) = test_driver(section);
    let wire = Wire::new(Codec::without_registry());
    let pass = |driver: &mut TestDriver<_, _>, seconds: i64| {
        for _ in 0..seconds {
            let now_ms = driver.now_ms() + SECOND;
            driver.advance_to(now_ms).expect("time passes");
            driver.commit().expect("it commits");
        }
    };
    for step in steps {
        for breach in breaches(*step) {
            let breach = TtfBreach { detected_at: EventTime(driver.now_ms()), ..breach };
            for routed in routes.route(&all_labels(&breach)) {
                let record = NewRecord::new(topics::ALERT_GROUPS, routed.group_key, wire.encode(&breach));
                driver.pipe_input(record).expect("it is taken in");
            }
        }
        match step {
            Step::Wait(seconds) => {
                driver.commit().expect("it commits");
                pass(&mut driver, *seconds);
            }
            Step::Commit => driver.commit().expect("it commits"),
            Step::Crash => driver.crash_and_restart().expect("it starts again"),
            _ => {}
        }
    }
    driver.commit().expect("it commits");
    pass(&mut driver, 60);
    let outbox = driver.read_all(topics::ALERT_NOTIFICATIONS).expect("it can be read");
    assert!(driver.read_all(topics::EVENTS_REJECTED).expect("it can be read").is_empty());
    outbox.iter().map(|record| wire.read(&record.as_ref()).expect("a notification")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 50, ..ProptestConfig::default() })]

    /// Crashes, restores and the way transactions are cut change nothing of what is in the outbox, ids included.
    #[test]
    fn the_outbox_is_the_same_whatever_crashes(steps in steps()) {
        let section = section("[journey]", false);
        prop_assert_eq!(through_the_runtime(&section, &steps), drive(&section, &steps));
    }
}
