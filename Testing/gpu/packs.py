"""Packs: the cases of a training at the resolution of its network, with its recipe, in zip files of a largest size.

Each case is one compressed ``.npz`` in a pack. Images are kept in 255 steps from -5.3 to 5.3 standard deviations, 0
where nothing was measured; masks as they are. A patch network's cases are cropped to what its patches on tumour can
reach; its few patches elsewhere are taken from there too. Every pack holds the recipe, so that any of them can be
trained with.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.preprocessing.pose import Pose
from GliomaSegLib.training.sampling import QUANTA, PooledCase, View

RECIPE = "recipe.json"
TRAIN, WATCHED = "train", "watched"

_STEPS, _MIDDLE = 24, 128  # per standard deviation; 0


def write_packs(
    cases: Iterable[tuple[str, PooledCase]],
    view: View,
    jitter_mm: Sequence[float],
    recipe: Mapping[str, object],
    folder: Path,
    largest_bytes: int,
) -> list[Path]:
    """Write ``pack-01.zip`` and so on into ``folder``.

    Args:
        cases: each with its role, ``train`` or ``watched``.
        view, jitter_mm: of the recipe.
        recipe: as :class:`Testing.gpu.recipe.PlainRecipe` reads it.

    Raises:
        InputError: a case alone is larger than a pack may be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(recipe)
    packs: list[list[tuple[str, bytes]]] = [[]]
    used = len(text)
    for role, case in cases:
        content = _packed(role, case if view.midsagittal else _within_reach(case, view, jitter_mm))
        if len(content) + len(text) > largest_bytes:
            raise InputError(f"The case '{case.name}' alone has {len(content) >> 20} MiB packed; allow larger packs.")
        if used + len(content) > largest_bytes:
            packs.append([])
            used = len(text)
        packs[-1].append((f"{case.name}.npz", content))
        used += len(content) + 300  # the entry's headers
    paths = []
    for number, entries in enumerate(packs, 1):
        paths.append(folder / f"pack-{number:02}.zip")
        with zipfile.ZipFile(paths[-1], "w", zipfile.ZIP_STORED) as pack:
            pack.writestr(RECIPE, text)
            for name, content in entries:
                pack.writestr(name, content)
    return paths


def read_recipe_of(packs: Sequence[Path]) -> dict[str, object]:
    """The recipe in the packs.

    Raises:
        InputError: there is no pack, one is damaged, or they are of different recipes.
    """
    if not packs:
        raise InputError("There is no pack; give the files 'pack-*.zip' that 'python -m Testing.gpu pack' wrote.")
    texts = set()
    for path in packs:
        with _opened(path) as pack:
            texts.add(pack.read(RECIPE))
    if len(texts) > 1:
        raise InputError("The packs are of different recipes; give those of one.")
    return json.loads(texts.pop())


def read_packs(packs: Sequence[Path]) -> tuple[list[PooledCase], list[PooledCase]]:
    """The cases to train on and those to watch.

    Raises:
        InputError: a pack is damaged.
    """
    found: dict[str, list[PooledCase]] = {TRAIN: [], WATCHED: []}
    for path in packs:
        with _opened(path) as pack:
            for name in pack.namelist():
                if name.endswith(".npz"):
                    role, case = _unpacked(pack.read(name))
                    found[role].append(case)
    return found[TRAIN], found[WATCHED]


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"The pack {path} cannot be read ({error}); send it again.") from error


def _within_reach(case: PooledCase, view: View, jitter_mm: Sequence[float]) -> PooledCase:
    tumour = (case.masks[1:4] > QUANTA // 2).any(dim=0).numpy()
    if not tumour.any():
        return case
    reach = (np.array(view.shape) / 2 * view.spacing_mm + jitter_mm) * 1.25  # turned and larger patches reach further
    voxels = np.ceil(reach / case.spacing_mm).astype(int)
    box = []
    for axis, more in enumerate(voxels):
        there = np.flatnonzero(tumour.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(max(int(there[0] - more), 0), int(there[-1] + more + 1)))
    first = case.first_mm + np.array([side.start for side in box]) * case.spacing_mm
    inside = (slice(None), *box)
    return replace(case, images=case.images[inside], masks=case.masks[inside], first_mm=first)


def _packed(role: str, case: PooledCase) -> bytes:
    about = {
        "role": role,
        "name": case.name,
        "patient": case.patient,
        "hospital": case.hospital,
        "known": case.known.tolist(),
        "present": case.present.tolist(),
        "spacing_mm": case.spacing_mm.tolist(),
        "first_mm": case.first_mm.tolist(),
        "pose": None if case.pose is None else [case.pose.rotation.tolist(), case.pose.centre.tolist()],
    }
    arrays = {f"seeds_{number}": places for number, places in enumerate(case.seeds)}
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        about=np.array(json.dumps(about)),
        images=_steps(case.images.numpy()),
        masks=case.masks.numpy(),
        **arrays,
    )
    return stream.getvalue()


def _unpacked(content: bytes) -> tuple[str, PooledCase]:
    with np.load(io.BytesIO(content)) as stored:
        about = json.loads(str(stored["about"]))
        seeds = [stored[name] for name in sorted(_seeds(stored.files), key=lambda name: int(name.rpartition("_")[2]))]
        pose = about["pose"] and Pose(*map(np.array, about["pose"]))
        case = PooledCase(
            name=about["name"],
            patient=about["patient"],
            hospital=about["hospital"],
            images=torch.from_numpy(_deviations(stored["images"])).half(),
            masks=torch.from_numpy(stored["masks"]),
            known=np.array(about["known"]),
            present=np.array(about["present"]),
            spacing_mm=np.array(about["spacing_mm"]),
            first_mm=np.array(about["first_mm"]),
            seeds=seeds,
            pose=pose,
        )
        return about["role"], case


def _seeds(names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if name.startswith("seeds_"))


def _steps(images: NDArray[np.float16]) -> NDArray[np.uint8]:
    steps = np.clip(np.round(images.astype(np.float32) * _STEPS) + _MIDDLE, 1, 255)
    return np.where(images == 0, 0, steps).astype(np.uint8)


def _deviations(steps: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = (steps.astype(np.float32) - _MIDDLE) / _STEPS
    values[steps == _MIDDLE] = 1e-3  # the mean of the brain, and not nothing
    values[steps == 0] = 0
    return values
