"""Data for training: which items, in which order, taken up again, made ahead."""
import threading
import time

import numpy as np
import pytest

import funcgrad as fg
from funcgrad.training import from_arrays, from_iterable, open_npy

KEY = fg.random.key(0)
X = np.arange(22.0).reshape(11, 2)
Y = np.arange(11)
ROWS = from_arrays({"x": X, "y": Y})


def numbers(items):
    """The labels that were given out, batch by batch."""
    return [np.asarray(item["y"]).tolist() for item in items]


def order(key, epoch, count=11):
    return np.asarray(fg.random.permutation(fg.random.fold_in(key, epoch), count)).tolist()


def pieces(values, size):
    return [values[i:i + size] for i in range(0, len(values), size)]


def add_noise(item, key):
    return {**item, "y": item["y"] + fg.random.uniform(key)}


def lines(epoch):
    """A stream of unknown length, another one in each epoch."""
    return ({"y": np.array(100 * epoch + i)} for i in range(7))


PIPELINES = {
    "rows": (ROWS, 11), "shuffled": (ROWS.shuffle(KEY), 11), "batches": (ROWS.batch(4), 3), "whole": (ROWS.batch(4, drop_last=True), 2),
    "shuffled batches": (ROWS.shuffle(KEY).batch(4), 3), "repeated": (ROWS.shuffle(KEY).batch(4).repeat(3), 9),
    "across epochs": (ROWS.shuffle(KEY).repeat(2).batch(4), 6), "mapped": (ROWS.map(lambda item: {"y": -item["y"]}).batch(5), 3),
    "random": (ROWS.shuffle(KEY).batch(4).map(add_noise, KEY), 3), "ahead": (ROWS.shuffle(KEY).batch(4).prefetch(2).repeat(2), 6),
    "list": (from_iterable([{"y": i} for i in range(5)]).batch(2).prefetch(1), 3), "stream": (from_iterable(lines).batch(3), None),
    "streams": (from_iterable(lines).repeat(2).batch(3, drop_last=True), None),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_items_depend_on_the_epoch_and_the_position_alone(name):
    data, length = PIPELINES[name]
    for epoch in (0, 3):
        items = numbers(data.epoch(epoch))
        assert items == numbers(data.epoch(epoch)) and length in (None, len(items))
        for done in {0, 1, len(items) // 2, len(items)}:
            iteration = data.epoch(epoch)
            first = [next(iteration) for _ in range(done)]
            state = iteration.state()
            assert state == {"epoch": epoch, "item": done}
            assert numbers(first) + numbers(data.iterate(state)) == items and numbers(iteration) == items[done:]
    assert numbers(data) == numbers(data.iterate()) == numbers(data.epoch(0))
    if length is not None:
        assert len(data) == length


@pytest.mark.parametrize("data, epoch, expected", [
    (ROWS.batch(4), 5, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]),
    (ROWS.shuffle(KEY).batch(4), 5, pieces(order(KEY, 5), 4)),
    (ROWS.shuffle(KEY).batch(4, drop_last=True), 1, pieces(order(KEY, 1), 4)[:2]),
    (ROWS.shuffle(KEY).batch(4).repeat(2), 3, pieces(order(KEY, 6), 4) + pieces(order(KEY, 7), 4)),
    (ROWS.shuffle(KEY).repeat(2).batch(4), 3, pieces(order(KEY, 6) + order(KEY, 7), 4)),
    (from_iterable(lines).repeat(2), 2, [400 + i for i in range(7)] + [500 + i for i in range(7)]),
    (from_iterable(lines).batch(3, drop_last=True), 1, [[100, 101, 102], [103, 104, 105]]),
])
def test_which_items_come(data, epoch, expected):
    assert numbers(data.epoch(epoch)) == expected


def test_rows_stay_together_and_epochs_differ():
    for batch in ROWS.shuffle(KEY).batch(4):
        np.testing.assert_array_equal(batch["x"], X[batch["y"]])
    assert len({tuple(numbers(ROWS.shuffle(KEY).epoch(epoch))) for epoch in range(5)}) == 5


def test_endless_data():
    iteration = ROWS.batch(4).repeat().epoch(0)
    assert numbers(next(iteration) for _ in range(7)) == pieces(list(range(11)), 4) * 2 + [[0, 1, 2, 3]]
    with pytest.raises(TypeError, match="number of items is not known"):
        len(ROWS.repeat())


def test_batches_that_are_not_shuffled_are_views():
    batch = next(ROWS.batch(4).epoch(0))
    assert np.shares_memory(batch["x"], X)
    batch = next(from_arrays(fg.numpy.asarray(X)).shuffle(KEY).batch(4).epoch(0))
    assert type(batch) is np.ndarray


@pytest.mark.parametrize("array", [X.T.copy().T, X[::-1], np.array(list("abcdefghijk")), X.astype(np.complex64)], ids=lambda a: str(a.dtype))
def test_any_array_can_be_gathered(array):
    found = np.concatenate(list(from_arrays((array,)).shuffle(KEY).batch(4).map(lambda item: item[0])))
    np.testing.assert_array_equal(found, array[order(KEY, 0)])


def test_many_rows_are_shuffled():
    data = from_arrays(np.arange(10**6, dtype=np.int32)).shuffle(KEY).batch(10**5)
    total, iteration = np.zeros(10**6, bool), data.epoch(0)
    for batch in iteration:
        total[batch] = True
    assert total.all()


# ---------------------------------------------------------------- files


@pytest.fixture
def folder(tmp_path):
    for name, part in (("b", X[3:4]), ("a", X[:3]), ("c", X[4:4]), ("d", X[4:])):
        np.save(tmp_path / f"{name}.npy", part)
    (tmp_path / "notes.txt").write_text("not an array")
    return tmp_path


def test_files_are_one_array_that_is_not_loaded(folder):
    array = open_npy(folder)
    assert array.shape == (11, 2) and array.dtype == np.float64 and len(array) == 11
    np.testing.assert_array_equal(array[2:9], X[2:9])
    np.testing.assert_array_equal(array[np.array([10, 0, 3, 3])], X[[10, 0, 3, 3]])
    np.testing.assert_array_equal([array[i] for i in range(11)], X)
    np.testing.assert_array_equal([array[-1], array[np.array([-11, 4])][0]], X[[10, 0]])
    np.testing.assert_array_equal(np.asarray(array), X)
    for index in (11, -12, np.array([3, 11])):
        with pytest.raises(IndexError, match="no such row.*\n.*\n.*11 rows"):
            array[index]
    one = open_npy(folder / "d.npy")
    assert not one.flags.owndata and not one.flags.writeable
    joined = from_arrays({"x": array, "y": Y})
    assert numbers(joined.shuffle(KEY).batch(4)) == numbers(ROWS.shuffle(KEY).batch(4))
    for a, b in zip(joined.batch(4).epoch(0), ROWS.batch(4).epoch(0), strict=True):
        np.testing.assert_array_equal(a["x"], b["x"])
    np.testing.assert_array_equal(open_npy([folder / "d.npy", folder / "a.npy"])[:], np.concatenate([X[4:], X[:3]]))


@pytest.mark.parametrize("content, text", [
    (np.zeros((2, 3)), r"float64\[2\] in .*a.npy, float64\[3\] in .*z.npy"), (np.zeros((1, 2), np.float32), r"float32\[2\] in .*z.npy"),
    (np.array([None]), "z.npy: .*\n.*made of numbers"), (np.zeros(()), r"z.npy of shape \(\)"), (b"hello", "z.npy: .*\n.*numpy.save"),
    (b"", "z.npy: "),
], ids=["shape", "dtype", "objects", "0-d", "foreign", "empty"])
def test_files_that_cannot_be_used(folder, content, text):
    path = folder / "z.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    with pytest.raises(ValueError, match=text):
        open_npy(folder)


def test_no_files(tmp_path):
    for source in (tmp_path, []):
        with pytest.raises(ValueError, match="there are no files"):
            open_npy(source)
    with pytest.raises(FileNotFoundError):
        open_npy(tmp_path / "absent.npy")


# ---------------------------------------------------------------- the thread


def ours():
    return [thread for thread in threading.enumerate() if thread.name == "funcgrad prefetch"]


def ended():
    for _ in range(200):
        if not ours():
            return True
        time.sleep(0.01)
    return False


def test_items_are_made_ahead_but_not_too_many():
    made = []
    iteration = from_iterable(range(100)).map(lambda i: made.append(i) or i).prefetch(3).epoch(0)
    assert ended() and made == []  # it begins with the first item
    assert [next(iteration), next(iteration)] == [0, 1]
    for _ in range(100):
        if len(made) == 5:
            break
        time.sleep(0.01)
    time.sleep(0.02)
    assert made == [0, 1, 2, 3, 4] and iteration.state() == {"epoch": 0, "item": 2}


@pytest.mark.parametrize("end", ["dropped", "closed", "used up", "a step after it fails"])
def test_the_thread_ends_with_the_iterator(end):
    assert ended()
    iteration = from_iterable(range(10)).prefetch(2).batch(1).epoch(0)
    next(iteration)
    assert len(ours()) == 1
    if end == "closed":
        iteration.close()
    elif end == "used up":
        list(iteration)
    elif end == "a step after it fails":
        with pytest.raises(ValueError, match="stop"):
            for item in iteration:
                raise ValueError(f"stop at {item}")
        del item, iteration
    else:
        del iteration
    assert ended()


def test_what_the_thread_raises_reaches_the_consumer_in_its_place():
    def fail(i):
        if i == 3:
            raise KeyError("item 3")
        return i

    iteration, seen = from_iterable(range(9)).map(fail).prefetch(4).epoch(0), []
    with pytest.raises(KeyError, match="item 3"):
        for item in iteration:
            seen.append(item)
    assert seen == [0, 1, 2] and ended()


# ---------------------------------------------------------------- wrong calls


@pytest.mark.parametrize("make, error, text", [
    (lambda: from_arrays({"x": X, "y": Y[:-1]}), ValueError, "different numbers of rows.*\n.*x: 11, y: 10"),
    (lambda: from_arrays({"a": {"b": X}, "c": (Y, X[:2])}), ValueError, r"a.b: 11, c.0: 11, c.1: 2"),
    (lambda: from_arrays({"x": X[:0], "y": Y[:0]}), ValueError, r"no examples.*\n.*x of shape \(0, 2\), y of shape \(0,\)"),
    (lambda: from_arrays({"x": X, "n": 3}), ValueError, r"no rows.*\n.*n of shape \(\)"),
    (lambda: from_arrays({}), ValueError, "a tree without arrays"),
    (lambda: from_arrays(np.array(3)), ValueError, r"the array of shape \(\)"),
    (lambda: ROWS.batch(12, drop_last=True), ValueError, "batches of 12, 11 items in all\n.*at most 11\n.*drop_last=False"),
    (lambda: list(from_iterable(lines).batch(8, drop_last=True)), ValueError, "batches of 8, 7 items in all"),
    (lambda: ROWS.batch(0), ValueError, "batch: size.*\n.*0\n.*at least 1"), (lambda: ROWS.batch(2.5), ValueError, "2.5"),
    (lambda: ROWS.repeat(0), ValueError, "repeat: times"), (lambda: ROWS.prefetch(0), ValueError, "prefetch: count"),
    (lambda: ROWS.batch(2).shuffle(KEY), TypeError, r"Data\(6 items\)\n.*shuffle before batch"),
    (lambda: from_arrays([[1, 2], [3, 4]]), ValueError, r"no rows(.|\n)*np.asarray\(x\) of a list"),
    (lambda: from_iterable(i for i in range(3)), TypeError, "gone through only once.*\n.*generator"),
    (lambda: from_iterable(3), TypeError, "not an iterable"),
    (lambda: ROWS.iterate({"epoch": 0}), ValueError, "not the state of an iteration"),
    (lambda: ROWS.epoch(-1), ValueError, "counted from 0"), (lambda: ROWS.iterate(3), ValueError, "found: +3"),
    (lambda: list(from_iterable([{"x": np.ones(2)}, {"x": np.ones(3)}]).batch(2)), ValueError, r"x of shapes \(2,\), \(3,\)"),
])
def test_wrong_calls(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_nobody_leaves_a_thread_behind():
    assert ended()
