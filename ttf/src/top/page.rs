//! A page of `/metrics`, read. Pure.

use std::collections::BTreeMap;

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Sample {
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// What a process said about itself at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page(Vec<Sample>);

impl Page {
    /// Reads Prometheus' text format 0.0.4; what is not a sample is passed over.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    /// The sum over all series of a metric; `None` when there is none.
    pub fn sum(&self, name: &str) -> Option<f64> {
        self.named(name).map(|sample| sample.value).reduce(|sum, value| sum + value)
    }

    /// Sums by the value of one label.
    pub fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.named(name) {
            *sums.entry(sample.label(label).to_owned()).or_insert(0.0) += sample.value;
        }
        sums
    }

    /// The cumulative buckets of a histogram, over all its series: upper bound and count, ascending.
    pub fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        let named = format!("{name}_bucket");
        for sample in self.named(&named) {
            let Ok(bound) = sample.label("le").parse::<f64>() else { continue };
            match buckets.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
                Some((_, count)) => *count += sample.value,
                None => buckets.push((bound, sample.value)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }
}

fn sample(line: &str) -> Option<Sample> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (name, labels, rest) = if let Some((name, behind)) = line.split_once('{') {
        let (labels, rest) = labels(behind)?;
        (name, labels, rest)
    } else {
        let (name, rest) = line.split_once(' ')?;
        (name, BTreeMap::new(), rest)
    };
    // A time stamp may follow the value.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Labels up to the closing brace, and what comes behind it.
fn labels(text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, behind) = rest.split_once("=\"")?;
        let (value, behind) = quoted(behind)?;
        labels.insert(name.to_owned(), value);
        rest = behind;
    }
}

/// A label's value up to its closing quote, with its escapes undone.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// The value below which the share `q` of what was counted between two readings of a histogram lies, worked out within
/// its bucket as Prometheus' `histogram_quantile` does; `None` when nothing was counted.
pub fn quantile(before: &[(f64, f64)], now: &[(f64, f64)], q: f64) -> Option<f64> {
    let counted: Vec<(f64, f64)> = now
        .iter()
        .map(|(bound, count)| {
            let known =
                before.iter().find(|(known, _)| known.total_cmp(bound).is_eq()).map_or(0.0, |(_, count)| *count);
            (*bound, count - known)
        })
        .collect();
    let total = counted.last()?.1;
    if total <= 0.0 {
        return None;
    }
    let rank = q * total;
    let index = counted.iter().position(|(_, count)| *count >= rank)?;
    let (below, at_below) = if index == 0 { (0.0, 0.0) } else { counted[index - 1] };
    let (bound, at_bound) = counted[index];
    if bound.is_infinite() {
        return Some(below);
    }
    Some(below + (bound - below) * (rank - at_below) / (at_bound - at_below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_whatever_its_labels_hold() {
        let page = Page::parse(
            "# HELP a A.\n# TYPE a counter\na 3\na{x=\"1\",y=\"b}, \\\"c\\\\\"} 4.5\nodd\na{broken 1\nb{x=\"\"} +Inf 1700000000\n",
        );
        assert_eq!(page.0.len(), 3);
        assert_eq!(page.sum("a"), Some(7.5));
        assert_eq!(page.0[1].label("y"), "b}, \"c\\");
        assert_eq!(page.by_label("a", "x"), BTreeMap::from([(String::new(), 3.0), ("1".to_owned(), 4.5)]));
        assert!(page.sum("b").is_some_and(f64::is_infinite));
        assert_eq!(page.sum("c"), None);
    }

    #[test]
    fn quantiles_are_worked_out_within_their_bucket_and_between_two_readings() {
        let page = |counts: [u32; 4]| {
            let [a, b, c, d] = counts;
            Page::parse(&format!(
                "h_bucket{{le=\"0.1\"}} {a}\nh_bucket{{le=\"0.2\"}} {b}\nh_bucket{{le=\"1\"}} {c}\nh_bucket{{le=\"+Inf\"}} {d}\n"
            ))
            .buckets("h")
        };
        let (before, now) = (page([100, 100, 100, 100]), page([150, 200, 200, 200]));
        let between = |q| quantile(&before, &now, q).unwrap();
        assert!((between(0.5) - 0.1).abs() < 1e-9, "{}", between(0.5));
        assert!((between(0.75) - 0.15).abs() < 1e-9);
        assert_eq!(quantile(&now, &now, 0.5), None, "nothing in between");
        assert_eq!(quantile(&[], &[], 0.5), None);
        let beyond = quantile(&[], &page([0, 0, 0, 10]), 0.99).unwrap();
        assert!((beyond - 1.0).abs() < 1e-9, "beyond the last bound it is at least that");
    }
}
