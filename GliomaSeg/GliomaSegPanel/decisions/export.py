"""Whether the files of a result may be exported."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from GliomaSegPanel.decisions.situation import Answer, Situation, refuse_without_files
from GliomaSegPanel.translation import _

NO_SERIES = _(
    "The images are no DICOM files that Slicer knows (such as NIfTI), so that the result cannot be exported as DICOM; "
    "only if they were made from a DICOM series, name its folder."
)


def can_keep_numbers(situation: Situation) -> Answer:
    """Whether the lesions of the shown result have the numbers of a comparison."""
    shown = situation.shown
    if shown is None or not shown.numbered:
        return Answer(False, _("Compare the result with an earlier study first: there its lesions get their numbers."))
    return Answer(True, "")


def can_export(
    situation: Situation,
    folder: Path | None,
    kinds: Collection[str],
    dicom: Collection[str] = (),
    series: Path | None = None,
    numbers: bool = False,
) -> Answer:
    """Whether the chosen files may be written to ``folder``.

    Args:
        kinds: files of the result.
        dicom: DICOM objects.
        series: folder of the DICOM series, if the user has to name it.
        numbers: whether lesions in DICOM objects get the numbers of the comparison.
    """
    if refused := refuse_without_files(situation):
        return refused
    shown = situation.shown
    if shown.edited:
        return Answer(False, _("Update the measures first, so that the files hold what you see."))
    if not kinds and not dicom:
        return Answer(False, _("Choose at least one kind of file."))
    if folder is None or not folder.is_dir():
        return Answer(False, _("Choose a folder to write to."))
    if dicom and shown.review == "rejected":
        return Answer(
            False, _("The result was rejected, so it is not written as DICOM; correct it or review it again.")
        )
    if dicom and not shown.on_dicom and (series is None or not series.is_dir()):
        return Answer(False, NO_SERIES)
    if dicom and numbers and shown.outdated:
        return Answer(
            False, _("The comparison is out of date: compare again, or export without the numbers of the comparison.")
        )
    return Answer(True, _("Write the chosen files to {folder}.").format(folder=folder))
