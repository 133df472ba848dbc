"""Data for training: what to draw from, in which order, in batches.

In: a tree of arrays with equal first sizes (in memory, or memory-mapped by ``open_npy``), or any Python iterable. Out: a
``Data``, a recipe that never changes; going through it gives items. Its methods return further recipes:

    data = from_arrays({"x": images, "y": labels}).shuffle(key).batch(64, drop_last=True).map(augment).prefetch(2)
    for batch in data.epoch(0): ...                       # batch["x"]: ndarray[64,8,8]

The items are a function of the recipe, the number of the epoch and the position: the same every time, another order in each
epoch. So an iterator can be saved as two numbers, and taken up again:

    iteration = data.iterate()
    first = next(iteration)
    rest = list(data.iterate(iteration.state()))          # all but the first
"""
from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np

from funcgrad import random, tree
from funcgrad.core.array import Array
from funcgrad.errors import message
from funcgrad.training.checks import at_least, first_sizes, path_text
from funcgrad.tree_code import joiner


class Data:
    """Items to go through, epoch by epoch. Made by ``from_arrays`` and ``from_iterable``."""

    def items(self, epoch: int, start: int) -> Iterator[Any]:
        """The items of an epoch from number ``start`` on."""
        raise NotImplementedError(f"{type(self).__name__} does not define items")

    def length(self) -> int | None:
        """How many items an epoch has; None where that is not known, or endless."""
        return None

    def __len__(self) -> int:
        length = self.length()
        if length is None:
            raise TypeError(message("Data: the number of items is not known", self, "arrays, or a list",
                                    "fit(..., steps=n) needs no length"))
        return length

    def __repr__(self) -> str:
        length = self.length()
        return f"Data({'a number of' if length is None else length} items)"

    def __iter__(self) -> Iteration:
        """The items of epoch 0: the same each time. ``epoch(i)`` gives those of another one."""
        return self.epoch(0)

    def epoch(self, number: int) -> Iteration:
        """The items of one epoch."""
        return self.iterate({"epoch": number, "item": 0})

    def iterate(self, state: Mapping[str, int] | None = None) -> Iteration:
        """The items of an epoch from where an iteration was when its ``state()`` was taken; without one, from the start.

        Arrays are taken up where they were at no cost; what comes from an iterable is gone through again and dropped.
        """
        state = {"epoch": 0, "item": 0} if state is None else state
        numbers = [state.get(name) for name in ("epoch", "item")] if isinstance(state, Mapping) else [None]
        if not all(isinstance(n, int) and n >= 0 for n in numbers):
            raise ValueError(message("Data.iterate: not the state of an iteration", repr(state),
                                     '{"epoch": 0, "item": 0}, counted from 0', "iteration.state()"))
        return Iteration(self, *numbers)

    def shuffle(self, key: Any) -> Data:
        """The rows of the arrays in random order, another one in each epoch: ``random.permutation`` by ``key`` and the epoch.

        Raises TypeError for what is not a source of arrays: shuffling comes first.
        """
        if not isinstance(self, Rows):
            raise TypeError(message("Data.shuffle: only rows of arrays can be drawn in any order", self, None,
                                    "shuffle before batch, map and repeat: from_arrays(arrays).shuffle(key).batch(64)"))
        return Shuffled(self, key)

    def batch(self, size: int, *, drop_last: bool = False) -> Data:
        """``size`` items at a time, stacked along a new first axis.

        The last batch of an epoch may be smaller; ``drop_last`` leaves it out. Batches of arrays are cut from them directly:
        without ``shuffle`` they are views.
        """
        return Batched(self, at_least("Data.batch: size", size, 1), drop_last)

    def repeat(self, times: int | None = None) -> Data:
        """Several epochs, or endlessly many, as one. Each has its own order."""
        return Repeated(self, None if times is None else at_least("Data.repeat: times", times, 1))

    def map(self, function: Callable, key: Any = None) -> Data:
        """``function(item)``; with a key, ``function(item, key)``, where each item of each epoch has a key of its own."""
        return Mapped(self, function, key)

    def prefetch(self, count: int = 2) -> Data:
        """The same items, made in a thread while the consumer works, up to ``count`` of them ahead.

        What is raised in the thread is raised where the item would have come. The thread begins with the first item and ends
        with the iterator: at its end, when it is closed, and when nobody holds it any more.
        """
        return Prefetched(self, at_least("Data.prefetch: count", count, 1))


class Iteration:
    """An iterator over the items of an epoch, which knows how far it is."""

    def __init__(self, data: Data, epoch: int, item: int):
        self._epoch, self._item = epoch, item
        self._items = data.items(epoch, item)

    def __iter__(self) -> Iteration:
        return self

    def __next__(self) -> Any:
        value = next(self._items)
        self._item += 1
        return value

    def state(self) -> dict[str, int]:
        """The epoch, and how many of its items were given out; ``data.iterate(state)`` goes on from there."""
        return {"epoch": self._epoch, "item": self._item}

    def close(self) -> None:
        """Ends the iteration, and its thread."""
        self._items = iter(())


# ---------------------------------------------------------------- sources


def from_arrays(arrays: Any) -> Data:
    """Items are the rows of the arrays in a tree: a dict, a tuple, or one array.

    Leaves have a shape and are indexed along the first axis by integers, slices and arrays of integers: arrays of NumPy and
    funcgrad, ``np.memmap``, and what ``open_npy`` returns. Items and batches hold NumPy arrays. Raises ValueError for no rows
    and for arrays with different numbers of rows.

    >>> data = from_arrays({"x": np.ones((5, 2)), "y": np.arange(5)})
    >>> [batch["y"].tolist() for batch in data.batch(2)]
    [[0, 1], [2, 3], [4]]
    """
    return Rows(arrays)


def from_iterable(source: Iterable | Callable[[int], Iterable]) -> Data:
    """Items come from a list or another iterable, or from a function that gets the epoch's number and returns an iterable.

    >>> list(from_iterable(lambda epoch: (10 * epoch + i for i in range(3))).epoch(2))
    [20, 21, 22]

    Each item is an object of its own: a buffer that is filled again for the next item would be seen in several at once by
    ``batch`` and ``prefetch``. Raises TypeError for an iterator, such as a generator: it could be gone through only once.
    """
    return Stream(source)


class Rows(Data):
    """The rows of arrays: items that can be taken in any order, several at once."""

    def __init__(self, arrays: Any):
        in_memory = np.ndarray, Array, np.generic
        arrays = tree.map(lambda x: x if hasattr(x, "shape") and not isinstance(x, in_memory) else np.asarray(x), arrays)
        self._count = first_sizes("from_arrays", arrays)
        leaves, structure = tree.flatten(arrays)
        self._part = [leaf.__getitem__ for leaf in leaves]
        # ndarray.take is twice as fast as an index, but copies all of an array that is not contiguous.
        self._gather = [partial(leaf.take, axis=0) if isinstance(leaf, np.ndarray) and leaf.flags.c_contiguous
                        else leaf.__getitem__ for leaf in leaves]
        self._join = joiner(structure)

    def length(self) -> int:
        return self._count

    def order(self, epoch: int) -> Sequence[int]:
        """The numbers of the rows in the order of an epoch."""
        return range(self._count)

    def take(self, rows: Any) -> Any:
        """The rows with these numbers: one number, or a part of ``order``."""
        if type(rows) is np.ndarray:
            return self._join([gather(rows) for gather in self._gather])
        index = slice(rows.start, rows.stop) if type(rows) is range else rows
        return self._join([part(index) for part in self._part])

    def items(self, epoch: int, start: int) -> Iterator[Any]:
        return map(self.take, self.order(epoch)[start:])


class Shuffled(Rows):
    """Rows in the order of ``random.permutation(fold_in(key, epoch), n)``."""

    def __init__(self, rows: Rows, key: Any):
        self._rows, self._key, self._count = rows, key, rows.length()
        self.take = rows.take

    def order(self, epoch: int) -> np.ndarray:
        return np.asarray(random.permutation(random.fold_in(self._key, epoch), self._count))


class Stream(Data):
    """The items of an iterable."""

    def __init__(self, source: Iterable | Callable[[int], Iterable]):
        if isinstance(source, Iterator):
            raise TypeError(message("from_iterable: an iterator can be gone through only once", repr(source),
                                    "a list, or a function",
                                    "from_iterable(lambda epoch: make_iterator())"))
        if not callable(source) and not isinstance(source, Iterable):
            raise TypeError(message("from_iterable: not an iterable", repr(source), "a list, or a function of the epoch"))
        self._source = source

    def length(self) -> int | None:
        return len(self._source) if hasattr(self._source, "__len__") else None

    def items(self, epoch: int, start: int) -> Iterator[Any]:
        return itertools.islice(self._source(epoch) if callable(self._source) else self._source, start, None)


# ---------------------------------------------------------------- what is made of sources


class Mapped(Data):
    """``function`` of each item."""

    def __init__(self, source: Data, function: Callable, key: Any):
        self._source, self._function, self._key = source, function, key

    def length(self) -> int | None:
        return self._source.length()

    def items(self, epoch: int, start: int) -> Iterator[Any]:
        items = self._source.items(epoch, start)
        if self._key is None:
            return map(self._function, items)
        key = random.fold_in(self._key, epoch)
        return (self._function(item, random.fold_in(key, i)) for i, item in enumerate(items, start))


class Batched(Data):
    """Items stacked, some at a time."""

    def __init__(self, source: Data, size: int, drop_last: bool):
        self._source, self._size, self._drop_last = source, size, drop_last
        if self.length() == 0 and source.length():
            self._too_few(source.length())

    def length(self) -> int | None:
        length = self._source.length()
        return None if length is None else length // self._size if self._drop_last else -(-length // self._size)

    def items(self, epoch: int, start: int) -> Iterator[Any]:
        if isinstance(self._source, Rows):
            order = self._source.order(epoch)
            for i in range(start, self.length()):
                yield self._source.take(order[i * self._size:(i + 1) * self._size])
            return
        items = self._source.items(epoch, start * self._size)
        for number in itertools.count(start):
            batch = list(itertools.islice(items, self._size))
            if not batch or self._drop_last and len(batch) < self._size:
                if batch and not number:
                    self._too_few(len(batch))
                return
            yield _stacked(batch)

    def _too_few(self, count: int | None) -> None:
        raise ValueError(message("Data.batch: no batch can be filled, and drop_last leaves out the others",
                                 f"batches of {self._size}, {count} items in all", f"a size of at most {count}",
                                 "drop_last=False"))


def _stacked(items: list[Any]) -> Any:
    """A tree of arrays with a new first axis."""
    def stack(path: Any, *leaves: Any) -> np.ndarray:
        try:
            return np.stack(leaves)
        except ValueError:
            shapes = list(dict.fromkeys(map(np.shape, leaves)))
            raise ValueError(message("Data.batch: items of different shapes cannot be stacked",
                                     f"{path_text(path, 'items')} of shapes {', '.join(map(str, shapes[:4]))}", "one shape",
                                     "map(f) before batch, with an f that pads them")) from None

    return tree.map_with_path(stack, *items)


class Repeated(Data):
    """Epochs of the source one after the other; in epoch e, these are numbers ``times * e`` and on."""

    def __init__(self, source: Data, times: int | None):
        self._source, self._times = source, times

    def length(self) -> int | None:
        length = self._source.length()
        return None if length is None or self._times is None else length * self._times

    def items(self, epoch: int, start: int) -> Iterator[Any]:
        length = self._source.length()
        done = start // length if length else 0
        start -= done * (length or 0)
        first = epoch * (self._times or 0)
        for number in itertools.count(done) if self._times is None else range(done, self._times):
            count = 0
            for item in self._source.items(first + number, start if length else 0):
                count += 1
                if length or count > start:
                    yield item
            if not length and not count:
                return
            start = 0 if length else max(0, start - count)


class Prefetched(Data):
    """Items made ahead, in a thread."""

    def __init__(self, source: Data, count: int):
        self._source, self._count = source, count

    def length(self) -> int | None:
        return self._source.length()

    def items(self, epoch: int, start: int) -> Iterator[Any]:
        made: SimpleQueue = SimpleQueue()
        free = threading.Semaphore(self._count)
        stop = threading.Event()
        # The thread must not hold this generator, or it would never be dropped.
        thread = threading.Thread(target=_make_ahead, args=(self._source, epoch, start, made, free, stop), daemon=True,
                                  name="funcgrad prefetch")
        thread.start()
        try:
            while True:
                kind, value = made.get()
                if kind is _ITEM:
                    free.release()
                    yield value
                elif kind is _ERROR:
                    raise value
                else:
                    return
        finally:
            stop.set()
            free.release()


_ITEM, _ERROR, _END = "item", "error", "end"


def _make_ahead(source: Data, epoch: int, start: int, made: SimpleQueue, free: threading.Semaphore, stop: threading.Event
                ) -> None:
    """Puts items into the queue, one for each free place, until the source ends, fails, or nobody wants more."""
    try:
        items = source.items(epoch, start)
        while True:
            free.acquire()
            if stop.is_set():
                return
            made.put((_ITEM, next(items)))
    except StopIteration:
        made.put((_END, None))
    except BaseException as error:  # it belongs to the consumer
        made.put((_ERROR, error))
