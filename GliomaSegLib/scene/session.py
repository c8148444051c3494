"""State shared by all runs in a scene: the worker process, the folder of the cases, observers of segmentations."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import slicer
import vtk

from GliomaSegLib.batch.cases import folder_name
from GliomaSegLib.errors import GliomaSegError, InputError
from GliomaSegLib.scene.attributes import MEASURED_LABELS, OUTPUT
from GliomaSegLib.scene.comparison import compared_with
from GliomaSegLib.scene.edit_state import mark_edited, mark_if_changed
from GliomaSegLib.scene.hierarchy import own_reference, segmentations_in
from GliomaSegLib.scene.keeping import Files, folder_of
from GliomaSegLib.scene.review import EditWatch
from GliomaSegLib.worker.client import Event, Task, WorkerProcess

INPUTS = "inputs"
"""In the folder of a case: copies of its images, for the worker; they are deleted with its segmentation."""


class Session:
    """One scene and one worker process, which is started by the first request.

    Args:
        scene: its nodes are read and made; it may be closed and filled again.
        command: starts the worker.
        folder: of the cases; by default a new temporary folder.
        environment: of the worker, instead of this process's own.
        on_closing: called when the scene is about to be closed.
    """

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        command: list[str],
        folder: Path | None,
        environment: Mapping[str, str] | None,
        on_closing: Callable[[], None],
    ) -> None:
        self.scene = scene
        self._command = command
        self._folder = Path(folder).absolute() if folder else None
        self._environment = environment
        self._on_closing = on_closing
        self._worker: WorkerProcess | None = None
        self._task: Task | None = None
        self._watches: dict[str, EditWatch] = {}
        self._tags = [
            scene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, self._on_scene_closing),
            scene.AddObserver(slicer.vtkMRMLScene.EndImportEvent, self._on_scene_read),
            scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, self._on_node_added),
            scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._on_node_removed),
        ]
        self._watch_all()

    def stop_observing(self) -> None:
        """Remove all observers from the scene and its nodes."""
        for tag in self._tags:
            self.scene.RemoveObserver(tag)
        self._tags = []
        self._stop_watching()

    # --- the worker -------------------------------------------------------------------------------------------------

    @property
    def worker(self) -> WorkerProcess:
        """The worker process; its program is started by the first request."""
        if self._worker is None:
            self._worker = WorkerProcess(self._command, self.log, self._environment)
        return self._worker

    @property
    def log(self) -> Path:
        """The worker's standard error: where to look when something went wrong."""
        return self.folder / "worker.log"

    def end_worker(self) -> None:
        """End the worker process and the request that it is working on."""
        if self._worker is not None:
            self._worker.close()

    def wait_until_idle(self) -> Generator[None, None, None]:
        """Steps until the last request, which may have been cancelled, has ended."""
        while self._task is not None and not self._task.done:
            yield None

    def request(
        self, request: Mapping[str, Any], needed: slicer.vtkMRMLNode | None = None
    ) -> Generator[Event | None, None, dict[str, Any]]:
        """Steps of one request to the worker; they return its answer.

        Args:
            needed: the request is cancelled when this node is deleted, as its answer would be of no use.

        Raises:
            GliomaSegError: the worker refused or failed, ``needed`` was deleted, or the run was cancelled.
        """
        yield from self.wait_until_idle()
        task = self._task = self.worker.start(request)
        try:
            while True:
                done = task.done  # before its events are fetched, so that none gets lost
                for event in task.poll():
                    if event.kind not in ("result", "error"):
                        yield event
                if done:
                    return task.result
                if needed is not None and needed.GetScene() is None:
                    raise InputError(f"'{needed.GetName()}' was deleted while GliomaSeg was at work, so it stopped.")
                yield None
        except GliomaSegError:
            task.cancel()
            while not task.done:  # it still has files open in the folder that will be deleted
                yield None
            raise
        except BaseException:
            task.cancel()
            raise

    # --- nodes and folders ------------------------------------------------------------------------------------------

    def add_node(self, kind: str, name: str, undo: ExitStack) -> Any:
        """A new node, which ``undo`` removes."""
        node = self.scene.AddNewNodeByClass(kind, name)
        undo.callback(self.remove_node, node)
        return node

    def remove_node(self, node: slicer.vtkMRMLNode) -> None:
        """Remove a node, if it is still in the scene."""
        if node.GetScene() is self.scene:
            self.scene.RemoveNode(node)

    @property
    def folder(self) -> Path:
        """The folder of the cases."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="GliomaSeg-"))
        return self._folder

    def new_case_folder(self, case_id: str, undo: ExitStack) -> Path:
        """A new folder for a case, which ``undo`` deletes; earlier results are never overwritten."""
        name, number = folder_name(case_id) or "case", 1
        while (case := self.folder / (name if number == 1 else f"{name}-{number}")).exists():
            number += 1
        undo.callback(shutil.rmtree, make_folder(case), ignore_errors=True)
        return case

    def results_of(self, segmentation: slicer.vtkMRMLSegmentationNode, files: Files = Files.RESULT) -> Path:
        """See :func:`~GliomaSegLib.scene.keeping.folder_of`; a new one is made among the cases."""
        with ExitStack() as undo:
            made = folder_of(segmentation, lambda: self.new_case_folder(segmentation.GetName(), undo), files)
            undo.pop_all()
        return made

    # --- edits ------------------------------------------------------------------------------------------------------

    def watch(self, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
        """From now on an edit of the segmentation voids its review, its measures and its comparisons; so does one that
        was made before."""
        if segmentation.GetID() not in self._watches:
            self._watches[segmentation.GetID()] = EditWatch(segmentation, mark_edited)
            mark_if_changed(segmentation)

    def _watch_all(self) -> None:
        """Watch the results in the scene and the segmentations with which they were compared."""
        for node in segmentations_in(self.scene):
            for one in ([node] if node.GetAttribute(OUTPUT) else []) + compared_with(node):
                self.watch(one)

    def _stop_watching(self) -> None:
        for watch in self._watches.values():
            watch.stop()
        self._watches.clear()

    def _on_scene_closing(self, caller: object, event: str) -> None:
        self._stop_watching()
        self._on_closing()

    def _on_scene_read(self, caller: object, event: str) -> None:
        self._watch_all()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_added(self, caller: object, event: str, node: slicer.vtkMRMLNode) -> None:
        """Watch a copy of a result as soon as it holds what that was measured on, which may be after it was added."""
        if self.scene.IsImporting() or not node.IsA("vtkMRMLSegmentationNode"):
            return

        def watch_if_measured(*_: object) -> None:
            if node.GetAttribute(MEASURED_LABELS) and self._tags:  # else this session has been closed
                node.RemoveObserver(tag)
                self.watch(node)

        tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, watch_if_measured)
        watch_if_measured()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_removed(self, caller: object, event: str, node: slicer.vtkMRMLNode) -> None:
        watch = self._watches.pop(node.GetID(), None)
        if watch is not None:
            watch.stop()
        for files in Files:
            kept = own_reference(node, files.role)
            if kept is not None and not self.scene.IsClosing():
                self.scene.RemoveNode(kept)
        output = node.GetAttribute(OUTPUT)
        in_use = any(one is not node and one.GetAttribute(OUTPUT) == output for one in segmentations_in(self.scene))
        if output and not in_use and not self.scene.IsClosing() and Path(output).parent.parent == self.folder:
            shutil.rmtree(Path(output).parent / INPUTS, ignore_errors=True)  # the results stay


def make_folder(folder: Path) -> Path:
    """Make a new folder and return it.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"The folder {folder} cannot be made ({error.strerror}); choose a place where you may write."
        ) from error
    return folder
