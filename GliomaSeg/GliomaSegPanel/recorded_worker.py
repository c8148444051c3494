"""Replays recorded answers of the worker for the self-test, if the worker's packages are not installed.

``Resources/SelfTest/recording.zip`` was made by the worker on the self-test's generated head (``python -m
Testing.panel.record_self_test`` records it again): ``conversation.json`` with the events and the answer to each
request, and the files that it wrote. This program is started in place of the worker and speaks its protocol
(:mod:`GliomaSegLib.worker.server`); it computes nothing, and refuses a request that was not recorded.
"""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORDING = Path(__file__).resolve().parents[1] / "Resources" / "SelfTest" / "recording.zip"
CONVERSATION = "conversation.json"
MANIFEST = "manifest.json"

OUTPUT = "{output}"
"""Placeholder for the request's output folder in recorded text."""

# Fields of a job that are copied to the manifest.
_STATED = ("time_point", "days_since_surgery")


def replay_command(python: Path) -> list[str]:
    """The command that starts this program with the interpreter ``python``."""
    return [str(python), str(Path(__file__).resolve()), str(RECORDING)]


def key_of(request: Mapping[str, Any]) -> str:
    """The key of a recorded request: its kind, and the number of studies of a comparison."""
    return f"{request.get('do', 'segment')}{len(request.get('studies', ())) or ''}"


def main(recording: Path) -> None:
    """Answer the requests on standard input, one JSON object per line, until it ends."""
    with zipfile.ZipFile(recording) as archive:
        answers = json.loads(archive.read(CONVERSATION))
        for line in filter(str.strip, sys.stdin):
            request = json.loads(line)
            answer = answers.get(key_of(request))
            if answer is None:
                text = f"There is no recorded answer to '{key_of(request)}': the worker's packages are not installed."
                _emit({"event": "error", "kind": "InputError", "text": text})
                continue
            output = Path(request["output"]).absolute()
            for event in answer["events"]:
                _emit(event)
            _write_files(archive, answer["folder"], output, request)
            _emit({"event": "result", "result": _with_output(answer["result"], output)})


def _emit(event: Mapping[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def _write_files(archive: zipfile.ZipFile, folder: str, output: Path, request: Mapping[str, Any]) -> None:
    """Write the recorded files of an answer to ``output``, replacing earlier ones after an edit."""
    partial = output.with_name(f".{output.name}.recorded.partial")
    partial.mkdir(parents=True)
    names = [name for name in archive.namelist() if name.startswith(f"{folder}/")]
    for name in names:
        path = partial / name.removeprefix(f"{folder}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive.read(name))
    if f"{folder}/{MANIFEST}" in names:
        manifest = json.loads((partial / MANIFEST).read_text(encoding="utf-8"))
        manifest |= {key: request[key] for key in _STATED if key in request and key in manifest}
        (partial / MANIFEST).write_text(json.dumps(_with_output(manifest, output)), encoding="utf-8")
    if output.exists():
        shutil.copytree(partial, output, dirs_exist_ok=True)
        shutil.rmtree(partial)
    else:
        partial.rename(output)


def _with_output(value: Any, output: Path) -> Any:
    """A JSON value with the request's output in place of :data:`OUTPUT`."""
    if isinstance(value, str):
        return value.replace(OUTPUT, str(output))
    if isinstance(value, list):
        return [_with_output(one, output) for one in value]
    if isinstance(value, dict):
        return {key: _with_output(one, output) for key, one in value.items()}
    return value


if __name__ == "__main__":
    main(Path(sys.argv[1]))
