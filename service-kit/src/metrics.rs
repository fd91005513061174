//! Prometheus metrics of the process: one registry, and constructors that register what they make.

mod age;

use std::{any::Any, collections::HashMap, fmt, sync::Arc};

use parking_lot::Mutex;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
    core::{Collector, Desc},
};

pub use self::age::{Age, AgeVec};

/// Content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The process's metrics. Cheap to clone.
///
/// Asking twice for one name returns the same collector, since several services share a process.
///
/// # Panics
/// The constructors panic when a name or label is not valid for Prometheus, or when a name was taken before with
/// another kind, other labels or another help text: those are mistakes in the code, found by the first test that runs it.
#[derive(Clone, Default)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    registry: Registry,
    by_name: Mutex<HashMap<String, Box<dyn Any + Send>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.collector(name, IntCounter::new(name, help))
    }

    pub fn counter_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.collector(name, IntCounterVec::new(Opts::new(name, help), labels))
    }

    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.collector(name, IntGauge::new(name, help))
    }

    pub fn gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.collector(name, IntGaugeVec::new(Opts::new(name, help), labels))
    }

    pub fn float_gauge(&self, name: &str, help: &str) -> Gauge {
        self.collector(name, Gauge::new(name, help))
    }

    pub fn float_gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.collector(name, GaugeVec::new(Opts::new(name, help), labels))
    }

    /// Ages in seconds by one label, worked out when they are read.
    pub fn age_vec(&self, name: &str, help: &str, label: &str) -> AgeVec {
        self.collector(name, GaugeVec::new(Opts::new(name, help), &[label]).map(AgeVec::new))
    }

    /// `buckets` are the upper bounds, ascending, without `+Inf`.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.collector(name, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    /// `buckets` are the upper bounds, ascending, without `+Inf`.
    pub fn histogram_vec(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        self.collector(name, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
    }

    /// Registers a collector that computes its figures when it is read.
    pub fn register(&self, collector: Box<dyn Collector>) -> Result<(), prometheus::Error> {
        self.inner.registry.register(collector)
    }

    /// Everything in Prometheus' text format 0.0.4.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.inner.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            // A family without series is the only thing the encoder refuses, and `gather` leaves those out.
            Err(error) => format!("# cannot render metrics: {error}\n"),
        }
    }

    fn collector<C: Collector + Clone + Send + 'static>(&self, name: &str, made: prometheus::Result<C>) -> C {
        let made = made.unwrap_or_else(|error| panic!("metric `{name}` is not valid: {error}"));
        let mut by_name = self.inner.by_name.lock();
        if let Some(known) = by_name.get(name) {
            let known = known.downcast_ref::<C>().unwrap_or_else(|| panic!("metric `{name}` has another kind already"));
            assert!(same_shape(&known.desc(), &made.desc()), "metric `{name}` has other labels or help text already");
            return known.clone();
        }
        self.inner
            .registry
            .register(Box::new(made.clone()))
            .unwrap_or_else(|error| panic!("metric `{name}` cannot be registered: {error}"));
        by_name.insert(name.to_owned(), Box::new(made.clone()));
        made
    }
}

fn same_shape(known: &[&Desc], asked: &[&Desc]) -> bool {
    let shape = |descs: &[&Desc]| -> Vec<u64> { descs.iter().map(|desc| desc.dim_hash).collect() };
    shape(known) == shape(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_twice_gives_the_same_collector() {
        let metrics = Metrics::default();
        metrics.counter("ttf_things_total", "Things.").inc();
        metrics.clone().counter("ttf_things_total", "Things.").inc();
        metrics
            .histogram_vec("ttf_wait_seconds", "Wait.", &["route"], &[0.1, 1.0])
            .with_label_values(&["a"])
            .observe(0.5);
        metrics.float_gauge("ttf_ratio", "Ratio.").set(0.25);
        insta::assert_snapshot!(metrics.render(), @r###"
        # HELP ttf_ratio Ratio.
        # TYPE ttf_ratio gauge
        ttf_ratio 0.25
        # HELP ttf_things_total Things.
        # TYPE ttf_things_total counter
        ttf_things_total 2
        # HELP ttf_wait_seconds Wait.
        # TYPE ttf_wait_seconds histogram
        ttf_wait_seconds_bucket{route="a",le="0.1"} 0
        ttf_wait_seconds_bucket{route="a",le="1"} 1
        ttf_wait_seconds_bucket{route="a",le="+Inf"} 1
        ttf_wait_seconds_sum{route="a"} 0.5
        ttf_wait_seconds_count{route="a"} 1
        "###);
    }

    #[test]
    #[should_panic(expected = "metric `ttf_things_total` has another kind already")]
    fn one_name_cannot_have_two_kinds() {
        let metrics = Metrics::default();
        metrics.counter("ttf_things_total", "Things.");
        metrics.gauge("ttf_things_total", "Things.");
    }

    #[test]
    #[should_panic(expected = "metric `ttf_things_total` has other labels or help text already")]
    fn one_name_cannot_have_two_sets_of_labels() {
        let metrics = Metrics::default();
        metrics.counter_vec("ttf_things_total", "Things.", &["route"]);
        metrics.counter_vec("ttf_things_total", "Things.", &["code"]);
    }
}
