"""GliomaSeg's operations in a 3D Slicer scene, for the panel and the Python console.

>>> logic = SceneLogic(slicer.mrmlScene)
>>> run = logic.segment(t1c=t1c_node, t2f=flair_node, model="ca-cnn-brats17")
>>> run.result.segmentation.GetName()

The worker process does the work; this process exports the volumes and loads the results. Nothing heavy is imported
here. For research use; not a medical device.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import slicer

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Region
from GliomaSegLib.scene.batch import batch_steps
from GliomaSegLib.scene.comparing import Agreement, EarlierStudy, agreement, check_studies, compare_steps
from GliomaSegLib.scene.edit_state import has_unmeasured_edits
from GliomaSegLib.scene.exporting import export_steps
from GliomaSegLib.scene.keeping import Files, measures_of
from GliomaSegLib.scene.lesions import Lesion, lesions_of
from GliomaSegLib.scene.measuring import measure_steps, review_steps
from GliomaSegLib.scene.registration import BrainsFit
from GliomaSegLib.scene.run import Run, Steps
from GliomaSegLib.scene.segmenting import check_inputs, open_steps, segment_steps, study_steps
from GliomaSegLib.scene.session import Session
from GliomaSegLib.worker import client
from GliomaSegLib.worker.client import Event

OnEvent = Callable[[Event], None]


class SceneLogic:
    """Segments, measures, compares and reviews in one scene. One run at a time.

    Runs are polled (``wait=False``) or waited for (the default); a run that fails or is cancelled leaves no node and
    no folder behind. Closing the scene stops what runs.

    Args:
        scene: its nodes are read and made; it may be closed and filled again.
        python: the interpreter of the worker; by default Slicer's own PythonSlicer, or the one that runs this.
        folder: where cases are kept, ``CASE/inputs`` and ``CASE/results``; by default a new temporary folder.
        store: folder of installed models, where a run names no other.
        registrar: registers with BRAINSFit in the application; ``None`` leaves it to the worker.
        worker_command: starts the worker, instead of the usual command with ``python``.
        environment: of the worker, instead of this process's own; inside Slicer an interpreter that is not Slicer's
            needs ``slicer.util.startupEnvironment()``, or it would load Slicer's libraries.
    """

    def __init__(
        self,
        scene: slicer.vtkMRMLScene,
        python: Path | None = None,
        folder: Path | None = None,
        store: Path | None = None,
        registrar: BrainsFit | None = None,
        worker_command: Iterable[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        command = list(worker_command) if worker_command else client.worker_command(python or default_python())
        self._session = Session(scene, command, folder, environment, self._on_scene_closing)
        self._store = {"store": str(store)} if store is not None else {}
        self._registrar = registrar
        self._run: Run | None = None

    @property
    def folder(self) -> Path:
        """Where the cases are kept."""
        return self._session.folder

    @property
    def log(self) -> Path:
        """The worker's standard error: where to look when something went wrong."""
        return self._session.log

    @property
    def busy(self) -> bool:
        """Whether something runs."""
        return self._run is not None and not self._run.done

    def close(self) -> None:
        """Stop what runs, end the worker and remove all observers."""
        if self._run is not None:
            self._run.cancel()
        self._session.end_worker()
        while self._run is not None and not self._run.done:
            self._run.poll()
        self._session.stop_observing()

    def _on_scene_closing(self) -> None:
        if self._run is not None:
            self._run.cancel("The scene was closed, so GliomaSeg stopped; nothing half-made is left.")

    def _start(self, steps: Steps, on_event: OnEvent | None, wait: bool) -> Run:
        if self.busy:
            raise InputError("GliomaSeg is still at work; wait until it has finished, or cancel it.")
        self._run = run = Run(steps, on_event)
        if wait:
            run.wait()
        return run

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
                (above the volume already, or not yet), or an ITK file with the transform from the reference to it.
            preoperative: the study before surgery, for models that take it too: its segmentation, or a folder of
                results.
            preoperative_volume: the T1 + contrast on which that was drawn; not needed for a result with its folder.
            on_event: called with stages, progress and warnings.
            wait: until it is done; if not, poll the run.
            options: further fields of :class:`~GliomaSegLib.job.Job`, such as ``registration``, ``device``, ``store``.

        Returns:
            the run, whose result is a :class:`~GliomaSegLib.scene.result.SegmentationResult`.

        Raises:
            InputError: a volume or transform cannot be used, or another run is going on.
            GliomaSegError: with ``wait``, whatever the worker could not do.
        """
        named = {Modality.T1N: t1n, Modality.T1C: t1c, Modality.T2W: t2w, Modality.T2F: t2f}
        volumes = {sequence: node for sequence, node in named.items() if node is not None}
        drawn = preoperative if isinstance(preoperative, slicer.vtkMRMLSegmentationNode) else None
        if preoperative is not None and drawn is None:
            options["preoperative"] = str(Path(preoperative).absolute())
        inputs = check_inputs(volumes, transforms or {}, drawn, preoperative_volume)
        options = {**self._store, **options}
        steps = segment_steps(self._session, inputs, model, _absolute(output), self._registrar, options)
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
        """Segment a study on disk (a folder with image files or DICOM series) and load it with its result; as the
        ``preoperative`` study it takes a result in the scene too.

        Returns:
            the run, whose result is a :class:`~GliomaSegLib.scene.result.SegmentationResult`; an image that cannot be
            shown is not among its volumes, and a warning says so.
        """
        options = {**self._store, **options}
        steps = study_steps(self._session, Path(path).absolute(), model, _absolute(output), options)
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
            the run, whose result is a list of :class:`~GliomaSegLib.scene.batch.BatchItem`.
        """
        paths = [Path(study).absolute() for study in studies]
        options = {**self._store, **options}
        return self._start(batch_steps(self._session, paths, Path(output).absolute(), model, options), on_event, wait)

    def openResult(  # noqa: N802
        self, folder: Path | str, *, on_event: OnEvent | None = None, wait: bool = True
    ) -> Run:
        """Load a folder of results, as the command line and a batch make them, with the images it was made from.

        Returns:
            the run, whose result is a :class:`~GliomaSegLib.scene.result.SegmentationResult`; an image that is not
            there any more is not among its volumes, and a warning says so.

        Raises:
            InputError: with ``wait``, it is no folder of results, or damaged.
        """
        return self._start(open_steps(self._session, Path(folder).absolute()), on_event, wait)

    # --- results ----------------------------------------------------------------------------------------------------

    def measure(
        self, segmentation: slicer.vtkMRMLSegmentationNode, *, on_event: OnEvent | None = None, wait: bool = True
    ) -> Run:
        """Save an edited segmentation to its folder of results, and update measures, report and table.

        Returns:
            the run, whose result is a :class:`~GliomaSegLib.scene.result.SegmentationResult` without transforms.
        """
        return self._start(measure_steps(self._session, segmentation), on_event, wait)

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
        return self._start(review_steps(self._session, segmentation, state, by), on_event, wait)

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
            the run, whose result has the keys ``model`` (its id) and ``folder`` (of its weights).
        """
        places = {"store": store, "source": source}
        given = self._store | {key: str(place) for key, place in places.items() if place is not None}
        return self._start(self._session.request({"do": "install", "model": model, **given}), on_event, wait)

    def compare(
        self, segmentation: slicer.vtkMRMLSegmentationNode, other: slicer.vtkMRMLSegmentationNode
    ) -> dict[Region, Agreement]:
        """How two segmentations on the same grid agree; see :func:`GliomaSegLib.scene.comparing.agreement`."""
        return agreement(segmentation, other)

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
        """Compare with an earlier study of the patient: residual tumour and extent of resection, every lesion,
        response to treatment. The studies are registered to each other; what was edited is measured
        first. Tables and a growth curve replace those of the last comparison.

        Args:
            segmentation: a result with its folder.
            earlier: another result, or any segmentation with the segments that GliomaSeg knows.
            earlier_volume: the T1 + contrast on which ``earlier`` was drawn; not needed for a result with its folder.
            earlier_time_point: ``preoperative`` or ``postoperative``; by default what its folder says.
            between, between_volume, between_time_point: the same for a third study, made between these two.
            time_point, days_since_surgery: of ``segmentation``; by default what its folder says.
            baseline: ``earlier`` or ``between``, with which response is compared; by default the first that was not
                made before surgery.
            in_place: all studies are in one space already: do not register them.
            deformable: match lesions after a deformable registration; volumes are measured without it.

        Returns:
            the run, whose result is a :class:`~GliomaSegLib.scene.comparing.StudyComparison`.

        Raises:
            InputError: a node cannot be used, or another run is going on.
            GliomaSegError: with ``wait``, whatever the worker could not do.
        """
        studies = [EarlierStudy(earlier, earlier_volume, earlier_time_point)]
        if between is not None:
            studies.append(EarlierStudy(between, between_volume, between_time_point))
        when = {"time_point": time_point, "days_since_surgery": days_since_surgery}
        position = check_studies(segmentation, studies, baseline)
        settings = {"in_place": in_place, "deformable": deformable, "baseline": position}
        return self._start(compare_steps(self._session, segmentation, when, studies, settings), on_event, wait)

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
            series: the DICOM series of the reference image, as a folder or as its files; not needed when the
                study was read from DICOM files.
            by: ``regions``, ``parts`` or ``lesions``, see :class:`~GliomaSegLib.dicom_export.structure.By`.
            comparison: with ``lesions``, the folder of a comparison in which the result takes part
                (:func:`~GliomaSegLib.scene.comparison.comparison_with`), whose numbers the lesions keep.

        Returns:
            the run, whose result is the path of each object by its kind.
        """
        request = {
            "do": "export",
            "output": str(Path(output).absolute()),
            "kinds": list(kinds),
            "by": by,
            "comparison": comparison and str(Path(comparison).absolute()),
        }
        place = Path(series) if isinstance(series, str) else series
        return self._start(export_steps(self._session, segmentation, request, place), on_event, wait)

    def lesions(self, segmentation: slicer.vtkMRMLSegmentationNode) -> list[Lesion]:
        """The lesions as they are now, with the last measures' diameters; see :mod:`GliomaSegLib.scene.lesions`."""
        return lesions_of(segmentation, measures_of(segmentation))

    def resultFolder(  # noqa: N802
        self, segmentation: slicer.vtkMRMLSegmentationNode, files: Files = Files.RESULT
    ) -> Path:
        """The folder of a result or of its comparison; written again from the scene when it is not on this computer.

        Raises:
            InputError: the scene does not hold the files either.
        """
        return self._session.results_of(segmentation, files)

    def hasUnmeasuredEdits(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:  # noqa: N802
        """Whether the segmentation was changed since it was measured, so that table and report are out of date."""
        return has_unmeasured_edits(segmentation)

    def measuresOf(self, segmentation: slicer.vtkMRMLSegmentationNode) -> dict[str, Any] | None:  # noqa: N802
        """The last measures, as JSON; ``None`` when they are not known."""
        return measures_of(segmentation)


def default_python() -> Path:
    """Slicer's PythonSlicer, which sets up its libraries; outside of Slicer the interpreter that runs this."""
    inside = shutil.which("PythonSlicer") if hasattr(slicer, "app") else None
    return Path(inside or sys.executable)


def _absolute(output: Path | str | None) -> Path | None:
    return Path(output).absolute() if output else None
