"""Keeps the files of a result and of its last comparison in the scene, so that it is complete on another computer.

The folder on disk has precedence. Where it is missing, the files are read from a text node (a ZIP archive in base64)
that is saved with the scene, and the folder is written again when something is to be changed in it.
"""

from __future__ import annotations

import base64
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import slicer

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.folder import MANIFEST
from GliomaSegLib.results.layout import MEASURES_JSON
from GliomaSegLib.scene.attributes import COMPARISON, CREATED, OUTPUT, RESULT_LABELS
from GliomaSegLib.scene.hierarchy import own_reference, segmentations_in


class Files(Enum):
    """A set of files, by the attribute of the segmentation node that holds the path of their folder."""

    RESULT = OUTPUT
    COMPARISON = COMPARISON

    @property
    def role(self) -> str:
        """The role of the node reference to the text node."""
        return f"{self.value}Files"


def packed(folder: Path) -> str:
    """The files of a folder as a ZIP archive in base64. Touches no scene, so that another thread may run it.

    Raises:
        InputError: a file cannot be read.
    """
    content = io.BytesIO()
    try:
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                archive.write(path, path.relative_to(folder).as_posix())
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}), so the scene cannot keep it.") from error
    return base64.b64encode(content.getvalue()).decode("ascii")


def keep(node: slicer.vtkMRMLSegmentationNode, files: Files, text: str) -> slicer.vtkMRMLTextNode:
    """Store the output of :func:`packed` in the scene, replacing what was stored before."""
    kept = own_reference(node, files.role)
    if kept is None:
        kept = node.GetScene().AddNewNodeByClass("vtkMRMLTextNode", f"{node.GetName()} files")
        kept.SetHideFromEditors(True)
        kept.SetForceCreateStorageNode(slicer.vtkMRMLTextNode.CreateStorageNodeAlways)  # a file, not in the .mrml
        node.SetNodeReferenceID(files.role, kept.GetID())
    kept.SetText(text)
    return kept


def has_folder(node: slicer.vtkMRMLSegmentationNode, files: Files = Files.RESULT) -> bool:
    """Whether the folder is on this computer and belongs to this result: another one may have the same path, or an edit
    of another node (a copy, another scene) may have been measured in it since. Of a result and its copies in a scene it
    belongs to the first, so that what is measured or approved of a copy does not replace it."""
    folder = node.GetAttribute(files.value)
    if files is not Files.RESULT or not folder:
        return bool(folder) and Path(folder).is_dir()
    nodes = (*segmentations_in(node.GetScene()), node)  # it may be in no scene
    return next((one for one in nodes if one.GetAttribute(OUTPUT) == folder and _is_of(one)), None) is node


def _is_of(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether the folder of results is there, and its manifest as this node says."""
    folder = Path(node.GetAttribute(OUTPUT))
    known = {CREATED: "created", RESULT_LABELS: "labels_sha256"}
    manifest = _manifest(folder)
    return folder.is_dir() and all(node.GetAttribute(name) in (None, manifest.get(key)) for name, key in known.items())


def has_files(node: slicer.vtkMRMLSegmentationNode, files: Files = Files.RESULT) -> bool:
    """Whether the files are on this computer or in the scene."""
    return has_folder(node, files) or _archive(node, files) is not None


def file_of(node: slicer.vtkMRMLSegmentationNode, name: str, files: Files = Files.RESULT) -> bytes | None:
    """The content of a file, by its path in the folder; ``None`` when there is none."""
    if has_folder(node, files):
        path = Path(node.GetAttribute(files.value), name)
        return path.read_bytes() if path.is_file() else None
    archive = _archive(node, files)
    return archive.read(name) if archive is not None and name in archive.namelist() else None


def has_file(node: slicer.vtkMRMLSegmentationNode, name: str, files: Files = Files.RESULT) -> bool:
    """Whether there is a file of this path in the folder."""
    if has_folder(node, files):
        return Path(node.GetAttribute(files.value), name).is_file()
    archive = _archive(node, files)
    return archive is not None and name in archive.namelist()


def measures_of(node: slicer.vtkMRMLSegmentationNode) -> dict[str, Any] | None:
    """The last :class:`~GliomaSegLib.measures.volumes.Measures` as JSON; ``None`` when they are not known."""
    content = file_of(node, MEASURES_JSON)
    return None if content is None else json.loads(content)


def manifest_of(node: slicer.vtkMRMLSegmentationNode) -> dict[str, Any] | None:
    """The :class:`~GliomaSegLib.results.manifest.Manifest` as JSON; ``None`` when it is not known."""
    content = file_of(node, MANIFEST)
    return None if content is None else json.loads(content)


@contextmanager
def copies_of(node: slicer.vtkMRMLSegmentationNode, *names: str, files: Files = Files.RESULT) -> Iterator[Path]:
    """A folder with the files of these names that exist, for readers that need a path; it may be temporary."""
    if has_folder(node, files):
        yield Path(node.GetAttribute(files.value))
        return
    with tempfile.TemporaryDirectory(prefix="GliomaSeg-") as folder:
        for name in names:
            content = file_of(node, name, files)
            if content is not None:
                Path(folder, name).write_bytes(content)
        yield Path(folder)


def folder_of(
    node: slicer.vtkMRMLSegmentationNode, new_folder: Callable[[], Path], files: Files = Files.RESULT
) -> Path:
    """The folder on disk, written again from the scene when it is missing or read-only.

    Args:
        new_folder: makes the parent folder for that.

    Raises:
        InputError: the scene does not hold the files either, or they cannot be written.
    """
    folder = Path(node.GetAttribute(files.value) or "")
    archive = _archive(node, files)
    if has_folder(node, files) and (archive is None or os.access(folder.parent, os.W_OK)):
        return folder
    if archive is None:
        raise InputError(
            f"The folder of results of '{node.GetName()}' is not there"
            f"{f' ({folder})' if node.GetAttribute(files.value) else ''}; put it back, or segment the case again."
        )
    folder = new_folder() / (folder.name or "results")
    try:
        archive.extractall(folder)  # its names were checked when it was opened
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); choose another folder of results.") from error
    node.SetAttribute(files.value, str(folder))
    return folder


# Cache by address of the text node: its MTime and archive. Decoding some MB at each access would be noticeable.
_opened: dict[str, tuple[int, zipfile.ZipFile | None]] = {}
_MOST_OPENED = 4


def _archive(node: slicer.vtkMRMLSegmentationNode, files: Files) -> zipfile.ZipFile | None:
    kept = node.GetNodeReference(files.role)
    if kept is None:
        return None
    address, changed = kept.GetAddressAsString(""), kept.GetMTime()
    if _opened.get(address, (0, None))[0] != changed:
        if len(_opened) >= _MOST_OPENED:
            _opened.clear()
        _opened[address] = changed, _unpacked(kept.GetText() or "")
    return _opened[address][1]


def _unpacked(text: str) -> zipfile.ZipFile | None:
    """The archive; ``None`` when it is damaged or would write outside of its folder: a scene is untrusted input."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(text, validate=True)))
    except (ValueError, zipfile.BadZipFile):
        return None
    names = [Path(name) for name in archive.namelist()]
    return None if any(name.is_absolute() or ".." in name.parts for name in names) else archive


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
