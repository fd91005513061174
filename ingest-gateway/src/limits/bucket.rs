//! Token buckets: pure, the time is a parameter.

use std::collections::HashMap;

/// What is asked of one bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    pub id: String,
    /// Tokens a second; 0 for one that is never filled again.
    pub rate: f64,
    pub burst: f64,
    pub cost: f64,
}

/// Tokens at a time, in seconds. Below zero after a request that was larger than the bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    tokens: f64,
    at: f64,
}

/// What became of a request's asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// The first ask that could not be met.
    pub refused: Option<usize>,
    /// Seconds until all could be.
    pub wait: f64,
    /// In each bucket afterwards.
    pub tokens: Vec<f64>,
}

impl Ask {
    /// What must be there: a request larger than the bucket is let through by a full one, or it never would be.
    pub fn need(&self) -> f64 {
        self.cost.min(self.burst)
    }
}

impl Taken {
    /// Seconds until every bucket has a token, or `None` when one never will; 0 when all have.
    pub fn until_one_token(&self, asks: &[Ask]) -> Option<f64> {
        let mut waits = asks.iter().zip(&self.tokens).map(|(ask, tokens)| match 1.0 - tokens {
            missing if missing <= 0.0 => Some(0.0),
            missing if ask.rate > 0.0 => Some(missing / ask.rate),
            _ => None,
        });
        waits.try_fold(0.0, |longest: f64, wait| Some(longest.max(wait?)))
    }
}

/// Takes from all buckets, or from none.
pub fn take(buckets: &mut HashMap<String, Bucket>, asks: &[Ask], now: f64) -> Taken {
    let looked = look(buckets, asks, now);
    if looked.refused.is_some() { looked } else { force(buckets, asks, now) }
}

/// Takes from all buckets, whatever they hold.
pub fn force(buckets: &mut HashMap<String, Bucket>, asks: &[Ask], now: f64) -> Taken {
    let tokens = asks.iter().map(|ask| {
        let bucket = filled(buckets, ask, now);
        bucket.tokens = (bucket.tokens - ask.cost).max(-ask.cost);
        bucket.tokens
    });
    Taken { refused: None, wait: 0.0, tokens: tokens.collect() }
}

/// Fills the buckets and tells whether they would do.
pub fn look(buckets: &mut HashMap<String, Bucket>, asks: &[Ask], now: f64) -> Taken {
    let mut taken = Taken { refused: None, wait: 0.0, tokens: Vec::with_capacity(asks.len()) };
    for (index, ask) in asks.iter().enumerate() {
        let tokens = filled(buckets, ask, now).tokens;
        taken.tokens.push(tokens);
        if tokens < ask.need() {
            taken.refused.get_or_insert(index);
            if ask.rate > 0.0 {
                taken.wait = taken.wait.max((ask.need() - tokens) / ask.rate);
            }
        }
    }
    taken
}

fn filled<'b>(buckets: &'b mut HashMap<String, Bucket>, ask: &Ask, now: f64) -> &'b mut Bucket {
    if !buckets.contains_key(&ask.id) {
        // Quotas of earlier months are of no use any more; there are few buckets, one a rule.
        if ask.rate == 0.0 {
            let rule = ask.id.rsplit_once(':').map_or("", |(rule, _)| rule).to_owned();
            buckets.retain(|id, _| id.rsplit_once(':').is_none_or(|(other, _)| other != rule));
        }
        buckets.insert(ask.id.clone(), Bucket { tokens: ask.burst, at: now });
    }
    let bucket = buckets.entry(ask.id.clone()).or_insert(Bucket { tokens: ask.burst, at: now });
    bucket.tokens = (bucket.tokens + (now - bucket.at).max(0.0) * ask.rate).min(ask.burst);
    bucket.at = now;
    bucket
}
