//! How much a group holds, and who goes when that is too much. Pure.

use std::collections::HashSet;

use telemetry_schemas::{
    BreachLevel, BreachStatus, EventTime, TtfBreach,
    alert::{AlertInstance, AlertState},
};

use super::unlisted::{self, Added, Subject};

/// How much a group holds: state and notification have to fit into a record, which Kafka takes up to 1 000 000 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// About how many bytes of alerts are listed.
    pub listed_bytes: usize,
    /// How many are known by a hash besides them, eight bytes each. What comes after them is only counted.
    pub unlisted: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { listed_bytes: 384 * 1024, unlisted: 65_536 }
    }
}

/// What is known of the room a group's alerts take, kept beside them: a flood asks for it with every breach. Nothing
/// until it is asked for, and again after the alerts were changed elsewhere than in [`apply`](super::state::apply).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    bytes: Option<usize>,
    /// Nobody listed gives way to an alert of this level.
    taken_up_to: Option<BreachLevel>,
}

impl Room {
    fn taken(self, alerts: &[AlertInstance]) -> usize {
        self.bytes.unwrap_or_else(|| alerts.iter().map(|alert| size(&alert.breach)).sum())
    }

    /// Notes that an alert took so many bytes, and takes so many now.
    pub fn changed(&mut self, before: usize, after: usize) {
        self.bytes = self.bytes.map(|taken| taken + after - before);
        self.taken_up_to = None;
    }
}

/// Makes room for one more alert: what is over goes first, then what is of a lower level. Returns whether there is.
pub fn make_room(group: &mut AlertState, room: &mut Room, breach: &TtfBreach, bounds: Bounds, now: EventTime) -> bool {
    let mut bytes = room.taken(&group.alerts);
    room.bytes = Some(bytes);
    let needed = size(breach);
    while bytes + needed > bounds.listed_bytes {
        if room.taken_up_to.is_some_and(|level| breach.level <= level) {
            return false;
        }
        let dispensable =
            |alert: &AlertInstance| alert.breach.status != BreachStatus::Firing || alert.breach.level < breach.level;
        let victim = group
            .alerts
            .iter()
            .enumerate()
            .filter(|(_, alert)| dispensable(alert))
            .min_by_key(|(_, alert)| (alert.breach.status == BreachStatus::Firing, alert.breach.level))
            .map(|(index, _)| index);
        let Some(index) = victim else {
            room.taken_up_to = Some(breach.level);
            return false;
        };
        let gone = group.alerts.remove(index);
        if gone.breach.status == BreachStatus::Firing {
            leave_out(group, &gone.breach, gone.told_at.is_some(), bounds, now);
        } else {
            note_end(group, &gone.breach);
        }
        bytes -= size(&gone.breach);
        room.bytes = Some(bytes);
    }
    true
}

/// Counts an alert that is not listed. Returns whether that is new.
pub fn leave_out(group: &mut AlertState, breach: &TtfBreach, is_told: bool, bounds: Bounds, now: EventTime) -> bool {
    let subject = Subject::of(breach);
    // One that is back before its end was told is no news.
    let is_told = is_told || unlisted::is_told(&group.unlisted_ended, subject);
    unlisted::remove(&mut group.unlisted_ended, subject, breach.level);
    if unlisted::count(&group.unlisted) + unlisted::count(&group.unlisted_ended) >= bounds.unlisted {
        group.unlisted_ended.clear();
    }
    match unlisted::add(&mut group.unlisted, subject, breach.level, is_told, bounds.unlisted) {
        Added::Known => return false,
        Added::New => {}
        Added::Full => {
            group.left_out += 1;
            group.left_out_told += i64::from(is_told);
        }
    }
    group.left_out_at = Some(now);
    true
}

/// What the end of an alert means that is not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nothing is known of it.
    Nothing,
    /// It was counted, and nobody was told of it.
    Untold,
    /// The receivers were told of it.
    Told,
}

/// Counts the end of an alert that is not listed. One that is not known by its hash is taken for one that was only
/// counted, where some were.
pub fn let_go(group: &mut AlertState, breach: &TtfBreach) -> Ended {
    let subject = Subject::of(breach);
    match unlisted::remove(&mut group.unlisted, subject, breach.level) {
        Some(true) => {
            note_end(group, breach);
            Ended::Told
        }
        Some(false) => Ended::Untold,
        None if group.left_out > 0 => {
            group.left_out -= 1;
            let was_told = group.left_out < group.left_out_told;
            group.left_out_told = group.left_out_told.min(group.left_out);
            if was_told { Ended::Told } else { Ended::Untold }
        }
        None => Ended::Nothing,
    }
}

/// The receivers were told of it, and not yet of its end: when it comes back, it is no news to them.
fn note_end(group: &mut AlertState, breach: &TtfBreach) {
    unlisted::add(&mut group.unlisted_ended, Subject::of(breach), breach.level, true, usize::MAX);
}

/// How many are late and not listed: each attempt once, and none that is listed with another level.
pub fn not_listed(group: &AlertState) -> usize {
    count_not_listed(group, group.left_out, |_| true, |_| true)
}

/// Those of them the receivers know of.
pub fn told_not_listed(group: &AlertState) -> usize {
    count_not_listed(group, group.left_out_told, |alert| alert.told_at.is_some(), unlisted::Entry::is_told)
}

fn count_not_listed(
    group: &AlertState,
    only_counted: i64,
    is_shown: impl Fn(&AlertInstance) -> bool,
    is_meant: impl Fn(unlisted::Entry) -> bool,
) -> usize {
    let only_counted = usize::try_from(only_counted).unwrap_or_default();
    if group.unlisted.is_empty() {
        return only_counted;
    }
    let firing = group.alerts.iter().filter(|alert| alert.breach.status == BreachStatus::Firing && is_shown(alert));
    let listed: HashSet<Subject> = firing.map(|alert| Subject::of(&alert.breach)).collect();
    let entries = unlisted::entries(&group.unlisted).filter(|entry| is_meant(*entry));
    only_counted + entries.filter(|entry| !listed.contains(&entry.subject)).count()
}

/// About how many bytes a breach is, written down.
pub fn size(breach: &TtfBreach) -> usize {
    let texts = [&breach.breach_id, &breach.tenant, &breach.journey, &breach.user_id, &breach.attempt];
    let maps = [&breach.segments, &breach.experiments, &breach.labels, &breach.annotations];
    let named: usize = maps.into_iter().flatten().map(|(name, value)| name.len() + value.len() + 4).sum();
    80 + texts.iter().map(|text| text.len()).sum::<usize>()
        + breach.current_stage.as_ref().map_or(0, String::len)
        + breach.release.as_ref().map_or(0, String::len)
        + named
}
