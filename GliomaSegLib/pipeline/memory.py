"""The CPU threads of a run, and the memory that it frees, which is kept until its end for its next arrays."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK as sitk

# mallopt's parameters (glibc's malloc.h): how much free memory at the end of the heap is given back, and from which
# size on an array has a mapping of its own.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

_MIB = 2**20
# During a run, and after it: the limits up to which glibc raises both by itself.
_KEPT = {_MMAP_THRESHOLD: 64 * _MIB, _TRIM_THRESHOLD: 2**31 - 1}
_USUAL = {_MMAP_THRESHOLD: 32 * _MIB, _TRIM_THRESHOLD: 64 * _MIB}


@contextmanager
def threads_and_memory_of_run(threads: int | None) -> Iterator[None]:
    """Inside the block the number of CPU threads is limited and freed memory is kept."""
    with _limited_to(threads), freed_memory_kept():
        yield


@contextmanager
def _limited_to(threads: int | None) -> Iterator[None]:
    """Limit the number of CPU threads during the block: the next job of a worker may have another number."""
    if threads is None:
        yield
        return
    import torch

    before = torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    torch.set_num_threads(threads)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before[1])


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside the block freed arrays serve the next ones; after it they are the system's again.

    By itself glibc returns each large array to the system, which clears the pages of the next one while it is first
    written: a second of the processor in a run of fifteen. Other systems and C libraries are left as they are.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    _set(library, _KEPT)
    try:
        yield
    finally:
        _set(library, _USUAL)
        library.malloc_trim(0)


def _set(library: ctypes.CDLL, limits: dict[int, int]) -> None:
    for parameter, bytes_ in limits.items():
        library.mallopt(parameter, bytes_)
