"""Pictures: programs, derivatives, schedules and memory; gradients, activations and losses of a model. SVG, or matplotlib."""
from funcgrad.charts import Bars, Lines, Map
from funcgrad.viz.activations import ActivationReport, activation_statistics
from funcgrad.viz.drawing import Drawing, draw
from funcgrad.viz.gradients import GradientReport, gradient_flow
from funcgrad.viz.landscape import Landscape, loss_landscape
from funcgrad.viz.steps import Step, Steps, backward_steps

__all__ = ["ActivationReport", "Bars", "Drawing", "GradientReport", "Landscape", "Lines", "Map", "Step", "Steps",
           "activation_statistics", "backward_steps", "draw", "gradient_flow", "loss_landscape"]
