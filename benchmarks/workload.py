"""What a workload is: a function that is written once, its sizes, and what it shall reach.

A workload's ``build(lib, **sizes)`` returns a function and its arguments; the function is already jitted where jitting is
meant. ``also`` names further libraries that run the same source; ``peers`` holds hand-written versions for others.
"""
from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Program = tuple[Callable[..., Any], tuple]
"""A function and the arguments it is called with."""

Samples = Mapping[str, list[float]]
"""For each library, one time (or size) for each round; the rounds of all libraries belong together in pairs."""


class Verdict(NamedTuple):
    """``figure`` is shown; ``reached`` is None where there is nothing to compare with."""

    figure: str
    reached: bool | None


class Target:
    """What funcgrad shall reach. ``needs`` are the libraries without which it cannot be judged."""

    needs: tuple[str, ...] = ()
    text = ""

    def judge(self, samples: Samples) -> Verdict:
        return Verdict("", None)


class Ratio(Target):
    """The median over the rounds of funcgrad's figure over a peer's is at most ``limit``."""

    def __init__(self, limit: float, peer: str = "jax"):
        self.limit, self.needs = limit, (peer,)
        self.text = f"{limit:g}" if peer == "jax" else f"{limit:g} x {peer}"

    def ratio(self, samples: Samples) -> float:
        return statistics.median(a / b for a, b in zip(samples["funcgrad"], samples[self.needs[0]]))

    def judge(self, samples: Samples) -> Verdict:
        ratio = self.ratio(samples)
        return Verdict(f"{ratio:.2f}", ratio <= self.limit)


class RatioToBest(Target):
    """The median over the rounds of funcgrad's figure over the lowest of the peers' is at most ``limit``."""

    def __init__(self, limit: float, peers: tuple[str, ...]):
        self.limit, self.needs, self.text = limit, peers, f"{limit:g} x best"

    def judge(self, samples: Samples) -> Verdict:
        rounds = zip(samples["funcgrad"], zip(*[samples[peer] for peer in self.needs]))
        ratio = statistics.median(own / min(others) for own, others in rounds)
        return Verdict(f"{ratio:.2f}", ratio <= self.limit)


class Both(Target):
    """Two targets, both of which are to be reached."""

    def __init__(self, first: Target, second: Target):
        self.targets, self.needs, self.text = (first, second), (*first.needs, *second.needs), f"{first.text}, {second.text}"

    def judge(self, samples: Samples) -> Verdict:
        verdicts = [target.judge(samples) for target in self.targets]
        return Verdict(", ".join(v.figure for v in verdicts), all(v.reached for v in verdicts))


class AtMost(Target):
    """funcgrad's median is at most so many microseconds, and below those of the libraries named."""

    def __init__(self, microseconds: float, below: tuple[str, ...] = ()):
        self.limit, self.below = microseconds * 1e-6, below
        self.text = f"{microseconds:g} us" + "".join(f", < {name}" for name in below)

    def judge(self, samples: Samples) -> Verdict:
        own = statistics.median(samples["funcgrad"])
        others = [statistics.median(samples[name]) for name in self.below if samples.get(name)]
        return Verdict(f"{own * 1e6:.2f} us", own <= self.limit and all(own < other for other in others))


class Extra(Target):
    """funcgrad's figure exceeds a peer's by at most so many seconds."""

    def __init__(self, seconds: float, peer: str):
        self.limit, self.needs, self.text = seconds, (peer,), f"{peer} + {seconds * 1e3:g} ms"

    def judge(self, samples: Samples) -> Verdict:
        extra = statistics.median(a - b for a, b in zip(samples["funcgrad"], samples[self.needs[0]]))
        return Verdict(f"{extra * 1e3:+.0f} ms", extra <= self.limit)


class AtMostMore(Target):
    """A program takes at most so much longer than the same by hand, as a part of its time."""

    def __init__(self, part: float):
        self.limit, self.text = part, f"+{part:.0%}"

    def judge(self, samples: Samples) -> Verdict:
        part = statistics.median(samples["funcgrad"])
        return Verdict(f"{part:+.1%}", part <= self.limit)


class AtMostPower(Target):
    """funcgrad's figure, the exponent p of a cost that grows as n**p, is at most ``limit``."""

    def __init__(self, limit: float):
        self.limit, self.text = limit, f"n^{limit:g}"

    def judge(self, samples: Samples) -> Verdict:
        power = statistics.median(samples["funcgrad"])
        return Verdict(f"n^{power:.2f}", power <= self.limit)


@dataclass(frozen=True)
class Workload:
    """One row of the table.

    ``kind`` says what is measured: the time of a call ("call"), of a whole process that makes one call with cold or filled
    caches ("cold", "warm"), of the first call with other sizes ("second"), of ``import`` ("import"), the memory of a
    call ("memory"), how much longer a program takes than its argument, a function that does the same by hand ("overhead"), or
    how the time to trace and compile ("growth") or that of a call ("scaling") grows with ``steps``, the
    keyword of ``build`` that takes the values ``lengths``.
    """

    name: str
    build: Callable[..., Program] | None
    sizes: Mapping[str, Any] = field(default_factory=dict)
    tiny: Mapping[str, Any] | None = None
    target: Target = field(default_factory=Target)
    tolerance: float = 1e-5
    also: tuple[str, ...] = ()
    peers: Mapping[str, Callable[..., Program]] = field(default_factory=dict)
    per: int = 1
    wide: bool = False
    kind: str = "call"
    second: Mapping[str, Any] = field(default_factory=dict)
    second_tiny: Mapping[str, Any] = field(default_factory=dict)
    lengths: tuple[int, ...] = (50, 100, 200, 400, 800)

    @property
    def grows(self) -> bool:
        """Whether the figure is the power of a cost."""
        return self.kind in ("growth", "scaling")

    def libraries(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(["funcgrad", *([] if self.kind == "overhead" else ["jax"]), *self.also, *self.peers]))

    def compared(self) -> tuple[str, ...]:
        """The libraries that compute the same numbers."""
        return tuple([library for library in self.libraries() if library != "copy"])

    def program(self, lib: Any, tiny: bool, **changed: Any) -> Program:
        """The function and arguments for a library, small ones if ``tiny``."""
        sizes = {**(self.tiny if tiny and self.tiny is not None else self.sizes), **changed}
        if lib.name == "torch_compiled":
            function, args = self.peers["torch"](**sizes)
            return lib.compile(function), args
        if lib.name in self.peers:
            return self.peers[lib.name](**sizes)
        return self.build(lib, **sizes)


def growth_power(sizes: list[int], seconds: list[float]) -> float:
    """The slope of log(seconds) over log(sizes), by least squares."""
    x, y = [math.log(n) for n in sizes], [math.log(t) for t in seconds]
    return statistics.linear_regression(x, y).slope
