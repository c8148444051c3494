"""A gate for skipped tests: with ``--strict-skips`` a run fails when one is skipped for a reason that is not listed.

Without it a package that is missing from the test environment turns tests off unnoticed.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class AllowedSkip:
    """A reason for which tests may be skipped.

    Attributes:
        reason: regular expression that the beginning of pytest's reason matches.
        why: why that is acceptable.
        platforms: prefixes of ``sys.platform``; empty for everywhere.
    """

    reason: str
    why: str
    platforms: tuple[str, ...] = ()

    def covers(self, reason: str) -> bool:
        """Whether a test may be skipped for ``reason`` on this platform."""
        here = not self.platforms or sys.platform.startswith(self.platforms)
        return here and re.match(self.reason, reason) is not None


_NOT_DEBIAN = ("win32", "darwin")

ALLOWED = (
    AllowedSkip(
        r"no shared data in|the shared weights are not there|no BraTS case or CA-CNN weights|no \S+ in |"
        r"the metastases' scans are not here",
        "patients' images and published weights are not part of the repository; GLIOMASEG_SHARED names them",
    ),
    AllowedSkip(r"the optional extra 'hdbet'", "its package is 300 MB"),
    AllowedSkip(r"dciodvfy is not installed", "a Debian package", _NOT_DEBIAN),
    AllowedSkip(r"plastimatch is not installed", "a Debian package that brings 200 MB with it"),
    AllowedSkip(r"Orthanc is not installed", "a Debian package", _NOT_DEBIAN),
    AllowedSkip(r"Chromium is not installed", "a Debian package", _NOT_DEBIAN),
    AllowedSkip(r"the command openssl is not installed", "not part of Windows", ("win32",)),
    AllowedSkip(r"no OpenGL without a screen", "Mesa's software rendering is a Debian package", _NOT_DEBIAN),
    AllowedSkip(r"no small disk can be mounted here", "some systems let root alone do so"),
    AllowedSkip(r"POSIX|Windows |a script as interpreter|kills a process that was forked", "POSIX alone", ("win32",)),
    AllowedSkip(r"Linux alone", "the other systems have no such thing", _NOT_DEBIAN),
    AllowedSkip(r"only on Windows", "Windows alone", ("linux", "darwin")),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declares the option."""
    parser.addoption(
        "--strict-skips", action="store_true", help="fail when a test is skipped for a reason that is not listed"
    )


def unlisted(reasons: dict[str, str]) -> dict[str, str]:
    """Of skipped tests, by name, those whose reason is not listed."""
    return {name: reason for name, reason in reasons.items() if not any(allowed.covers(reason) for allowed in ALLOWED)}


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Judges the skips when all tests have ended; in a worker of xdist nothing, its reports go to the main process."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not session.config.getoption("--strict-skips"):
        return
    reasons = {report.nodeid: _reason(report) for report in reporter.stats.get("skipped", ())}
    found = unlisted(reasons)
    if found:
        reporter.section("skipped without a listed reason (Testing/support/skips.py)", red=True)
        for name, reason in found.items():
            reporter.write_line(f"{name}: {reason}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """What was given to ``pytest.skip``; an expected failure counts as no skip and has none."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return str(report.longrepr)
