"""Names that the examples in docstrings use without importing them."""
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp


@pytest.fixture(autouse=True)
def names_for_examples(doctest_namespace):
    doctest_namespace.update(fg=fg, fnp=fnp)
