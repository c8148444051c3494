"""Rules: which study is segmented, and how. They match unredacted headers; the reasons they give are redacted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, field_validator, model_validator

from GliomaSegLib.dicom_node.header import ROUTED_BY, StudyHeader
from GliomaSegLib.errors import InputError
from GliomaSegLib.job import new_job
from GliomaSegLib.options import ExportKind
from GliomaSegLib.record import Record

_NOT_A_RULES = ("study", "exam", "volumes", "transforms", "output", "case_id", "overwrite", "preoperative")
_SHOWN = 6  # values that a reason lists


class Rule(Record):
    """What to do with the studies that the rule fits. The first rule that fits decides.

    Attributes:
        name: shown in reasons and in the log.
        when: DICOM keyword (of :data:`~GliomaSegLib.dicom_node.header.ROUTED_BY`) to a case-insensitive regular
            expression; each must be found in a value of its keyword in any series of the study.
        unless: the same; none of these may be found.
        job: fields of :class:`~GliomaSegLib.job.Job`, such as ``model``, ``task``, ``time_point``.
        ignore: instead of ``job``: why such studies are not segmented.
        kinds: the DICOM objects that are sent, instead of those of the configuration.
    """

    name: str = Field(min_length=1)
    when: dict[str, str] = Field(default_factory=dict)
    unless: dict[str, str] = Field(default_factory=dict)
    job: dict[str, Any] | None = None
    ignore: str | None = None
    kinds: tuple[ExportKind, ...] | None = None

    @field_validator("when", "unless")
    @classmethod
    def _can_be_searched(cls, patterns: dict[str, str]) -> dict[str, str]:
        for keyword, pattern in patterns.items():
            if keyword not in ROUTED_BY:
                raise ValueError(f"'{keyword}' is none of {', '.join(ROUTED_BY)}")
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"'{pattern}' is no regular expression ({error})") from error
        return patterns

    @field_validator("job")
    @classmethod
    def _is_a_job(cls, fields: dict[str, Any] | None) -> dict[str, Any] | None:
        if fields is None:
            return None
        for name in _NOT_A_RULES:
            if name in fields:
                raise ValueError(f"'{name}' is for the node to say, not for a rule")
        try:
            new_job(study="/study", output="/output", **fields)
        except InputError as error:
            raise ValueError(str(error)) from error
        return fields

    @model_validator(mode="after")
    def _has_an_action(self) -> Rule:
        if (self.job is None) == (self.ignore is None):
            raise ValueError("a rule has either a 'job' or says with 'ignore' why not")
        return self


class Routing(Record):
    """The rules of a site, in their order."""

    rules: tuple[Rule, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Routing:
        names = [rule.name for rule in self.rules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"two rules are called '{twice}'")
        return self


@dataclass(frozen=True)
class Decision:
    """The rule that fits a study, or ``None``; ``reason`` has a redacted clause for it and for each rule before it."""

    rule: Rule | None
    reason: str


def decide(header: StudyHeader, rules: Sequence[Rule]) -> Decision:
    """Find the first of ``rules`` that fits."""
    passed: list[str] = []
    for rule in rules:
        against = _against(rule, header)
        if against is None:
            why = f"the rule '{rule.name}' fits: {_for(rule, header)}"
            return Decision(rule, "; ".join([why, *passed]))
        passed.append(f"not '{rule.name}': {against}")
    return Decision(None, f"no rule fits: {'; '.join(passed)}")


def _against(rule: Rule, header: StudyHeader) -> str | None:
    """Why ``rule`` does not fit."""
    for keyword, pattern in rule.when.items():
        if _found(header, keyword, pattern) is None:
            values = header.values.get(keyword, ())
            there = ", ".join(f"'{header.shown(value)}'" for value in values[:_SHOWN]) or "nothing"
            return f"{keyword} is {there}, without '{pattern}'"
    for keyword, pattern in rule.unless.items():
        value = _found(header, keyword, pattern)
        if value is not None:
            return f"{keyword} '{header.shown(value)}' has '{pattern}'"
    return None


def _for(rule: Rule, header: StudyHeader) -> str:
    found = ((keyword, pattern, _found(header, keyword, pattern) or "") for keyword, pattern in rule.when.items())
    clauses = (f"{keyword} '{header.shown(value)}' has '{pattern}'" for keyword, pattern, value in found)
    return ", ".join(clauses) or "it asks for nothing"


def _found(header: StudyHeader, keyword: str, pattern: str) -> str | None:
    values = header.values.get(keyword, ())
    return next((value for value in values if re.search(pattern, value, re.IGNORECASE)), None)
