//! Agreement of numbers: Pearson's and Spearman's correlation, mean squared error. Values are those of scipy.

/// Pearson's r = Σ (x − x̄)(y − ȳ) / √(Σ (x − x̄)² Σ (y − ȳ)²) of two lists of one length.
///
/// NaN, as in scipy, where either list is constant, shorter than two, or not all numbers.
pub fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let constant = |values: &[f64]| values.iter().all(|value| *value == values[0]);
    if x.len() < 2 || constant(x) || constant(y) {
        return f64::NAN;
    }
    let (x, y) = (centred(x), centred(y));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    // rounding may push a perfect correlation past 1
    (dot(&x, &y) / (dot(&x, &x).sqrt() * dot(&y, &y).sqrt())).clamp(-1.0, 1.0)
}

/// Spearman's ρ: Pearson's r of the ranks, equal values sharing their mean rank. NaN where Pearson's is.
pub fn spearman(x: &[f64], y: &[f64]) -> f64 {
    if x.iter().chain(y).any(|value| value.is_nan()) {
        return f64::NAN;
    }
    pearson(&ranks(x), &ranks(y))
}

/// Mean of (x − y)²; NaN of nothing.
pub fn mean_squared_error(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum::<f64>() / x.len() as f64
}

fn centred(values: &[f64]) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|value| value - mean).collect()
}

/// Ranks from 1.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    // == rather than total_cmp: 0 and −0 are one value
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|&index| ranks[index] = rank);
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::super::close;
    use super::*;

    const X: [f64; 7] = [1.0, 2.5, 2.5, 4.0, 0.3, 9.0, -2.0];
    const Y: [f64; 7] = [1.1, 2.0, 3.0, 3.0, 0.0, 4.0, 1.1];

    #[test]
    fn values_are_those_of_scipy() {
        close(pearson(&X, &Y), 0.841484744247194);
        close(spearman(&X, &Y), 0.9082951062292476);
        close(mean_squared_error(&X, &Y), 5.172857142857143);
    }

    #[test]
    fn equal_values_share_a_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 0.0, -0.0, 3.0]), [5.0, 3.0, 5.0, 1.5, 1.5, 5.0]);
    }

    #[test]
    fn a_perfect_correlation_is_one_exactly() {
        let x: Vec<f64> = (0..100).map(|i| 0.1 * f64::from(i)).collect();
        let y: Vec<f64> = x.iter().map(|x| -0.7 * x + 3.0).collect();
        close(pearson(&x, &y), -1.0);
        assert!(pearson(&x, &x) <= 1.0);
        assert_eq!(spearman(&x, &x.iter().map(|x| x.exp()).collect::<Vec<_>>()), 1.0);
    }

    #[test]
    fn without_variation_there_is_no_correlation() {
        // the mean of three 0.1 is not 0.1
        for correlation in [pearson, spearman] {
            assert!(correlation(&[0.1; 3], &[1.0, 2.0, 3.0]).is_nan());
            assert!(correlation(&[1.0, 2.0, 3.0], &[0.1; 3]).is_nan());
            assert!(correlation(&[1.0], &[1.0]).is_nan());
            assert!(correlation(&[1.0, f64::NAN], &[1.0, 2.0]).is_nan());
            assert!(correlation(&[], &[]).is_nan());
        }
    }
}
