"""Where the boxes of a graph lie, and how its edges run: layers from the top down.

In: the sizes of the boxes, and edges that go from an earlier box to a later one. Out: the upper left corner of each box and the
points of each edge. Boxes never overlap, edges go down and pass between the boxes.

The four steps of Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures", IEEE
Transactions on Systems, Man, and Cybernetics 11 (1981): layers by longest paths, dummies where an edge passes a layer (those
with one source share them), order by barycentres, and places by least squares: the boxes of a layer go where their neighbours
want them, as close as order and sizes allow, which is a monotone regression (pool adjacent violators).

    arrange([(40, 20), (40, 20)], [Edge(0, 1)])  ->  Arrangement(x=[0.0, 0.0], y=[0.0, 50.0], ...)
"""
from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

GAP_ACROSS, GAP_DOWN, LANE = 18.0, 30.0, 10.0
"""Between boxes of a layer, between layers, and the width that an edge takes where it passes a layer."""
SWEEPS = 8

Bend = tuple[float, float, int]
"""A point of an edge, and the layer at whose upper or lower side it lies."""


@dataclass(frozen=True, slots=True)
class Edge:
    """From box ``source`` to box ``target``; ports are counted from the middle of the lower and the upper side."""

    source: int
    target: int
    out_port: float = 0.0
    in_port: float = 0.0


@dataclass(slots=True)
class Arrangement:
    """The corners of the boxes, the points of the edges, and the size of it all.

    An edge that shares its way with an earlier one of the same source starts where it leaves that: ``branches`` marks it.
    """

    x: list[float]
    y: list[float]
    routes: list[list[Bend]]
    layer: list[int]
    branches: list[bool]
    width: float
    height: float


def arrange(sizes: Sequence[tuple[float, float]], edges: Sequence[Edge]) -> Arrangement:
    """The places of the boxes of these (width, height), and the routes of the edges."""
    if not sizes:
        return Arrangement([], [], [], [], [], 0.0, 0.0)
    graph = _Layers(sizes, edges)
    graph.order()
    graph.place()
    return graph.arrangement()


class _Layers:
    """Boxes and dummies, by number, in layers. A link is (from, to, port of from, port of to, weight)."""

    def __init__(self, sizes: Sequence[tuple[float, float]], edges: Sequence[Edge]):
        self.sizes, self.edges = sizes, edges
        self.layer = _longest_paths(len(sizes), edges)
        self.width = [w for w, _ in sizes]
        self.above: list[list[tuple[int, float, float, float]]] = [[] for _ in sizes]
        self.below: list[list[tuple[int, float, float, float]]] = [[] for _ in sizes]
        self.chains: list[list[int]] = []
        self.shared: list[int] = []
        """How many lanes of each chain an earlier edge has."""
        lanes: dict[tuple[int, float, int], int] = {}
        for e in edges:
            chain: list[int] = []
            shared = 0
            last, port = e.source, e.out_port
            for layer in range(self.layer[e.source] + 1, self.layer[e.target]):
                lane = lanes.get((e.source, e.out_port, layer))
                if lane is not None:
                    shared += 1
                else:
                    lane = lanes[e.source, e.out_port, layer] = self._lane(layer)
                    self._link(last, lane, port, 0.0, 4.0 if last >= len(sizes) else 2.0)
                chain.append(lane)
                last, port = lane, 0.0
            self._link(last, e.target, port, e.in_port, 1.0)
            self.chains.append(chain)
            self.shared.append(shared)
        self.rows: list[list[int]] = [[] for _ in range(max(self.layer) + 1)]
        for n, layer in enumerate(self.layer):
            self.rows[layer].append(n)
        self.position = [0] * len(self.layer)
        self._number()

    def _lane(self, layer: int) -> int:
        self.layer.append(layer)
        self.width.append(LANE)
        self.above.append([])
        self.below.append([])
        return len(self.layer) - 1

    def _link(self, a: int, b: int, out_port: float, in_port: float, weight: float) -> None:
        self.below[a].append((b, out_port, in_port, weight))
        self.above[b].append((a, in_port, out_port, weight))

    def _number(self) -> None:
        for row in self.rows:
            for i, n in enumerate(row):
                self.position[n] = i

    # ------------------------------------------------------------ order

    def order(self) -> None:
        """Sorts each layer by the mean place of its neighbours, downwards and upwards in turn; the best order counts."""
        best, least = [list(row) for row in self.rows], self.crossings()
        for sweep in range(SWEEPS):
            if least == 0:
                break
            downwards = sweep % 2 == 0
            links = self.above if downwards else self.below
            for row in self.rows if downwards else reversed(self.rows):
                self._sort(row, links)
            count = self.crossings()
            if count < least:
                best, least = [list(row) for row in self.rows], count
        self.rows = best
        self._number()

    def _sort(self, row: list[int], links: list[list[tuple[int, float, float, float]]]) -> None:
        keys = {}
        for n in row:
            near = [self.position[m] + 0.5 * port / self.width[m] for m, _, port, _ in links[n]]
            keys[n] = sum(near) / len(near) if near else float(self.position[n])
        row.sort(key=keys.__getitem__)
        for i, n in enumerate(row):
            self.position[n] = i

    def crossings(self) -> int:
        """How many pairs of links cross."""
        count = 0
        for row in self.rows:
            seen: list[float] = []
            for n in row:
                ends = sorted((port, self.position[m] + 0.5 * in_port / self.width[m]) for m, port, in_port, _ in self.below[n])
                for _, end in ends:
                    count += len(seen) - bisect_left(seen, end + 1e-9)
                for _, end in ends:
                    insort(seen, end)
        return count

    # ------------------------------------------------------------ places

    def place(self) -> None:
        """The middle of each box and dummy."""
        self.middle = [0.0] * len(self.layer)
        for row in self.rows:
            at = 0.0
            for n in row:
                self.middle[n] = at + self.width[n] / 2
                at += self.width[n] + GAP_ACROSS
        for sweep in range(SWEEPS):
            downwards = sweep % 2 == 0
            for row in self.rows if downwards else reversed(self.rows):
                self._settle(row, (self.above,) if downwards else (self.below,))
        for row in (*self.rows, *reversed(self.rows)):
            self._settle(row, (self.above, self.below))

    def _settle(self, row: list[int], sides: tuple) -> None:
        """Places a layer where its neighbours want it, in its order and without overlaps."""
        wanted, weights, offsets = [], [], []
        offset = 0.0
        for i, n in enumerate(row):
            if i:
                offset += (self.width[row[i - 1]] + self.width[n]) / 2 + (
                    GAP_ACROSS if max(n, row[i - 1]) < len(self.sizes) else LANE)
            total = weight = 0.0
            for links in sides:
                for m, port, other, w in links[n]:
                    total += w * (self.middle[m] + other - port)
                    weight += w
            offsets.append(offset)
            wanted.append((total / weight if weight else self.middle[n]) - offset)
            weights.append(weight or 1e-3)
        for n, place, shift in zip(row, _increasing(wanted, weights), offsets, strict=True):
            self.middle[n] = place + shift

    def arrangement(self) -> Arrangement:
        count = len(self.sizes)
        left = min(m - w / 2 for m, w in zip(self.middle, self.width, strict=True))
        right = max(m + w / 2 for m, w in zip(self.middle, self.width, strict=True))
        tops, bottoms = [], []
        at = 0.0
        for row in self.rows:
            tops.append(at)
            at += max((self.sizes[n][1] for n in row if n < count), default=0.0)
            bottoms.append(at)
            at += GAP_DOWN
        x = [self.middle[n] - self.sizes[n][0] / 2 - left for n in range(count)]
        y = [tops[self.layer[n]] for n in range(count)]
        routes = []
        for e, chain, shared in zip(self.edges, self.chains, self.shared, strict=True):
            start, end = self.middle[e.source] - left + e.out_port, self.middle[e.target] - left + e.in_port
            layer = self.layer[e.source]
            points = [(start, y[e.source] + self.sizes[e.source][1], layer), (start, bottoms[layer], layer)]
            for lane in chain:
                at, layer = self.middle[lane] - left, self.layer[lane]
                points += [(at, tops[layer], layer), (at, bottoms[layer], layer)]
            routes.append(_straight([*points[1 + 2 * shared if shared else 0:], (end, y[e.target], self.layer[e.target])]))
        return Arrangement(x, y, routes, self.layer[:count], [shared > 0 for shared in self.shared], right - left, bottoms[-1])


def _longest_paths(count: int, edges: Sequence[Edge]) -> list[int]:
    """The layer of each box: close above the first that needs it, and below all that it needs."""
    layer = [0] * count
    outgoing: list[list[int]] = [[] for _ in range(count)]
    for e in sorted(edges, key=lambda e: e.source):  # boxes are numbered in an order that edges follow
        assert e.source < e.target, "edges go from an earlier box to a later one"
        layer[e.target] = max(layer[e.target], layer[e.source] + 1)
        outgoing[e.source].append(e.target)
    for n in reversed(range(count)):
        if outgoing[n]:
            layer[n] = min(layer[m] for m in outgoing[n]) - 1
    return layer


def _increasing(wanted: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The increasing numbers nearest to these, by weighted least squares.

    >>> _increasing([1.0, 3.0, 2.0], [1.0, 1.0, 1.0])
    [1.0, 2.5, 2.5]
    """
    blocks: list[list[float]] = []  # mean, weight, how many
    for value, weight in zip(wanted, weights, strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, w, n = blocks.pop()
            known = blocks[-1]
            known[0] = (known[0] * known[1] + mean * w) / (known[1] + w)
            known[1] += w
            known[2] += n
    return [mean for mean, _, n in blocks for _ in range(int(n))]


def _straight(points: list[Bend]) -> list[Bend]:
    """The points without those in the middle of a vertical line."""
    kept = points[:1]
    for i in range(1, len(points) - 1):
        if abs(points[i][0] - kept[-1][0]) > 0.5 or abs(points[i + 1][0] - points[i][0]) > 0.5:
            kept.append(points[i])
    return [*kept, points[-1]]
