"""Pictures: programs, derivatives, schedules and memory as SVG."""
from funcgrad.viz.drawing import Drawing, draw
from funcgrad.viz.steps import backward_steps

__all__ = ["Drawing", "backward_steps", "draw"]
