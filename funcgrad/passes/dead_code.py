"""Dead code: what no result needs is dropped, inside loops too.

In: a program. Out: the same program without the equations, constants, loop carries, stacked outputs and branch results
that nothing reads. Inputs and effects stay. An index that would raise is not looked at if its value is not used.

    { lambda ; a:f64[]. let b:f64[] = sin a; c:f64[] = cos a in (b,) }    ->    ... let b:f64[] = sin a in (b,) }
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from funcgrad.core.jaxpr import Equation, Jaxpr, Var, has_effects, is_effect
from funcgrad.passes.rewriting import with_programs


def dead_code(jaxpr: Jaxpr) -> Jaxpr:
    """The program without what its results do not need."""
    return _pruned(jaxpr, None, True)[0]


def prune(jaxpr: Jaxpr, used_outs: Sequence[bool] | None = None, effects: bool = True) -> tuple[Jaxpr, tuple[bool, ...]]:
    """Drops the outputs that are not used and all that only they need; tells which inputs are still needed.

    The inputs stay in the program; the caller decides what to do about those that nothing needs. Without ``effects``, an
    equation stays only if its results are needed.
    """
    used = None if used_outs is None or all(used_outs) else tuple(used_outs)
    key = "prune", used, effects
    found = jaxpr.cache.get(key)
    if found is None:
        program, needed = _pruned(jaxpr, used, effects)
        found = jaxpr.cache[key] = None if program is jaxpr else program, needed
    return found[0] or jaxpr, found[1]


def without_effects(jaxpr: Jaxpr) -> Jaxpr:
    """The program without the effects that give no result, those of the programs in it included."""
    if not has_effects(jaxpr):
        return jaxpr
    if "without effects" not in jaxpr.cache:
        jaxpr.cache["without effects"] = jaxpr.replace(equations=tuple([
            replace(e, params=with_programs(e.params, without_effects)) for e in jaxpr.equations
            if e.outs or not e.primitive.effect]))
    return jaxpr.cache["without effects"]


def without_inputs(jaxpr: Jaxpr, needed: Sequence[bool]) -> Jaxpr:
    """The program without those of its inputs that are not needed."""
    key = ("without inputs", tuple(needed))
    if all(needed):
        return jaxpr
    if key not in jaxpr.cache:
        jaxpr.cache[key] = jaxpr.replace(in_vars=tuple([v for v, n in zip(jaxpr.in_vars, needed, strict=True) if n]))
    return jaxpr.cache[key]


def _pruned(jaxpr: Jaxpr, used_outs: Sequence[bool] | None, effects: bool) -> tuple[Jaxpr, tuple[bool, ...]]:
    outs = jaxpr.outs if used_outs is None else tuple([o for o, used in zip(jaxpr.outs, used_outs, strict=True) if used])
    needed = {out for out in outs if type(out) is Var}
    kept = []
    changed = len(outs) != len(jaxpr.outs)
    for equation in reversed(jaxpr.equations):
        for v in equation.outs:
            if v in needed:
                break
        else:
            if not (effects and is_effect(equation)):
                changed = True
                continue
        if equation.primitive.on_values:
            trimmed = _trimmed(equation, needed)
            changed, equation = changed or trimmed is not equation, trimmed
        kept.append(equation)
        for atom in equation.inputs:
            if type(atom) is Var:
                needed.add(atom)
    mask = tuple([v in needed for v in jaxpr.in_vars])
    consts = [(v, c) for v, c in zip(jaxpr.const_vars, jaxpr.consts, strict=True) if v in needed]
    if not changed and len(consts) == len(jaxpr.consts):
        return jaxpr, mask
    return jaxpr.replace(const_vars=tuple([v for v, _ in consts]), consts=tuple([c for _, c in consts]),
                         equations=tuple(kept[::-1]), outs=outs), mask


def _trimmed(equation: Equation, needed: set[Var]) -> Equation:
    """A control equation without the arguments and results that nothing needs, its programs pruned."""
    primitive, params = equation.primitive, equation.params
    if primitive.prune is None:
        params = with_programs(params, lambda inner: prune(inner)[0])
        return equation if params is equation.params else Equation(
            primitive, equation.inputs, equation.outs, params, equation.source, equation.scope)
    used = tuple([v in needed for v in equation.outs])
    ins, outs, params = primitive.prune(used, **params)
    if all(ins) and all(outs) and params == equation.params:
        return equation
    return Equation(primitive, tuple([x for x, keep in zip(equation.inputs, ins, strict=True) if keep]),
                    tuple([v for v, keep in zip(equation.outs, outs, strict=True) if keep]), params, equation.source,
                    equation.scope)
