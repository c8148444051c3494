"""What GliomaSeg does in a 3D Slicer scene, for the panel and for the Python console alike.

>>> logic = SceneLogic(slicer.mrmlScene)
>>> run = logic.segment(t1c=t1c_node, t2f=flair_node, model="ca-cnn-brats17")
>>> run.result.segmentation.GetName()

The work is done by the worker process; this one exports the volumes, and takes the results in when they are there.
Nothing heavy is imported here. For research use; not a medical device.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from GliomaSegLib.batch.cases import case_of_study, folder_name, one_of_each
from GliomaSegLib.batch.dispatch import STARTED, dispatch
from GliomaSegLib.batch.local import LocalWorkers
from GliomaSegLib.case import REFERENCE_ORDER, Modality
from GliomaSegLib.errors import Cancelled, GliomaSegError, InputError
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.scene.comparison import (
    ComparisonNodes,
    compared_with,
    export_study,
    export_tumour,
    mark_outdated,
    remember,
    show_comparison,
)
from GliomaSegLib.scene.hierarchy import place_beside
from GliomaSegLib.scene.lesions import Lesion, lesions_of
from GliomaSegLib.scene.registration import Registrar
from GliomaSegLib.scene.review import DRAFT, EDITED, EditWatch, Review, set_review
from GliomaSegLib.scene.run import Run, Steps, in_thread
from GliomaSegLib.scene.segmentation import OUTPUT, labels_of, read_result, save_labels, show_result
from GliomaSegLib.scene.study import read_image, show_image
from GliomaSegLib.scene.tables import fill_volumes_table
from GliomaSegLib.scene.transforms import insert_above, read_transform, write_transform
from GliomaSegLib.scene.volumes import check_one_patient, check_volume, export_volume, ijk_to_world
from GliomaSegLib.worker.client import Event, Task, WorkerProcess, worker_command
from GliomaSegLib.zoo.catalogue import entries

TABLE = "GliomaSeg.table"
"""Node reference from a segmentation to its table; those to its volumes are ``GliomaSeg.t1c`` and so on."""

# A smaller movement than this is left alone: it would cost more by interpolation than it gains (as in the worker).
_LEAST_SHIFT_MM = 1.0

TIME_POINT = "GliomaSeg.TimePoint"
"""Attribute of a segmentation node: ``preoperative``, ``postoperative`` or ``unknown``."""
DAYS = "GliomaSeg.DaysSinceSurgery"
"""Attribute of a segmentation node, where that is known."""
SERIES = "GliomaSeg.Series"
"""Attribute of a segmentation node: the DICOM series on which it lies, when it was read from DICOM files."""
_UNMEASURED = "GliomaSeg.Unmeasured"

# Of what is exported of the earlier studies of a comparison.
_STUDY_FOLDERS = ("earlier", "between")

OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class SegmentationResult:
    """What a segmentation left in the scene and on disk.

    Attributes:
        transforms: new nodes above the sequences that had to be moved; the user may correct them.
        volumes: the images, by sequence.
        output: the folder of results.
        result: :class:`~GliomaSegLib.job.Result` as JSON.
    """

    segmentation: slicer.vtkMRMLSegmentationNode
    table: slicer.vtkMRMLTableNode
    transforms: Mapping[Modality, slicer.vtkMRMLLinearTransformNode]
    volumes: Mapping[Modality, slicer.vtkMRMLScalarVolumeNode]
    output: Path
    result: Mapping[str, Any]


@dataclass(frozen=True)
class BatchItem:
    """One study of a batch: its result as JSON, or the sentence why there is none."""

    study: str
    result: Mapping[str, Any] | None
    error: str | None = None


@dataclass(frozen=True)
class Agreement:
    """How two segmentations agree in one region: Dice, 0 to 1 (1 when absent from both), and each one's volume."""

    dice: float
    volume_ml: float
    other_ml: float


@dataclass(frozen=True)
class StudyComparison:
    """What a comparison of two studies left in the scene and on disk.

    Attributes:
        answers: what is to be said, a sentence each: residual tumour, extent of resection, lesions, response.
        page: for the browser.
        comparison: :class:`~GliomaSegLib.followup.compare.Comparison` as JSON.
    """

    answers: tuple[str, ...]
    warnings: tuple[str, ...]
    nodes: ComparisonNodes
    page: Path
    comparison: Mapping[str, Any]


@dataclass(frozen=True)
class _EarlierStudy:
    """A study to compare with: ``volume`` is the T1 + contrast, not needed for a result with its folder."""

    segmentation: slicer.vtkMRMLSegmentationNode
    volume: slicer.vtkMRMLScalarVolumeNode | None
    time_point: str | None


@dataclass
class _Placed:
    """Transforms of a run: the nodes made for it, and those that the user gave, by sequence."""

    made: dict[Modality, slicer.vtkMRMLLinearTransformNode] = field(default_factory=dict)
    given: dict[Modality, slicer.vtkMRMLTransformNode] = field(default_factory=dict)


class SceneLogic:
    """Segments, measures, compares and reviews in one scene. One run at a time.

    Runs are polled (``wait=False``) or waited for (the default); a run that fails or is cancelled leaves no node and
    no folder behind. Closing the scene stops what runs.

    Args:
        scene: its nodes are read and made; it may be closed and filled again.
        python: the interpreter of the worker; by default Slicer's own PythonSlicer, or the one that runs this.
        folder: where cases are kept, ``CASE/inputs`` and ``CASE/results``; by default a new temporary folder.
        registrar: registers in the application; ``None`` leaves it to the worker.
        worker_command: starts the worker, instead of the usual command with ``python``.
        environment: of the worker, instead of this process's own; inside Slicer an interpreter that is not Slicer's
            needs ``slicer.util.startupEnvironment()``, or it would load Slicer's libraries.
    """

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        python: Path | None = None,
        folder: Path | None = None,
        registrar: Registrar | None = None,
        worker_command: Iterable[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._scene = scene
        self._folder = Path(folder).absolute() if folder else None
        self._registrar = registrar
        self._command = list(worker_command) if worker_command else _worker_command(python or default_python())
        self._environment = environment
        self._worker: WorkerProcess | None = None
        self._task: Task | None = None
        self._run: Run | None = None
        self._watches: dict[str, EditWatch] = {}
        self._tags = [
            scene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, self._on_scene_closing),
            scene.AddObserver(slicer.vtkMRMLScene.EndImportEvent, self._on_scene_read),
            scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._on_node_removed),
        ]
        self._watch_all()

    @property
    def folder(self) -> Path:
        """Where the cases are kept."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="GliomaSeg-"))
        return self._folder

    @property
    def log(self) -> Path:
        """What the worker wrote beside its answers: where to look when something went wrong."""
        return self.folder / "worker.log"

    def close(self) -> None:
        """Stop what runs, end the worker and look at the scene no more."""
        if self._run is not None:
            self._run.cancel()
        if self._worker is not None:
            self._worker.close()
        while self._run is not None and not self._run.done:
            self._run.poll()
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._tags = []
        self._forget_all()

    # --- segmenting -------------------------------------------------------------------------------------------------

    def segment(
        self,
        t1n: slicer.vtkMRMLScalarVolumeNode | None = None,
        t1c: slicer.vtkMRMLScalarVolumeNode | None = None,
        t2w: slicer.vtkMRMLScalarVolumeNode | None = None,
        t2f: slicer.vtkMRMLScalarVolumeNode | None = None,
        *,
        model: str,
        output: Path | str | None = None,
        transforms: Mapping[Modality | str, slicer.vtkMRMLTransformNode | Path | str] | None = None,
        preoperative: slicer.vtkMRMLSegmentationNode | Path | str | None = None,
        preoperative_volume: slicer.vtkMRMLScalarVolumeNode | None = None,
        on_event: OnEvent | None = None,
        wait: bool = True,
        **options: Any,
    ) -> Run:
        """Segment volumes of the scene; they may be under rigid transforms, and any of them may be missing.

        Args:
            output: folder of results to make, by default one in :attr:`folder`.
            transforms: for a sequence that is not to be registered, the transform node that takes it to the reference
                (above the volume already, or not yet), or an ITK file with the way from the reference to it.
            preoperative: the study before surgery, for models that look at it too: its segmentation, or a folder of
                results.
            preoperative_volume: the T1 + contrast on which that was drawn; not needed for a result with its folder.
            on_event: told stages, progress and warnings.
            wait: until it is done; if not, poll the run.
            options: further fields of :class:`~GliomaSegLib.job.Job`, such as ``registration``, ``device``, ``store``.

        Returns:
            the run, whose result is a :class:`SegmentationResult`.

        Raises:
            InputError: a volume or transform cannot be used, or another run is going on.
            GliomaSegError: with ``wait``, whatever the worker could not do.
        """
        named = {Modality.T1N: t1n, Modality.T1C: t1c, Modality.T2W: t2w, Modality.T2F: t2f}
        volumes = {sequence: node for sequence, node in named.items() if node is not None}
        if not volumes:
            raise InputError("No volume was chosen; choose at least one of T1, T1 + contrast, T2 and FLAIR.")
        for node in volumes.values():
            check_volume(node)
        check_one_patient(volumes)
        given = {Modality(sequence): one for sequence, one in (transforms or {}).items()}
        for sequence in given.keys() - volumes.keys():
            raise InputError(f"A transform was given for {sequence.title}, but no such volume; choose the volume too.")
        earlier = None
        if isinstance(preoperative, slicer.vtkMRMLSegmentationNode):
            _check_earlier(preoperative, preoperative_volume)
            earlier = preoperative, preoperative_volume
        elif preoperative is not None:
            options["preoperative"] = str(Path(preoperative).absolute())
        steps = self._segment_steps(volumes, given, earlier, model, output and Path(output).absolute(), options)
        return self._start(steps, on_event, wait)

    def segmentStudy(  # noqa: N802 - as Slicer names what is called from its console
        self,
        path: Path | str,
        *,
        model: str,
        output: Path | str | None = None,
        on_event: OnEvent | None = None,
        wait: bool = True,
        **options: Any,
    ) -> Run:
        """Segment a study on disk (a folder with image files or DICOM series) and load it with its result.

        Returns:
            the run, whose result is a :class:`SegmentationResult`; an image that cannot be shown is not among its
            volumes, and a warning says so.
        """
        steps = self._study_steps(Path(path).absolute(), model, output and Path(output).absolute(), options)
        return self._start(steps, on_event, wait)

    def processBatch(  # noqa: N802
        self,
        studies: Iterable[Path | str],
        output: Path | str,
        *,
        model: str,
        on_event: OnEvent | None = None,
        wait: bool = True,
        **options: Any,
    ) -> Run:
        """Segment studies on disk one after the other, each into its own folder in ``output``; loads nothing.

        A study that fails does not stop the next. One that is done already, by the same job, is not done again; its
        result then lacks ``files``. ``gliomaseg batch`` does the same with a plan, a page and several workers.

        Returns:
            the run, whose result is a list of :class:`BatchItem`.
        """
        paths = [Path(study).absolute() for study in studies]
        return self._start(self._batch_steps(paths, Path(output).absolute(), model, options), on_event, wait)

    # --- afterwards -------------------------------------------------------------------------------------------------

    def measure(
        self, segmentation: slicer.vtkMRMLSegmentationNode, *, on_event: OnEvent | None = None, wait: bool = True
    ) -> Run:
        """After an edit: save it to the folder of results, and bring measures, report and table up to date.

        Returns:
            the run, whose result is a :class:`SegmentationResult` without transforms.
        """
        return self._start(self._measure_steps(segmentation), on_event, wait)

    def review(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        state: str,
        by: str,
        *,
        on_event: OnEvent | None = None,
        wait: bool = True,
    ) -> Run:
        """Record ``approved``, ``rejected`` or ``draft`` on the node, in the manifest and in the report.

        What was edited is measured first, so that what is approved is what was seen.
        """
        return self._start(self._review_steps(segmentation, state, by), on_event, wait)

    def install(
        self,
        model: str,
        store: Path | None = None,
        source: Path | None = None,
        *,
        on_event: OnEvent | None = None,
        wait: bool = True,
    ) -> Run:
        """Install a model's weights in ``store``: download them, or take them from the folder or file ``source``.

        Returns:
            the run, whose result is ``{"model": ID}``.
        """
        places = {"store": store, "source": source}
        given = {key: str(place) for key, place in places.items() if place is not None}
        return self._start(self._ask({"do": "install", "model": model, **given}), on_event, wait)

    def compare(
        self, segmentation: slicer.vtkMRMLSegmentationNode, other: slicer.vtkMRMLSegmentationNode
    ) -> dict[Region, Agreement]:
        """How two segmentations on the same grid agree, region by region.

        Raises:
            InputError: their grids differ, or a segment is unknown.
        """
        (labels, matrix), (others, place) = labels_of(segmentation), labels_of(other)
        if labels.shape != others.shape or not np.allclose(matrix, place, atol=0.01):
            raise InputError(
                f"'{segmentation.GetName()}' and '{other.GetName()}' are on different grids; compare segmentations of "
                "the same volume."
            )
        voxel_ml = abs(np.linalg.det(matrix[:3, :3])) / 1000
        return {
            region: _agreement(*(region_mask(one, region) for one in (labels, others)), voxel_ml) for region in Region
        }

    def compareStudies(  # noqa: N802
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        earlier: slicer.vtkMRMLSegmentationNode,
        earlier_volume: slicer.vtkMRMLScalarVolumeNode | None = None,
        *,
        earlier_time_point: str | None = None,
        between: slicer.vtkMRMLSegmentationNode | None = None,
        between_volume: slicer.vtkMRMLScalarVolumeNode | None = None,
        between_time_point: str | None = None,
        time_point: str | None = None,
        days_since_surgery: float | None = None,
        baseline: slicer.vtkMRMLSegmentationNode | None = None,
        in_place: bool = False,
        deformable: bool = False,
        on_event: OnEvent | None = None,
        wait: bool = True,
    ) -> Run:
        """What became of the tumour since an earlier study of the patient: residual tumour and extent of resection,
        every lesion, response to treatment. The studies are registered to each other; what was edited is measured
        first. Tables and a growth curve come beside the segmentation, instead of those of its last comparison.

        Args:
            segmentation: a result with its folder.
            earlier: another result, or any segmentation with the segments that GliomaSeg knows.
            earlier_volume: the T1 + contrast on which ``earlier`` was drawn; not needed for a result with its folder.
            earlier_time_point: ``preoperative`` or ``postoperative``; by default what its folder says.
            between, between_volume, between_time_point: the same of a study that was made between these two.
            time_point, days_since_surgery: of ``segmentation``; by default what its folder says.
            baseline: ``earlier`` or ``between``, with which response is compared; by default the first that was not
                made before surgery.
            in_place: all lie in one space already, so that nothing is registered.
            deformable: lesions are matched after a deformation too; volumes are those before it.

        Returns:
            the run, whose result is a :class:`StudyComparison`.

        Raises:
            InputError: a node cannot be used, or another run is going on.
            GliomaSegError: with ``wait``, whatever the worker could not do.
        """
        studies = [_EarlierStudy(earlier, earlier_volume, earlier_time_point)]
        if between is not None:
            studies.append(_EarlierStudy(between, between_volume, between_time_point))
        compared = [study.segmentation for study in studies]
        for one, other in combinations([*compared, segmentation], 2):
            if one is other:
                raise InputError(f"'{one.GetName()}' cannot be compared with itself; choose that of another study.")
        for study in studies:
            _check_earlier(study.segmentation, study.volume)
        if not (baseline is None or baseline in compared):
            raise InputError(
                f"Response cannot be compared with '{baseline.GetName()}', which is no earlier study here; choose that "
                "of one that is."
            )
        later = {"time_point": time_point, "days_since_surgery": days_since_surgery}
        position = None if baseline is None else compared.index(baseline)
        settings = {"in_place": in_place, "deformable": deformable, "baseline": position}
        return self._start(self._compare_steps(segmentation, later, studies, settings), on_event, wait)

    def exportDicom(  # noqa: N802
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        output: Path | str,
        kinds: Iterable[str] = ("seg", "rtstruct", "sr"),
        series: Path | str | Iterable[Path] | None = None,
        *,
        by: str = "regions",
        comparison: Path | str | None = None,
        on_event: OnEvent | None = None,
        wait: bool = True,
    ) -> Run:
        """Write a result as DICOM Segmentation, RT Structure Set and Structured Report into the new folder ``output``.
        What was edited is measured first; a result that was rejected is refused.

        Args:
            series: the DICOM series on which the segmentation lies, as a folder or as its files; not needed when the
                study was read from DICOM files.
            by: ``regions``, ``parts`` or ``lesions``, see :class:`~GliomaSegLib.dicom_export.structure.By`.
            comparison: with ``lesions``, the folder of a comparison in which the result takes part
                (:func:`~GliomaSegLib.scene.comparison.comparison_with`), whose numbers the lesions keep.

        Returns:
            the run, whose result is the path of each object by its kind.
        """
        place = Path(series) if isinstance(series, str) else series
        request = {
            "do": "export",
            "output": str(Path(output).absolute()),
            "kinds": list(kinds),
            "by": by,
            "comparison": comparison and str(Path(comparison).absolute()),
        }
        return self._start(self._export_steps(segmentation, request, place), on_event, wait)

    def lesions(self, segmentation: slicer.vtkMRMLSegmentationNode) -> list[Lesion]:
        """The lesions as they are now, with the last measures' diameters; see :mod:`GliomaSegLib.scene.lesions`."""
        path = Path(segmentation.GetAttribute(OUTPUT) or "", "measures.json")
        measures = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        return lesions_of(segmentation, measures)

    def has_unmeasured_edits(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Whether the segmentation was changed since it was measured, so that table and report are behind."""
        return segmentation.GetAttribute(_UNMEASURED) is not None

    # --- the steps --------------------------------------------------------------------------------------------------

    def _start(self, steps: Steps, on_event: OnEvent | None, wait: bool) -> Run:
        if self._run is not None and not self._run.done:
            raise InputError("GliomaSeg is still at work; wait until it has finished, or cancel it.")
        self._run = run = Run(steps, on_event)
        if wait:
            run.wait()
        return run

    def _segment_steps(
        self,
        volumes: Mapping[Modality, slicer.vtkMRMLScalarVolumeNode],
        given: Mapping[Modality, slicer.vtkMRMLTransformNode | Path | str],
        earlier: tuple[slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLScalarVolumeNode | None] | None,
        model: str,
        output: Path | None,
        options: Mapping[str, Any],
    ) -> Steps:
        with ExitStack() as undo:
            used = _taken_by(model, options.get("store"), volumes)
            reference = next(volumes[sequence] for sequence in REFERENCE_ORDER if sequence in used)
            case_id = options.get("case_id") or reference.GetName()
            case = self._new_case_folder(case_id, undo)
            inputs = _made(case / "inputs")
            yield Event("stage", "export")
            yield None  # so that the panel is drawn before the first piece of work
            paths = {}
            for sequence, node in volumes.items():
                paths[sequence] = inputs / f"{sequence.value}.nrrd"
                export_volume(node, paths[sequence])
                yield None
            before = {}
            if earlier is not None and _has_output(earlier[0]):
                before = {"preoperative": str((yield from self._up_to_date(earlier[0])))}
            elif earlier is not None:
                before = export_tumour(*earlier, _made(case / "earlier"))
                yield None
            placed = _Placed(given={s: one for s, one in given.items() if isinstance(one, slicer.vtkMRMLTransformNode)})
            files = self._given_files(given, volumes, inputs)
            if self._registrar is not None and options.get("registration", True):
                moving = {s: volumes[s] for s in used if volumes[s] is not reference and s not in given}
                files |= yield from self._register_steps(moving, reference, inputs, placed, undo)
            job = {
                **options,
                **before,
                "volumes": {sequence.value: str(path) for sequence, path in paths.items()},
                "transforms": {sequence.value: str(path) for sequence, path in files.items()},
                "model": model,
                "output": str(output or case / "results"),
                "case_id": case_id,
            }
            result = yield from self._ask(job, reference)
            yield Event("stage", "scene")
            taken_in = yield from self._take_in(result, volumes, placed, undo)
            undo.pop_all()  # it is all there: nothing is undone
        return taken_in

    def _study_steps(self, study: Path, model: str, output: Path | None, options: Mapping[str, Any]) -> Steps:
        with ExitStack() as undo:
            if output is None:
                output = self._new_case_folder(options.get("case_id") or study.name, undo) / "results"
            result = yield from self._ask({**options, "study": str(study), "model": model, "output": str(output)})
            yield Event("stage", "scene")
            volumes = {}
            for name, record in _manifest(result)["sequences"].items():
                sequence = Modality(name)
                title = f"{result['case_id']} {sequence.title}"
                try:
                    image = yield from in_thread(partial(read_image, record, title))
                except InputError as error:
                    yield Event("warning", str(error))
                    continue
                volumes[sequence] = show_image(self._scene, image, title)
                undo.callback(self._remove, volumes[sequence])
                yield None
            taken_in = yield from self._take_in(result, volumes, _Placed(), undo)
            undo.pop_all()
        return taken_in

    def _batch_steps(self, studies: list[Path], output: Path, model: str, options: Mapping[str, Any]) -> Steps:
        cases = one_of_each([case_of_study(study, output, {**options, "model": model}) for study in studies])
        answers: dict[int, BatchItem] = {}
        yield from self._idle()
        events = dispatch(cases, LocalWorkers([self._worker_process()]))
        try:
            for event in events:
                if event is None:
                    yield None
                    continue
                name, number = event.case.name, cases.index(event.case)
                if event.event == Event("stage", STARTED):
                    yield Event("stage", f"{name} ({number + 1} of {len(cases)})")
                elif event.kind == "error":
                    yield Event("warning", f"{name}: {event.text}")
                    answers[number] = BatchItem(name, None, event.text)
                elif event.kind == "result":
                    answers[number] = BatchItem(name, event.result)
                else:
                    yield event.event
        except Cancelled as stop:
            with suppress(Cancelled, StopIteration):
                events.throw(stop)
                while True:  # until the worker has cleared up
                    yield None
                    next(events)
            raise
        return [answers.get(number) or BatchItem(case.name, None, case.refused) for number, case in enumerate(cases)]

    def _measure_steps(self, segmentation: slicer.vtkMRMLSegmentationNode) -> Steps:
        output = self._output_of(segmentation)
        yield Event("stage", "measures and report")
        yield None
        result = yield from self._measured(segmentation, output, anyway=True)
        return self._show_measures(segmentation, result)

    def _review_steps(self, segmentation: slicer.vtkMRMLSegmentationNode, state: str, by: str) -> Steps:
        output = self._output_of(segmentation)
        yield from self._measured(segmentation, output, anyway=False)
        request = {"do": "review", "output": str(output), "state": state, "by": by}
        result = yield from self._ask(request, segmentation)
        return self._show_measures(segmentation, result)

    def _compare_steps(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        when: Mapping[str, Any],
        earlier: list[_EarlierStudy],
        settings: Mapping[str, Any],
    ) -> Steps:
        compared = [study.segmentation for study in earlier]
        with ExitStack() as watching, ExitStack() as undo:
            edited: list[slicer.vtkMRMLSegmentationNode] = []
            for node in (segmentation, *compared):
                watching.callback(EditWatch(node, edited.append).stop)
            yield Event("stage", "export")
            yield None
            output = yield from self._up_to_date(segmentation)
            name = segmentation.GetName().removesuffix(" segmentation")
            case = self._new_case_folder(f"{name} comparison", undo)
            before = []
            for study, folder in zip(earlier, _STUDY_FOLDERS, strict=False):
                before.append((yield from self._compared_study(study, case / folder)))
            request = {
                **settings,
                "do": "compare",
                "studies": [*before, {"path": str(output), **when}],
                "output": str(case / "results"),
            }
            answer = yield from self._ask(request, segmentation)
            yield Event("stage", "scene")
            comparison = answer["comparison"]
            nodes = show_comparison(self._scene, comparison, name)
            for node in nodes.all:
                undo.callback(self._remove, node)
                place_beside(node, segmentation)
            remember(segmentation, compared, nodes, case / "results", outdated=bool(edited))
            for node in compared_with(segmentation):
                self._watch(node)
            undo.pop_all()
        return StudyComparison(
            tuple(comparison["answers"]), tuple(comparison["warnings"]), nodes, Path(answer["page"]), comparison
        )

    def _compared_study(self, study: _EarlierStudy, folder: Path) -> Generator[Event | None, None, dict[str, Any]]:
        """A :class:`~GliomaSegLib.job.ComparedStudy` as JSON; of a drawing, what it says comes into ``folder``."""
        if _has_output(study.segmentation):
            files = {"path": str((yield from self._up_to_date(study.segmentation)))}
        else:
            name = folder_name(study.segmentation.GetName()) or "case"
            files = export_study(study.segmentation, study.volume, _made(folder), name)
            yield None
        return {**files, "time_point": study.time_point}

    def _export_steps(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        request: Mapping[str, Any],
        series: Path | Iterable[Path] | None,
    ) -> Steps:
        with ExitStack() as undo:
            results = yield from self._up_to_date(segmentation)
            if series is not None and not isinstance(series, Path):
                folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="GliomaSeg-")))
                yield from in_thread(partial(_gather, list(series), folder))
                series = folder
            whole = {**request, "results": str(results), "series": series and str(series)}
            answer = yield from self._ask(whole, segmentation)
        return {kind: Path(path) for kind, path in answer["files"].items()}

    def _up_to_date(self, segmentation: slicer.vtkMRMLSegmentationNode) -> Generator[Event | None, None, Path]:
        """The folder of results, measured again if the segmentation was edited since."""
        output = self._output_of(segmentation)
        result = yield from self._measured(segmentation, output, anyway=False)
        if result is not None:
            self._show_measures(segmentation, result)
        return output

    def _measured(
        self, segmentation: slicer.vtkMRMLSegmentationNode, output: Path, anyway: bool
    ) -> Generator[Event | None, None, dict[str, Any] | None]:
        """Have the folder of results follow the segmentation as it is now; ``None`` when it does and ``anyway`` is not
        set. From here on the node's mark tells what is drawn meanwhile."""
        labels, _ = labels_of(segmentation)
        behind = self.has_unmeasured_edits(segmentation)
        segmentation.SetAttribute(_UNMEASURED, None)
        try:
            behind |= yield from in_thread(partial(save_labels, labels, segmentation.GetName(), output))
            if behind or anyway:
                return (yield from self._ask({"do": "measure", "output": str(output)}, segmentation))
        except BaseException:
            if behind:
                _mark_unmeasured(segmentation)
            raise
        return None

    def _ask(
        self, request: Mapping[str, Any], needed: slicer.vtkMRMLNode | None = None
    ) -> Generator[Event | None, None, dict[str, Any]]:
        """Have the worker do something; stops it when the node without which its answer is of no use is deleted."""
        yield from self._idle()
        task = self._task = self._worker_process().start(request)
        try:
            while True:
                done = task.done  # before its words are fetched, so that none gets lost
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
            while not task.done:  # it still has files open in the folder that is to go
                yield None
            raise
        except BaseException:
            task.cancel()
            raise

    def _idle(self) -> Generator[None, None, None]:
        """Wait for a request that was cancelled and is still going."""
        while self._task is not None and not self._task.done:
            yield None

    def _worker_process(self) -> WorkerProcess:
        if self._worker is None:
            self._worker = WorkerProcess(self._command, self.log, self._environment)
        return self._worker

    def _register_steps(
        self,
        moving: Mapping[Modality, slicer.vtkMRMLScalarVolumeNode],
        reference: slicer.vtkMRMLScalarVolumeNode,
        folder: Path,
        placed: _Placed,
        undo: ExitStack,
    ) -> Generator[Event | None, None, dict[Modality, Path]]:
        """Register in the application; what it cannot do is left to the worker."""
        files = {}
        yield Event("stage", "registration")
        for done, (sequence, volume) in enumerate(moving.items()):
            yield Event("progress", sequence.title, done / len(moving))
            node = self._add("vtkMRMLLinearTransformNode", f"{volume.GetName()} to {reference.GetName()}", undo)
            running = self._registrar.start(reference, volume, node)
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
                self._remove(node)
                continue
            matrix = slicer.util.arrayFromTransformMatrix(node)
            if _shift_mm(matrix, volume) < _LEAST_SHIFT_MM:
                self._remove(node)
                continue
            files[sequence] = folder / f"{sequence.value}.tfm"
            write_transform(matrix, files[sequence])
            placed.made[sequence] = node
        return files

    def _given_files(
        self,
        given: Mapping[Modality, slicer.vtkMRMLTransformNode | Path | str],
        volumes: Mapping[Modality, slicer.vtkMRMLScalarVolumeNode],
        folder: Path,
    ) -> dict[Modality, Path]:
        """The user's transforms as files for the worker."""
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

    # --- taking results in ------------------------------------------------------------------------------------------

    def _take_in(
        self,
        result: Mapping[str, Any],
        volumes: Mapping[Modality, slicer.vtkMRMLScalarVolumeNode],
        placed: _Placed,
        undo: ExitStack,
    ) -> Generator[Event | None, None, SegmentationResult]:
        there = {sequence: node for sequence, node in volumes.items() if node.GetScene() is self._scene}
        for sequence in volumes.keys() - there.keys():
            yield Event("warning", f"{sequence.title} was deleted from the scene; its transform is not shown.")
        manifest = _manifest(result)
        of_reference, record = next((Modality(s), r) for s, r in manifest["sequences"].items() if r["is_reference"])
        reference = there.get(of_reference)
        read = read_result(result)
        yield None
        segmentation = show_result(self._scene, read, result, reference)
        undo.callback(self._remove, segmentation)
        yield None
        table = self._add("vtkMRMLTableNode", f"{result['case_id']} volumes", undo)
        segmentation.SetNodeReferenceID(TABLE, table.GetID())
        segmentation.SetAttribute(TIME_POINT, manifest["time_point"])
        days = manifest["days_since_surgery"]
        segmentation.SetAttribute(DAYS, None if days is None else f"{days:g}")
        segmentation.SetAttribute(SERIES, record["series_uid"])
        for sequence, node in there.items():
            segmentation.SetNodeReferenceID(f"GliomaSeg.{sequence.value}", node.GetID())
        made = self._place_transforms(Path(result["output"]) / "transforms", there, placed, undo)
        if reference is not None:
            for node in (segmentation, table, *made.values()):
                place_beside(node, reference)
        self._show_measures(segmentation, result)
        self._watch(segmentation)
        return SegmentationResult(segmentation, table, made, there, Path(result["output"]), result)

    def _place_transforms(
        self,
        folder: Path,
        volumes: Mapping[Modality, slicer.vtkMRMLScalarVolumeNode],
        placed: _Placed,
        undo: ExitStack,
    ) -> dict[Modality, slicer.vtkMRMLLinearTransformNode]:
        """Move each volume where the worker had it, by a transform node of its own; returns the nodes that are new."""
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
            node = placed.made.get(sequence) or self._add(
                "vtkMRMLLinearTransformNode", f"{volume.GetName()} to reference", undo
            )
            insert_above(volume, node, matrix)
            made[sequence] = node
        return made

    def _show_measures(
        self, segmentation: slicer.vtkMRMLSegmentationNode, result: Mapping[str, Any]
    ) -> SegmentationResult:
        """The table and the review state of a result that the node shows."""
        table = segmentation.GetNodeReference(TABLE)
        if table is None:  # the user has deleted it
            table = self._scene.AddNewNodeByClass("vtkMRMLTableNode", f"{result['case_id']} volumes")
            segmentation.SetNodeReferenceID(TABLE, table.GetID())
        fill_volumes_table(table, result["measures"])
        said = (result.get("reviews") or [{}])[-1]
        review = Review(result.get("review", DRAFT), said.get("by") or "", said.get("when", ""))
        # What was drawn while the worker was at it is not what was measured or approved.
        set_review(segmentation, Review(EDITED) if self.has_unmeasured_edits(segmentation) else review)
        return SegmentationResult(segmentation, table, {}, volumes_of(segmentation), Path(result["output"]), result)

    def _output_of(self, segmentation: slicer.vtkMRMLSegmentationNode) -> Path:
        output = segmentation.GetAttribute(OUTPUT)
        if not _has_output(segmentation):
            raise InputError(
                f"The folder of results of '{segmentation.GetName()}' is not there"
                f"{f' ({output})' if output else ''}; put it back, or segment the case again."
            )
        return Path(output)

    # --- nodes and folders ------------------------------------------------------------------------------------------

    def _add(self, kind: str, name: str, undo: ExitStack) -> Any:
        node = self._scene.AddNewNodeByClass(kind, name)
        undo.callback(self._remove, node)
        return node

    def _remove(self, node: slicer.vtkMRMLNode) -> None:
        if node.GetScene() is self._scene:
            self._scene.RemoveNode(node)

    def _new_case_folder(self, case_id: str, undo: ExitStack) -> Path:
        """A folder that is not there yet: earlier results are never touched."""
        name, number = folder_name(case_id) or "case", 1
        while (case := self.folder / (name if number == 1 else f"{name}-{number}")).exists():
            number += 1
        undo.callback(shutil.rmtree, _made(case), ignore_errors=True)
        return case

    # --- what happens in the scene ----------------------------------------------------------------------------------

    def _watch_all(self) -> None:
        kind = "vtkMRMLSegmentationNode"
        for index in range(self._scene.GetNumberOfNodesByClass(kind)):
            node = self._scene.GetNthNodeByClass(index, kind)
            for one in ([node] if node.GetAttribute(OUTPUT) else []) + compared_with(node):
                self._watch(one)

    def _watch(self, segmentation: slicer.vtkMRMLSegmentationNode) -> None:
        if segmentation.GetID() not in self._watches:
            self._watches[segmentation.GetID()] = EditWatch(segmentation, _on_edit)

    def _forget_all(self) -> None:
        for watch in self._watches.values():
            watch.stop()
        self._watches.clear()

    def _on_scene_closing(self, caller: object, event: str) -> None:
        self._forget_all()
        if self._run is not None:
            self._run.cancel("The scene was closed, so GliomaSeg stopped; nothing half-made is left.")

    def _on_scene_read(self, caller: object, event: str) -> None:
        self._watch_all()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_removed(self, caller: object, event: str, node: slicer.vtkMRMLNode) -> None:
        watch = self._watches.pop(node.GetID(), None)
        if watch is not None:
            watch.stop()


def volumes_of(segmentation: slicer.vtkMRMLSegmentationNode) -> dict[Modality, slicer.vtkMRMLScalarVolumeNode]:
    """The images from which a result was made, those that are in the scene still."""
    nodes = {sequence: segmentation.GetNodeReference(f"GliomaSeg.{sequence.value}") for sequence in Modality}
    return {sequence: node for sequence, node in nodes.items() if node is not None}


def default_python() -> Path:
    """Slicer's PythonSlicer, which sets up its libraries; outside of Slicer the interpreter that runs this."""
    inside = shutil.which("PythonSlicer") if hasattr(slicer, "app") else None
    return Path(inside or sys.executable)


_worker_command = worker_command  # the constructor has an argument of that name


def _has_output(segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether the segmentation has a folder of results, and it is on this computer."""
    output = segmentation.GetAttribute(OUTPUT)
    return bool(output) and Path(output).is_dir()


def _check_earlier(segmentation: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode | None) -> None:
    """Refuse an earlier study whose image is not known."""
    if _has_output(segmentation):
        return
    if volume is None:
        raise InputError(
            f"'{segmentation.GetName()}' has no folder of results; choose also the volume that it was drawn on."
        )
    check_volume(volume)


def _on_edit(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    """Of a result, or of a drawing with which one was compared."""
    if segmentation.GetAttribute(OUTPUT):
        set_review(segmentation, Review(EDITED))
        _mark_unmeasured(segmentation)
    else:
        mark_outdated(segmentation)


def _mark_unmeasured(segmentation: slicer.vtkMRMLSegmentationNode) -> None:
    segmentation.SetAttribute(_UNMEASURED, "1")
    mark_outdated(segmentation)


def _gather(files: Iterable[Path], folder: Path) -> None:
    """Copies of the files of a DICOM series, which may lie among those of others, in a folder of their own."""
    try:
        for number, path in enumerate(files):
            shutil.copyfile(path, folder / f"{number:05}.dcm")
    except OSError as error:
        raise InputError(
            f"The DICOM file {error.filename} cannot be read ({error.strerror}); give the folder of its series instead."
        ) from error


def _taken_by(
    model: str, store: Path | str | None, volumes: Mapping[Modality, slicer.vtkMRMLScalarVolumeNode]
) -> list[Modality]:
    """The sequences of ``volumes`` that the model looks at; all of them if the worker must tell that it has none."""
    known = entries(Path(store) if store else None)
    takes = next((entry.needs.sequences for entry in known if entry.id == model), tuple(Modality))
    return [sequence for sequence in volumes if sequence in takes] or list(volumes)


def _manifest(result: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(Path(result["files"]["manifest"]).read_text(encoding="utf-8"))


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"The folder {folder} cannot be made ({error.strerror}); choose a place where you may write."
        ) from error
    return folder


def _is_above(transform: slicer.vtkMRMLTransformNode, volume: slicer.vtkMRMLVolumeNode) -> bool:
    parent = volume.GetParentTransformNode()
    while parent is not None and parent is not transform:
        parent = parent.GetParentTransformNode()
    return parent is transform


def _shift_mm(matrix: NDArray[np.float64], volume: slicer.vtkMRMLVolumeNode) -> float:
    """Mean distance that a transform moves the head: half of what it moves the corners of the field of view."""
    corners = np.indices((2, 2, 2)).reshape(3, 8).T * np.array(volume.GetImageData().GetDimensions())
    place = ijk_to_world(volume)
    points = corners @ place[:3, :3].T + place[:3, 3]
    return float(np.linalg.norm(points @ matrix[:3, :3].T + matrix[:3, 3] - points, axis=1).mean() / 2)


def _agreement(mask: NDArray[np.bool_], other: NDArray[np.bool_], voxel_ml: float) -> Agreement:
    sizes = int(mask.sum()), int(other.sum())
    common = int((mask & other).sum())
    return Agreement(
        dice=2 * common / sum(sizes) if sum(sizes) else 1.0, volume_ml=sizes[0] * voxel_ml, other_ml=sizes[1] * voxel_ml
    )
