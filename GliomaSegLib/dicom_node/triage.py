"""Triage: applies the rules to the arriving studies that are complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from GliomaSegLib.dicom_node.completeness import Completeness
from GliomaSegLib.dicom_node.config import Config
from GliomaSegLib.dicom_node.header import read_header
from GliomaSegLib.dicom_node.queue import Queue, State, Study
from GliomaSegLib.dicom_node.rules import Rule, decide
from GliomaSegLib.dicom_node.storage import Storage
from GliomaSegLib.dicom_node.transitions import Transitions

_UNREADABLE = "Its headers cannot be read, and it was not segmented; ask its sender for a correct export"


@dataclass(frozen=True)
class _Verdict:
    """The next state of a study, with further columns of its row."""

    state: State
    sentence: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Triage:
    """Decides on the complete studies of ``queue``."""

    def __init__(
        self,
        config: Config,
        rules: Sequence[Rule],
        storage: Storage,
        queue: Queue,
        completeness: Completeness,
        transitions: Transitions,
    ) -> None:
        self._config, self._rules, self._storage, self._queue = config, rules, storage, queue
        self._completeness, self._transitions = completeness, transitions

    def decide(self) -> bool:
        """Decide on every study that is complete; whether any was.

        Raises:
            StorageError: the storage is gone.
        """
        done = False
        for study in self._queue.studies((State.ARRIVING,)):
            if self._completeness.is_complete(study.key):
                with self._transitions.failing(study, _UNREADABLE):
                    self._decide(study)
                done = True
        return done

    def _decide(self, study: Study) -> None:
        verdict = self._verdict(study)  # reads untrusted files, so nothing is locked meanwhile
        with self._completeness.if_complete(study.key) as complete:
            if not complete:  # an image has arrived meanwhile; the next tick decides again
                return
            for note in verdict.notes:
                self._queue.note(study.key, note)
            self._transitions.move(study, verdict.state, verdict.sentence, **verdict.fields)
            self._completeness.forget(study.key)

    def _verdict(self, study: Study) -> _Verdict:
        count = len(self._storage.image_files(study.key))
        if not count:
            return _Verdict(State.WITHDRAWN, "Its images were deleted from the node before it began.")
        if study.cleared and count < study.images:
            return _Verdict(
                State.FAILED,
                f"{count} of its images came after its {study.images} had been deleted here to make room; send the "
                "whole study again.",
            )
        header = read_header(self._storage.images(study.key))
        if header.unreadable and not header.values:
            return _Verdict(State.FAILED, f"{_UNREADABLE}.", {"images": count})
        notes = []
        if study.broken_off:
            notes.append("Its sender broke off and did not come back; images may be missing.")
        if header.unreadable:
            notes.append(f"The headers of {header.unreadable} of its images cannot be read; they were passed over.")
        decision = decide(header, self._rules)
        fields = {"images": count, "reason": decision.reason, "cleared": 0, "broken_off": 0}
        rule = decision.rule
        if rule is None:
            sentence = "No rule fits this study; add one to the routing and start the node with --again."
            return _Verdict(State.UNMATCHED, sentence, fields, tuple(notes))
        if rule.job is None:
            return _Verdict(State.IGNORED, rule.ignore or "", fields | {"rule": rule.name}, tuple(notes))
        plan = {"job": rule.job, "kinds": rule.kinds or self._config.kinds}
        return _Verdict(State.WAITING, "", fields | {"rule": rule.name, "plan": plan}, tuple(notes))
