"""Formulas against values worked by hand."""

from __future__ import annotations

import math

import pytest

from assumptions import Devices, Link
from rounds import (
    Task,
    answered,
    behind_link,
    best_deadline,
    best_fan,
    device_time,
    queue,
    round_fails,
    rounds_to_target,
    selection,
    waited,
)
from scoring import Faults, best_part, cost, makespan, part_time, repeated, workers_fed
from secure import Prices, device_bytes, device_seconds, neighbours, number_bytes, server_seconds
from shapes import BASE, MINILM
from spread import Spread, added
from steps import Compute, efficiency, examples_for, hidden_from, ring, slowest, speedup


def test_numbers_of_bert_base() -> None:
    # 30522 + 512 + 2 = 31036 rows of 768, and 1536
    assert BASE.embeddings == 23_837_184
    # 4 · 768 · 769 + 768 · 3072 · 2 + 3072 + 768 + 4 · 768
    assert BASE.layer == 7_087_872
    assert BASE.numbers("head") == 768 * 769 + 2 * 769 == 592_130
    assert BASE.numbers("lora:8") == 12 * 2 * 2 * 8 * 768 + 1538 == 296_450
    assert BASE.numbers("top:2") == 2 * 7_087_872 + 592_130
    # bert-base-uncased without its heads has 109,482,240
    assert BASE.numbers("all") == 109_482_240 + 1538
    assert BASE.numbers("layers") == BASE.numbers("all") - BASE.embeddings


def test_numbers_of_minilm() -> None:
    # all-MiniLM-L6-v2 has 22,713,216
    assert MINILM.numbers("all") == 22_713_216 + 2 * 385
    assert MINILM.numbers("lora:4", labels=5) == 6 * 4 * 4 * 384 + 5 * 385


@pytest.mark.parametrize("trains", ["top:13", "lora:0", "lora", "top:x", "most"])
def test_what_cannot_train_is_named(trains: str) -> None:
    with pytest.raises(ValueError, match=trains):
        BASE.numbers(trains)


def test_moments_of_a_log_normal() -> None:
    one = Spread(1.0, 1.0)
    assert one.mean == pytest.approx(math.exp(0.5))
    assert one.variance == pytest.approx((math.e - 1) * math.e)
    assert one.cdf(1.0) == pytest.approx(0.5)
    assert one.quantile(one.cdf(3.7)) == pytest.approx(3.7)
    # a rate is as spread as its time
    assert Spread(2.0, 0.7).over(10.0) == Spread(5.0, 0.7)


def test_area_is_the_integral_of_the_cdf() -> None:
    one, step = Spread(2.0, 0.6), 0.001
    middle = sum(one.cdf((place + 0.5) * step) for place in range(5000)) * step
    assert one.area(5.0) == pytest.approx(middle, rel=1e-6)
    assert Spread(2.0, 0.0).area(5.0) == 3.0


def test_sum_keeps_mean_and_variance() -> None:
    parts = [Spread(1.0, 0.5), Spread(3.0, 0.9)]
    both = added(parts)
    assert both.mean == pytest.approx(parts[0].mean + parts[1].mean)
    assert both.variance == pytest.approx(parts[0].variance + parts[1].variance)


def test_largest_of_two_normals() -> None:
    # E max(e^(s z1), e^(s z2)) = 2 e^(s²/2) Phi(s / sqrt 2)
    sigma = 0.8
    worked = 2 * math.exp(sigma**2 / 2) * 0.5 * (1 + math.erf(sigma / 2))
    assert Spread(1.0, sigma).expected_maximum(2) == pytest.approx(worked, rel=1e-4)
    assert Spread(3.0, sigma).expected_maximum(1) == pytest.approx(3 * math.exp(sigma**2 / 2), rel=1e-4)


def test_places() -> None:
    one = Spread(5.0, 0.5)
    assert one.order(2, 3) == pytest.approx(5.0)  # the middle of three
    # the median of the largest of n is the quantile at 2^(-1/n)
    assert one.order(100, 100) == pytest.approx(one.quantile(2 ** (-1 / 100)), rel=2e-3)
    with pytest.raises(ValueError, match="place 4 of 3"):
        one.order(4, 3)


def test_time_of_a_device() -> None:
    devices = Devices(Spread(4.0, 0.0), Spread(2e6, 0.0), Spread(5e5, 0.0))
    # 1 MB at 2 MB/s, 3 s · 4, 1 MB at 0.5 MB/s
    assert device_time(devices, Task(250_000, 3.0)).median == pytest.approx(0.5 + 12 + 2)
    assert Task(250_000, 3.0, width=2).bytes == 500_000


def test_rounds_with_dropouts() -> None:
    # two wanted of three, each lost with 0.1: 0.1³ + 3 · 0.9 · 0.1²
    assert round_fails(2, 3, 0.1) == pytest.approx(0.028)
    assert round_fails(3, 3, 0.0) == 0.0
    assert waited(Spread(1.0, 0.5), 10, 10, 0.1) == math.inf
    assert waited(Spread(1.0, 0.5), 9, 10, 0.1) == pytest.approx(Spread(1.0, 0.5).order(9, 9))
    # 0.95 · 1076 = 1022.2 less three times sqrt(0.0475 · 1076) = 7.15 are 1000.8; of 1075 they are 999.8
    assert selection(1000, 0.05) == 1076
    assert round_fails(1000, 1076, 0.05) < 0.002
    assert selection(10, 0.0) == 10


def test_deadlines() -> None:
    time = Spread(10.0, 0.5)
    assert answered(time, 10.0, 0.1) == pytest.approx(0.45)
    best = best_deadline(time, 5.0)
    gain = time.cdf(best) / (best + 5)
    assert all(gain >= time.cdf(best * factor) / (best * factor + 5) for factor in (0.8, 0.99, 1.01, 1.25))
    assert best_deadline(time, 50.0) > best


def test_server_link() -> None:
    task = Task(250_000, 1.0)
    assert queue(task, 1000, 1e8) == 10.0
    # all devices alike, 2 s: the last of 9 starts at 10 s · 2^(-1/9), the fifth in the middle
    alike = Spread(2.0, 0.0)
    assert behind_link(alike, 10.0, 9, 9) == pytest.approx(2 + 10 * 2 ** (-1 / 9))
    assert behind_link(alike, 10.0, 5, 9) == pytest.approx(7)
    spread = Spread(2.0, 0.5)
    assert behind_link(spread, 1e-9, 50, 100) == pytest.approx(spread.order(50, 100))
    assert best_fan(200) == 20


def test_rounds_to_a_target() -> None:
    assert rounds_to_target(100, 100) == 2
    assert rounds_to_target(1000, 100) == pytest.approx(1.1)


def test_secure_aggregation() -> None:
    prices = Prices(mask=1e-9, agreement=1e-4)
    assert neighbours(1024, plus=False) == 1023
    assert neighbours(1024, plus=True) == 100
    assert neighbours(5, plus=True) == 4
    assert number_bytes(1024) == (16 + 10) / 8
    assert device_bytes(1000, 1024, plus=True) == 2 * 32 + 100 * 3 * 64 + 3250
    assert device_seconds(10**6, 1024, True, prices) == pytest.approx(200 * 1e-4 + 101 * 1e-3)
    # half are lost: 512 own masks, and 512 · 100 shared ones
    assert server_seconds(10**6, 1024, 0.5, True, prices) == pytest.approx((512 + 51_200) * 1e-3 + 5.12)


def test_ring() -> None:
    link = Link("", 1e9, 1e-3)
    # six messages of 1 GB / 4
    assert ring(1e9, 4, link) == pytest.approx(6 * 0.251)
    assert ring(1e9, 1, link) == 0
    compute = Compute(0.5, 0.25)
    assert efficiency(compute, 4, 1e9, 4, link) == pytest.approx(1.5 / (1.5 + 1.506))
    assert speedup(compute, 16, 0.0, 4, Link("", 1e9, 0.0)) == pytest.approx(4.5 / 1.5)
    least = examples_for(0.9, compute, 1e9, 4, link)
    assert efficiency(compute, least, 1e9, 4, link) == pytest.approx(0.9)
    assert hidden_from(compute, 1e9, 4, link) == pytest.approx(1.506 / (0.25 * 2 / 3))
    assert slowest(0.0, 64) == 1.0


def test_line_through_two_batches() -> None:
    compute = Compute.through((4, 1.5), (16, 4.5))
    assert (compute.fixed, compute.each) == (0.5, 0.25)
    assert Compute.through((4, 0.9), (16, 4.0)) == Compute(0.0, 0.25)
    with pytest.raises(ValueError, match="4 examples in 2 s and 16 in 1 s"):
        Compute.through((4, 2.0), (16, 1.0))


def test_parts() -> None:
    faults = Faults(rate=1e-3, overhead=10.0, restart=100.0)
    # (e^0.11 - 1)(1000 + 100)
    assert part_time(100.0, faults) == pytest.approx(0.1162781 * 1100, rel=1e-6)
    assert repeated(100.0, faults) == pytest.approx(116.2781 - 110, rel=1e-5)
    assert part_time(100.0, Faults(0.0, 10.0, 100.0)) == 110.0
    best = best_part(faults)
    assert best == pytest.approx(math.sqrt(2 * 10 / 1e-3), rel=0.1)
    assert all(cost(best, faults) <= cost(best * factor, faults) for factor in (0.9, 0.999, 1.001, 1.1))
    with pytest.raises(ValueError, match="rate 0"):
        best_part(Faults(0.0, 1.0, 1.0))
    low, high = makespan(1000.0, 10, 2, Faults(0.0, 0.0, 0.0))
    assert (low, high) == (500.0, 550.0)
    assert workers_fed(1e6, 100.0, 50.0) == 200.0
