"""The core: values, primitives, jaxprs, traces. It knows no operation and no transformation."""
from funcgrad.core import pretty as pretty  # gives jaxprs their text
