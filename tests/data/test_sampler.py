"""The order of examples: whole epochs, no history, slices for processes, and streams that never change."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seg_jax.data.sampler import evaluation_order, held_out, indices, permutation, spread, training_order

numbers = st.integers(1, 40)
seeds = st.integers(0, 2**64)


def chain(seed, steps, batch_size, n):
    return np.concatenate([indices(seed, step, batch_size, n) for step in range(steps)])


@pytest.mark.parametrize(
    ("seed", "epoch", "order"),
    [
        (0, 0, [6, 1, 0, 5, 3, 8, 7, 9, 2, 4]),
        (0, 1, [7, 3, 5, 0, 1, 4, 6, 8, 9, 2]),
        (1, 0, [1, 0, 9, 8, 6, 3, 7, 4, 2, 5]),
        (2**40, 7, [0, 2, 8, 3, 7, 5, 4, 9, 1, 6]),
    ],
)
def test_known_orders(seed, epoch, order):
    # Under NumPy 2.4. When these change, a run can no longer be resumed as it was started.
    assert permutation(seed, epoch, 10).tolist() == order


def test_known_batches():
    # The order of two epochs of 10, cut into batches of 4.
    two = [*permutation(0, 0, 10), *permutation(0, 1, 10)]
    assert [indices(0, step, 4, 10).tolist() for step in range(5)] == [two[i : i + 4] for i in range(0, 20, 4)]


@given(seeds, numbers, numbers, st.integers(1, 4))
@example(0, 5, 40, 2)  # a batch of many epochs
@example(0, 40, 5, 2)
@example(0, 1, 1, 3)
@example(3, 7, 7, 2)
def test_every_example_exactly_once_an_epoch(seed, n, batch_size, epochs):
    order = chain(seed, -(-epochs * n // batch_size), batch_size, n)
    assert order.dtype == np.int64
    whole = order[: epochs * n].reshape(epochs, n)
    np.testing.assert_array_equal(np.sort(whole, axis=1), np.tile(np.arange(n), (epochs, 1)))


@given(seeds, numbers, numbers, st.permutations(range(6)))
def test_a_step_does_not_depend_on_history(seed, n, batch_size, order):
    straight = chain(seed, 6, batch_size, n).reshape(6, batch_size)
    permutation.cache_clear()
    for step in order:
        np.testing.assert_array_equal(indices(seed, step, batch_size, n), straight[step])


@given(seeds, numbers, st.integers(1, 5), st.sampled_from([1, 2, 4]), st.integers(0, 20), st.integers(0, 5))
def test_slices_of_the_processes_make_the_batch(seed, n, local, processes, start, steps):
    batch_size = local * processes
    orders = [
        training_order(
            seed,
            start=start,
            stop=start + steps,
            batch_size=batch_size,
            n=n,
            process=process,
            processes=processes,
        )
        for process in range(processes)
    ]
    batches = list(zip(*orders, strict=True))
    assert len(batches) == steps
    for step, slices in enumerate(batches, start=start):
        assert {len(part) for part in slices} == {local}
        np.testing.assert_array_equal(np.concatenate(slices), indices(seed, step, batch_size, n))


def test_resuming_is_the_tail_of_the_run():
    def run(start):
        return list(training_order(3, start=start, stop=20, batch_size=4, n=11))

    np.testing.assert_array_equal(run(13), run(0)[13:])


def test_seeds_and_epochs_differ():
    # Of 100 examples: two of these orders agree by chance with probability 1 / 100!.
    orders = {tuple(permutation(seed, epoch, 100)) for seed, epoch in itertools.product(range(10), range(10))}
    assert len(orders) == 100
    # Not the same stream, shifted: the chance that two orders agree in a place is 1 / 100.
    agreement = np.mean(permutation(0, 1, 10_000) == permutation(1, 0, 10_000))
    assert agreement < 0.002


def test_first_places_are_uniform():
    # Which of 5 examples comes first, over 5000 seeds: 1000 +- 28 each (one standard deviation).
    first = np.bincount([permutation(seed, 0, 5)[0] for seed in range(5000)], minlength=5)
    assert np.abs(first - 1000).max() < 140


def test_later_steps_of_long_runs():
    # 1e9 steps in, past 2**32 examples.
    batch = indices(0, 10**9, 8, 1000)
    assert len(set(batch)) == 8
    assert indices(0, 10**9, 8, 1000).tolist() == permutation(0, 8 * 10**9 // 1000, 1000)[:8].tolist()


def test_cached_orders_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        permutation(0, 0, 10)[0] = 5


@given(numbers, numbers)
@example(10, 5)
@example(3, 8)
def test_evaluation_covers_everything_once(n, batch_size):
    orders = list(evaluation_order(batch_size, n, pad=-1))
    assert {len(order) for order in orders} == {batch_size}
    assert {order.dtype for order in orders} == {np.dtype(np.int64)}
    whole = np.concatenate(orders)
    np.testing.assert_array_equal(whole[:n], np.arange(n))
    assert whole[n:].tolist() == [-1] * (len(whole) - n)
    assert len(orders) == -(-n // batch_size)  # no batch of padding alone


def test_evaluation_by_hand():
    assert [order.tolist() for order in evaluation_order(3, 7, pad=-1)] == [[0, 1, 2], [3, 4, 5], [6, -1, -1]]


@given(seeds, numbers, st.floats(0, 1, exclude_max=True))
@example(0, 1, 0.5)
@example(0, 2, 1e-9)
@example(0, 40, 0.9999)
def test_a_part_is_held_out(seed, n, share):
    chosen = held_out(seed, n, share)
    assert (chosen.dtype, chosen.shape) == (bool, (n,))
    assert (chosen == held_out(seed, n, share)).all()
    assert chosen.sum() < n
    if share == 0 or n == 1:
        assert not chosen.any()
    else:
        assert chosen.any() and abs(chosen.sum() - share * n) <= 1


def test_the_part_that_is_held_out_is_known():
    assert np.flatnonzero(held_out(0, 10, 0.3)).tolist() == [0, 1, 6]  # when it changes, so does every old score


@pytest.mark.parametrize(
    ("n", "most", "expected"),
    [(0, 3, []), (1, 3, [0]), (3, 3, [0, 1, 2]), (5, 3, [0, 2, 4]), (10, 4, [0, 3, 6, 9]), (9, 1, [0])],
)
def test_spread(n, most, expected):
    assert spread(n, most) == expected
