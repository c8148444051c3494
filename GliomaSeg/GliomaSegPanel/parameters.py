"""The parameter node: choices of the case, kept in the scene. Those of the computer are in the settings."""

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
        """In the list."""
        return _LABELS[self]


class ImagesFrom(_Choice):
    """Where the images are."""

    VOLUMES = "volumes"
    FOLDER = "folder"


class StudyTime(_Choice):
    """When the study was made."""

    UNKNOWN = TimePointKind.UNKNOWN
    PREOPERATIVE = TimePointKind.PREOPERATIVE
    POSTOPERATIVE = TimePointKind.POSTOPERATIVE


class Alignment(_Choice):
    """What registers the sequences to one another."""

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
    """What the network is computed on; the values are those of a job."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


_LABELS: dict[_Choice, str] = {
    ImagesFrom.VOLUMES: _("loaded volumes"),
    ImagesFrom.FOLDER: _("a study folder"),
    **{time: TIMES[time.value] for time in StudyTime},
    Alignment.AUTOMATIC: _("with Slicer's BRAINSFit if it is there"),
    Alignment.WORKER: _("with GliomaSeg's own registration"),
    Alignment.OFF: _("no: they lie in place"),
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
        caseName, caseOf: what the user calls the case, and the id of the volume for which that was entered: the next
            patient has another name.
        leftOpen: sequences (their values) that the user has set to none, so that they are not filled in again.
        daysSinceSurgery: -1 when not known.
        preoperativeVolume, preoperativeSegmentation: the earlier study, before surgery or after it.
        earlierTime: when that was made.
        betweenVolume, betweenSegmentation: a study between that and this one, after surgery.
        baseline: with which the response is compared.
        deformable: lesions are matched after a deformation too.
        structures: what is marked in DICOM objects.
        keepNumbers: whether lesions keep the numbers of the comparison there.
        segmentation: the result that is shown.
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
    registration: Alignment = Alignment.AUTOMATIC
    brain: Brain = Brain.DEEPBET
    device: Device = Device.AUTO
    threads: Annotated[int, WithinRange(0, 256)] = 0
    segmentation: vtkMRMLSegmentationNode


def chosen_volumes(parameters: GliomaSegParameterNode) -> dict[Modality, vtkMRMLScalarVolumeNode]:
    """The volume node of each sequence that has one."""
    nodes = {sequence: getattr(parameters, sequence.value) for sequence in Modality}
    return {sequence: node for sequence, node in nodes.items() if node is not None}


def reference_volume(parameters: GliomaSegParameterNode) -> vtkMRMLScalarVolumeNode | None:
    """The chosen volume on which the result is drawn."""
    volumes = chosen_volumes(parameters)
    return next((volumes[sequence] for sequence in REFERENCE_ORDER if sequence in volumes), None)


def case_name(parameters: GliomaSegParameterNode) -> str:
    """What the user calls the case; empty when that was not entered, or for another volume."""
    reference = reference_volume(parameters)
    return parameters.caseName if reference is not None and parameters.caseOf == reference.GetID() else ""


def run_options(situation: Situation, parameters: GliomaSegParameterNode) -> dict[str, Any]:
    """Fields of a :class:`~GliomaSegLib.job.Job` that the choices give, for one study and for a batch."""
    return {
        "model": situation.card.id,
        "brain": parameters.brain.value,
        "time_point": parameters.timePoint.value.value,
        "device": parameters.device.value,
        "registration": parameters.registration is not Alignment.OFF,
        "days_since_surgery": days_since_surgery(situation, parameters),
        "threads": parameters.threads or None,
        "identity": situation.keeps_identity,
    }


def days_since_surgery(situation: Situation, parameters: GliomaSegParameterNode) -> int | None:
    """Days from surgery to the chosen study; ``None`` when not known, or it was not made after surgery."""
    known = parameters.daysSinceSurgery >= 0 and is_postoperative(situation)
    return parameters.daysSinceSurgery if known else None
