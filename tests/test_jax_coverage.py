"""What of JAX is here: every public name is, with its parameters, or has a reason; and the page that tells it is true."""
from __future__ import annotations

import pytest

from docs.jax_coverage import PAGE, coverage, document, incompatible, parsed, reference

MODULES = sorted(reference())


@pytest.mark.parametrize("module", MODULES)
def test_every_name_of_jax_is_here_or_has_a_reason(module):
    found = coverage(module)
    assert not found.unexplained, "write these, or a reason into docs/jax_reasons.py"
    assert not found.differences, "the parameters differ from JAX's"
    assert not found.superfluous, "these are here: take them off the list of what is not"


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == document(), "run python -m docs.jax_coverage"


@pytest.mark.parametrize("theirs, ours, problem", [
    ("x, axis=None", "x", [("axis", "is not accepted at position 1"), ("axis", "is not accepted by name")]),
    ("x, axis=None", "x, axis", [("axis", "is not optional")]),
    ("x, axis=None", "x, axis=0", [("axis", "is 0 by default, not None")]),
    ("x, axis=None", "x, *, axis=None", [("axis", "is not accepted at position 1")]),
    ("x, y", "y, x", [("x", "is not at position 0, but y"), ("y", "is not at position 1, but x")]),
    ("x", "x, /", [("x", "is not accepted by name")]),
    ("*args, out=None", "x, out=None", [("*args", "is missing"), ("x", "is required")]),
    ("x, **options", "x", [("**options", "is missing")]),
    ("x, /", "x, y", [("y", "is required")]),
    ("x, /, *, out=None", "value, /, out=None", []),
    ("x, axis=...", "x, axis=-1, *, more=1", []),
])
def test_parameters_that_do_not_fit_are_found(theirs, ours, problem):
    assert incompatible(parsed(theirs), parsed(ours)) == problem
