"""Rotations in space and interpolation between them, as in jax.scipy.spatial.transform.

    >>> import funcgrad.numpy as fnp
    >>> from funcgrad.scipy.spatial.transform import Rotation
    >>> quarter = Rotation.from_euler("z", 90.0, degrees=True)
    >>> fnp.round(quarter.apply(fnp.array([1.0, 0.0, 0.0])), 12)
    Array([0., 1., 0.], dtype=float64)

A rotation holds unit quaternions (x, y, z, w) in an array of shape (4,), or (n, 4) for n rotations. It is a pytree, and
everything is differentiable, at the identity too.
"""
from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgrad import numpy as fnp
from funcgrad import random
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.ops.promotion import inexact_arg, unary_arg
from funcgrad.tree_util import register_pytree_node_class


@register_pytree_node_class
class Rotation:
    """One rotation, or a vector of them; made by ``from_quat``, ``from_matrix``, ``from_rotvec`` and their kin."""

    def __init__(self, quat: Any):
        self.quat = quat

    def tree_flatten(self) -> tuple:
        return (self.quat,), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: tuple) -> Rotation:
        return cls(*children)

    def __repr__(self) -> str:
        return f"Rotation(quat={self.quat!r})"

    # ------------------------------------------------------------ makers

    @classmethod
    def concatenate(cls, rotations: Sequence[Rotation]) -> Rotation:
        """All rotations of a sequence in one vector."""
        return cls(fnp.concatenate([r.quat.reshape(-1, 4) for r in rotations]))

    @classmethod
    def from_euler(cls, seq: str, angles: Any, degrees: bool = False) -> Rotation:
        """Rotations about one to three axes, one after the other.

        Args:
          seq: the axes: "x", "y", "z" stay fixed, "X", "Y", "Z" turn with the body.
          angles: an angle for each axis in the last axis of the array; for a single axis, a number or a vector of angles.
          degrees: angles are in degrees.

        Raises ValueError for other axes, equal neighbours, and angles of another number.
        """
        axes, intrinsic = _axes("from_euler", seq)
        x = _array("from_euler", angles)
        if len(axes) == 1 and len(x.shape) < 2:
            x = x[..., None]
        if not x.shape or x.shape[-1] != len(axes):
            raise ValueError(message("Rotation.from_euler: there must be an angle for each axis",
                                     f"{describe(angles)} for {seq!r}", f"a last axis of size {len(axes)}"))
        x = fnp.deg2rad(x) if degrees else x
        result = _about(axes[0], x[..., 0])
        for i, axis in enumerate(axes[1:], 1):
            following = _about(axis, x[..., i])
            result = _product(result, following) if intrinsic else _product(following, result)
        return cls(result)

    @classmethod
    def from_matrix(cls, matrix: Any) -> Rotation:
        """From orthogonal matrices (3, 3) or (n, 3, 3)."""
        m = _array("from_matrix", matrix, (3, 3))
        (a, b, c), (d, e, f), (g, h, i) = [[m[..., r, s] for s in range(3)] for r in range(3)]
        rows = [[1 + a - e - i, b + d, c + g, h - f], [b + d, 1 - a + e - i, f + h, c - g],
                [c + g, f + h, 1 - a - e + i, d - b], [h - f, c - g, d - b, 1 + a + e + i]]
        products = fnp.stack([fnp.stack(row, axis=-1) for row in rows], axis=-2)  # 4 q_r q_s; the largest q_r is not 0
        largest = fnp.argmax(fnp.diagonal(products, axis1=-2, axis2=-1), axis=-1)
        return cls(_unit(fnp.take_along_axis(products, largest[..., None, None], axis=-2)[..., 0, :]))

    @classmethod
    def from_mrp(cls, mrp: Any) -> Rotation:
        """From modified Rodrigues parameters: the axis times the tangent of a quarter of the angle."""
        p = _array("from_mrp", mrp, (3,))
        square = fnp.sum(p * p, axis=-1, keepdims=True)
        return cls(fnp.concatenate([2 * p, 1 - square], axis=-1) / (1 + square))

    @classmethod
    def from_quat(cls, quat: Any) -> Rotation:
        """From quaternions (x, y, z, w), which are scaled to length 1."""
        return cls(_unit(_array("from_quat", quat, (4,))))

    @classmethod
    def from_rotvec(cls, rotvec: Any, degrees: bool = False) -> Rotation:
        """From vectors along the axis, as long as the angle."""
        v = _array("from_rotvec", rotvec, (3,))
        v = fnp.deg2rad(v) if degrees else v
        square = fnp.sum(v * v, axis=-1, keepdims=True)
        small = square < 1e-4
        angle = fnp.sqrt(fnp.where(small, 1, square))
        scale = fnp.where(small, 0.5 - square / 48 + square ** 2 / 3840, fnp.sin(angle / 2) / angle)
        cosine = fnp.where(small, 1 - square / 8 + square ** 2 / 384, fnp.cos(angle / 2))
        return cls(fnp.concatenate([scale * v, cosine], axis=-1))

    @classmethod
    def identity(cls, num: int | None = None, dtype: Any = float) -> Rotation:
        """The rotation that changes nothing, ``num`` times."""
        one = fnp.array([0, 0, 0, 1], dtype)
        return cls(one if num is None else fnp.tile(one, (num, 1)))

    @classmethod
    def random(cls, random_key: Any, num: int | None = None) -> Rotation:
        """Rotations spread uniformly."""
        return cls.from_quat(random.normal(random_key, (4,) if num is None else (num, 4)))

    # ------------------------------------------------------------ operations

    @property
    def single(self) -> bool:
        """One rotation, not a vector of them."""
        return len(self.quat.shape) == 1

    def __len__(self) -> int:
        if self.single:
            raise TypeError("Rotation: a single rotation has no length")
        return self.quat.shape[0]

    def __getitem__(self, indexer: Any) -> Rotation:
        if self.single:
            raise TypeError("Rotation: a single rotation cannot be indexed")
        return Rotation(self.quat[indexer])

    def __mul__(self, other: Rotation) -> Rotation:
        """The rotation ``other`` followed by this one."""
        return Rotation(_unit(_product(self.quat, other.quat)))

    def inv(self) -> Rotation:
        """The rotation backwards."""
        return Rotation(self.quat * np.array([-1, -1, -1, 1], self.quat.dtype))

    def apply(self, vectors: Any, inverse: bool = False) -> Any:
        """The vectors (3,) or (n, 3) rotated, or rotated back; one of many rotations or vectors goes with each of the other."""
        matrix = self.as_matrix()
        v = _array("apply", vectors, (3,))
        return fnp.matvec(fnp.matrix_transpose(matrix) if inverse else matrix, v)

    def magnitude(self) -> Any:
        """The angle, from 0 to pi."""
        sine = fnp.sum(self.quat[..., :3] ** 2, axis=-1)
        turned = sine > 0
        return 2 * fnp.arctan2(fnp.where(turned, fnp.sqrt(fnp.where(turned, sine, 1)), 0), fnp.abs(self.quat[..., 3]))

    def mean(self, weights: Any | None = None) -> Rotation:
        """The rotation whose matrix is closest to the weighted mean of all matrices.

        F. L. Markley et al., J. Guid. Control Dyn. 30, 1193, 2007. Raises ValueError for weights of another number.
        """
        w = fnp.ones(len(self), self.quat.dtype) if weights is None else _array("mean", weights)
        if w.shape != (len(self),):
            raise ValueError(message("Rotation.mean: there must be a weight for each rotation", describe(weights),
                                     f"shape {(len(self),)}"))
        power = fnp.matmul(self.quat.T * w, self.quat)
        for _ in range(40):  # squared again and again, the matrix becomes the projector on its first eigenvector
            power = fnp.matmul(power, power)
            power = power / fnp.trace(power)
        return Rotation(_unit(power[fnp.argmax(fnp.diagonal(power))]))

    # ------------------------------------------------------------ representations

    def as_quat(self, canonical: bool = False, scalar_first: bool = False) -> Any:
        """Quaternions (x, y, z, w), or (w, x, y, z). ``canonical``: of the two for a rotation the one whose first element that
        is not zero, counted from w, is positive."""
        q = self.quat
        if canonical:
            x, y, z, w = [q[..., i] for i in range(4)]
            first = fnp.where(w != 0, w, fnp.where(x != 0, x, fnp.where(y != 0, y, z)))
            q = fnp.where((first < 0)[..., None], -q, q)
        return fnp.roll(q, 1, axis=-1) if scalar_first else q

    def as_matrix(self) -> Any:
        """Orthogonal matrices."""
        x, y, z, w = [self.quat[..., i] for i in range(4)]
        rows = [[x * x - y * y - z * z + w * w, 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), -x * x + y * y - z * z + w * w, 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), -x * x - y * y + z * z + w * w]]
        return fnp.stack([fnp.stack(row, axis=-1) for row in rows], axis=-2)

    def as_mrp(self) -> Any:
        """Modified Rodrigues parameters, of length at most 1."""
        q = fnp.where(self.quat[..., 3:] < 0, -self.quat, self.quat)
        return q[..., :3] / (1 + q[..., 3:])

    def as_rotvec(self, degrees: bool = False) -> Any:
        """Vectors along the axis, as long as the angle, which is at most pi."""
        q = fnp.where(self.quat[..., 3:] < 0, -self.quat, self.quat)
        square = fnp.sum(q[..., :3] ** 2, axis=-1, keepdims=True)
        small = square < 1e-5
        sine = fnp.sqrt(fnp.where(small, 1, square))
        scale = fnp.where(small, 2 + square / 3 + 3 * square ** 2 / 20 + 5 * square ** 3 / 56,
                          2 * fnp.arctan2(sine, q[..., 3:]) / sine)
        return (fnp.rad2deg(scale) if degrees else scale) * q[..., :3]

    def as_euler(self, seq: str, degrees: bool = False) -> Any:
        """Angles about three axes, as in ``from_euler``; at a gimbal lock the last is zero.

        The formula is that of E. Bernardes and S. Viollet, PLoS ONE 17, e0276302, 2022.
        """
        axes, intrinsic = _axes("as_euler", seq)
        if len(axes) != 3:
            raise ValueError(message("Rotation.as_euler: three axes are needed", repr(seq)))
        i, j, k = axes[::-1] if intrinsic else axes
        symmetric = i == k
        k = 3 - i - j if symmetric else k
        sign = (i - j) * (j - k) * (k - i) // 2
        q = [self.quat[..., n] for n in range(4)]
        a, b, c, d = q[3], q[i], q[j], q[k] * sign
        if not symmetric:
            a, b, c, d = a - c, b + d, c + a, d - b
        middle = 2 * fnp.arctan2(fnp.hypot(c, d), fnp.hypot(a, b))
        total, difference = fnp.arctan2(b, a), fnp.arctan2(d, c)
        low, high = fnp.abs(middle) <= 1e-7, fnp.abs(middle - np.pi) <= 1e-7
        locked = fnp.where(low, 2 * total, 2 * difference * (1 if intrinsic else -1))
        first, third = total - difference, total + difference
        if intrinsic:
            first, third = third, first
        angles = [fnp.where(low | high, locked, first), middle, fnp.where(low | high, 0, third)]
        if not symmetric:
            angles[0 if intrinsic else 2] = angles[0 if intrinsic else 2] * sign
            angles[1] = angles[1] - np.pi / 2
        out = fnp.stack(angles, axis=-1)
        out = (out + np.pi) % (2 * np.pi) - np.pi
        return fnp.rad2deg(out) if degrees else out


class Slerp(NamedTuple):
    """Rotations between rotations at given times, turning with constant speed; made by ``Slerp.init``."""

    times: Any
    timedelta: Any
    rotations: Rotation
    rotvecs: Any

    @classmethod
    def init(cls, times: Any, rotations: Rotation) -> Slerp:
        """From increasing times and as many rotations, at least two. Raises ValueError for other numbers of them."""
        if not isinstance(rotations, Rotation):
            raise TypeError(message("Slerp.init: rotations must be a Rotation", describe(rotations)))
        t = fnp.asarray(times).astype(rotations.quat.dtype)
        if rotations.single or len(rotations) < 2 or t.shape != (len(rotations),):
            raise ValueError(message("Slerp.init: there must be two rotations or more, and a time for each",
                                     f"times of shape {t.shape} for quaternions of shape {rotations.quat.shape}"))
        before = rotations[:-1]
        return cls(t, fnp.diff(t), before, (before.inv() * rotations[1:]).as_rotvec())

    def __call__(self, times: Any) -> Rotation:
        """The rotations at times; before the first and after the last time the turn goes on."""
        t = fnp.asarray(times).astype(self.times.dtype)
        if len(t.shape) > 1:
            raise ValueError(message("Slerp: the times must be a number or a vector", describe(t)))
        piece = fnp.clip(fnp.searchsorted(self.times, t) - 1, 0, len(self.rotations) - 1)
        part = (t - self.times[piece]) / self.timedelta[piece]
        return self.rotations[piece] * Rotation.from_rotvec(self.rotvecs[piece] * part[..., None])


# ---------------------------------------------------------------- quaternions


def _array(name: str, x: Any, core: tuple[int, ...] = ()) -> Any:
    x = fnp.asarray(inexact_arg(f"Rotation.{name}", unary_arg(f"Rotation.{name}", x)))
    if core and x.shape[-len(core):] != core:
        raise ValueError(message(f"Rotation.{name}: the last axes have the wrong sizes", describe(x), f"last axes {core}"))
    return x


def _axes(name: str, seq: str) -> tuple[list[int], bool]:
    """The numbers of the axes, and whether they turn with the body."""
    known = seq and len(seq) <= 3 and (set(seq) <= set("xyz") or set(seq) <= set("XYZ"))
    if not known or any(map(operator.eq, seq, seq[1:])):
        raise ValueError(message(f"Rotation.{name}: the axes are unknown", repr(seq),
                                 "one to three of x, y, z or of X, Y, Z, no two neighbours equal"))
    return ["xyz".index(axis) for axis in seq.lower()], seq.isupper()


def _about(axis: int, angle: Any) -> Any:
    zero = fnp.zeros_like(angle)
    parts = [zero, zero, zero, fnp.cos(angle / 2)]
    parts[axis] = fnp.sin(angle / 2)
    return fnp.stack(parts, axis=-1)


def _product(p: Any, q: Any) -> Any:
    (a, b, c, d), (x, y, z, w) = [[v[..., i] for i in range(4)] for v in (p, q)]
    return fnp.stack([d * x + a * w + b * z - c * y, d * y + b * w + c * x - a * z, d * z + c * w + a * y - b * x,
                      d * w - a * x - b * y - c * z], axis=-1)


def _unit(q: Any) -> Any:
    return q / fnp.sqrt(fnp.sum(q * q, axis=-1, keepdims=True))
