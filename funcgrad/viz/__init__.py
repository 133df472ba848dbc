"""Pictures: programs, derivatives, schedules and memory as SVG."""
from funcgrad.viz.draw import Drawing, draw

__all__ = ["Drawing", "draw"]
