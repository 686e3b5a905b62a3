//! The median of measurements.

/// The median; the upper one of two; zero if there are none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[test]
fn the_median_ignores_an_outlier() {
    assert_eq!(median(&mut [3.0, 1000.0, 1.0]), 3.0);
    assert_eq!(median(&mut []), 0.0);
}
