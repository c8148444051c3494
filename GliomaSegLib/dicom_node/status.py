"""The status of a node as a page, health check and metrics, all without patients' names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone

from markupsafe import Markup

from GliomaSegLib import NOTICE
from GliomaSegLib.dicom_node.alarms import Alarms
from GliomaSegLib.dicom_node.clock import Clock
from GliomaSegLib.dicom_node.drift import to_csv, weeks_of
from GliomaSegLib.dicom_node.engine import Engine
from GliomaSegLib.dicom_node.findings import SHOWN, Findings
from GliomaSegLib.dicom_node.queue import Queue, State
from GliomaSegLib.dicom_node.receiver import Receiver, StoreCounts
from GliomaSegLib.dicom_node.storage import Storage, StorageError
from GliomaSegLib.resources import rendered, resource

LIST_SCRIPT = resource("list.js").read_text(encoding="utf-8")
_SHOWN = 200  # studies on the page, the latest
_WEEKS = 12


@dataclass(frozen=True)
class Status:
    """Collects the status of the parts of a node; thread-safe."""

    storage: Storage
    queue: Queue
    receiver: Receiver
    engine: Engine
    alarms: Alarms
    clock: Clock
    stores: StoreCounts
    findings: Findings

    def health(self) -> tuple[bool, str]:
        """Whether there is no alarm, and the alarms as JSON."""
        alarms = self.alarms.all()
        listed = [{"what": one.name, "sentence": one.sentence, "since": _time(one.since)} for one in alarms]
        return not alarms, json.dumps({"ok": not alarms, "alarms": listed}, indent=2) + "\n"

    def page(self, with_images: bool) -> str:
        """The page as self-contained HTML; every text is escaped.

        Args:
            with_images: with pictures of the studies and links to their reports.
        """
        try:
            self.storage.check()
            studies, counts = self.queue.studies(most=_SHOWN, latest=True), self.queue.counts()
            finished = self.queue.cases()
        except StorageError:
            studies, counts, finished = [], {}, []  # there is an alarm for this
        return rendered(
            "node.html.j2",
            {"time": _time},
            notice=NOTICE,
            made=self.clock.wall(),
            alarms=self.alarms.all(),
            counts={state.value: counts[state] for state in counts},
            rows=self.findings.listed(studies, finished),
            regions=SHOWN,
            with_images=with_images,
            script=Markup(LIST_SCRIPT),
            weeks=weeks_of(finished, _WEEKS),
            free_gb=self.storage.free_bytes / 1e9,
        )

    def drift(self) -> str:
        """The weekly figures as CSV, see :mod:`GliomaSegLib.dicom_node.drift`.

        Raises:
            StorageError: the storage is gone.
        """
        return to_csv(weeks_of(self.queue.cases()))

    def metrics(self) -> str:
        """The metrics in the text format of Prometheus, version 0.0.4."""
        lines = [
            *_metric("alarms", "gauge", "Alarms that are on.", [("", len(self.alarms.all()))]),
            *_metric("free_bytes", "gauge", "Free room on the disk.", [("", self.storage.free_bytes)]),
            *_metric("worker_busy", "gauge", "1 while a study is worked on.", [("", int(self.engine.busy))]),
            *_metric(
                "images_total", "counter", "Images by their outcome.",
                # an old name, which dashboards use
                [(f'{{fate="{one.name.lower()}"}}', count) for one, count in list(self.receiver.counts.items())],
            ),
            *_metric(
                "stores_total", "counter", "C-STORE requests by the status they were answered with.",
                [(f'{{status="{status:04X}"}}', count) for status, count in list(self.stores.statuses.items())],
            ),
            *_metric("associations_refused_total", "counter", "Associations refused.", [("", self.stores.refused)]),
            *_metric("steps_total", "counter", "Finished steps of the worker.", [("", self.engine.steps.runs)]),
            *_metric("step_seconds_total", "counter", "Their seconds.", [("", round(self.engine.steps.seconds, 3))]),
        ]  # fmt: skip
        try:
            counts = self.queue.counts()
        except StorageError:
            counts = {}
        states = [(f'{{state="{state.value}"}}', counts[state]) for state in State if state in counts]
        lines += _metric("studies", "gauge", "Studies by state.", states)
        return "\n".join(lines) + "\n"


def _metric(name: str, kind: str, what: str, values: Iterable[tuple[str, float]]) -> list[str]:
    full = f"gliomaseg_{name}"
    return [f"# HELP {full} {what}", f"# TYPE {full} {kind}", *(f"{full}{labels} {value}" for labels, value in values)]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
