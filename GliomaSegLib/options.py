"""Enumerations of the options that command line, panel, job files and model cards share.

Standard library only, so that ``gliomaseg --help`` and an application's panel can show them without importing torch,
SimpleITK or pydantic. Time points are in :mod:`GliomaSegLib.case`, regions and label schemes in
:mod:`GliomaSegLib.labels`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

AUTO = "auto"
"""Instead of a model ID: the best installed model for the case."""


class Option(str, Enum):
    """One value of a list of choices. As text it is its value, as on the command line and in JSON."""

    def __str__(self) -> str:
        return self.value

    @classmethod
    def values(cls) -> tuple[str, ...]:
        """All values, as text."""
        return tuple(one.value for one in cls)


class Task(Option):
    """What a model was made for."""

    PREOPERATIVE_GLIOMA = "preoperative-glioma"
    POSTOPERATIVE_GLIOMA = "postoperative-glioma"
    PEDIATRIC_GLIOMA = "pediatric-glioma"
    METASTASIS = "metastasis"
    MENINGIOMA = "meningioma"
    SCHWANNOMA = "schwannoma"
    RESECTION_CAVITY = "resection-cavity"
    BRAIN_EXTRACTION = "brain-extraction"

    @classmethod
    def of_tumour(cls) -> tuple[str, ...]:
        """The tasks whose models segment tumours or cavities, as text: all but brain extraction."""
        return tuple(one.value for one in cls if one is not cls.BRAIN_EXTRACTION)


class Tumour(Option):
    """The kind of tumour, by which the criteria of response are chosen; none are known for ``other``."""

    GLIOMA = "glioma"
    METASTASIS = "metastasis"
    OTHER = "other"

    @classmethod
    def of_task(cls, task: str | None) -> Tumour | None:
        """The kind of tumour of a task; ``None`` if the task does not determine it."""
        if task in (None, Task.RESECTION_CAVITY, Task.BRAIN_EXTRACTION):
            return None
        adult = (Task.PREOPERATIVE_GLIOMA, Task.POSTOPERATIVE_GLIOMA)
        return cls.GLIOMA if task in adult else cls.METASTASIS if task == Task.METASTASIS else cls.OTHER


class Surgery(Option):
    """What the operation between two studies was."""

    RESECTION = "resection"
    BIOPSY = "biopsy"


class Purpose(Option):
    """What a result after surgery is for: how much tumour is left, or whether any is left.

    It decides which model is chosen, and within a card which of its networks (:mod:`GliomaSegLib.zoo.purpose`).
    """

    VOLUME = "volume"
    RESIDUAL = "residual"


class BrainMethod(Option):
    """How the brain is found: by a package, or by a model of the zoo, then its id. ``stripped``: the user says that the
    images are stripped, so nothing is extracted."""

    DEEPBET = "deepbet"
    HDBET = "hdbet"
    HDBET2 = "hd-bet-v2"
    SYNTHSTRIP = "synthstrip"
    RAIDIONICS = "raidionics-brain"
    STRIPPED = "stripped"


class Precision(Option):
    """Number format of a network; ``auto`` is the fastest that the device and the model's card allow."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Vote(Option):
    """How the answers of an ensemble's members become one, region by region.

    ``mean``: of the probabilities; ``majority``: marked by more than half, with two by both; ``staple``: Warfield 2004,
    IEEE Trans Med Imaging 23:903, which also estimates how reliable each member is.
    """

    MEAN = "mean"
    MAJORITY = "majority"
    STAPLE = "staple"


class Challenge(Option):
    """The BraTS 2023 challenge by whose rules lesions are counted: glioma, Sub-Saharan Africa, paediatric, meningioma,
    metastases."""

    GLI = "gli"
    SSA = "ssa"
    PED = "ped"
    MEN = "men"
    MET = "met"


class Consensus(Option):
    """How several readers' segmentations become one.

    ``majority``: more than half have it; with two readers, both. ``staple``: Warfield 2004, IEEE Trans Med Imaging
    23:903, at a probability of one half.
    """

    MAJORITY = "majority"
    STAPLE = "staple"


class ReviewState(Option):
    """The state of a segmentation between its computation and the patient's record. An edit voids an approval."""

    DRAFT = "draft"
    EDITED = "edited"
    APPROVED = "approved"
    REJECTED = "rejected"

    @classmethod
    def decisions(cls) -> tuple[str, ...]:
        """The states that a reviewer can set, as text; ``edited`` is only set by an edit."""
        return tuple(one.value for one in (cls.APPROVED, cls.REJECTED, cls.DRAFT))


class ExportKind(Option):
    """A DICOM object, by the name of its file, or a folder of them: the overlays hold a series per sequence."""

    SEG = "seg"
    RTSTRUCT = "rtstruct"
    SR = "sr"
    OVERLAY = "overlay"


class ExportBy(Option):
    """The segments or structures of DICOM objects: the nested regions, their exclusive parts, or single lesions."""

    REGIONS = "regions"
    PARTS = "parts"
    LESIONS = "lesions"


@dataclass(frozen=True, kw_only=True)
class Postprocessing:
    """What is done to a segmentation's labels after the model's own last step; zero switches a step off.

    Attributes:
        fill_holes_below_mm3: holes smaller than this are filled.
        remove_islands_below_fraction: components smaller than this share of the largest are removed.
        remove_objects_below_mm3: components smaller than this are removed.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    fill_holes_below_mm3: float = field(default=0.0, metadata={"ge": 0})
    remove_islands_below_fraction: float = field(
        default=0.0, metadata={"ge": 0, "lt": 1, "description": "of the largest component"}
    )
    remove_objects_below_mm3: float = field(default=0.0, metadata={"ge": 0})


class FigureLayout(Option):
    """Layout of a figure: the largest axial slice of every modality, twelve slices of one, or its three planes."""

    AXIAL = "axial"
    LIGHTBOX = "lightbox"
    TRIPLANAR = "triplanar"
