"""User-supplied details of a model whose card is written from a training run or a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from GliomaSegLib.case import TimePointKind
from GliomaSegLib.options import Task


@dataclass(frozen=True)
class About:
    """The fields of a card that are not in a recipe or bundle.

    Attributes:
        model: its id.
        licence: of the weights.
        title, attribution: by default made from what is known.
    """

    model: str
    licence: str
    title: str | None = None
    attribution: str | None = None
    task: Task = Task.PREOPERATIVE_GLIOMA
    time_points: tuple[TimePointKind, ...] = (TimePointKind.PREOPERATIVE,)

    def fields(self, title: str, attribution: str, file: str) -> dict[str, Any]:
        """These fields as the JSON of a card.

        Args:
            title, attribution: where there are none of the person's.
            file: name of the weight file.
        """
        return {
            "id": self.model,
            "title": self.title or title,
            "version": "1",
            "task": self.task.value,
            "time_points": [one.value for one in self.time_points],
            "weights": {
                "files": [{"name": file}],
                "licence": self.licence,
                "attribution": self.attribution or attribution,
            },
            "licence": self.licence,
            "status": "unproven",
        }
