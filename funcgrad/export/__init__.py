"""Programs as files of their own."""
from funcgrad.export.source import to_source

__all__ = ["to_source"]
