"""All workloads, by family; each family is a module and a part of the table."""
from benchmarks.workload import Workload
from benchmarks.workloads import (
    arrays,
    convolutions,
    derivatives,
    eager,
    elementwise,
    fitting,
    fourier,
    gpu,
    linear_algebra,
    networks,
    optimizers,
    processes,
    recurrences,
    rows,
    selection,
    taylor,
    training,
)

FAMILIES: dict[str, list[Workload]] = {
    "elementwise": elementwise.WORKLOADS, "rows": rows.WORKLOADS, "networks": networks.WORKLOADS, "convolutions":
    convolutions.WORKLOADS, "recurrences": recurrences.WORKLOADS, "derivatives": derivatives.WORKLOADS, "taylor":
    taylor.WORKLOADS, "arrays": arrays.WORKLOADS, "selection": selection.WORKLOADS, "linear_algebra":
    linear_algebra.WORKLOADS, "fourier": fourier.WORKLOADS, "optimizers": optimizers.WORKLOADS, "training":
    training.WORKLOADS, "fitting": fitting.WORKLOADS, "eager": eager.WORKLOADS, "processes": processes.WORKLOADS,
}

GPU_FAMILIES: dict[str, list[Workload]] = {"gpu": gpu.WORKLOADS}

BY_NAME = {workload.name: workload for families in (FAMILIES, GPU_FAMILIES) for family in families.values()
           for workload in family}
