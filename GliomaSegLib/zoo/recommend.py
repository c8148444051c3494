"""Which model for a case: the zoo's models ranked by what is known of them, each with a sentence that says why.

On the catalogue's entries (:mod:`GliomaSegLib.zoo.catalogue`), so that a panel, which has little more than the standard
library, ranks as the command line and a run with the model ``auto`` do.

The order: models that can take the case; of these the better proven; of these those that were measured with just the
sequences that are there, by their mean Dice over all regions that any of them gives, a region that a model does not
give counting as 0. Figures of different cases say little about which model is better: where several models were
measured on the same cases, those figures count. Where the question is whether anything is left after surgery
(:mod:`GliomaSegLib.zoo.purpose`), the balanced accuracy of that answer counts before any Dice. Published figures count
where nothing was measured: those of the inputs that the model would be given. What cannot take the case comes last,
with what is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from GliomaSegLib.case import Modality, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Region
from GliomaSegLib.options import Purpose
from GliomaSegLib.zoo.catalogue import Entry, Figure
from GliomaSegLib.zoo.input_requirements import figures_with, regions_given, used, wrong_time
from GliomaSegLib.zoo.purpose import entry_for_purpose, figure_among

# From the best proven to what only shows the road.
_STATUSES = {
    "verified": "it ran on real images with its real weights",
    "parity": "it equals its own package on generated weights, and was not run on real images here",
    "unproven": "it is unproven, so it runs only when it is named",
    "demonstration": "it is a demonstration, trained on too little to be of use, so it runs only when it is named",
}

# Nobody should get the answer of a model that may have its channels or labels mixed up without having asked for it.
_TRUSTED = ("verified", "parity")


@dataclass(frozen=True)
class Recommendation:
    """A model, and what speaks for it in a case.

    Attributes:
        regions: what it gives for the case; empty when it cannot take it.
        figure: its measured accuracy with just the sequences that are there, if there is one.
        published: that of its publication with what it would be given, else the first of the card.
        unsuited: a sentence on why it cannot take the case, which names what is missing; empty when it can.
        purpose: what the result is for.
    """

    entry: Entry
    installed: bool
    regions: tuple[Region, ...] = ()
    figure: Figure | None = None
    published: Figure | None = None
    unsuited: str = ""
    purpose: Purpose = Purpose.VOLUME

    @property
    def chosen_by_itself(self) -> bool:
        """Whether a run may take it without anybody having named it."""
        return self.installed and not self.unsuited and self.entry.status in _TRUSTED

    @property
    def tells_residual(self) -> Figure | None:
        """Where that is the purpose, the figure that says how well it tells residual tumour from none."""
        if self.purpose is not Purpose.RESIDUAL:
            return None
        known = (one for one in (self.figure, self.published) if one is not None)
        return next((one for one in known if one.balanced_accuracy is not None), None)

    @property
    def why(self) -> str:
        """What speaks for it or against it, in a sentence."""
        if self.unsuited:
            return self.unsuited
        where = f"it is {'' if self.installed else 'not '}installed"
        licence = f"licence of the weights: {self.entry.weights_licence}"
        parts = (self._residual(), self._accuracy(), self._gives(), _STATUSES[self.entry.status], where, licence)
        text = "; ".join(part for part in parts if part)
        return f"{text[0].upper()}{text[1:]}."

    def as_record(self) -> dict[str, object]:
        """As plain values, for other programs."""
        return {
            "id": self.entry.id,
            "task": self.entry.task,
            "status": self.entry.status,
            "installed": self.installed,
            "weights_licence": self.entry.weights_licence,
            "regions": [region.value for region in self.regions],
            "dice": {region.value: value for region, value in self.figure.dice.items()} if self.figure else {},
            "measured_on": _cases(self.figure) if self.figure else None,
            "balanced_accuracy": self.tells_residual.balanced_accuracy if self.tells_residual else None,
            "unsuited": self.unsuited or None,
            "why": self.why,
        }

    def _residual(self) -> str:
        if self.purpose is not Purpose.RESIDUAL:
            return ""
        if self.tells_residual is None:
            return "how well it tells whether anything is left is not known"
        figure = self.tells_residual
        how = "measured" if figure is self.figure else "published"
        return (
            f"it tells residual tumour from none with a balanced accuracy of {figure.balanced_accuracy:.2f} ({how}, "
            f"{_cases(figure)})"
        )

    def _accuracy(self) -> str:
        if self.figure:
            return f"mean Dice {_dice(self.figure)}, measured with just these sequences on {_cases(self.figure)}"
        known = f", published is {_dice(self.published)} on {_cases(self.published)}" if self.published else ""
        given = ", ".join(region.value for region in self.regions)
        return f"it gives {given}; its accuracy with just these sequences was not measured{known}"

    def _gives(self) -> str:
        withheld = [region.value for region in self.entry.needs.regions if region not in self.regions]
        return f"without all its sequences it cannot give {' and '.join(withheld)}" if withheld else ""


def recommend(
    entries: Iterable[Entry],
    store: Path,
    present: Collection[Modality] = (),
    task: str = "",
    time_point: TimePointKind = TimePointKind.UNKNOWN,
    earlier: bool = False,
    purpose: Purpose = Purpose.VOLUME,
) -> tuple[Recommendation, ...]:
    """The models for a task, the best first, whether their weights are installed or not.

    Args:
        entries: the zoo, see :func:`~GliomaSegLib.zoo.catalogue.entries`.
        store: where weights are looked for, beside the site's stores.
        present: the sequences of the case; empty while they are not known, which every model can take.
        task: as on the cards; empty for all.
        time_point: of the study.
        earlier: whether the study before surgery is there too.
        purpose: what the result is for: it decides among the models, and within one among its sets of sequences.
    """
    served = [entry_for_purpose(entry, purpose) for entry in entries if task in ("", entry.task)]
    found = [_looked_at(entry, store, tuple(present), time_point, earlier) for entry in served]
    shared = _shared_cases([one for one in found if not one.unsuited], present)
    found = [
        replace(
            one,
            figure=_figure(one.entry, present, shared),
            published=_published(one.entry, present, purpose),
            purpose=purpose,
        )
        for one in found
    ]
    wanted = {region for one in found for region in one.regions}
    return tuple(sorted(found, key=lambda one: _place(one, wanted)))


def task_at(time_point: TimePointKind) -> str:
    """What is asked of a study when nobody says it: glioma, after surgery or else before it."""
    return "postoperative-glioma" if time_point is TimePointKind.POSTOPERATIVE else "preoperative-glioma"


def best_installed(ranking: Collection[Recommendation], present: Collection[Modality], task: str) -> Recommendation:
    """The first of a ranking that may run without having been named.

    Raises:
        InputError: there is none; the sentence names the model to install, or what the case lacks.
    """
    chosen = next((one for one in ranking if one.chosen_by_itself), None)
    if chosen:
        return chosen
    titles = ", ".join(sequence.title for sequence in Modality if sequence in present)
    sentence = f"No model that is installed and proven takes {titles} for the task {task}"
    for one in ranking:
        if not one.unsuited and one.entry.status in _TRUSTED:
            raise InputError(f"{sentence}; '{one.entry.id}' does: run 'gliomaseg models install {one.entry.id}'.")
    for one in ranking:
        if not one.unsuited:
            raise InputError(f"{sentence}; '{one.entry.id}' does, but {_STATUSES[one.entry.status]} (--model).")
    reason = f": {ranking[0].unsuited}" if (ranking := tuple(ranking)) else "; the zoo has none for this task."
    raise InputError(f"{sentence}{reason}")


def why_chosen(chosen: Recommendation, ranking: Iterable[Recommendation]) -> str:
    """Which model a run took by itself and why; with the one that would be better if it were installed."""
    text = f"{chosen.entry.id} was chosen: {_lowered(chosen.why)}"
    better = next((one for one in ranking if one.entry.status in _TRUSTED), chosen)
    if better is chosen:
        return text
    return f"{text} Not installed is {better.entry.id}: {_lowered(better.why)}"


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


# --- what is known of a model -----------------------------------------------------------------------------------------


def _looked_at(
    entry: Entry, store: Path, present: tuple[Modality, ...], time_point: TimePointKind, earlier: bool
) -> Recommendation:
    installed = entry.is_installed(store)
    if late := wrong_time(entry.id, entry.time_points, time_point):
        return Recommendation(entry, installed, unsuited=late)
    try:
        return Recommendation(entry, installed, regions_given(entry.needs, present or entry.needs.sequences, earlier))
    except InputError as error:
        return Recommendation(entry, installed, unsuited=str(error))


def _figures(entry: Entry, present: Collection[Modality]) -> tuple[Figure, ...]:
    return figures_with(entry.needs, present or entry.needs.sequences)


def _shared_cases(suited: Iterable[Recommendation], present: Collection[Modality]) -> str:
    """The cases on which most models were measured with these sequences; empty where no two were on the same."""
    counted = Counter(figure.data for one in suited for figure in _figures(one.entry, present))
    (data, models) = counted.most_common(1)[0] if counted else ("", 0)
    return data if models > 1 else ""


def _figure(entry: Entry, present: Collection[Modality], shared: str) -> Figure | None:
    figures = _figures(entry, present)
    return next((figure for figure in figures if figure.data == shared), figures[0] if figures else None)


def _published(entry: Entry, present: Collection[Modality], purpose: Purpose) -> Figure | None:
    needs = entry.needs
    given = used(needs, present or needs.sequences)
    fitting = figure_among(entry.published, given, needs.preoperative, purpose)
    return fitting or next(iter(entry.published), None)


def _place(one: Recommendation, wanted: Collection[Region]) -> tuple[object, ...]:
    """What the models are sorted by; smaller is better."""
    residual = one.tells_residual
    return (
        bool(one.unsuited),
        list(_STATUSES).index(one.entry.status),
        -residual.balanced_accuracy if residual else 0.0,
        one.figure is None,
        -_mean_dice(one.figure, wanted),
        -len(one.regions),
        -_mean_dice(one.published, wanted),
        not one.installed,
        one.entry.id,
    )


def _mean_dice(figure: Figure | None, wanted: Collection[Region]) -> float:
    return sum(figure.dice.get(region, 0.0) for region in wanted) / len(wanted) if figure and wanted else 0.0


def _dice(figure: Figure) -> str:
    return ", ".join(f"{region.value} {value:.2f}" for region, value in figure.dice.items())


def _cases(figure: Figure) -> str:
    return f"{figure.cases} cases of {figure.data}" if figure.cases else figure.data
