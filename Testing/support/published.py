"""Weights in the layout of their publishers, on a web server of this computer: from there a test installs a model."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.loaders import family
from GliomaSegLib.zoo.store import Store


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None: ...


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which the files of ``folder`` can be had inside the block."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def published_at(card: Card, address: str) -> Card:
    """The card with its files at another address; they are others, so hashes and sizes go."""
    files = tuple(
        replace(file, url=f"{address}/{file.name}", size_bytes=None, sha256=None, md5=None)
        for file in card.weights.files
    )
    return replace(card, weights=replace(card.weights, files=files))


def installed(card: Card, published: Path, store: Store) -> Card:
    """Install ``card`` from a server that has the files in ``published``; returns the card that names that server."""
    with served(published) as address:
        local = published_at(card, address)
        store.install(local)
    return local


def predicted(card: Card, store: Store, images: dict[Modality, NDArray[np.float32]]) -> Prediction:
    """What the installed model answers on the processor, in float32."""
    model: Any = family(card.network.family)
    segmenter = model.load(store.weights(card), card.loader_parameters, torch.device("cpu"), torch.float32)
    return segmenter.predict(images, Silent(), 0)


def zipped(folder: Path, name: str) -> Path:
    """``folder`` as the archive ``name`` beside it; the folder itself is removed.

    Not compressed: weights do not shrink, those of a test would so much that the store takes it for an attack.
    """
    archive = folder.parent / name
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        for path in sorted(folder.rglob("*")):
            opened.write(path, path.relative_to(folder))
    shutil.rmtree(folder)
    return archive


def silenced(network: torch.nn.Module) -> torch.nn.Module:
    """A network whose convolutions all answer 0, so that a test can lay its own paths through it."""
    for module in network.modules():
        if isinstance(module, (torch.nn.Conv3d, torch.nn.ConvTranspose3d)):
            torch.nn.init.zeros_(module.weight)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    return network.eval().requires_grad_(False)


# What a network that a test laid shows for a voxel is its neighbour on the network's first axis: the next one. That
# axis is x in every network here, so a wrong order of axes shows.
NEXT_ON_FIRST_AXIS = (2, 1, 1)


def moved(mask: NDArray[np.bool_], voxels: int = -1) -> NDArray[np.bool_]:
    """A mask ``[z, y, x]`` moved along x."""
    return np.roll(mask, voxels, axis=2)


def boxes(shape: tuple[int, int, int]) -> dict[Modality, NDArray[np.bool_]]:
    """A box for each sequence: FLAIR's holds T1c's, which holds T2's, as the parts of a tumour; T1's is elsewhere."""
    depth, height, width = shape
    found = {}
    for sequence, inset in ((Modality.T2F, 0), (Modality.T1C, 2), (Modality.T2W, 3)):
        mask = np.zeros(shape, bool)
        mask[4 + inset : 14 - inset, 5 + inset : 17 - inset, 6 + inset : 20 - inset] = True
        found[sequence] = mask
    found[Modality.T1N] = np.zeros(shape, bool)
    found[Modality.T1N][depth - 8 : depth - 4, height - 9 : height - 4, width - 10 : width - 4] = True
    return found


def images_with(bright: dict[Modality, NDArray[np.bool_]], edge: int = 2) -> dict[Modality, NDArray[np.float32]]:
    """Images of 100 with 0 around them (``edge`` voxels wide) and 300 in each sequence's own box."""
    images = {}
    for sequence, mask in bright.items():
        image = np.zeros(mask.shape, np.float32)
        inside = tuple(slice(edge, size - edge) for size in mask.shape)
        image[inside] = 100
        image[mask] = 300
        images[sequence] = image
    return images
