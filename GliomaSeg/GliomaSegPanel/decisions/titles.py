"""Titles and numbers for display."""

from __future__ import annotations

from GliomaSegLib.case import StudyIdentity, TimePointKind
from GliomaSegLib.labels import Region
from GliomaSegLib.options import Task
from GliomaSegLib.zoo.card import Status
from GliomaSegPanel.translation import _

TASKS = {
    Task.PREOPERATIVE_GLIOMA: _("glioma before surgery"),
    Task.POSTOPERATIVE_GLIOMA: _("glioma after surgery"),
    Task.PEDIATRIC_GLIOMA: _("glioma of children"),
    Task.METASTASIS: _("metastases"),
    Task.MENINGIOMA: _("meningioma"),
    Task.SCHWANNOMA: _("vestibular schwannoma"),
    Task.RESECTION_CAVITY: _("resection cavity"),
}

TIMES = {
    TimePointKind.UNKNOWN: _("not said"),
    TimePointKind.PREOPERATIVE: _("before surgery"),
    TimePointKind.POSTOPERATIVE: _("after surgery"),
}

STATUSES = {
    Status.VERIFIED: _("on real images with the real weights"),
    Status.PARITY: _("equal to its own package on generated weights"),
    Status.UNPROVEN: _("not yet"),
    Status.DEMONSTRATION: _("a demonstration, trained on too little to be of use"),
}

VOLUME_TITLES = {
    "WT": _("Whole tumour"),
    "TC": _("Tumour core"),
    "ET": _("Enhancing tumour"),
    "RC": _("Resection cavity"),
    "NETC": _("Necrosis / non-enhancing core"),
    "SNFH": _("Edema / infiltration"),
}

SIDES = {"left": _("left"), "right": _("right"), "midline": _("midline")}


def region_title(region: Region) -> str:
    """The name of a region."""
    return VOLUME_TITLES[region.value]


def short_title(title: str) -> str:
    """The title of a model without its purpose."""
    return title.partition(":")[0]


def identity_line(identity: StudyIdentity) -> str:
    """Patient and study in one line, as far as known."""
    return identity.line(_("patient {value}"), _("study of {value}"), _("accession {value}"))


def elided(name: str, length: int = 36) -> str:
    """A long name with an ellipsis in the middle: long words would widen the panel."""
    return name if len(name) <= length else f"{name[: length // 2]}…{name[-(length // 2 - 1) :]}"


def millilitres(volume_ml: float) -> str:
    """A volume with one decimal; ``< 0.1`` instead of 0.0."""
    return f"{volume_ml:.1f}" if volume_ml >= 0.05 or not volume_ml else "< 0.1"


def download_size(size_bytes: int) -> str:
    """The size of a download, ``23 MB`` or ``1.4 GB`` (powers of ten); some publishers do not state it."""
    if not size_bytes:
        return _("unknown size")
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
