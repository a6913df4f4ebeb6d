//! Computes the confidence interval and estimate of the shift between two samples (Mann–Whitney U, Hodges–Lehmann).
//! Normal approximation with continuity and tie corrections, as R's `wilcox.test(exact = FALSE)`; the roots lie where
//! the statistic jumps, at the ordered differences. Refuses samples in which all values are equal.

/// The shift of one sample against another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    pub lower: f64,
    pub upper: f64,
    /// Median of all differences.
    pub estimate: f64,
}

/// Returns the shift of `x` against `y`; None when nothing varies or a sample is empty.
pub fn shift(x: &[f64], y: &[f64], confidence: f64) -> Option<Shift> {
    let mut differences: Vec<f64> = x.iter().flat_map(|a| y.iter().map(move |b| a - b)).collect();
    differences.sort_by(f64::total_cmp);
    let pairs = differences.len() as f64;
    let sigma = sigma(x, y);
    // NaN too is refused.
    if sigma.is_nan() || sigma <= 0.0 || differences.first() == differences.last() {
        return None;
    }
    // The statistic for a shift just above the k-th difference: what is left above, centred and corrected.
    let statistic = |k: usize| {
        let centred = pairs - k as f64 - 0.5 * pairs;
        (centred - 0.5 * if centred == 0.0 { 0.0 } else { centred.signum() }) / sigma
    };
    let root = |z: f64| {
        let jump = (0..=differences.len()).find(|&k| statistic(k) <= z).unwrap_or(differences.len());
        differences[jump.saturating_sub(1)]
    };
    let z = normal_quantile(0.5 + 0.5 * confidence);
    Some(Shift { lower: root(z), upper: root(-z), estimate: median(&differences) })
}

/// Returns the standard deviation of U, less what ties inside the samples take.
fn sigma(x: &[f64], y: &[f64]) -> f64 {
    let (m, n) = (x.len() as f64, y.len() as f64);
    let all = m + n;
    let ties = (tied(x) + tied(y)) / (all * (all - 1.0));
    (m * n / 12.0 * (all + 1.0 - ties)).sqrt()
}

/// Returns Σ (t³ − t) over groups of equal values.
fn tied(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let groups = sorted.chunk_by(|a, b| a == b).map(|group| group.len() as f64);
    groups.map(|size| size * size * size - size).sum()
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { 0.5 * (sorted[middle - 1] + sorted[middle]) } else { sorted[middle] }
}

/// Returns the value below which a standard normal lies with this probability.
pub fn normal_quantile(probability: f64) -> f64 {
    let (mut low, mut high) = (-10.0f64, 10.0f64);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        let below = 0.5 * libm::erfc(-middle / std::f64::consts::SQRT_2);
        if below < probability { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}
