"""C for rules that treat each element on its own: one pass over everything."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch

from thalweg.engine.c_source import PREAMBLE, Source, c_type, expression, literal, load, store, stored
from thalweg.engine.trace import Node, Trace, Untraceable, walk

__all__ = ["HEADER", "Loop", "columns", "conditions", "element_source", "loop_lines", "moving_inputs", "numbered"]

#: Integers before the pointers in a row of the table: matrices, rows, columns.
HEADER = 3
_MOST_CONDITIONS = 3
#: Elements between two rounds of fetching ahead, and how far ahead: without it a processor's own prefetching does not
#: keep up with four or more streams (AdamW 0.93, with bfloat16 states 0.90 of the time, measured on two cores).
_BLOCK, _AHEAD = 128, 512
SIGNATURE = (
    "const i64 *table, i64 tensors, const i64 *chunks, const i64 *bounds, i64 items, const double *hyper, "
    "const double *scale, const float *skip, double *scratch, u32 seed, i64 threads, i64 per_thread"
)


def columns(trace: Trace) -> dict[str, int]:
    """Return the column of the table that holds the pointer to each tensor."""
    names = [name for name in trace.inputs if not name.startswith("hyper/") and name not in ("param", "grad")]
    return {name: HEADER + index for index, name in enumerate(("param", "grad", *names))}


def moving_inputs(trace: Trace) -> tuple[str, ...]:
    """Return the names of the hyperparameters that the kernel is given, in its order."""
    return tuple(name for name in trace.inputs if name.startswith("hyper/"))


def numbered(trace: Trace) -> dict[int, str]:
    """Return a C name for every node, by identity."""
    names: dict[int, str] = {}

    def name(node: Node) -> None:
        names.setdefault(id(node), f"v{len(names)}")

    walk([*trace.inputs.values(), *trace.outputs.values()], name)
    return names


def scalars(trace: Trace) -> list[Node]:
    """Return the values that there is one of per tensor, arguments first, inputs left out."""
    found: list[Node] = []
    walk(list(trace.outputs.values()), lambda n: found.append(n) if n.kind == "tensor" and n.op != "input" else None)
    return found


def scalar_inputs(trace: Trace, names: Mapping[int, str], where: Mapping[str, int]) -> list[str]:
    """Return the C lines that read hyperparameters and 0-dim states."""
    lines = [f"const double {names[id(trace.inputs[n])]} = hyper[{i}];" for i, n in enumerate(moving_inputs(trace))]
    for name, column in where.items():
        node = trace.inputs[name]
        if node.kind == "tensor":
            kind = c_type(node.dtype)
            lines.append(f"const {kind} {names[id(node)]} = *(const {stored(node.dtype)} *)row[{column}];")
    return lines


def conditions(trace: Trace) -> list[Node]:
    """Return the per-tensor conditions that choose between whole tensors."""
    found: list[Node] = []

    def look(node: Node) -> None:
        if node.op == "where" and node.kind != "tensor":
            test = node.args[0]
            if isinstance(test, Node) and test.kind == "tensor" and test not in found:
                found.append(test)

    walk(list(trace.outputs.values()), look)
    if len(found) > _MOST_CONDITIONS:
        raise Untraceable(f"{len(found)} conditions on whole tensors")
    return found


class Loop:
    """The loop over elements for one outcome of the conditions: what it reads, computes and writes."""

    def __init__(self, trace: Trace, names: Mapping[int, str], choice: Mapping[int, bool]) -> None:
        self._names, self._choice = dict(names), choice
        self.lines: list[str] = []
        self.reads: list[str] = []
        self.scalars: list[Node] = []
        self._inputs = {id(node): name for name, node in trace.inputs.items()}
        self._done: set[int] = set()
        self.writes: dict[str, str] = {}
        for name, node in trace.outputs.items():
            if node.kind == "element":
                text = self.value(node)
                if text != self._names[id(trace.inputs[name])]:
                    self.writes[name] = text

    def value(self, node: Node) -> str:
        """Return the name of *node*, computed before where it must be."""
        if id(node) in self._done:
            return self._names[id(node)]
        self._done.add(id(node))
        if node.kind == "tensor":
            self.scalars.append(node)
        elif node.op == "input":
            self.reads.append(self._inputs[id(node)])
        elif node.op == "where" and id(node.args[0]) in self._choice:
            chosen = node.args[1] if self._choice[id(node.args[0])] else node.args[2]
            if isinstance(chosen, Node):
                text = self.value(chosen)
                same = chosen.dtype == node.dtype
                self._names[id(node)] = text if same else f"(({c_type(node.dtype)}){text})"
            else:
                self._names[id(node)] = f"(({c_type(node.dtype)}){literal(chosen)})"
        else:
            if node.kind != "element":
                raise Untraceable(f"a {node.kind} statistic in a rule for single elements")
            for argument in (*node.args, *node.options.values()):
                if isinstance(argument, Node):
                    self.value(argument)
            kind = c_type(node.dtype)
            self.lines.append(f"const {kind} {self._names[id(node)]} = {expression(node, self._names)};")
        return self._names[id(node)]


def loops_of(
    trace: Trace, names: dict[int, str], tests: list[Node]
) -> tuple[list[tuple[tuple[bool, ...], Loop]], dict[int, Node]]:
    """Return a loop for each way that the conditions *tests* may turn out, and the scalars that any of them needs."""
    loops = [
        (choice, Loop(trace, names, {id(test): taken for test, taken in zip(tests, choice, strict=True)}))
        for choice in itertools.product((True, False), repeat=len(tests))
    ]
    needed: dict[int, Node] = {id(test): test for test in tests}
    for _, loop in loops:
        needed.update({id(node): node for node in loop.scalars})
    return loops, needed


def element_source(trace: Trace, kept: Mapping[str, torch.dtype], *, at_random: bool = False) -> Source:
    """Return the C source of ``update`` for a rule of single elements.

    The scalars that depend on the step alone are computed once per tensor, and once for all tensors whose counters
    agree. Conditions on them (is it Lookahead's turn?) choose between loops, so that a pass moves only what it changes.

    Args:
        trace: the rule's update.
        kept: the dtype in memory of ``"param"``, ``"grad"`` and every state shaped like the parameter.
        at_random: round bfloat16 stochastically.
    """
    names, where, tests = numbered(trace), columns(trace), conditions(trace)
    loops, needed = loops_of(trace, names, tests)
    written = {name: node for name, node in trace.outputs.items() if node.kind == "tensor"}
    needed.update({id(node): node for node in written.values()})
    slots = {key: index for index, key in enumerate(needed)}
    width, count = HEADER + len(where), max(len(slots), 1)

    lines = [PREAMBLE, f"void update({SIGNATURE}) {{", "if (skip && *skip != 0) return;"]
    lines += _prologue(trace, names, where, needed, slots, written, width, count)
    lines += [
        "#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)",
        # From the end: what the norm has read last is still in the cache.
        "for (i64 item = items - 1; item >= 0; item--) {",
        "for (i64 chunk = bounds[item]; chunk < bounds[item + 1]; chunk++) {",
        "const i64 tensor = chunks[3 * chunk], start = chunks[3 * chunk + 1], stop = chunks[3 * chunk + 2];",
        f"const i64 *row = table + tensor * {width};",
        f"const double *scalar = scratch + tensor * {count};",
    ]
    lines += [f"const {c_type(n.dtype)} {names[k]} = ({c_type(n.dtype)})scalar[{slots[k]}];" for k, n in needed.items()]
    for number, (choice, loop) in enumerate(loops):
        if tests:
            test = " && ".join(
                f"{'' if taken else '!'}{names[id(node)]}" for node, taken in zip(tests, choice, strict=True)
            )
            lines.append(f"{'else ' if number else ''}if ({test}) {{")
        lines += loop_lines(trace, loop, names, where, kept, at_random)
        if tests:
            lines.append("}")
    lines += ["}", "}", "}", ""]
    return Source("\n".join(lines), count)


def _prologue(
    trace: Trace,
    names: Mapping[int, str],
    where: Mapping[str, int],
    needed: Mapping[int, Node],
    slots: Mapping[int, int],
    written: Mapping[str, Node],
    width: int,
    count: int,
) -> list[str]:
    """Return the C lines that fill every tensor's scalars and write the new 0-dim states."""
    states = [trace.inputs[name] for name in where if trace.inputs[name].kind == "tensor"]
    lines = [f"{c_type(node.dtype)} was{i} = 0;" for i, node in enumerate(states)]
    lines += [
        "for (i64 tensor = 0; tensor < tensors; tensor++) {",
        f"const i64 *row = table + tensor * {width};",
        f"double *scalar = scratch + tensor * {count};",
        *scalar_inputs(trace, names, where),
    ]
    same = "".join(f" && {names[id(node)]} == was{i}" for i, node in enumerate(states))
    lines.append(f"if (tensor > 0{same}) {{ for (int i = 0; i < {count}; i++) scalar[i] = scalar[i - {count}]; }}")
    lines.append("else {")
    for node in scalars(trace):
        if any(isinstance(a, Node) and a.kind != "tensor" for a in node.args):
            raise Untraceable("a statistic over a tensor in a rule for single elements")
        lines.append(f"const {c_type(node.dtype)} {names[id(node)]} = {expression(node, names)};")
    lines += [f"scalar[{slots[key]}] = (double){names[key]};" for key in needed]
    lines.append("}")
    lines += [f"was{i} = {names[id(node)]};" for i, node in enumerate(states)]
    for name, node in written.items():
        kind = stored(trace.inputs[name].dtype)
        lines.append(f"*({kind} *)row[{where[name]}] = ({kind})scalar[{slots[id(node)]}];")
    lines.append("}")
    return lines


def loop_lines(
    trace: Trace,
    loop: Loop,
    names: Mapping[int, str],
    where: Mapping[str, int],
    kept: Mapping[str, torch.dtype],
    at_random: bool,
    opening: Sequence[str] | None = None,
) -> list[str]:
    """Return the C lines of one loop over a chunk.

    Args:
        opening: the lines that begin the loop over ``i``, with one brace; None for a processor's blocks.
    """
    lines = []
    touched = [name for name in where if name in loop.reads or name in loop.writes]
    for name in touched:
        const = "" if name in loop.writes else "const "
        kind = stored(kept[name])
        lines.append(f"{const}{kind} *restrict p{where[name]} = ({kind} *)row[{where[name]}];")
    exact = c_type(trace.inputs["grad"].dtype)
    if "grad" in loop.reads:
        lines.append(f"const {exact} factor = scale ? ({exact})*scale : 1;")
    drawn = [n for n in loop.writes if at_random and kept[n] is torch.bfloat16]
    for pair in range(0, len(drawn), 2):  # 32 bits serve two roundings
        lines.append(f"const u32 key{pair} = mixed(seed + 0x9e3779b9u * (u32)({len(where)} * tensor + {pair}));")
    lines += _blocks({f"p{where[name]}": (kept[name], name in loop.writes) for name in touched}, opening)
    for name in loop.reads:
        node = trace.inputs[name]
        read = load(f"p{where[name]}[i]", kept[name], node.dtype)
        times = " * factor" if name == "grad" else ""
        lines.append(f"const {c_type(node.dtype)} {names[id(node)]} = {read}{times};")
    lines += loop.lines
    lines += [f"const u32 bits{pair} = spread(key{pair} + (u32)i);" for pair in range(0, len(drawn), 2)]
    for name, text in loop.writes.items():
        noise = None
        if name in drawn:
            number = drawn.index(name)
            noise = f"bits{number}" if number % 2 == 0 else f"bits{number - 1} << 16"
        lines.append(store(f"p{where[name]}[i]", kept[name], text, noise))
    lines.append("}" if opening else "}}")
    return lines


def _blocks(pointers: Mapping[str, tuple[torch.dtype, bool]], opening: Sequence[str] | None) -> list[str]:
    """Return the lines that begin the loop: blocks, at whose start what comes soon is asked for."""
    if opening is not None:
        return list(opening)
    lines = [f"for (i64 at = start; at < stop; at += {_BLOCK}) {{"]
    lines += [f"const i64 end = at + {_BLOCK} < stop ? at + {_BLOCK} : stop;", f"if (at + {_AHEAD} < stop) {{"]
    for pointer, (dtype, written) in pointers.items():
        lines.append(
            f"for (int line = 0; line < {_BLOCK * dtype.itemsize}; line += 64) "
            f"__builtin_prefetch((const char *)({pointer} + at + {_AHEAD}) + line, {int(written)});"
        )
    return [*lines, "}", "#pragma omp simd", "for (i64 i = at; i < end; i++) {"]
