"""C for rules with statistics over a whole parameter: as many passes over each tensor as they need."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from thalweg.engine.c_elements import HEADER, SIGNATURE, columns, numbered, scalar_inputs
from thalweg.engine.c_source import PREAMBLE, Source, c_type, expression, load, store, stored
from thalweg.engine.trace import Node, Trace, Untraceable, walk

__all__ = ["tensor_source"]

_BLOCK = 1024  # elements that are summed in the parameter's precision before float64 takes over
_INDEX = {"row": "i", "column": "j", "matrix": "b"}
_LENGTH = {"row": "n_rows", "column": "n_columns", "matrix": "matrices"}


def _is_reduction(node: Node) -> bool:
    return node.op in ("mean", "sum") and isinstance(node.args[0], Node) and node.args[0].kind != node.kind


class _Levels:
    """At which pass each value is known: one more than what it is a mean of."""

    def __init__(self, trace: Trace) -> None:
        self.of: dict[int, int] = {}
        self.order: list[Node] = []
        walk(list(trace.outputs.values()), self._place)
        self.last = max(self.of.values(), default=0)

    def _place(self, node: Node) -> None:
        below = [self.of[id(a)] for a in (*node.args, *node.options.values()) if isinstance(a, Node)]
        self.of[id(node)] = max(below, default=0) + (1 if _is_reduction(node) else 0)
        self.order.append(node)

    def at(self, level: int, kind: str) -> list[Node]:
        """Return the values of *kind* first known at *level*, arguments first; no inputs, no means."""
        return [
            n
            for n in self.order
            if n.kind == kind and self.of[id(n)] == level and n.op != "input" and not _is_reduction(n)
        ]

    def means(self, level: int, source: str) -> list[Node]:
        """Return the means over *source* that are known at *level*."""
        return [n for n in self.order if _is_reduction(n) and self.of[id(n)] == level and n.args[0].kind == source]


class _Writer:
    """Writes the kernel of one trace."""

    def __init__(self, trace: Trace, kept: Mapping[str, torch.dtype], at_random: bool) -> None:
        self.trace, self.kept, self.at_random = trace, kept, at_random
        self.names, self.where, self.levels = numbered(trace), columns(trace), _Levels(trace)
        self.inputs = {id(node): name for name, node in trace.inputs.items()}
        self.lines: list[str] = []
        # Values per row, column and matrix lie in the scratch memory, which each thread has its own piece of.
        self.arrays = {kind: [n for n in self.levels.order if n.kind == kind and n.op != "input"] for kind in _INDEX}

    def place(self, node: Node) -> str:
        """Return where a value per row, column or matrix lies."""
        index = {"row": "b * rows + i", "column": "b * cols + j", "matrix": "b"}[node.kind]
        if node.op == "input":
            return f"p{self.where[self.inputs[id(node)]]}[{index}]"
        return f"a_{self.names[id(node)]}[{index}]"

    def source(self) -> Source:
        width = HEADER + len(self.where)
        add = self.lines.append
        add(f"{PREAMBLE}\nvoid update({SIGNATURE}) {{")
        add("if (skip && *skip != 0) return;")
        add("#pragma omp parallel num_threads(threads)")
        add("{")
        add("double *mine = scratch + per_thread * omp_get_thread_num();")
        add("#pragma omp for schedule(dynamic, 1)")
        add("for (i64 item = 0; item < tensors; item++) {")
        add("const i64 tensor = chunks[item];")
        add(f"const i64 *row = table + tensor * {width};")
        add("const i64 matrices = row[0], rows = row[1], cols = row[2];")
        add("const i64 n_rows = matrices * rows, n_columns = matrices * cols; double *free_place = mine;")
        self.lines += scalar_inputs(self.trace, self.names, self.where)
        for name, column in self.where.items():
            node = self.trace.inputs[name]
            if node.kind != "tensor":
                kind = stored(self.kept[name])
                add(f"{kind} *restrict p{column} = ({kind} *)row[{column}];")
        for kind, nodes in self.arrays.items():
            for node in nodes:
                one = c_type(node.dtype)
                add(f"{one} *restrict a_{self.names[id(node)]} = ({one} *)free_place; free_place += {_LENGTH[kind]};")
        exact = c_type(self.trace.inputs["grad"].dtype)
        add(f"const {exact} factor = scale ? ({exact})*scale : 1;")
        for level in range(self.levels.last + 1):
            self._level(level)
        for name, node in self.trace.outputs.items():
            if node.kind == "tensor":
                kind = stored(self.trace.inputs[name].dtype)
                add(f"*({kind} *)row[{self.where[name]}] = ({kind}){self.names[id(node)]};")
            elif node.kind != "element":
                self._keep(name, node)
        add("}\n}\n}\n")
        return Source(
            "\n".join(["int omp_get_thread_num(void);", *self.lines]),
            len(self.arrays["matrix"]),
            len(self.arrays["row"]),
            len(self.arrays["column"]),
        )

    def _level(self, level: int) -> None:
        """Write what is known at *level*: values per tensor, matrix, row and column, then the next pass."""
        for node in self.levels.at(level, "tensor"):
            self._compute(node, {})
        for kind in ("matrix", "row", "column"):
            for node in self.levels.at(level, kind):
                self._loop(kind, [*self._read(node), self._assign(node)])
        for source in ("row", "column", "matrix"):
            for node in self.levels.means(level + 1, source):
                self._small_mean(node)
        means = self.levels.means(level + 1, "element")
        if means or level == self.levels.last:
            self._pass(means, final=level == self.levels.last)

    def _compute(self, node: Node, local: Mapping[int, str]) -> None:
        names = {**self.names, **local}
        self.lines.append(f"const {c_type(node.dtype)} {names[id(node)]} = {expression(node, names)};")

    def _read(self, node: Node) -> list[str]:
        """Return the C lines that read the arguments of a value per row, column or matrix."""
        lines = []
        for argument in dict.fromkeys(a for a in node.args if isinstance(a, Node) and a.kind != "tensor"):
            kind = c_type(argument.dtype)
            lines.append(f"const {kind} {self.names[id(argument)]} = ({kind}){self.place(argument)};")
        return lines

    def _assign(self, node: Node) -> str:
        return f"{self.place(node)} = {expression(node, self.names)};"

    def _loop(self, kind: str, lines: list[str]) -> None:
        inner = {"row": "for (i64 i = 0; i < rows; i++) {", "column": "for (i64 j = 0; j < cols; j++) {", "matrix": "{"}
        self.lines += ["for (i64 b = 0; b < matrices; b++) {", inner[kind], *lines, "}", "}"]

    def _small_mean(self, node: Node) -> None:
        """Write a mean over values per row, column or matrix."""
        source: Node = node.args[0]
        kind, name = c_type(node.dtype), self.names[id(node)]
        inner = {"row": "rows", "column": "cols", "matrix": "1"}[source.kind]
        index = {"row": "i", "column": "j", "matrix": "k"}[source.kind]
        over = f"for (i64 {index} = 0; {index} < {inner}; {index}++) sum += {self.place(source)};"
        if node.kind == "matrix":
            put = f"{self.place(node)} = ({kind})({self._mean(node, 'sum', inner)});"
            self.lines += ["for (i64 b = 0; b < matrices; b++) { double sum = 0;", over, put, "}"]
        else:
            self.lines += [f"double sum_{name} = 0;", "for (i64 b = 0; b < matrices; b++) { double sum = 0;", over]
            self.lines += [f"sum_{name} += sum; }}", f"const {kind} {name} = ({kind})("]
            self.lines[-1] += f"{self._mean(node, f'sum_{name}', f'(matrices * {inner})')});"

    @staticmethod
    def _mean(node: Node, total: str, count: str) -> str:
        return f"{total} / (double){count}" if node.op == "mean" else total

    def _keep(self, name: str, node: Node) -> None:
        """Write a new state per row or column to its place."""
        target = self.place(self.trace.inputs[name])
        self._loop(node.kind, [f"{target} = ({stored(self.kept[name])}){self.place(node)};"])

    def _pass(self, means: list[Node], *, final: bool) -> None:
        """Write a pass over the elements that takes *means*, and the last one of them all that stores the results."""
        outputs = {n: node for n, node in self.trace.outputs.items() if node.kind == "element"} if final else {}
        needed = [mean.args[0] for mean in means] + list(outputs.values())
        if not needed:
            return
        found: list[Node] = []
        walk(needed, found.append)
        # A mean is known here, and what it was taken over is not needed again.
        alive: set[int] = set()
        stack = list(needed)
        while stack:
            node = stack.pop()
            if id(node) in alive or node.kind != "element":
                continue
            alive.add(id(node))
            stack += [a for a in (*node.args, *node.options.values()) if isinstance(a, Node)]
        elements = [node for node in found if id(node) in alive]
        rims: dict[str, list[Node]] = {kind: [] for kind in _INDEX}
        for node in elements:
            for argument in node.args:
                if isinstance(argument, Node) and argument.kind in rims and argument not in rims[argument.kind]:
                    rims[argument.kind].append(argument)
        by_kind = {kind: [m for m in means if m.kind == kind] for kind in ("row", "column", "tensor", "matrix")}
        if by_kind["matrix"]:
            raise Untraceable("a mean over each matrix of a stack")
        add, names = self.lines.append, self.names
        for mean in by_kind["tensor"]:
            add(f"double sum_{names[id(mean)]} = 0;")
        for mean in by_kind["column"]:
            add(f"for (i64 k = 0; k < n_columns; k++) a_{names[id(mean)]}[k] = 0;")
        drawn = [n for n in outputs if self.at_random and self.kept[n] is torch.bfloat16]
        for name in drawn:
            key = f"0x9e3779b9u * (u32)({len(self.where)} * tensor + {self.where[name]})"
            add(f"const u32 key{self.where[name]} = mixed(seed + {key});")
        add("for (i64 b = 0; b < matrices; b++) {")
        self.lines += [self._declare(node) for node in rims["matrix"]]
        add("for (i64 i = 0; i < rows; i++) {")
        self.lines += [self._declare(node) for node in rims["row"]]
        summed = by_kind["row"] + by_kind["tensor"]
        self.lines += [f"double line_{names[id(m)]} = 0;" for m in summed]
        add(f"for (i64 from = 0; from < cols; from += {_BLOCK}) {{")
        add(f"const i64 to = from + {_BLOCK} < cols ? from + {_BLOCK} : cols;")
        self.lines += [f"{c_type(m.dtype)} part_{names[id(m)]} = 0;" for m in summed]
        sums = "".join(f" reduction(+ : part_{names[id(m)]})" for m in summed)
        add(f"#pragma omp simd{sums}")
        add("for (i64 j = from; j < to; j++) {")
        add("const i64 k = (b * rows + i) * cols + j;")
        self.lines += [self._declare(node) for node in rims["column"]]
        for node in elements:
            if node.op == "input":
                name = self.inputs[id(node)]
                times = " * factor" if name == "grad" else ""
                read = load(f"p{self.where[name]}[k]", self.kept[name], node.dtype)
                add(f"const {c_type(node.dtype)} {names[id(node)]} = {read}{times};")
            else:
                self._compute(node, {})
        self.lines += [f"part_{names[id(m)]} += {names[id(m.args[0])]};" for m in summed]
        self.lines += [f"{self.place(m)} += {names[id(m.args[0])]};" for m in by_kind["column"]]
        for name, node in outputs.items():
            column = self.where[name]
            noise = f"mixed(key{column} + (u32)k)" if name in drawn else None
            add(store(f"p{column}[k]", self.kept[name], names[id(node)], noise))
        add("}")
        self.lines += [f"line_{names[id(m)]} += part_{names[id(m)]};" for m in summed]
        add("}")
        self.lines += [f"sum_{names[id(m)]} += line_{names[id(m)]};" for m in by_kind["tensor"]]
        for mean in by_kind["row"]:
            add(f"{self.place(mean)} = ({c_type(mean.dtype)})({self._mean(mean, f'line_{names[id(mean)]}', 'cols')});")
        add("}\n}")
        for mean in by_kind["column"]:
            scaled = self._mean(mean, f"a_{names[id(mean)]}[k]", "rows")
            add(f"for (i64 k = 0; k < n_columns; k++) a_{names[id(mean)]}[k] = ({c_type(mean.dtype)})({scaled});")
        for mean in by_kind["tensor"]:
            total = self._mean(mean, f"sum_{names[id(mean)]}", "(matrices * rows * cols)")
            add(f"const {c_type(mean.dtype)} {names[id(mean)]} = ({c_type(mean.dtype)})({total});")

    def _declare(self, node: Node) -> str:
        kind = c_type(node.dtype)
        return f"const {kind} {self.names[id(node)]} = ({kind}){self.place(node)};"


def tensor_source(trace: Trace, kept: Mapping[str, torch.dtype], *, at_random: bool = False) -> Source:
    """Return the C source of ``update`` for a rule with means over rows, columns or all of a parameter.

    A value that is a mean is known one pass later than what it is the mean of; every pass computes its elements anew
    from the parameter and the gradient, which stay in the cache from one pass over a tensor to the next. Threads take
    whole tensors, the largest first.

    Args:
        trace: the rule's update.
        kept: the dtype in memory of ``"param"``, ``"grad"`` and every state.
        at_random: round bfloat16 stochastically.

    Raises:
        Untraceable: another statistic than a mean over rows, columns or everything.
    """
    return _Writer(trace, kept, at_random).source()
