//! Whether a share fell for certain. Pure.

/// Successes among trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub hits: i64,
    pub of: i64,
}

impl Share {
    /// `None` without a trial, or where the counts contradict each other.
    pub fn rate(self) -> Option<f64> {
        #[allow(clippy::cast_precision_loss)]
        (self.of > 0 && (0..=self.of).contains(&self.hits)).then(|| self.hits as f64 / self.of as f64)
    }
}

/// The chance to see as few hits as in `now`, or fewer, if `now` and `before` had the same rate: Fisher's exact test,
/// one-sided (<https://en.wikipedia.org/wiki/Fisher%27s_exact_test>). Exact also where counts are small.
pub fn fell_by_chance(now: Share, before: Share) -> f64 {
    let (hits, of) = (now.hits + before.hits, now.of + before.of);
    let misses = of - hits;
    let ways = |n: i64, k: i64| ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    let all = ways(of, now.of);
    let fewest = (now.of - misses).max(0);
    let chance: f64 = (fewest..=now.hits).map(|k| (ways(hits, k) + ways(misses, now.of - k) - all).exp()).sum();
    chance.clamp(0.0, 1.0)
}

/// ln n!, exact to about 1e-10: summed for small n, Stirling's series above.
fn ln_factorial(n: i64) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let x = n.max(0) as f64;
    if n < 32 {
        return (2..=n).fold(0.0, |sum, k| {
            #[allow(clippy::cast_precision_loss)]
            let k = k as f64;
            sum + k.ln()
        });
    }
    let inverse = 1.0 / x;
    x * x.ln() - x + 0.5 * (std::f64::consts::TAU * x).ln() + inverse / 12.0 - inverse.powi(3) / 360.0
        + inverse.powi(5) / 1_260.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(hits: i64, of: i64) -> Share {
        Share { hits, of }
    }

    /// Values of `scipy.stats.fisher_exact([[hits, misses], [hits, misses]], alternative="less")`.
    #[test]
    fn it_is_fishers_test() {
        // The lady tasting tea: 1/70 and 17/70 and 53/70.
        for (hits, expected) in [(0, 1.0 / 70.0), (1, 17.0 / 70.0), (2, 53.0 / 70.0)] {
            let chance = fell_by_chance(share(hits, 4), share(4 - hits, 4));
            assert!((chance - expected).abs() < 1e-9, "{hits}: {chance}");
        }
        assert!((fell_by_chance(share(50, 100), share(500, 1_000)) - 0.541).abs() < 0.01);
    }

    #[test]
    fn three_users_prove_nothing_and_three_hundred_do() {
        assert!(fell_by_chance(share(0, 3), share(500, 1_000)) > 0.1);
        assert!(fell_by_chance(share(90, 300), share(500, 1_000)) < 1e-8);
        assert!(fell_by_chance(share(300, 300), share(500, 1_000)) > 0.999, "better is not worse");
        assert!(fell_by_chance(share(300_000, 1_000_000), share(3_100_000, 10_000_000)) < 1e-6, "large counts");
    }
}
