"""Archives from strangers: what is unpacked, and what is refused before it does harm."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import pytest

from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.zoo import archive as archive_module
from GliomaSegLib.zoo.archive import is_archive, unpack

Kind = Literal["zip", "tar"]
FILES = {"model/plans.json": b"{}", "model/fold_0/weights.pth": bytes(range(256)) * 40, "LICENCE": b"free"}


@pytest.fixture(params=["zip", "tar"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


def pack(path: Path, kind: Kind, files: dict[str, bytes]) -> Path:
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as opened:
            for name, content in files.items():
                opened.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as opened:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                opened.addfile(member, io.BytesIO(content))
    return path


def unpacked(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_everything_is_unpacked(tmp_path: Path, kind: Kind) -> None:
    path = pack(tmp_path / "a", kind, FILES)
    assert is_archive(path, kind)
    unpack(path, kind, tmp_path / "out")
    assert unpacked(tmp_path / "out") == dict(sorted(FILES.items()))


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/evil", "C:/evil", "C:evil", "..\\evil", "a\\..\\..\\evil", "\\\\server\\share\\evil"],
)
def test_names_that_lead_outside_are_refused(tmp_path: Path, kind: Kind, name: str) -> None:
    path = pack(tmp_path / "a", kind, {name: b"evil"})
    with pytest.raises(WeightsError, match=r"a wants to write outside its folder \('.*evil'\); do not use it"):
        unpack(path, kind, tmp_path / "in" / "out")
    assert list(tmp_path.rglob("evil*")) == []


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a", "w") as opened:
        opened.writestr(link, "/etc")
    with pytest.raises(WeightsError, match="holds 'link', which is no plain file"):
        unpack(tmp_path / "a", "zip", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("kind_of_link", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind_of_link: bytes) -> None:
    member = tarfile.TarInfo("link")
    member.type, member.linkname = kind_of_link, "/etc/passwd"
    with tarfile.open(tmp_path / "a", "w") as opened:
        opened.addfile(member)
    with pytest.raises(WeightsError, match="holds 'link', which is no plain file"):
        unpack(tmp_path / "a", "tar", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_one_name_twice_is_refused(tmp_path: Path, kind: Kind) -> None:
    with pytest.warns(UserWarning, match="Duplicate name") if kind == "zip" else nullcontext():
        path = pack_twice(tmp_path / "a", kind)
    with pytest.raises(WeightsError, match="holds one name twice"):
        unpack(path, kind, tmp_path / "out")


def pack_twice(path: Path, kind: Kind) -> Path:
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as opened:
            opened.writestr("a", b"1")
            opened.writestr("a", b"2")
        return path
    with tarfile.open(path, "w") as opened:
        for _ in range(2):
            opened.addfile(tarfile.TarInfo("a"))
    return path


def test_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, kind: Kind) -> None:
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "a", "w", zipfile.ZIP_DEFLATED) as opened:
            opened.writestr("zeros", bytes(5_000_000))
    else:
        pack(tmp_path / "a", "tar", {"zeros": bytes(5_000_000)})
    with pytest.raises(WeightsError, match=r"would grow to 0\.0 GB, as no weights do"):
        unpack(tmp_path / "a", kind, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_disk_without_room_is_said(tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "a", kind, FILES)
    usage = archive_module.shutil.disk_usage(tmp_path)._replace(free=5000)
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"needs 0 MB unpacked and the disk has 0 MB free"):
        unpack(path, kind, tmp_path / "out")


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_truncated_archive_is_refused(tmp_path: Path, kind: Kind, cut: float) -> None:
    path = pack(tmp_path / "a", kind, FILES)
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content))])
    assert not is_archive(path, "zip")
    with pytest.raises(WeightsError, match=r"is damaged .*; get it again"):
        unpack(path, kind, tmp_path / "out")


def test_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = pack(tmp_path / "a", "zip", FILES)
    content = bytearray(path.read_bytes())
    content[content.index(bytes(range(256))) + 7] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"is damaged .*CRC"):
        unpack(path, "zip", tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"<html>Sign in</html>", b"\x80\x04pickle"])
def test_what_is_no_archive(tmp_path: Path, kind: Kind, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert not is_archive(tmp_path / "a", kind)
