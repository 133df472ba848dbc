"""All workloads, by family; each family is a module and a part of the table."""
from benchmarks.workload import Workload
from benchmarks.workloads import arrays, derivatives, eager, elementwise, linear_algebra, networks, processes, recurrences, rows

FAMILIES: dict[str, list[Workload]] = {
    "elementwise": elementwise.WORKLOADS, "rows": rows.WORKLOADS, "networks": networks.WORKLOADS,
    "recurrences": recurrences.WORKLOADS, "derivatives": derivatives.WORKLOADS, "arrays": arrays.WORKLOADS,
    "linear algebra": linear_algebra.WORKLOADS, "eager": eager.WORKLOADS, "processes": processes.WORKLOADS,
}

BY_NAME = {workload.name: workload for family in FAMILIES.values() for workload in family}
