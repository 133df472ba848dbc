"""Pictures: programs, derivatives, schedules and memory as SVG."""
from funcgrad.viz.draw import Drawing, draw

__all__ = ["Drawing", "draw"]
"""Pictures of what happens in a model: gradients, activations, the loss around its parameters. SVG, or matplotlib."""
from funcgrad.viz.activations import ActivationReport, activation_statistics
from funcgrad.viz.gradients import GradientReport, gradient_flow
from funcgrad.viz.landscape import Landscape, loss_landscape

__all__ = ["ActivationReport", "GradientReport", "Landscape", "activation_statistics", "gradient_flow", "loss_landscape"]
