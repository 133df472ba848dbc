"""Rotations against SciPy's, their derivatives, and wrong programs."""
from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation as Reference
from scipy.spatial.transform import Slerp as ReferenceSlerp

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.scipy.spatial.transform import Rotation, Slerp
from funcgrad.test_util import check_grads

RNG = np.random.default_rng(9)
Q = RNG.normal(size=(6, 4))
Q[0], Q[1], Q[2] = [0, 0, 0, 1], [1, 0, 0, 0], [0, 1e-4, 0, 1]
V = RNG.normal(size=(6, 3))
R, S = Rotation.from_quat(Q), Reference.from_quat(Q)


def same(found, expected):
    """As rotations: the sign of a quaternion makes no difference."""
    np.testing.assert_allclose(found.as_matrix(), expected.as_matrix(), atol=1e-12)


def test_representations():
    for pick in (slice(None), 3):
        r, s = R[pick], S[pick]
        np.testing.assert_allclose(r.as_quat(), s.as_quat(), rtol=1e-12)
        np.testing.assert_allclose(r.as_quat(True, True), s.as_quat(canonical=True, scalar_first=True), rtol=1e-12)
        np.testing.assert_allclose(r.as_matrix(), s.as_matrix(), atol=1e-14)
        np.testing.assert_allclose(r.as_rotvec(), s.as_rotvec(), atol=1e-12)
        np.testing.assert_allclose(r.as_rotvec(degrees=True), s.as_rotvec(degrees=True), atol=1e-10)
        np.testing.assert_allclose(r.as_mrp(), s.as_mrp(), atol=1e-14)
        np.testing.assert_allclose(r.magnitude(), s.magnitude(), rtol=1e-12)
        same(Rotation.from_matrix(r.as_matrix()), s)
        same(Rotation.from_rotvec(r.as_rotvec()), s)
        same(Rotation.from_rotvec(r.as_rotvec(True), True), s)
        same(Rotation.from_mrp(r.as_mrp()), s)


@pytest.mark.parametrize("seq", ["".join(p) for p in itertools.product("xyz", repeat=3) if p[0] != p[1] != p[2]])
def test_euler_angles(seq):
    angles = RNG.uniform(-3, 3, size=(4, 3))
    for axes in (seq, seq.upper()):
        same(Rotation.from_euler(axes, angles), Reference.from_euler(axes, angles))
        s = Reference.from_quat(Q[3:])
        np.testing.assert_allclose(Rotation.from_quat(Q[3:]).as_euler(axes, degrees=True), s.as_euler(axes, degrees=True), atol=1e-9)
        locked = Reference.from_euler(axes, [0.4, 0.0 if axes[0] == axes[2] else np.pi / 2, 0.3])
        same(Rotation.from_euler(axes, Rotation.from_quat(locked.as_quat()).as_euler(axes)), locked)


def test_operations():
    np.testing.assert_allclose(R.apply(V), S.apply(V), atol=1e-14)
    np.testing.assert_allclose(R.apply(V, inverse=True), S.apply(V, inverse=True), atol=1e-14)
    np.testing.assert_allclose(R[3].apply(V), S[3].apply(V), atol=1e-14)
    np.testing.assert_allclose(R.apply(V[0]), S.apply(V[0]), atol=1e-14)
    same(R * R[::-1], S * S[::-1])
    same(R[3] * R, S[3] * S)
    same(R.inv(), S.inv())
    same(Rotation.concatenate([R, R[2]]), Reference.concatenate([S, S[2]]))
    same(R[3:].mean(), S[3:].mean())
    same(R[3:].mean(np.array([1.0, 2.0, 0.5])), S[3:].mean([1.0, 2.0, 0.5]))
    same(Rotation.identity(3), Reference.identity(3))
    same(Rotation.from_euler("y", 30.0, degrees=True), Reference.from_euler("y", 30.0, degrees=True))
    same(Rotation.from_euler("y", V[0]), Reference.from_euler("y", V[0][:, None]))
    same(Rotation.from_euler("ZX", V[0, :2]), Reference.from_euler("ZX", V[0, :2]))
    many = Rotation.random(fg.random.key(0), 500)
    assert len(many) == 500 and Rotation.random(fg.random.key(0)).single
    assert np.abs(np.asarray(many.apply(V[3])).mean(0)).max() < 0.2


def test_slerp():
    times = np.array([0.0, 1.0, 3.0])
    for t in (np.array([0.0, 0.3, 1.0, 2.5, 3.0]), 1.7):
        for f in (lambda t: Slerp.init(times, R[3:])(t), fg.jit(lambda t: Slerp.init(times, R[3:])(t))):
            same(f(t), ReferenceSlerp(times, S[3:])(t))
    check_grads(lambda t, q: Slerp.init(times, Rotation.from_quat(q))(t).as_matrix(), (np.array([0.4, 2.0]), Q[3:]), order=2)


def test_derivatives_also_at_the_identity():
    for v in (V[:2], np.zeros((1, 3))):
        check_grads(lambda v: Rotation.from_rotvec(v).as_matrix(), (v,), order=2)
        check_grads(lambda v: Rotation.from_rotvec(v).as_rotvec(), (v,), order=2)
    for f in (lambda q: Rotation.from_quat(q).as_euler("xyz"), lambda q: Rotation.from_matrix(Rotation.from_quat(q).as_matrix()).as_mrp(),
              lambda q: Rotation.from_quat(q).mean().as_matrix(), lambda q: Rotation.from_quat(q).magnitude()):
        check_grads(f, (Q[3:],), order=1)
    assert not np.isnan(np.asarray(fg.grad(lambda q: Rotation(q).magnitude())(Q[0]))).any()
    batched = fg.jit(fg.vmap(lambda r, v: (r * r).apply(v)))(R, V)
    np.testing.assert_allclose(batched, (S * S).apply(V), atol=1e-13)
    assert isinstance(fg.grad(lambda r: fnp.sum(r.apply(V[0])))(R), Rotation)
    assert Rotation.from_rotvec(V.astype("float32")).as_matrix().dtype == "float32"


@pytest.mark.parametrize("call,error,text", [
    (lambda: Rotation.from_euler("xa", V[0, :2]), ValueError, "the axes are unknown(.|\n)*'xa'"),
    (lambda: Rotation.from_euler("xx", V[0, :2]), ValueError, "no two neighbours equal"),
    (lambda: Rotation.from_euler("xyz", V[0, :2]), ValueError, "an angle for each axis"),
    (lambda: R.as_euler("xy"), ValueError, "three axes are needed"),
    (lambda: Rotation.from_quat(V), ValueError, r"from_quat: the last axes have the wrong sizes(.|\n)*last axes \(4,\)"),
    (lambda: R.mean(np.ones(2)), ValueError, "a weight for each rotation"),
    (lambda: R[0][0], TypeError, "single rotation"),
    (lambda: len(R[0]), TypeError, "single rotation"),
    (lambda: Slerp.init(np.arange(3.0), R), ValueError, "a time for each"),
    (lambda: Slerp.init(np.arange(3.0), Q), TypeError, "must be a Rotation"),
    (lambda: Slerp.init(np.arange(6.0), R)(np.ones((2, 2))), ValueError, "a number or a vector"),
])
def test_wrong_programs(call, error, text):
    with pytest.raises(error, match=text):
        call()
