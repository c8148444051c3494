"""The parameter node: choices for the case, saved with the scene. Application settings are in ``options``."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from GliomaSegLib.case import REFERENCE_ORDER, Modality, TimePointKind
from GliomaSegLib.options import BrainMethod, ExportBy
from GliomaSegPanel.decisions.situation import Situation, is_postoperative
from GliomaSegPanel.decisions.titles import TIMES
from GliomaSegPanel.translation import _


class _Choice(Enum):
    """A choice with a fixed set of values, in a list of the panel."""

    def label(self) -> str:
        """The text in the list."""
        return _LABELS[self]


class ImagesFrom(_Choice):
    """The source of the images."""

    VOLUMES = "volumes"
    FOLDER = "folder"


class StudyTime(_Choice):
    """When the study was made."""

    UNKNOWN = TimePointKind.UNKNOWN
    PREOPERATIVE = TimePointKind.PREOPERATIVE
    POSTOPERATIVE = TimePointKind.POSTOPERATIVE


class RegistrationBy(_Choice):
    """How the modalities are registered to one another."""

    AUTOMATIC = "automatic"
    WORKER = "worker"
    OFF = "off"


class Brain(_Choice):
    """How the brain is extracted: the methods of a job that the panel offers."""

    DEEPBET = BrainMethod.DEEPBET
    HDBET = BrainMethod.HDBET
    STRIPPED = BrainMethod.STRIPPED


class Baseline(_Choice):
    """The study with which the response to treatment is compared."""

    FIRST = "first"
    EARLIER = "earlier"
    BETWEEN = "between"


class Structures(_Choice):
    """What gets a segment or contour of its own in DICOM objects."""

    REGIONS = ExportBy.REGIONS
    PARTS = ExportBy.PARTS
    LESIONS = ExportBy.LESIONS


class Device(_Choice):
    """The device for the network; values as in a job."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


_LABELS: dict[_Choice, str] = {
    ImagesFrom.VOLUMES: _("loaded volumes"),
    ImagesFrom.FOLDER: _("a study folder"),
    **{time: TIMES[time.value] for time in StudyTime},
    RegistrationBy.AUTOMATIC: _("with Slicer's BRAINSFit if it is there"),
    RegistrationBy.WORKER: _("with GliomaSeg's own registration"),
    RegistrationBy.OFF: _("no: they lie in place"),
    Brain.DEEPBET: _("found by deepbet"),
    Brain.HDBET: _("found by HD-BET (slower, must be installed)"),
    Brain.STRIPPED: _("the images show nothing else"),
    Baseline.FIRST: _("the first after surgery"),
    Baseline.EARLIER: _("the earlier study"),
    Baseline.BETWEEN: _("the study between"),
    Structures.REGIONS: _("whole tumour, core, enhancing tumour"),
    Structures.PARTS: _("edema, necrosis, enhancing tumour"),
    Structures.LESIONS: _("each lesion by itself"),
    Device.AUTO: _("automatic"),
    Device.CPU: _("processor"),
    Device.CUDA: _("NVIDIA graphics card"),
    Device.MPS: _("Apple graphics"),
}


@parameterNodeWrapper
class GliomaSegParameterNode:
    """The choices of a case.

    Attributes:
        caseName, caseOf: the name of the case, and the ID of the volume for which it was entered: it does not apply to
            another reference image.
        leftOpen: modalities (values) that the user has set to none, which are not filled in again.
        daysSinceSurgery: -1 when not known.
        preoperativeVolume, preoperativeSegmentation: the earlier study, before surgery or after it.
        earlierTime: its time point.
        betweenVolume, betweenSegmentation: a third study between both, after surgery.
        baseline: the baseline study for response.
        deformable: match lesions after a deformable registration.
        structures: the segments or structures of DICOM objects.
        keepNumbers: whether exported lesions get the numbers of the comparison.
        segmentation: the shown result.
    """

    imagesFrom: ImagesFrom = ImagesFrom.VOLUMES
    studyFolder: str
    caseName: str
    caseOf: str
    t1n: vtkMRMLScalarVolumeNode
    t1c: vtkMRMLScalarVolumeNode
    t2w: vtkMRMLScalarVolumeNode
    t2f: vtkMRMLScalarVolumeNode
    leftOpen: list[str]
    preoperativeVolume: vtkMRMLScalarVolumeNode
    preoperativeSegmentation: vtkMRMLSegmentationNode
    earlierTime: StudyTime = StudyTime.PREOPERATIVE
    betweenVolume: vtkMRMLScalarVolumeNode
    betweenSegmentation: vtkMRMLSegmentationNode
    baseline: Baseline = Baseline.FIRST
    deformable: bool = False
    structures: Structures = Structures.REGIONS
    keepNumbers: bool = True
    task: str
    model: str
    timePoint: StudyTime = StudyTime.UNKNOWN
    daysSinceSurgery: Annotated[int, WithinRange(-1, 10000)] = -1
    registration: RegistrationBy = RegistrationBy.AUTOMATIC
    brain: Brain = Brain.DEEPBET
    device: Device = Device.AUTO
    threads: Annotated[int, WithinRange(0, 256)] = 0
    segmentation: vtkMRMLSegmentationNode


def chosen_volumes(parameters: GliomaSegParameterNode) -> dict[Modality, vtkMRMLScalarVolumeNode]:
    """The chosen volume nodes by modality."""
    nodes = {sequence: getattr(parameters, sequence.value) for sequence in Modality}
    return {sequence: node for sequence, node in nodes.items() if node is not None}


def reference_volume(parameters: GliomaSegParameterNode) -> vtkMRMLScalarVolumeNode | None:
    """The reference image: the chosen volume on whose grid the result will be."""
    volumes = chosen_volumes(parameters)
    return next((volumes[sequence] for sequence in REFERENCE_ORDER if sequence in volumes), None)


def case_name(parameters: GliomaSegParameterNode) -> str:
    """The name that the user entered for the case; empty if none, or if it was entered for another volume."""
    reference = reference_volume(parameters)
    return parameters.caseName if reference is not None and parameters.caseOf == reference.GetID() else ""


def run_options(situation: Situation, parameters: GliomaSegParameterNode) -> dict[str, Any]:
    """Fields of :class:`~GliomaSegLib.job.Job` from the choices, for one study or a batch."""
    return {
        "model": situation.card.id,
        "brain": parameters.brain.value,
        "time_point": parameters.timePoint.value.value,
        "device": parameters.device.value,
        "registration": parameters.registration is not RegistrationBy.OFF,
        "days_since_surgery": days_since_surgery(situation, parameters),
        "threads": parameters.threads or None,
        "identity": situation.keeps_identity,
    }


def days_since_surgery(situation: Situation, parameters: GliomaSegParameterNode) -> int | None:
    """Days from surgery to the chosen study; ``None`` if not known, or if it was not made after surgery."""
    known = parameters.daysSinceSurgery >= 0 and is_postoperative(situation)
    return parameters.daysSinceSurgery if known else None
