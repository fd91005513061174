//! Random alarms, ends, acknowledgements, silences, escalations, time and crashes against a person who writes down what
//! should be said to whom.

use std::collections::BTreeSet;

use proptest::prelude::*;
use stream_runtime::log::NewRecord;
use telemetry_schemas::{
    BreachLevel, Codec, EventTime, TtfBreach,
    alert::{AlertAction, AlertCommand, Notification},
    topics,
};

use super::{
    acts::command,
    drive::{Drive, SECOND},
    model::test_driver,
};
use crate::{
    route::all_labels,
    testing::{NOW, breach, resolved},
    wire::Wire,
};

const WAIT: i64 = 5;
const INTERVAL: i64 = 20;
const REPEAT: i64 = 150;
const STEPS: [(i64, &str); 2] = [(40, "pager"), (110, "boss")];

const SECTION: &str = "
receivers: [{ name: log, log: {} }, { name: pager, log: {} }, { name: boss, log: {} }]
route:
  group_by: [journey]
  group_wait: 5s
  group_interval: 20s
  repeat_interval: 150s
  escalation: [{ after: 40s, receiver: pager }, { after: 110s, receiver: boss }]
";

#[derive(Debug, Clone, Copy)]
enum Step {
    Fire(usize, usize),
    Resolve(usize, usize),
    ResolveAll(usize),
    Ack,
    Silence(i64),
    Unsilence,
    Wait(i64),
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..3_usize, 0..3_usize).prop_map(|(user, level)| Step::Fire(user, level)),
        2 => (0..3_usize, 0..3_usize).prop_map(|(user, level)| Step::Resolve(user, level)),
        2 => (0..3_usize).prop_map(Step::ResolveAll),
        2 => Just(Step::Ack),
        2 => (1..120_i64).prop_map(Step::Silence),
        1 => Just(Step::Unsilence),
        6 => (1..60_i64).prop_map(Step::Wait),
        1 => Just(Step::Wait(200)),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..40)
}

fn breaches(step: Step) -> Vec<TtfBreach> {
    let user = |index: usize| format!("u-{index}");
    match step {
        Step::Fire(index, level) => vec![breach(&user(index), BreachLevel::ALL[level])],
        Step::Resolve(index, level) => vec![resolved(&user(index), BreachLevel::ALL[level])],
        Step::ResolveAll(index) => BreachLevel::ALL.map(|level| resolved(&user(index), level)).into(),
        _ => Vec::new(),
    }
}

/// What was said: when, why, how bad, to whom.
type Said = (i64, String, BreachLevel, String);

/// Who sits beside the group.
#[derive(Default)]
struct Person {
    now: i64,
    late: BTreeSet<(usize, usize)>,
    told: Option<Told>,
    acked: bool,
    ack_level: Option<usize>,
    silent_until: Option<i64>,
    look_at: Option<i64>,
    said: Vec<Said>,
}

struct Told {
    level: usize,
    people: BTreeSet<usize>,
    at: i64,
    /// From when on the steps are counted, and how many were taken.
    since: i64,
    steps: usize,
    receivers: Vec<&'static str>,
}

impl Person {
    fn level(&self) -> Option<usize> {
        self.late.iter().map(|(_, level)| *level).max()
    }

    fn is_over(&self) -> bool {
        self.late.is_empty() && self.told.is_none()
    }

    fn forget(&mut self) {
        let said = std::mem::take(&mut self.said);
        *self = Self { now: self.now, said, ..Self::default() };
    }

    fn say(&mut self, word: &str, level: usize, to: &[&'static str]) {
        for receiver in to {
            self.said.push((self.now, word.to_owned(), BreachLevel::ALL[level], (*receiver).to_owned()));
        }
    }

    fn hear(&mut self, step: Step) {
        let before = self.late.clone();
        match step {
            Step::Fire(user, level) => {
                self.late.insert((user, level));
            }
            Step::Resolve(user, level) => {
                self.late.remove(&(user, level));
            }
            Step::ResolveAll(user) => self.late.retain(|(whose, _)| *whose != user),
            Step::Ack if !self.is_over() => {
                self.acked = true;
                self.ack_level = self.level();
                if let (Some(told), Some(_)) = (&self.told, self.level()) {
                    let (level, receivers) = (told.level, told.receivers.clone());
                    self.say("acknowledged", level, &receivers);
                }
            }
            Step::Silence(seconds) if !self.is_over() => {
                let until = self.now + seconds;
                self.silent_until = Some(until);
                self.look_at = Some(self.look_at.map_or(until, |known| known.min(until)));
            }
            Step::Unsilence if self.silent_until.take().is_some_and(|until| self.now < until) => {
                self.look_at = Some(self.now + 1);
            }
            _ => {}
        }
        if self.late != before {
            let at = (self.now + WAIT).max(self.told.as_ref().map_or(i64::MIN, |told| told.at + INTERVAL));
            self.look_at = Some(self.look_at.map_or(at, |known| known.min(at)));
        }
        if self.is_over() {
            self.forget();
        }
    }

    fn pass_second(&mut self) {
        self.now += 1;
        if self.look_at.is_some_and(|at| self.now >= at) {
            self.look_at = None;
            self.look();
        }
    }

    fn next_step(&self) -> Option<i64> {
        let told = self.told.as_ref()?;
        STEPS.get(told.steps).map(|(after, _)| told.since + after)
    }

    fn look(&mut self) {
        let now = self.now;
        let people: BTreeSet<usize> = self.late.iter().map(|(user, _)| *user).collect();
        let (level, told) = match (self.level(), &self.told) {
            (None, None) => return,
            (None, Some(told)) => {
                let (level, receivers) = (told.level, told.receivers.clone());
                self.say("resolved", level, &receivers);
                self.forget();
                return;
            }
            (Some(level), told) => (level, told.as_ref()),
        };
        let is_step_due = self.next_step().is_some_and(|at| now >= at);
        let word = match told {
            None => "first_notification",
            Some(told) if level > told.level => "level_raised",
            Some(told) if !people.is_subset(&told.people) => "alerts_added",
            Some(_) if is_step_due => "escalated",
            Some(told) if now >= told.at + REPEAT => "repeat_interval_elapsed",
            Some(_) => "",
        };
        if !word.is_empty() {
            if let Some(until) = self.silent_until.filter(|until| now < *until) {
                self.look_at = Some(until);
                return;
            }
            if self.acked && word != "first_notification" && Some(level) <= self.ack_level {
                return;
            }
        }
        self.speak(word, level, people);
        let repeat = self.told.as_ref().map(|told| told.at + REPEAT);
        self.look_at = repeat.into_iter().chain(self.next_step()).min().map(|at| at.max(now + 1));
    }

    fn speak(&mut self, word: &str, level: usize, people: BTreeSet<usize>) {
        let now = self.now;
        let Some(told) = &mut self.told else {
            self.say(word, level, &["log"]);
            self.told = Some(Told { level, people, at: now, since: now, steps: 0, receivers: vec!["log"] });
            return;
        };
        if word.is_empty() {
            return;
        }
        if word == "escalated" {
            let mut due = Vec::new();
            while let Some((after, receiver)) = STEPS.get(told.steps)
                && now >= told.since + after
            {
                due.push(*receiver);
                told.steps += 1;
            }
            due.sort_unstable();
            let new: Vec<_> = due.iter().filter(|receiver| !told.receivers.contains(receiver)).copied().collect();
            told.receivers.extend(new);
            self.say(word, level, &due);
            return;
        }
        if word == "level_raised" && self.acked {
            (self.acked, self.ack_level) = (false, None);
            (told.since, told.steps) = (now, 0);
        }
        (told.level, told.people, told.at) = (level, people, now);
        let receivers = told.receivers.clone();
        self.say(word, level, &receivers);
    }
}

fn act(step: Step, key: &str, now_ms: i64) -> Option<AlertCommand> {
    let action = match step {
        Step::Ack => AlertAction::Ack,
        Step::Silence(_) => AlertAction::Silence,
        Step::Unsilence => AlertAction::Unsilence,
        _ => return None,
    };
    let until = match step {
        Step::Silence(seconds) => Some(EventTime(now_ms + seconds * SECOND)),
        _ => None,
    };
    Some(AlertCommand { at: EventTime(now_ms), until, ..command(key, action) })
}

fn said(sent: &[Notification]) -> Vec<Said> {
    let told = |sent: &Notification| {
        ((sent.created_at.0 - NOW.0) / SECOND, sent.reason.clone(), sent.level, sent.receiver.clone())
    };
    sent.iter().map(told).collect()
}

fn drive(steps: &[Step]) -> Vec<Notification> {
    let mut drive = Drive::new(SECTION);
    let key = drive.routes.route(&all_labels(&breach("u-0", BreachLevel::Warning)))[0].group_key.clone();
    for step in steps {
        if let Some(command) = act(*step, &key, drive.now_ms) {
            drive.command(&key, command);
        }
        for breach in breaches(*step) {
            drive.take(breach);
        }
        if let Step::Wait(seconds) = step {
            drive.wait(*seconds);
        }
    }
    drive.wait(300);
    drive.sent
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn each_receiver_is_told_once_in_time_what_a_person_would_tell_and_nothing_else(steps in steps()) {
        let mut person = Person::default();
        for step in &steps {
            // A resolution of all levels is three words to the alerter, and one to a person.
            person.hear(*step);
            if let Step::Wait(seconds) = step {
                (0..*seconds).for_each(|_| person.pass_second());
            }
        }
        (0..300).for_each(|_| person.pass_second());
        let sent = drive(&steps);
        prop_assert_eq!(said(&sent), person.said);
        let ids: BTreeSet<_> = sent.iter().map(|sent| &sent.notification_id).collect();
        prop_assert_eq!(ids.len(), sent.len(), "one entry in the outbox for each");
    }
}

fn through_the_runtime(steps: &[Step]) -> Vec<Notification> {
    let (mut driver, routes) = test_driver(SECTION);
    let wire = Wire::new(Codec::without_registry());
    let key = routes.route(&all_labels(&breach("u-0", BreachLevel::Warning)))[0].group_key.clone();
    for step in steps {
        if let Some(command) = act(*step, &key, driver.now_ms()) {
            driver
                .pipe_input(NewRecord::new(topics::ALERT_COMMANDS, key.clone(), wire.encode(&command)))
                .expect("taken");
        }
        for breach in breaches(*step) {
            let breach = TtfBreach { detected_at: EventTime(driver.now_ms()), ..breach };
            driver.pipe_input(NewRecord::new(topics::ALERT_GROUPS, key.clone(), wire.encode(&breach))).expect("taken");
            if matches!(step, Step::ResolveAll(_)) {
                driver.commit().expect("it commits");
            }
        }
        match step {
            Step::Wait(seconds) => {
                for _ in 0..*seconds {
                    let now_ms = driver.now_ms() + SECOND;
                    driver.advance_to(now_ms).expect("time passes");
                    driver.commit().expect("it commits");
                }
            }
            // What is not committed yet is done again.
            Step::Crash => driver.crash_and_restart().expect("it starts again"),
            // Between the two topics there is no order but this.
            _ => driver.commit().expect("it commits"),
        }
    }
    for _ in 0..60 {
        let now_ms = driver.now_ms() + SECOND;
        driver.advance_to(now_ms).expect("time passes");
        driver.commit().expect("it commits");
    }
    let outbox = driver.read_all(topics::ALERT_NOTIFICATIONS).expect("it can be read");
    outbox.iter().map(|record| wire.read(&record.as_ref()).expect("a notification")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 50, ..ProptestConfig::default() })]

    /// Crashes and restores change nothing of what is in the outbox, ids included.
    #[test]
    fn the_outbox_is_the_same_whatever_crashes_between_acts(steps in steps()) {
        let until = |sent: Vec<Notification>, end: i64| -> Vec<Notification> {
            sent.into_iter().filter(|sent| sent.created_at.0 <= end).collect()
        };
        let waited: i64 = steps.iter().map(|step| if let Step::Wait(seconds) = step { *seconds } else { 0 }).sum();
        let end = NOW.0 + (waited + 60) * SECOND;
        prop_assert_eq!(until(through_the_runtime(&steps), end), until(drive(&steps), end));
    }
}
