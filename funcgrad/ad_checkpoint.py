"""The names of ``jax.ad_checkpoint``."""
from funcgrad.control.checkpoint import checkpoint
from funcgrad.control.checkpoint import checkpoint as remat
from funcgrad.control.policies import checkpoint_name, checkpoint_policies

__all__ = ["checkpoint", "checkpoint_name", "checkpoint_policies", "remat"]
