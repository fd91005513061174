//! The group stage with a clock that moves when told.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::RwLock;
use service_kit::Metrics;
use stream_runtime::keyed::{Context, Effect, KeyedProcessor};
use telemetry_schemas::{
    BreachLevel, EventTime, Millis, TtfBreach,
    alert::{AlertCommand, Notification},
};

use crate::{
    config::AlerterConfig,
    group::{
        processor::{GroupProcessor, Input, Keeping, Kind, Output},
        room::Bounds,
        state::{self, Group},
    },
    metrics::AlerterMetrics,
    mutes::{Mutes, follow::SharedMutes},
    route::{Routes, all_labels},
    testing::{NOW, config},
};

pub const SECOND: i64 = 1_000;

/// The processor with a clock that moves when told, each input a transaction of its own.
pub struct Drive {
    pub processor: GroupProcessor,
    pub routes: Arc<Routes>,
    pub groups: BTreeMap<String, Group>,
    pub now_ms: i64,
    pub sent: Vec<Notification>,
    pub metrics: Metrics,
    /// How long ago breaches were found.
    pub behind_ms: i64,
    pub mutes: SharedMutes,
}

pub fn keeping(config: &AlerterConfig) -> Keeping {
    Keeping {
        forget_after: Millis(config.forget_after.millis()),
        keep_history: Millis(config.keep_history.millis()),
        bounds: Bounds::default(),
    }
}

impl Drive {
    pub fn new(section: &str) -> Self {
        Self::bounded(section, Bounds::default())
    }

    /// With groups that hold no more than this.
    pub fn bounded(section: &str, bounds: Bounds) -> Self {
        let config = config(section);
        let routes = Arc::new(Routes::new(&config));
        let metrics = Metrics::default();
        let mutes: SharedMutes = Arc::new(RwLock::new(Mutes::new(&config)));
        let keeping = Keeping { bounds, ..keeping(&config) };
        let processor = GroupProcessor::new(routes.clone(), keeping, mutes.clone(), &AlerterMetrics::new(&metrics));
        processor.observe_complete(0);
        let (groups, sent) = (BTreeMap::new(), Vec::new());
        Self { processor, routes, groups, now_ms: NOW.0, sent, metrics, behind_ms: 0, mutes }
    }

    /// A new release of the configuration.
    pub fn reconfigure(&mut self, section: &str) {
        let Self { groups, now_ms, sent, .. } = std::mem::replace(self, Self::new(section));
        *self = Self { groups, now_ms, sent, ..Self::new(section) };
    }

    pub fn transaction(&mut self, breaches: Vec<TtfBreach>) {
        let ctx = Context { now_ms: self.now_ms };
        let mut touched: BTreeMap<String, Option<Group>> = BTreeMap::new();
        for breach in breaches {
            let breach = TtfBreach { detected_at: EventTime(self.now_ms - self.behind_ms), ..breach };
            let keys: Vec<_> = if self.routes.need_memory() {
                vec![self.routes.memory_key(&breach)]
            } else {
                self.routes.route(&all_labels(&breach)).into_iter().map(|routed| routed.group_key).collect()
            };
            for key in keys {
                let group = touched.entry(key.clone()).or_insert_with(|| self.groups.get(&key).cloned());
                self.processor.on_record(&ctx, &key, group, Input::Breach(Box::new(breach.clone())));
            }
        }
        for (key, after) in touched {
            self.flush(&key, after);
        }
    }

    /// What operators ask of a key.
    pub fn command(&mut self, key: &str, command: AlertCommand) {
        let mut group = self.groups.get(key).cloned();
        let ctx = Context { now_ms: self.now_ms };
        let effect = self.processor.on_record(&ctx, &key.to_owned(), &mut group, Input::Command(command));
        if effect == Effect::Changed {
            self.flush(&key.to_owned(), group);
        }
    }

    /// Groups that are not over.
    pub fn open(&self) -> Vec<&Group> {
        let is_open = |(key, group): &(&String, &Group)| Kind::of(key) == Kind::Group && !state::is_over(&group.kept);
        self.groups.iter().filter(is_open).map(|(_, group)| group).collect()
    }

    fn flush(&mut self, key: &String, mut after: Option<Group>) {
        let before = self.groups.remove(key);
        let ctx = Context { now_ms: self.now_ms };
        let mut outputs = Vec::new();
        self.processor.on_flush(&ctx, key, before.as_ref(), &mut after, &mut outputs);
        self.mutes.write().observe(key, after.as_ref().map(|group| &group.kept));
        self.processor.observe_committed(0, key, before.as_ref(), after.as_ref());
        if let Some(after) = after {
            self.groups.insert(key.clone(), after);
        }
        for output in outputs {
            match output {
                Output::Notification(sent) => self.sent.push(*sent),
                Output::Routed { group_key, breach } => {
                    let mut group = self.groups.get(&group_key).cloned();
                    self.processor.on_record(&ctx, &group_key, &mut group, Input::Breach(breach));
                    self.flush(&group_key, group);
                }
            }
        }
    }

    pub fn take(&mut self, breach: TtfBreach) {
        self.transaction(vec![breach]);
    }

    /// Lets time pass, second by second.
    pub fn wait(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now_ms += SECOND;
            let due: Vec<String> = self
                .groups
                .iter()
                .filter(|(_, group)| self.processor.next_due(group).is_some_and(|due| due <= self.now_ms))
                .map(|(key, _)| key.clone())
                .collect();
            for key in due {
                let mut group = self.groups.get(&key).cloned();
                self.processor.on_timer(&Context { now_ms: self.now_ms }, &key, &mut group, self.now_ms);
                self.flush(&key, group);
            }
        }
    }

    /// What was sent since the last call: reason, level, number of alerts.
    pub fn heard(&mut self) -> Vec<(String, BreachLevel, usize)> {
        self.sent.drain(..).map(|sent| (sent.reason, sent.level, sent.alerts.len())).collect()
    }
}

pub fn heard(reason: &str, level: BreachLevel, alerts: usize) -> (String, BreachLevel, usize) {
    (reason.to_owned(), level, alerts)
}
