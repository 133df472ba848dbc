"""Every primitive has every slot, and some row of the table of operations reaches it."""
from __future__ import annotations

import importlib
import pkgutil
import types

import pytest
from operations import OPERATIONS

import funcgrad as fg
from funcgrad.core.jaxpr import subjaxprs
from funcgrad.core.primitive import (
    ALIGN,
    BILINEAR,
    DERIVED,
    HOST,
    LINEAR,
    PIECEWISE_LINEAR,
    Constant,
    Kind,
    LinearIn,
    Marker,
    Native,
    No,
    Partials,
    Primitive,
)


def all_primitives() -> list[Primitive]:
    found: dict[int, Primitive] = {}
    for package in ("ops", "control"):
        folder = importlib.import_module(f"funcgrad.{package}")
        for info in pkgutil.iter_modules(folder.__path__):
            module = importlib.import_module(f"funcgrad.{package}.{info.name}")
            found.update({id(x): x for x in vars(module).values() if isinstance(x, Primitive)})
    found.update({id(x): x for x in vars(importlib.import_module("funcgrad.jit")).values() if isinstance(x, Primitive)})
    return sorted(found.values(), key=lambda p: p.name)


PRIMITIVES = all_primitives()


def test_names_are_unique():
    names = [p.name for p in PRIMITIVES]
    assert sorted(set(names)) == names


CODE = {Kind.ELEMENTWISE: (str, dict, tuple, types.FunctionType), Kind.MOVEMENT: (types.FunctionType, Marker, Native),
        Kind.REDUCTION: (tuple, Native), Kind.CONTRACTION: (Native,), Kind.OPAQUE: (Native,), Kind.CONTROL: (types.FunctionType,)}
"""What the code slot of each kind may hold, besides HOST."""


@pytest.mark.parametrize("primitive", PRIMITIVES, ids=str)
def test_every_slot_holds_a_rule_or_a_reason(primitive):
    assert isinstance(primitive.kind, Kind)
    assert callable(primitive.shape) and callable(primitive.impl)
    assert callable(primitive.jvp) or primitive.jvp in (LINEAR, BILINEAR) or isinstance(
        primitive.jvp, (Partials, Constant, No))
    assert callable(primitive.transpose) or isinstance(primitive.transpose, (LinearIn, No))
    assert callable(primitive.batch) or primitive.batch is ALIGN or isinstance(primitive.batch, No)
    assert primitive.taylor in (DERIVED, PIECEWISE_LINEAR) or callable(primitive.taylor) or isinstance(primitive.taylor, (Constant, No))
    assert isinstance(primitive.code, CODE[primitive.kind]) or primitive.code is HOST
    for slot in (primitive.jvp, primitive.transpose, primitive.batch):
        if isinstance(slot, (No, Constant)):
            assert len(slot.reason) > 8


@pytest.mark.parametrize("primitive", PRIMITIVES, ids=str)
def test_linear_rules_come_with_a_transpose(primitive):
    if primitive.jvp in (LINEAR, BILINEAR):
        assert not isinstance(primitive.transpose, No)
    if primitive.kind is Kind.CONTROL:
        assert callable(primitive.batch)


def primitives_in(jaxpr) -> set[str]:
    names = set()
    for equation in jaxpr.equations:
        names.add(equation.primitive.name)
        for inner in subjaxprs(equation.params):
            names |= primitives_in(inner)
    return names


ELSEWHERE = {
    "tests/test_control.py": {"cond", "while", "while_tangent", "scan", "custom_linear_solve", "custom_root"},
    "tests/test_ode.py": {"linear_call"},
    "tests/test_custom_rules.py": {"custom_jvp_call", "custom_vjp_call", "custom_vjp_linear", "checkpoint", "checkpoint_linear",
                                   "jit"},
    "tests/test_random.py": {"threefry2x32", "bitcast_convert_type", "bitcast_parts", "multiply_add", "normal_quantile", "random_gamma",
                             "covariance_factor", "orthogonal_factor"},
    "tests/test_callbacks.py": {"pure_callback", "io_callback", "debug_callback"},
    "tests/test_checkpoint_policies.py": {"name", "known"},
    "tests/test_linalg.py": {"turned", "watched", "looked_at"},
    "tests/test_collective.py": {p.name for p in PRIMITIVES if p.collective},
}


def test_every_primitive_is_reached_by_the_table_or_a_file_of_its_own():
    reached: set[str] = set().union(*ELSEWHERE.values())
    for operation in OPERATIONS:
        reached |= primitives_in(fg.make_jaxpr(operation.function)(*operation.args))
        if operation.order:
            where = [i for i, x in enumerate(operation.args) if fg.numpy.asarray(x).dtype.kind in "f"]
            if where:
                reached |= primitives_in(fg.make_jaxpr(fg.jacrev(operation.function, tuple(where)))(*operation.args))
    missing = {p.name for p in PRIMITIVES} - reached
    assert not missing, f"no row of tests/operations.py reaches {sorted(missing)}"
