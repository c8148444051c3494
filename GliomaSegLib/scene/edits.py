"""Edits of a segmentation node that can be undone one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
from numpy.typing import NDArray

from GliomaSegLib.scene.segmentation import labels_of, set_labels


@dataclass(frozen=True)
class _Step:
    """The voxels (flat indices) that an edit changed, and their labels before and after it."""

    voxels: NDArray[np.intp]
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]


class Edits:
    """The panel's edits of one segmentation node; the Segment Editor has its own undo.

    Undo restores only voxels that still are as the edit left them, so that it never removes what was drawn since.
    """

    def __init__(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        self.node = node
        self._steps: list[_Step] = []
        self._undone: list[_Step] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to undo."""
        return bool(self._steps)

    @property
    def can_redo(self) -> bool:
        """Whether there is an edit that was undone."""
        return bool(self._undone)

    def apply(self, labels: NDArray[np.uint8]) -> None:
        """Change the node to ``labels`` (see :func:`set_labels`) as one step."""
        before, _ = labels_of(self.node)
        set_labels(self.node, labels)
        self.remember(before, labels)

    def remember(self, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> None:
        """Record a change that has already been made on the node as one step."""
        changed = np.flatnonzero(before != after)
        if changed.size:
            self._steps.append(_Step(changed, before.ravel()[changed], after.ravel()[changed]))
            self._undone.clear()

    def undo(self) -> None:
        """Undo the last step.

        Raises:
            IndexError: there is none.
        """
        self._undone.append(step := self._steps.pop())
        self._change(step.voxels, step.after, step.before)

    def redo(self) -> None:
        """Repeat the step that was undone last.

        Raises:
            IndexError: there is none.
        """
        self._steps.append(step := self._undone.pop())
        self._change(step.voxels, step.before, step.after)

    def _change(self, voxels: NDArray[np.intp], before: NDArray[np.uint8], after: NDArray[np.uint8]) -> None:
        labels, _ = labels_of(self.node)
        flat = labels.reshape(-1)
        untouched = flat[voxels] == before
        flat[voxels[untouched]] = after[untouched]
        set_labels(self.node, labels)
