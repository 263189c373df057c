"""An absolute floor lies below the base, or the decay would be a rise."""

from __future__ import annotations

__all__ = ["check_floor"]


def check_floor(who: str, eta_min: float, base: float) -> None:
    """Raise unless the group's base reaches down to *eta_min* from above.

    Raises:
        ValueError: *base* is below *eta_min*.

    >>> check_floor("Cosine", eta_min=1e-3, base=1e-4)
    Traceback (most recent call last):
    ...
    ValueError: Cosine: eta_min=0.001 is above the group's base 0.0001, so the value would rise to it; lower eta_min.
    """
    if base < eta_min:
        raise ValueError(
            f"{who}: eta_min={eta_min} is above the group's base {base}, so the value would rise to it; lower eta_min."
        )
