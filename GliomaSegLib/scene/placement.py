"""The transforms of a run: from registration in the application, given by the user, or found by the worker."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import slicer
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import GliomaSegError, InputError
from GliomaSegLib.scene.registration import BrainsFit
from GliomaSegLib.scene.session import Session
from GliomaSegLib.scene.transforms import insert_above, read_transform, write_transform
from GliomaSegLib.scene.volumes import corners_mm, ijk_to_world
from GliomaSegLib.worker.client import Event

# A smaller movement is ignored, as in the worker: interpolation would lose more than it gains.
_LEAST_SHIFT_MM = 1.0

Volumes = Mapping[Modality, slicer.vtkMRMLScalarVolumeNode]


@dataclass
class RunTransforms:
    """Transform nodes of a run by modality: those that registration made, and those that the user gave."""

    made: dict[Modality, slicer.vtkMRMLLinearTransformNode] = field(default_factory=dict)
    given: dict[Modality, slicer.vtkMRMLTransformNode] = field(default_factory=dict)


def register_volumes(
    session: Session,
    registrar: BrainsFit,
    moving: Volumes,
    reference: slicer.vtkMRMLScalarVolumeNode,
    folder: Path,
    placed: RunTransforms,
    undo: ExitStack,
) -> Generator[Event | None, None, dict[Modality, Path]]:
    """Steps that register volumes with BRAINSFit; volumes for which that fails are left to the worker.

    Args:
        folder: the ITK transform files are written to it.
        placed: the new transform nodes are added to ``made``.

    Returns:
        the transform file of each volume that has to be moved.
    """
    files = {}
    yield Event("stage", "registration")
    for done, (sequence, volume) in enumerate(moving.items()):
        yield Event("progress", sequence.title, done / len(moving))
        node = session.add_node("vtkMRMLLinearTransformNode", f"{volume.GetName()} to {reference.GetName()}", undo)
        running = registrar.start(reference, volume, node)
        try:
            while not running.poll():
                yield None
        except GliomaSegError:
            running.cancel()
            while not running.poll():  # until its temporary nodes are gone
                yield None
            raise
        except BaseException:
            running.cancel()
            raise
        if running.error:
            yield Event("warning", f"{running.error} It is registered by the worker instead.")
            session.remove_node(node)
            continue
        matrix = slicer.util.arrayFromTransformMatrix(node)
        if _shift_mm(matrix, volume) < _LEAST_SHIFT_MM:
            session.remove_node(node)
            continue
        files[sequence] = folder / f"{sequence.value}.tfm"
        write_transform(matrix, files[sequence])
        placed.made[sequence] = node
    return files


def given_files(
    given: Mapping[Modality, slicer.vtkMRMLTransformNode | Path | str], volumes: Volumes, folder: Path
) -> dict[Modality, Path]:
    """The user's transforms as ITK files for the worker.

    Raises:
        InputError: a transform is not linear.
    """
    files = {}
    for sequence, one in given.items():
        if not isinstance(one, slicer.vtkMRMLTransformNode):
            files[sequence] = Path(one).absolute()
            continue
        if not one.IsTransformToWorldLinear():
            raise InputError(f"The transform '{one.GetName()}' is not linear; give a rigid one, or none.")
        matrix = slicer.util.arrayFromTransformMatrix(one, toWorld=True)
        if _is_above(one, volumes[sequence]):
            matrix = np.eye(4)  # the volume was exported where the transform puts it
        files[sequence] = folder / f"{sequence.value}.tfm"
        write_transform(matrix, files[sequence])
    return files


def place_volumes(
    session: Session, folder: Path, volumes: Volumes, placed: RunTransforms, undo: ExitStack
) -> dict[Modality, slicer.vtkMRMLLinearTransformNode]:
    """Move each volume to its registered position by a transform node above it.

    Args:
        folder: of the ITK transform files in the results.

    Returns:
        the new nodes.
    """
    made = {}
    for sequence, volume in volumes.items():
        path, given = folder / f"{sequence.value}.tfm", placed.given.get(sequence)
        if given is not None and _is_above(given, volume):
            continue
        if given is None and not path.is_file():
            continue
        undo.callback(volume.SetAndObserveTransformNodeID, volume.GetTransformNodeID())
        if given is not None and volume.GetParentTransformNode() is None:
            volume.SetAndObserveTransformNodeID(given.GetID())
            continue
        if given is not None:
            matrix = slicer.util.arrayFromTransformMatrix(given, toWorld=True)
        else:
            matrix = read_transform(path)
        node = placed.made.get(sequence)
        if node is None:
            node = session.add_node("vtkMRMLLinearTransformNode", f"{volume.GetName()} to reference", undo)
        insert_above(volume, node, matrix)
        made[sequence] = node
    return made


def _is_above(transform: slicer.vtkMRMLTransformNode, volume: slicer.vtkMRMLVolumeNode) -> bool:
    parent = volume.GetParentTransformNode()
    while parent is not None and parent is not transform:
        parent = parent.GetParentTransformNode()
    return parent is transform


def _shift_mm(matrix: NDArray[np.float64], volume: slicer.vtkMRMLVolumeNode) -> float:
    """Estimate of how far a transform moves the head: half of the mean shift of the corners of the field of view."""
    points = corners_mm(ijk_to_world(volume), volume.GetImageData().GetDimensions())
    return float(np.linalg.norm(points @ matrix[:3, :3].T + matrix[:3, 3] - points, axis=1).mean() / 2)
