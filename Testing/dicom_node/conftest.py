"""A node at work, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from GliomaSegLib.dicom_node.service import Node
    from Testing.support.node_site import Archive


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The file of a configuration with free ports."""
    from Testing.support.live_node import write_live_config

    return write_live_config(tmp_path)


@pytest.fixture
def archive(config: Path, tmp_path: Path) -> Iterator[Archive]:
    """The archive that the configuration names."""
    from GliomaSegLib.dicom_node.config import read_config
    from Testing.support.node_site import Archive

    archive = Archive(tmp_path / "pacs", read_config(config).send.port)
    yield archive
    archive.stop()


@pytest.fixture
def node(config: Path) -> Iterator[Node]:
    """A node with a worker that costs nothing."""
    from Testing.support.live_node import at_work

    with at_work(config) as node:
        yield node
