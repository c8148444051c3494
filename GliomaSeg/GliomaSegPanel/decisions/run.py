"""Whether Apply and Cancel may be pressed."""

from __future__ import annotations

from GliomaSegLib.errors import InputError
from GliomaSegPanel.decisions.images import chosen_twice
from GliomaSegPanel.decisions.situation import Answer, Situation, chosen_sequences, lacks_preoperative, packages_first
from GliomaSegPanel.translation import _


def can_apply(situation: Situation) -> Answer:
    """Whether Apply may be pressed. Missing packages and weights are asked for when it is."""
    if situation.work:
        return Answer(False, _("Wait until the running work has ended, or cancel it."))
    if situation.from_folder:
        if situation.study_folder is None or not situation.study_folder.is_dir():
            return Answer(False, _("Choose the folder of the study: DICOM, NIfTI or NRRD."))
    elif not chosen_sequences(situation):
        return Answer(False, _("Load the patient's MRI and choose at least one sequence."))
    elif same := chosen_twice(situation):
        return Answer(False, same)
    if situation.card is None:
        return Answer(False, _("Choose a model."))
    if lacking := lacks_preoperative(situation.card, situation):
        return Answer(False, lacking)
    if not situation.from_folder:
        try:
            situation.card.regions_given(chosen_sequences(situation), earlier=True)
        except InputError as error:
            return Answer(False, str(error))
    if situation.editing:
        return Answer(False, _("Finish correcting the segmentation first."))
    if first := packages_first(situation):
        return first
    return Answer(True, _("Segment the tumour. This takes from seconds to minutes; Slicer can be used meanwhile."))


def can_cancel(situation: Situation) -> Answer:
    """Whether there is something to cancel."""
    if situation.work is None:
        return Answer(False, _("Nothing is running."))
    return Answer(True, _("Stop. Nothing half-made is left."))
