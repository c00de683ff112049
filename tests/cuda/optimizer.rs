//! AdamW and the sum of squares.

use cloze::dtype::DType;
use cloze::ops::adam_w::{self, Moments, Step};

use crate::harness::{cpu, gpu, matrix, to_host, values};

#[test]
fn steps() {
    let Some(gpu) = gpu(DType::F32) else { return };
    let settings = Step {
        learning_rate: 1e-2,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-6,
        weight_decay: 0.1,
        count: 1,
        gradient_scale: 0.5,
    };
    for count in [0, 1, 3, 4, 5, 1023, 1025, 4099] {
        // three steps, each with roundings of values of size 1
        parity!(&gpu, 5e-7, |d| {
            let mut parameter = matrix(d, &values(1, count), 1, count);
            let mut moments = Moments::new(d, 1, count).unwrap();
            for step in 1..4 {
                let gradient = matrix(d, &values(1 + step, count), 1, count);
                adam_w::step(d, &Step { count: step, ..settings }, &gradient, &mut moments, &mut parameter).unwrap();
            }
            (to_host(d, &parameter), to_host(d, &moments.mean), to_host(d, &moments.square))
        });
    }
}

#[test]
fn squares() {
    let (Some(gpu), cpu) = (gpu(DType::F32), cpu()) else { return };
    let counts = [0, 1, 5, 4096, 4097, 20_000];
    // Values whose squares underflow and overflow f32.
    let numbers = counts.map(|count| -> Vec<f32> {
        values(1 + count as u64, count).iter().enumerate().map(|(i, v)| v * [1e-25, 1.0, 1e25][i % 3]).collect()
    });
    let of = |tensors: &[usize]| {
        let host = tensors.iter().map(|&i| matrix(&cpu, &numbers[i], 1, counts[i])).collect::<Vec<_>>();
        let device = tensors.iter().map(|&i| matrix(&gpu, &numbers[i], 1, counts[i])).collect::<Vec<_>>();
        let expected = adam_w::sum_of_squares(&cpu, &host.iter().collect::<Vec<_>>()).unwrap();
        let got = adam_w::sum_of_squares(&gpu, &device.iter().collect::<Vec<_>>()).unwrap();
        assert!((got - expected).abs() <= 1e-12 * expected, "{got} for {expected}");
        got
    };
    assert_eq!(of(&[]), 0.0);
    assert_eq!(of(&[0]), 0.0);
    (1..counts.len()).for_each(|i| _ = of(&[i]));
    assert_eq!(of(&[0, 1, 2, 3, 4, 5]), of(&[0, 1, 2, 3, 4, 5]));
}
