"""Selects device and precision of a network, and checks whether it fits into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

from GliomaSegLib.errors import InputError
from GliomaSegLib.progress import Progress

_GIBIBYTE = 1 << 30
_NO_LIMIT = 1 << 62

# Linux control groups: where they are, which ones this process is in, and per version the files that hold the limit
# and the use of memory and the part of the use that is given up when need be.
_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUP_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def choose_device(wish: str = "auto") -> torch.device:
    """The device for ``auto``, ``cpu``, ``cuda`` (or ``cuda:1``) or ``mps``; ``auto`` takes the fastest there is.

    Raises:
        InputError: the device is not one of these, or not available.
    """
    if wish == "auto":
        wish = next((kind for kind in ("cuda", "mps") if _is_there(kind)), "cpu")
    try:
        device = torch.device(wish)
    except RuntimeError as error:
        raise InputError(f"'{wish}' is not a device; give auto, cpu, cuda or mps.") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"GliomaSeg does not run on the device '{wish}'; give auto, cpu, cuda or mps.")
    if not _is_there(device.type) or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise InputError(f"This computer has no usable device '{wish}' (or torch was installed without it); give cpu.")
    return device


def _is_there(kind: str) -> bool:
    available: dict[str, Callable[[], bool]] = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    return kind == "cpu" or available[kind]()


def choose_precision(device: torch.device) -> torch.dtype:
    """bfloat16 if the hardware computes it faster than float32, else float32."""
    if device.type == "cuda":
        quick = torch.cuda.get_device_capability(device) >= (8, 0)
    elif device.type == "cpu":
        quick = _has_bfloat16_arithmetic()
    else:
        quick = False
    return torch.bfloat16 if quick else torch.float32


def _has_bfloat16_arithmetic() -> bool:
    """Whether the processor has AMX tiles or AVX-512 BF16. Older versions of torch cannot tell: then no."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def free_memory_bytes(device: torch.device) -> int:
    """Memory that is available to this process on ``device``, in bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil  # here, as training needs numpy and torch alone

    groups = (_left_in(*group) for group in _control_groups())
    return min([psutil.virtual_memory().available, _left_of_address_space(), *groups])


def _left_of_address_space() -> int:
    """Remaining address space under ``ulimit -v``, which some batch systems set, in bytes."""
    if resource is None:
        return _NO_LIMIT
    import psutil

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return _NO_LIMIT if limit == resource.RLIM_INFINITY else limit - psutil.Process().memory_info().vms


def _control_groups() -> Iterator[tuple[Path, int]]:
    """The control groups that limit this process, those around its own included, each with its version.

    A container or batch system sets the limit at any level. Inside a container the own group's path may be that of the
    host, of which only the root is to be seen.
    """
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, version = (_GROUPS / "memory", 1) if controllers else (_GROUPS, 2)
        own = PurePosixPath(path.lstrip("/"))
        for group in (own, *own.parents):
            yield root / group, version


def _left_in(group: Path, version: int) -> int:
    """Remaining memory of a control group, in bytes."""
    limit, use, cache = _GROUP_FILES[version]
    try:
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        used = int((group / use).read_text()) - int(statistics.get(cache, 0))
        return int((group / limit).read_text()) - used
    except (OSError, ValueError):  # no such limit, or "max"
        return _NO_LIMIT


def place(device: torch.device, needed_bytes: int, progress: Progress) -> torch.device:
    """``device`` if ``needed_bytes`` are available there, else the CPU with a warning.

    Raises:
        InputError: the memory of the computer is not sufficient; the system would kill the process without a message.
    """
    if device.type == "cuda" and free_memory_bytes(device) < needed_bytes:
        progress.warn(
            f"The graphics card has {free_memory_bytes(device) / _GIBIBYTE:.1f} GiB free and the network needs about "
            f"{needed_bytes / _GIBIBYTE:.1f} GiB, so it runs on the processor, which is slower."
        )
        device = torch.device("cpu")
    if device.type != "cuda" and free_memory_bytes(device) < needed_bytes:
        raise InputError(
            f"The network needs about {needed_bytes / _GIBIBYTE:.1f} GiB of memory for this case and "
            f"{free_memory_bytes(device) / _GIBIBYTE:.1f} GiB are free; close other programs or use a larger computer."
        )
    return device
