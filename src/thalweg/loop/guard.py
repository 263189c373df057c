"""What becomes of losses and gradients that are not finite, and of spikes of the loss."""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.errors import check_number, unknown_name

__all__ = ["POLICIES", "Guard"]

POLICIES = ("raise", "skip", "rollback")


@dataclass(frozen=True)
class Guard:
    r"""The policy for an update whose loss or gradient is not finite, or whose loss is a spike.

    Nothing waits for the device: losses and norms stay there until the next flush (``flush_every`` updates), where they
    are judged. The report names the step, the rows of its batch, the first parameter with a bad gradient, and by how
    many updates it was late. The history keeps every value as it was.

    A spike is a loss above :math:`m + k d`, where *m* and *d* are the exponential averages (:math:`\beta = 0.98`) of
    the losses so far and of their absolute distances from *m*; spikes do not enter the averages.

    Args:
        policy: ``"raise"`` ends the training. ``"skip"`` leaves parameters, optimizer state and buffers as they were,
            decided on the device; the update still counts for schedules. ``"rollback"`` goes back to the last good
            checkpoint of the run directory, cuts the rate and leaves the offending batches out.
        spike: *k* > 0; None judges only what is not finite.
        after: updates before which no loss is a spike, >= 1.
        cut: factor on every rate at a rollback, in (0, 1].
        most: rollbacks of one training after which the next one raises, >= 1.

    Raises:
        ValueError: an unknown policy, or a number out of range.

    >>> Guard.of("skip")
    Guard(policy='skip', spike=None, after=50, cut=0.5, most=3)
    """

    policy: str = "raise"
    spike: float | None = None
    after: int = 50
    cut: float = 0.5
    most: int = 3

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise unknown_name("Guard", "policy", self.policy, POLICIES)
        if self.spike is not None:
            check_number("Guard", "spike", self.spike, low=0.0, low_open=True)
        check_number("Guard", "after", self.after, low=1)
        check_number("Guard", "cut", self.cut, low=0.0, low_open=True, high=1.0)
        check_number("Guard", "most", self.most, low=1)

    @classmethod
    def of(cls, given: Guard | str) -> Guard:
        """Return the guard itself, or the one of a policy's name.

        Raises:
            TypeError: it is neither.
        """
        if isinstance(given, Guard):
            return given
        if not isinstance(given, str):
            raise TypeError(f"fit: guard={given!r} is a {type(given).__name__}; give a policy's name or a tw.Guard.")
        return cls(given)
