"""Learning rate schedules, as factors of the initial learning rate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from GliomaSegLib.record import Record


class Constant(Record):
    """A constant learning rate."""

    name: Literal["constant"] = "constant"

    def factor(self, step: int, steps: int) -> float:
        """The factor at ``step`` (from 0) of ``steps``."""
        return 1.0


class Poly(Record):
    """``(1 - step / steps) ** power``, after a linear warm-up; nnU-Net's, with power 0.9."""

    name: Literal["poly"] = "poly"
    power: float = Field(default=0.9, gt=0)
    warmup: int = Field(default=0, ge=0, description="steps")

    def factor(self, step: int, steps: int) -> float:
        """The factor at ``step`` (from 0) of ``steps``."""
        rising = min(1.0, (step + 1) / (self.warmup + 1))
        return rising * max(0.0, 1 - step / steps) ** self.power


class Milestones(Record):
    """Multiplied by ``factor_each`` at each of the ``at`` steps.

    Eijgelaar 2020 halves the rate at 5000, 10000 and 15000 iterations and every 1500 thereafter.
    """

    name: Literal["milestones"] = "milestones"
    at: tuple[int, ...]
    factor_each: float = Field(default=0.5, gt=0, lt=1)

    def factor(self, step: int, steps: int) -> float:
        """The factor at ``step`` (from 0) of ``steps``."""
        return self.factor_each ** sum(step >= milestone for milestone in self.at)


Schedule = Annotated[Constant | Poly | Milestones, Field(discriminator="name")]
