"""Linear equations given by functions, as in jax.scipy.sparse: ``linalg``."""
from funcgrad.scipy.sparse import linalg as linalg
