"""Every rule written a second time from its paper, in NumPy and float64, without looking at the package.

Each class holds the state of one array. ``step(w, g)`` returns the next value; ``average(w)`` the value for evaluation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class Reference:
    """One array's optimizer. Subclasses set their state in ``start`` at the first step."""

    def __init__(self, **settings: object) -> None:
        self.__dict__.update(settings)
        self.t = 0

    def step(self, w: Array, g: Array) -> Array:
        if self.t == 0:
            self.start(w)
        self.t += 1
        return self.move(w, -g if getattr(self, "maximize", False) else g)

    def start(self, w: Array) -> None: ...

    def move(self, w: Array, g: Array) -> Array:
        raise NotImplementedError

    def average(self, w: Array) -> Array:
        return w


class SGD(Reference):
    """Sutskever et al., ICML 2013, section 2, with the rate outside the velocity; dampening as torch documents it."""

    def move(self, w: Array, g: Array) -> Array:
        g = g + self.weight_decay * w
        if self.momentum:
            self.v = g.copy() if self.t == 1 else self.momentum * self.v + (1 - self.dampening) * g
            g = g + self.momentum * self.v if self.nesterov else self.v
        return w - self.lr * g


class Adam(Reference):
    """Kingma, Ba, ICLR 2015, algorithm 1; AMSGrad: Reddi et al., ICLR 2018, algorithm 2 (maximum before correction)."""

    decoupled = False

    def start(self, w: Array) -> None:
        self.m, self.v, self.largest = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)

    def move(self, w: Array, g: Array) -> Array:
        b1, b2 = self.betas
        shrunk = w
        if self.decoupled:
            shrunk = w - self.lr * self.weight_decay * w
        else:
            g = g + self.weight_decay * w
        self.m = b1 * self.m + (1 - b1) * g
        self.v = b2 * self.v + (1 - b2) * g**2
        self.largest = np.maximum(self.largest, self.v)
        v = self.largest if self.amsgrad else self.v
        m_hat, v_hat = self.m / (1 - b1**self.t), v / (1 - b2**self.t)
        return shrunk - self.lr * m_hat / (np.sqrt(v_hat) + self.eps)


class AdamW(Adam):
    """Loshchilov, Hutter, ICLR 2019, algorithm 2 (the green terms), with the decay multiplied by the rate."""

    decoupled = True


class NAdam(Reference):
    """Dozat, ICLR 2016 workshop, algorithm 2, with the momentum schedule of its section 3."""

    def start(self, w: Array) -> None:
        self.m, self.v, self.product = np.zeros_like(w), np.zeros_like(w), 1.0

    def move(self, w: Array, g: Array) -> Array:
        b1, b2 = self.betas
        if self.decoupled_weight_decay:
            w = w - self.lr * self.weight_decay * w
        else:
            g = g + self.weight_decay * w
        now, soon = (b1 * (1 - 0.5 * 0.96 ** (i * self.momentum_decay)) for i in (self.t, self.t + 1))
        self.product *= now
        self.m = b1 * self.m + (1 - b1) * g
        self.v = b2 * self.v + (1 - b2) * g**2
        g_hat, m_hat = g / (1 - self.product), self.m / (1 - self.product * soon)
        bar = (1 - now) * g_hat + soon * m_hat
        return w - self.lr * bar / (np.sqrt(self.v / (1 - b2**self.t)) + self.eps)


class RAdam(Reference):
    """Liu et al., ICLR 2020, algorithm 2, with the threshold 5 and epsilon beside the uncorrected root, as in torch."""

    def start(self, w: Array) -> None:
        self.m, self.v = np.zeros_like(w), np.zeros_like(w)

    def move(self, w: Array, g: Array) -> Array:
        b1, b2 = self.betas
        if self.decoupled_weight_decay:
            w = w - self.lr * self.weight_decay * w
        else:
            g = g + self.weight_decay * w
        self.m = b1 * self.m + (1 - b1) * g
        self.v = b2 * self.v + (1 - b2) * g**2
        m_hat = self.m / (1 - b1**self.t)
        limit = 2 / (1 - b2) - 1
        length = limit - 2 * self.t * b2**self.t / (1 - b2**self.t)
        if length <= 5:
            return w - self.lr * m_hat
        adapt = np.sqrt(1 - b2**self.t) / (np.sqrt(self.v) + self.eps)
        rectify = np.sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))
        return w - self.lr * rectify * m_hat * adapt


class Adamax(Reference):
    """Kingma, Ba, ICLR 2015, algorithm 2, with torch's epsilon beside the magnitude."""

    def start(self, w: Array) -> None:
        self.m, self.u = np.zeros_like(w), np.zeros_like(w)

    def move(self, w: Array, g: Array) -> Array:
        b1, b2 = self.betas
        g = g + self.weight_decay * w
        self.m = b1 * self.m + (1 - b1) * g
        self.u = np.maximum(b2 * self.u, np.abs(g) + self.eps)
        return w - self.lr / (1 - b1**self.t) * self.m / self.u


class RMSprop(Reference):
    """Tieleman, Hinton, lecture 6.5, 2012; centered, with momentum: Graves, 2013, equations 38-45 (epsilon outside)."""

    def start(self, w: Array) -> None:
        self.n, self.g, self.delta = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)

    def move(self, w: Array, g: Array) -> Array:
        g = g + self.weight_decay * w
        self.n = self.alpha * self.n + (1 - self.alpha) * g**2
        self.g = self.alpha * self.g + (1 - self.alpha) * g
        spread = self.n - self.g**2 if self.centered else self.n
        self.delta = self.momentum * self.delta + g / (np.sqrt(spread) + self.eps)
        return w - self.lr * self.delta


class Adagrad(Reference):
    """Duchi et al., JMLR 2011, figure 1 with diagonal matrices; lr_decay from torch's documentation."""

    def start(self, w: Array) -> None:
        self.s = np.full_like(w, self.initial_accumulator_value)

    def move(self, w: Array, g: Array) -> Array:
        g = g + self.weight_decay * w
        self.s = self.s + g**2
        rate = self.lr / (1 + (self.t - 1) * self.lr_decay)
        return w - rate * g / (np.sqrt(self.s) + self.eps)


class Adadelta(Reference):
    """Zeiler, 2012, algorithm 1."""

    def start(self, w: Array) -> None:
        self.g2, self.x2 = np.zeros_like(w), np.zeros_like(w)

    def move(self, w: Array, g: Array) -> Array:
        g = g + self.weight_decay * w
        self.g2 = self.rho * self.g2 + (1 - self.rho) * g**2
        dx = -np.sqrt(self.x2 + self.eps) / np.sqrt(self.g2 + self.eps) * g
        self.x2 = self.rho * self.x2 + (1 - self.rho) * dx**2
        return w + self.lr * dx


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


class Adafactor(Reference):
    """Shazeer, Stern, ICML 2018, algorithms 4 and 5; the first moment and the decay as Hugging Face has them.

    ``form="torch"`` keeps epsilon1 out of the averages and uses it as a floor instead (torch's documentation, note).
    """

    def start(self, w: Array) -> None:
        self.r = np.zeros(w.shape[:-1]) if w.ndim > 1 else None
        self.c = np.zeros(w.shape[:-2] + w.shape[-1:]) if w.ndim > 1 else None
        self.v, self.m = np.zeros_like(w), np.zeros_like(w)

    def move(self, w: Array, g: Array) -> Array:
        floor = self.form == "torch"
        eps1 = self.eps[0] if self.eps[0] is not None else (np.finfo(np.float64).eps if floor else 1e-30)
        beta2 = 1 - self.t**self.beta2_decay
        square = g**2 if floor else g**2 + eps1
        if w.ndim > 1:
            self.r = beta2 * self.r + (1 - beta2) * square.mean(-1)
            self.c = beta2 * self.c + (1 - beta2) * square.mean(-2)
            size = self.r.mean(-1)[..., None, None]
            v = self.r[..., :, None] * self.c[..., None, :] / (np.maximum(size, eps1) if floor else size)
        else:
            v = self.v = beta2 * self.v + (1 - beta2) * square
        u = g / (np.maximum(np.sqrt(v), eps1) if floor else np.sqrt(v))
        u = u / max(1.0, rms(u) / self.d)
        cap = 0.01 if self.lr is None else self.lr
        if self.warmup_init:
            cap = 1e-6 * self.t
        rho = min(cap, 1 / np.sqrt(self.t)) if self.relative_step else cap
        alpha = (max(self.eps[1], rms(w)) if self.scale_parameter else 1.0) * rho
        u = alpha * u
        if self.beta1 is not None:
            u = self.m = self.beta1 * self.m + (1 - self.beta1) * u
        return w - self.weight_decay * (cap if floor else alpha) * w - u


class Lion(Reference):
    """Chen et al., NeurIPS 2023, algorithm 2."""

    def start(self, w: Array) -> None:
        self.m = np.zeros_like(w)

    def move(self, w: Array, g: Array) -> Array:
        b1, b2 = self.betas
        direction = np.sign(b1 * self.m + (1 - b1) * g)
        self.m = b2 * self.m + (1 - b2) * g
        return w - self.lr * (direction + self.weight_decay * w)


class Muon(Reference):
    """Jordan et al., 2024, the post's algorithm and its Newton-Schulz polynomial; Liu et al., 2025, section 2.2.

    Written through the singular value decomposition: the iteration is an odd polynomial of the singular values.
    """

    def start(self, w: Array) -> None:
        self.b = np.zeros_like(w)
        if w.ndim < 2:
            self.second = AdamW(
                lr=self.other.lr,
                betas=self.other.betas,
                eps=self.other.eps,
                weight_decay=self.other.weight_decay,
                amsgrad=False,
            )

    def move(self, w: Array, g: Array) -> Array:
        if w.ndim < 2:
            return self.second.step(w, g)
        self.b = self.momentum * self.b + (1 - self.momentum) * g
        u = (1 - self.momentum) * g + self.momentum * self.b if self.nesterov else self.b
        flat = u.reshape(len(u), -1)
        left, s, right = np.linalg.svd(flat, full_matrices=False)
        a, b, c = self.ns_coefficients
        s = s / max(float(np.linalg.norm(flat)), self.eps)
        for _ in range(self.ns_steps):
            s = a * s + b * s**3 + c * s**5
        n, m = flat.shape
        size = 0.2 * max(n, m) ** 0.5 if self.adjust_lr_fn == "match_rms_adamw" else max(1.0, n / m) ** 0.5
        return w - self.lr * self.weight_decay * w - self.lr * size * ((left * s) @ right).reshape(w.shape)


class ScheduleFree(Reference):
    """Defazio et al., NeurIPS 2024, equations 3-5 (SGD) and algorithm 1 (AdamW), with x, y and z all kept."""

    def start(self, w: Array) -> None:
        self.x, self.z, self.v = w.copy(), w.copy(), np.zeros_like(w)
        self.total = self.top = 0.0

    def direction(self, w: Array, g: Array) -> Array:
        return g + self.weight_decay * w

    def move(self, w: Array, g: Array) -> Array:
        rate = self.lr * (min(1.0, self.t / self.warmup_steps) if self.warmup_steps else 1.0)
        self.top = max(self.top, rate)
        weight = self.t**self.r * self.top**self.weight_lr_power
        self.total += weight
        share = weight / self.total if self.total else 0.0
        self.z = self.z - rate * self.direction(w, g)
        self.x = (1 - share) * self.x + share * self.z
        return (1 - self.beta) * self.z + self.beta * self.x

    def average(self, w: Array) -> Array:
        return self.x


class ScheduleFreeSGD(ScheduleFree):
    @property
    def beta(self) -> float:
        return self.momentum


class ScheduleFreeAdamW(ScheduleFree):
    @property
    def beta(self) -> float:
        return self.betas[0]

    def direction(self, w: Array, g: Array) -> Array:
        b2 = self.betas[1]
        self.v = b2 * self.v + (1 - b2) * g**2
        return g / (np.sqrt(self.v / (1 - b2**self.t)) + self.eps) + self.weight_decay * w


class Lookahead(Reference):
    """Zhang et al., NeurIPS 2019, algorithm 1."""

    def start(self, w: Array) -> None:
        self.slow = w.copy()

    def move(self, w: Array, g: Array) -> Array:
        w = self.inner.step(w, g)
        if self.t % self.k == 0:
            self.slow = self.slow + self.alpha * (w - self.slow)
            return self.slow.copy()
        return w


class Averaged(Reference):
    """Izmailov et al., UAI 2018, algorithm 1 (uniform); the exponential average starts at its first weights."""

    def start(self, w: Array) -> None:
        self.seen: list[Array] = []

    def move(self, w: Array, g: Array) -> Array:
        w = self.inner.step(w, g)
        since = self.t - self.start_at
        if since > 0 and since % self.every == 0:
            self.seen.append(w.copy())
        return w

    def average(self, w: Array) -> Array:
        if not self.seen:
            return w
        if self.decay is None:
            return np.mean(self.seen, axis=0)
        value = self.seen[0]
        for new in self.seen[1:]:
            value = self.decay * value + (1 - self.decay) * new
        return value


def of(rule: object) -> Callable[[], Reference]:
    """Return a maker of the reference of the same name with the rule's settings; wrappers around the inner one's."""
    kind = globals()[type(rule).__name__]
    settings = dict(vars(rule))
    if "rule" in settings:
        inner = of(settings.pop("rule"))
        if "start" in settings:
            settings["start_at"] = settings.pop("start")
        return lambda: kind(inner=inner(), **settings)
    return lambda: kind(**settings)
