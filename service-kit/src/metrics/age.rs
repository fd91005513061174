//! How long something has been going on, worked out when it is read: a part that hangs still shows its age.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prometheus::{
    GaugeVec,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// Ages in seconds, by the value of one label; 0 while nothing is going on.
#[derive(Clone)]
pub struct AgeVec {
    shown: GaugeVec,
    since: Arc<Mutex<HashMap<String, Option<Instant>>>>,
}

impl AgeVec {
    pub(super) fn new(shown: GaugeVec) -> Self {
        Self { shown, since: Arc::default() }
    }

    /// The age under this value of the label.
    pub fn with_label_value(&self, value: &str) -> Age {
        self.since.lock().entry(value.to_owned()).or_insert(None);
        Age { ages: self.clone(), label: value.to_owned() }
    }

    fn work_out(&self) {
        for (label, since) in &*self.since.lock() {
            let age = since.map_or(Duration::ZERO, |since| since.elapsed());
            self.shown.with_label_values(&[label]).set(age.as_secs_f64());
        }
    }
}

impl Collector for AgeVec {
    fn desc(&self) -> Vec<&Desc> {
        self.shown.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.work_out();
        self.shown.collect()
    }
}

/// One of the ages.
pub struct Age {
    ages: AgeVec,
    label: String,
}

impl Age {
    /// It has been going on since `since`, or is not going on any more.
    pub fn set_since(&self, since: Option<Instant>) {
        if let Some(known) = self.ages.since.lock().get_mut(&self.label) {
            *known = since;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn an_age_grows_until_it_is_ended() {
        let metrics = Metrics::default();
        let age = metrics.age_vec("ttf_open_seconds", "Age.", "worker").with_label_value("w");
        let shown = || {
            let page = metrics.render();
            let line = page.lines().find(|line| line.starts_with(r#"ttf_open_seconds{worker="w"}"#)).unwrap();
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        assert!(shown() < 1e-9);
        age.set_since(Instant::now().checked_sub(Duration::from_secs(5)));
        assert!(shown() >= 5.0);
        age.set_since(None);
        assert!(shown() < 1e-9);
    }
}
