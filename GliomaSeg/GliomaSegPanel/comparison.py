"""The section Comparison: the change of the tumour since one or two earlier studies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qt
import slicer

from GliomaSegLib.case import TimePointKind
from GliomaSegLib.scene.attributes import COMPARISON_OUTDATED, DAYS, TIME_POINT
from GliomaSegLib.scene.comparison import chart_of
from GliomaSegLib.scene.keeping import Files
from GliomaSegLib.scene.segmentation import reference_of
from GliomaSegLib.scene.views import SideBySide
from GliomaSegPanel.decisions.comparison import answers_html, can_compare, compared_rows
from GliomaSegPanel.decisions.situation import Situation, Work, shows_earlier
from GliomaSegPanel.panel import Panel
from GliomaSegPanel.parameters import Baseline, days_since_surgery
from GliomaSegPanel.tables import fill_table, fit_columns
from GliomaSegPanel.translation import _
from GliomaSegPanel.views import LinkedLayout

_BETWEEN_COLUMN = 2


class ComparisonSection:
    """Compares the shown result with the earlier study of the section Images and shows the answers. Options with
    good defaults (the study between, baseline, deformation) are collapsed at first."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._ui = panel.ui
        self._comparison: Mapping[str, Any] | None = None
        fit_columns(self._ui.comparisonTable, stretched=0)
        self._ui.compareStudiesButton.connect("clicked()", self._on_compare)
        self._ui.openComparisonButton.connect("clicked()", self._on_open)
        self._layout, self._side_by_side = LinkedLayout(), None
        self._ui.sideBySideButton.connect("toggled(bool)", self._on_side_by_side)
        self._ui.growthButton.connect("clicked()", self._on_growth)

    def show(self, situation: Situation) -> None:
        """Update the section."""
        node = self._panel.result.node
        self._show_answers(self._panel.logic.comparisonOf(node) if node is not None else None)
        there = self._comparison is not None
        self._ui.comparisonButton.visible = there or shows_earlier(situation)
        self._ui.comparisonFrame.visible = there
        self._ui.comparisonOutdatedLabel.visible = there and node.GetAttribute(COMPARISON_OUTDATED) is not None
        self._ui.growthButton.enabled = there and chart_of(node) is not None
        self._ui.comparisonMoreButton.visible = shows_earlier(situation)
        self._ui.betweenVolumeSelector.enabled = situation.between is None or not situation.between.has_results
        answer = can_compare(situation)
        self._panel.set_enabled(self._ui.compareStudiesButton, answer)
        self._ui.comparisonHintLabel.visible = not answer.allowed and not there and situation.work is None
        self._ui.comparisonHintLabel.text = answer.reason

    def _show_answers(self, comparison: Mapping[str, Any] | None) -> None:
        if comparison is self._comparison:
            return
        self._ui.sideBySideButton.checked = False
        self._comparison = comparison
        if comparison is None:
            return
        self._ui.answersLabel.text = answers_html(comparison)
        fill_table(self._ui.comparisonTable, compared_rows(comparison))
        self._ui.comparisonTable.setColumnHidden(_BETWEEN_COLUMN, len(comparison["studies"]) < 3)
        warnings = "\n".join(comparison["warnings"])
        self._ui.comparisonWarningsLabel.text = warnings
        self._ui.comparisonWarningsLabel.visible = bool(warnings)

    def compare_if_chosen(self) -> None:
        """After a run: compare at once, when an earlier study was chosen for that."""
        if can_compare(self._panel.situation()).allowed:
            self._on_compare()

    def _on_compare(self) -> None:
        with self._panel.errors_shown():
            self._panel.ensure_packages()
            self._panel.result.commit_threshold()
            self._panel.begin(Work.COMPARE, self._start, self._on_compared)

    def _start(self) -> Any:
        """What was stated when the shown result was made counts; the present choices fill the gaps."""
        node, parameters, situation = self._panel.result.node, self._panel.parameters, self._panel.situation()
        when, now = parameters.earlierTime.value, situation.shown.time_point
        earlier, between = parameters.preoperativeSegmentation, parameters.betweenSegmentation
        return self._panel.logic.compareStudies(
            node,
            earlier,
            parameters.preoperativeVolume,
            earlier_time_point=None if when is TimePointKind.UNKNOWN else when.value,
            between=between,
            between_volume=parameters.betweenVolume,
            between_time_point=None if between is None or _is_known(between) else TimePointKind.POSTOPERATIVE.value,
            baseline={Baseline.EARLIER: earlier, Baseline.BETWEEN: between}.get(parameters.baseline),
            deformable=parameters.deformable,
            time_point="postoperative" if now is TimePointKind.UNKNOWN else None,
            days_since_surgery=None if node.GetAttribute(DAYS) else days_since_surgery(situation, parameters),
            wait=False,
        )

    def _on_compared(self, _result: object) -> None:
        self._show_answers(self._panel.logic.comparisonOf(self._panel.result.node))
        self._ui.comparisonButton.collapsed = False
        done = _("Compared in {seconds} s: see Comparison.").format(seconds=self._panel.runner.seconds)
        self._panel.show_message([self._comparison["answers"][0], done])

    def _on_open(self) -> None:
        page = self._panel.logic.resultFolder(self._panel.result.node, Files.COMPARISON) / "comparison.html"
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(page)))

    def _on_side_by_side(self, on: bool) -> None:
        if self._side_by_side is not None:
            self._side_by_side.close()
            self._side_by_side = None
            self._layout.leave()
        if on:
            with self._panel.errors_shown():
                self._side_by_side = SideBySide(self._panel.result.node, (_("earlier"), _("now")))
                result = self._panel.result
                centre = result.lesions[0].centre_ras_mm if result.lesions else None
                self._layout.show(self._side_by_side.show, reference_of(result.node), centre)

    def _on_growth(self) -> None:
        slicer.modules.plots.logic().ShowChartInLayout(chart_of(self._panel.result.node))


def _is_known(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether the result says when its study was made."""
    return TimePointKind(node.GetAttribute(TIME_POINT) or TimePointKind.UNKNOWN) is not TimePointKind.UNKNOWN
