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


class ImagesFrom(Enum):
    """Where the images are."""

    VOLUMES = "volumes"
    FOLDER = "folder"

    def label(self) -> str:
        """In the list."""
        return {"volumes": _("loaded volumes"), "folder": _("a study folder")}[self.value]


class StudyTime(Enum):
    """When the study was made."""

    UNKNOWN = TimePointKind.UNKNOWN
    PREOPERATIVE = TimePointKind.PREOPERATIVE
    POSTOPERATIVE = TimePointKind.POSTOPERATIVE

    def label(self) -> str:
        """In the list."""
        return TIMES[self.value]


class Alignment(Enum):
    """What registers the sequences to one another."""

    AUTOMATIC = "automatic"
    WORKER = "worker"
    OFF = "off"

    def label(self) -> str:
        """In the list."""
        return {
            "automatic": _("with Slicer's BRAINSFit if it is there"),
            "worker": _("with GliomaSeg's own registration"),
            "off": _("no: they lie in place"),
        }[self.value]


class Brain(Enum):
    """How the brain is extracted: the methods of a job that the panel offers."""

    DEEPBET = BrainMethod.DEEPBET
    HDBET = BrainMethod.HDBET
    STRIPPED = BrainMethod.STRIPPED

    def label(self) -> str:
        """In the list."""
        return {
            "deepbet": _("found by deepbet"),
            "hdbet": _("found by HD-BET (slower, must be installed)"),
            "stripped": _("the images show nothing else"),
        }[self.value]


class Baseline(Enum):
    """The study with which the response to treatment is compared."""

    FIRST = "first"
    EARLIER = "earlier"
    BETWEEN = "between"

    def label(self) -> str:
        """In the list."""
        return {
            "first": _("the first after surgery"),
            "earlier": _("the earlier study"),
            "between": _("the study between"),
        }[self.value]


class Structures(Enum):
    """What gets a segment or contour of its own in DICOM objects."""

    REGIONS = ExportBy.REGIONS
    PARTS = ExportBy.PARTS
    LESIONS = ExportBy.LESIONS

    def label(self) -> str:
        """In the list."""
        return {
            "regions": _("whole tumour, core, enhancing tumour"),
            "parts": _("edema, necrosis, enhancing tumour"),
            "lesions": _("each lesion by itself"),
        }[self.value]


class Device(Enum):
    """What the network is computed on; the values are those of a job."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"

    def label(self) -> str:
        """In the list."""
        return {
            "auto": _("automatic"),
            "cpu": _("processor"),
            "cuda": _("NVIDIA graphics card"),
            "mps": _("Apple graphics"),
        }[self.value]


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
