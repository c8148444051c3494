"""The command line: what it prints where, and how it ends."""

from __future__ import annotations

import csv
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from GliomaSegLib.case import Modality
from GliomaSegLib.cli.main import NOTICE, main
from GliomaSegLib.errors import Cancelled
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.io.terminology import region_styles
from GliomaSegLib.label_maps import from_internal
from GliomaSegLib.labels import Label, LabelScheme, Region
from GliomaSegLib.results.reading import read_manifest
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_json import card_from, card_text
from GliomaSegLib.zoo.loaders import FAMILIES, Family
from GliomaSegLib.zoo.store import Store
from Testing.support import toy
from Testing.support.study import VOXEL_ML, on_grid, toy_labels, write_study

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "SimpleITK", "numpy", "pydantic", "matplotlib", "requests", "rich")


@pytest.fixture(autouse=True)
def own_signal_handler() -> Iterator[None]:
    """``main`` takes SIGTERM over, as a process of its own may."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs a command; returns its exit status, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        output = capfd.readouterr()
        return status, output.out, output.err

    return run


@pytest.fixture
def segment(command: Command, toy_store: Store, tmp_path: Path) -> Command:
    """Segments the tiny study into ``tmp_path / "out"`` with further arguments."""
    study = write_study(tmp_path / "study")
    given = ("--model", "toy", "-o", tmp_path / "out", "--store", toy_store.root, "--brain", "stripped")

    def run(*arguments: object) -> tuple[int, str, str]:
        return command("segment", study, *given, "--no-registration", *arguments)

    return run


def volume_ml(label: Label) -> float:
    return np.count_nonzero(toy_labels() == label) * VOXEL_ML


# --- help and usage ------------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom GliomaSegLib.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stderr.strip() == "[]"
    for word in (
        "segment",
        "models",
        "evaluate",
        "measure",
        "report",
        "figure",
        "review",
        "worker",
        "demo",
        "Not a medical device",
    ):
        assert word in ended.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["segment"],
        ["segment", "study", "-o", "out", "--task", "dancing"],
        ["segment", "study", "--model", "toy"],
        ["segment", "study", "--model", "toy", "-o", "out", "--brain", "saw"],
        ["models"],
        ["models", "show"],
        ["segment", "study", "-o", "out", "--no-probabilities", "--all-probabilities"],
        ["evaluate", "a", "b"],
        ["dance"],
        *[["segment", "s", "--model", "toy", "-o", "out", "--transform", bad] for bad in ("t2f", "t2f=", "t9=a.tfm")],
        ["review", "out", "--state", "approved"],
        ["review", "out", "--state", "edited", "--by", "me"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: gliomaseg" in capsys.readouterr().err


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Cancelled])
def test_interruption_ends_with_130(command: Command, monkeypatch: pytest.MonkeyPatch, stop: type) -> None:
    def stopped() -> None:
        raise stop

    monkeypatch.setattr("GliomaSegLib.zoo.catalogue.all_cards", stopped)
    assert command("models", "list") == (130, "", "gliomaseg: stopped; nothing half-written is left.\n")


# --- segment, measure, report --------------------------------------------------------------------------------------


def test_segment_prints_the_volumes(segment: Command, tmp_path: Path) -> None:
    status, out, err = segment()
    assert status == 0
    assert out.startswith("study: toy\n")
    assert f"ET   {volume_ml(Label.ET):9.2f} mL" in out
    assert f"Report: {tmp_path / 'out' / 'report.html'}\n" in out
    assert out.endswith(NOTICE + "\n")
    assert "registration" in err, "the stages are printed on standard error"
    labels = sitk.GetArrayFromImage(read_labels(tmp_path / "out" / "segmentation.nii.gz"))
    np.testing.assert_array_equal(labels, toy_labels())


def test_profile_shows_what_each_stage_cost(segment: Command) -> None:
    status, _, err = segment("--profile")
    head, *rows = [line.split() for line in err[err.index("stage  ") :].splitlines()]
    assert status == 0
    assert head[0] == "stage"
    assert [row[0] for row in rows] == ["start", "reading", "registration", "brain", "segmentation", "measures", "all"]
    seconds = [float(row[-3]) for row in rows]
    assert sum(seconds[:-1]) == pytest.approx(seconds[-1], abs=0.5)
    assert all(one >= 0 for one in seconds)
    assert all(float(row[-1]) > 10 for row in rows)


def test_json_is_all_there_is_on_stdout(segment: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = toy.Thresholds.predict

    def talkative(self: toy.Thresholds, *given: object) -> object:
        print("a library that prints")
        os.write(1, b"a library that writes")
        if os.name != "nt":
            ctypes.CDLL(None).puts(b"a library in C that is slow to print")
        return predict(self, *given)

    monkeypatch.setattr(toy.Thresholds, "predict", talkative)
    status, out, err = segment("--json")
    assert status == 0
    result = json.loads(out)
    (et,) = (volume for volume in result["measures"]["volumes"] if volume["name"] == "ET")
    assert et["volume_ml"] == pytest.approx(volume_ml(Label.ET))
    for noise in ("a library that prints", "a library that writes"):
        assert noise in err
    assert os.name == "nt" or "a library in C that is slow to print" in err


def test_options_reach_the_job(segment: Command, tmp_path: Path) -> None:
    flair = tmp_path / "flair.nii.gz"
    (tmp_path / "study" / "head_t2f.nii.gz").rename(flair)
    options = "--days-since-surgery 2 --label-scheme brats2017 --no-probabilities --seed 3 --precision float32"
    status, out, err = segment("--t2f", flair, "--case-id", "P7", *options.split(), "--device", "cpu", "--threads", 1)
    assert status == 0
    assert out.startswith("P7: toy\n")
    assert "Warning: The model 'toy' is made for preoperative studies; this one is postoperative." in err
    manifest = read_manifest(tmp_path / "out")
    job = manifest.job
    assert (manifest.time_point.value, manifest.days_since_surgery) == ("postoperative", 2)
    assert (job.seed, job.threads, job.device, job.label_scheme) == (3, 1, "cpu", LabelScheme.BRATS2017)
    assert (job.precision, manifest.model.precision) == ("float32", "float32")
    assert job.postprocessing is None
    assert not job.registration
    assert manifest.sequences[Modality.T2F].path == flair
    assert list((tmp_path / "out").glob("probability_*")) == []


def test_missing_sequence_is_said(segment: Command, tmp_path: Path) -> None:
    (tmp_path / "study" / "head_t1c.nii.gz").unlink()
    status, out, _ = segment()
    assert status == 0
    assert "Missing: T1 + contrast. Without it TC and ET cannot be given." in out
    assert "\n  WT " in out
    assert "\n  ET " not in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("gliomaseg ")


def test_sequence_is_left_out(segment: Command, tmp_path: Path) -> None:
    status, out, err = segment("--without", "t1c", "--without", "t2w")
    assert status == 0
    assert "Missing: T1 + contrast." in out
    assert "Warning: Missing: T1 + contrast." in err
    manifest = read_manifest(tmp_path / "out")
    assert manifest.job.leave_out == (Modality.T1C, Modality.T2W)
    assert set(manifest.sequences) == {Modality.T2F}
    assert manifest.missing == (Modality.T1C,)


def test_transform_is_given_for_a_sequence(segment: Command, tmp_path: Path) -> None:
    sitk.WriteTransform(sitk.TranslationTransform(3, (0.0, 0.0, 0.0)), str(tmp_path / "t=1.tfm"))
    assert segment("--transform", f"t2f={tmp_path / 't=1.tfm'}")[0] == 0
    assert read_manifest(tmp_path / "out").job.transforms == {Modality.T2F: tmp_path / "t=1.tfm"}
    status, _, err = segment("--overwrite", "--transform", f"t2f={tmp_path / 'none.tfm'}")
    assert (status, "none.tfm does not exist; check the path." in err) == (1, True)


def test_an_exam_of_no_folder_is_refused(command: Command, tmp_path: Path) -> None:
    write_study(tmp_path / "study")
    image = next((tmp_path / "study").iterdir())
    status, _, err = command("segment", "--t1c", image, "--exam", "2024-05-31", "-o", tmp_path / "out")
    assert (status, "no study folder in which it is looked for" in err) == (1, True)


def test_leaving_out_everything_is_refused(segment: Command) -> None:
    status, _, err = segment("--without", "t1c", "--without", "t2f")
    assert status == 1
    assert "Every sequence that the model 'toy' takes is left out; leave it at least one." in err


def test_cleaning_that_is_asked_for_goes_over_the_cards(segment: Command, toy_zoo: Card, tmp_path: Path) -> None:
    status, out, _ = segment("--remove-objects-mm3", "1e6", "--fill-holes-mm3", 2)
    assert status == 0
    cleaning = read_manifest(tmp_path / "out").job.postprocessing
    expected = {"fill_holes_below_mm3": 2, "remove_objects_below_mm3": 1e6}
    assert cleaning == replace(toy_zoo.postprocessing, **expected)
    assert "WT        0.00 mL" in out
    status, _, err = segment("--overwrite", "--remove-islands", 1.5)
    assert status == 1
    assert "postprocessing.remove_islands_below_fraction" in err


def test_refusal_is_one_sentence_on_stderr(segment: Command) -> None:
    assert segment()[0] == 0
    status, out, err = segment()
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("gliomaseg: The output ")
    assert "exists already; name another folder or say '--overwrite'." in err
    assert "Traceback" not in err
    assert segment("--overwrite")[0] == 0


def test_an_approved_result_is_replaced_only_after_its_approval_is_withdrawn(
    segment: Command, command: Command, tmp_path: Path
) -> None:
    segment()
    command("review", tmp_path / "out", "--state", "approved", "--by", "Dr. Grün")
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    status, _, err = segment("--overwrite")
    assert status == 1
    assert "were approved by hand and are not replaced" in err
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before
    assert command("review", tmp_path / "out", "--state", "draft", "--by", "Dr. Grün")[0] == 0
    assert segment("--overwrite")[0] == 0


@pytest.mark.parametrize("name", ["measure", "report"])
def test_result_is_brought_up_to_date_after_an_edit(
    segment: Command, command: Command, tmp_path: Path, name: str
) -> None:
    segment()
    edited = toy_labels()
    edited[edited == Label.NETC] = Label.ET
    sitk.WriteImage(on_grid(edited), str(tmp_path / "out" / "segmentation.nii.gz"))
    status, out, _ = command(name, tmp_path / "out")
    assert status == 0
    assert f"ET   {volume_ml(Label.ET) + volume_ml(Label.NETC):9.2f} mL" in out
    assert "edited: not approved" in (tmp_path / "out" / "report.html").read_text()
    status, out, _ = command(name, tmp_path / "out", "--json")
    assert status == 0
    assert json.loads(out)["case_id"] == "study"


def test_review(segment: Command, command: Command, tmp_path: Path) -> None:
    segment()
    status, out, _ = command("review", tmp_path / "out", "--state", "approved", "--by", "Dr No")
    assert status == 0
    assert out.startswith("study: approved by Dr No, 20")
    assert "approved by Dr No, 20" in (tmp_path / "out" / "report.html").read_text()
    status, out, _ = command("review", tmp_path / "out", "--state", "draft", "--by", "Dr No", "--json")
    assert [event["state"] for event in json.loads(out)["reviews"]] == ["approved", "draft"]
    status, _, err = command("review", tmp_path / "out", "--state", "approved", "--by", "")
    assert (status, err.splitlines()[-1]) == (1, "gliomaseg: A review needs the name of the reviewer; give it.")


# --- what is given away ----------------------------------------------------------------------------------------------


def test_a_report_to_give_away_names_nobody(segment: Command, command: Command, tmp_path: Path) -> None:
    segment("--case-id", "Doe-7")
    before = (tmp_path / "out" / "report.html").read_bytes()
    page = tmp_path / "shared.html"
    assert command("report", tmp_path / "out", "--share", page)[0] == 0
    assert "Anonymous" in page.read_text(encoding="utf-8")
    assert "Doe-7" not in page.read_text(encoding="utf-8")
    assert command("report", tmp_path / "out", "--share", page, "--no-anonymous")[0] == 0
    assert "Doe-7" in page.read_text(encoding="utf-8")
    assert (tmp_path / "out" / "report.html").read_bytes() == before
    status, _, err = command("report", tmp_path / "out", "--share", tmp_path / "of-doe-7.html")
    assert (status, "give an anonymous page another name" in err) == (1, True)
    status, _, err = command("report", tmp_path / "out", "--no-anonymous")
    assert (status, "name its file with --share" in err) == (1, True)
    status, _, err = command("report", tmp_path / "out", "--share", tmp_path / "study" / ".." / "out" / "report.html")
    assert (status, "is a file of the result itself" in err) == (1, True)
    assert (tmp_path / "out" / "report.html").read_bytes() == before


def test_of_images_that_are_gone_nothing_can_be_given_away(segment: Command, command: Command, tmp_path: Path) -> None:
    segment()
    shutil.rmtree(tmp_path / "study")
    for arguments in (("report", "--share", tmp_path / "page.html"), ("figure", "--png", tmp_path / "figure.png")):
        status, _, err = command(arguments[0], tmp_path / "out", *arguments[1:])
        assert (status, "The original image cannot be read again" in err) == (1, True)
        assert not arguments[-1].exists()


@pytest.mark.parametrize("layout", ["axial", "lightbox", "triplanar"])
def test_figures_have_contours_a_legend_and_a_scale_bar(
    segment: Command, command: Command, tmp_path: Path, layout: str
) -> None:
    segment("--case-id", "Doe-7")
    assert command("figure", tmp_path / "out", "--layout", layout, "--svg")[0] == 0
    drawn = (tmp_path / "out" / f"figure-{layout}.svg").read_text(encoding="utf-8")
    assert all(word in drawn for word in ("50 mm", "Whole tumour", "<path", ">R<", "data:image/png"))
    assert "Doe" not in drawn
    assert command("figure", tmp_path / "out", "--layout", layout, "--png", tmp_path / "figure.png")[0] == 0
    with Image.open(tmp_path / "figure.png") as picture:
        colours = {colour for _, colour in picture.getcolors(1 << 24)}
    assert region_styles()[Region.WT].colour in colours
    for name in ("case.1", "case.2"):
        assert command("figure", tmp_path / "out", "--layout", layout, "--png", tmp_path / name)[0] == 0
        assert (tmp_path / f"{name}.png").is_file()


# --- evaluate ------------------------------------------------------------------------------------------------------


@pytest.fixture
def pairs(tmp_path: Path) -> list[Path]:
    """A perfect prediction and one without its enhancing tumour, each with its reference in BraTS numbering."""
    poor = toy_labels()
    poor[poor == Label.ET] = Label.SNFH
    for name, labels in (("good", toy_labels()), ("poor", poor)):
        sitk.WriteImage(on_grid(labels), str(tmp_path / f"{name}.nii.gz"))
    sitk.WriteImage(on_grid(from_internal(toy_labels(), LabelScheme.BRATS2017)), str(tmp_path / "truth.nii.gz"))
    return [tmp_path / f"{name}.nii.gz" for name in ("good", "truth", "poor", "truth")]


def test_evaluate_as_json(command: Command, pairs: list[Path]) -> None:
    status, out, _ = command("evaluate", *pairs, "--scheme", "brats2017", "--json")
    assert status == 0
    comparison = json.loads(out)
    dice = {(Path(row["case"]).name, row["region"]): row["dice"] for row in comparison["cases"]}
    netc, et = (np.count_nonzero(toy_labels() == label) for label in (Label.NETC, Label.ET))
    assert dice == pytest.approx(
        {
            ("good.nii.gz", "WT"): 1, ("good.nii.gz", "TC"): 1, ("good.nii.gz", "ET"): 1,
            ("poor.nii.gz", "WT"): 1, ("poor.nii.gz", "TC"): 2 * netc / (netc + netc + et), ("poor.nii.gz", "ET"): 0,
        }
    )  # fmt: skip
    assert {(row["region"], row["cases"]) for row in comparison["summary"]} == {("WT", 2), ("TC", 2), ("ET", 2)}


def test_evaluate_as_text_and_csv(command: Command, pairs: list[Path], tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    status, out, _ = command("evaluate", *pairs, "--scheme", "brats2017", "--csv", table)
    assert status == 0
    assert "ET dice: mean 0.500" in out
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["region"] for row in rows] == ["WT", "TC", "ET"] * 2
    assert [float(row["dice"]) for row in rows][:3] == [1, 1, 1]


def test_evaluate_takes_a_folder_of_results_and_whole_tumours(segment: Command, command: Command, tmp_path: Path):
    segment()
    whole = array_on((toy_labels() > 0).astype(np.uint8), on_grid(toy_labels()))
    sitk.WriteImage(sitk.DICOMOrient(whole, "RAS"), str(tmp_path / "whole.nii.gz"))
    status, out, _ = command(
        "evaluate", tmp_path / "out", tmp_path / "whole.nii.gz", "--scheme", "whole-tumour", "--json"
    )
    assert status == 0
    (row,) = json.loads(out)["cases"]
    assert (row["region"], row["dice"]) == ("WT", 1)


def test_evaluate_takes_predictions_in_another_numbering(command: Command, pairs: list[Path]) -> None:
    schemes = ("--scheme", "brats2017", "--prediction-scheme", "brats2017")
    status, out, _ = command("evaluate", pairs[1], pairs[1], *schemes, "--json")
    assert status == 0
    assert [row["dice"] for row in json.loads(out)["cases"]] == [1, 1, 1]


def test_evaluate_wants_pairs_in_the_numbering_that_was_said(command: Command, pairs: list[Path]) -> None:
    status, _, err = command("evaluate", pairs[0], "--scheme", "brats2017")
    assert (status, err) == (1, "gliomaseg: 1 files were given; give pairs: a prediction, its reference, and so on.\n")
    status, _, err = command("evaluate", pairs[1], pairs[0], "--scheme", "brats2017")
    assert status == 1
    assert f"{pairs[0]} holds the label 3, which the scheme 'brats2017' does not have" in err


def test_evaluate_refuses_other_grids_and_names_both(command: Command, pairs: list[Path], tmp_path: Path) -> None:
    sitk.WriteImage(on_grid(toy_labels()[1:]), str(tmp_path / "short.nii.gz"))
    status, _, err = command("evaluate", pairs[0], tmp_path / "short.nii.gz", "--scheme", "gliomaseg")
    assert status == 1
    assert "good.nii.gz cannot be compared with" in err
    assert "short.nii.gz" in err


def test_table_that_cannot_be_written(command: Command, pairs: list[Path], tmp_path: Path) -> None:
    status, _, err = command("evaluate", *pairs, "--scheme", "brats2017", "--csv", tmp_path / "no" / "scores.csv")
    assert status == 1
    assert "scores.csv cannot be written (No such file or directory)" in err


# --- models --------------------------------------------------------------------------------------------------------


def test_life_of_a_model(command: Command, toy_zoo: Card, toy_files: Path, tmp_path: Path) -> None:
    store = ("--store", tmp_path / "models")

    def installed() -> bool:
        status, out, _ = command("models", "list", "--json", *store)
        assert status == 0
        (row,) = json.loads(out)
        assert row["id"] == "toy"
        return row["installed"]

    assert not installed()
    assert " not installed, 0 MB " in command("models", "list", *store)[1]
    status, _, err = command("models", "verify", "toy", *store)
    assert (status, err.startswith("gliomaseg: The weights of 'toy' are not installed; run ")) == (1, True)

    status, out, _ = command("models", "install", "toy", "--from", toy_files, *store)
    assert (status, out) == (0, f"toy is installed in {tmp_path / 'models' / 'toy'}.\n")
    assert installed()
    assert " installed " in command("models", "list", *store)[1]
    assert command("models", "verify", "toy", *store)[0] == 0

    weights = tmp_path / "models" / "toy" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    status, _, err = command("models", "verify", "toy", *store)
    assert (status, "are damaged" in err) == (1, True)
    assert command("models", "remove", "toy", *store)[:2] == (0, "toy is removed.\n")
    assert not installed()
    assert command("models", "remove", "toy", *store)[0] == 1


def test_show(command: Command, toy_zoo: Card) -> None:
    status, out, _ = command("models", "show", "toy")
    assert status == 0
    assert out.startswith("Thresholds (toy 1, unproven)\n")
    assert "Without T1 + contrast: WT only" in out
    assert card_from(json.loads(command("models", "show", "toy", "--json")[1])) == toy_zoo
    status, out, err = command("models", "show", "nnn")
    assert (status, out, err) == (1, "", "gliomaseg: There is no model 'nnn'; the zoo has toy.\n")


def test_list_tells_status_and_where_the_weights_are(
    command: Command, toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = command("models", "list", "--store", toy_store.root)[1].splitlines()
    assert line.split() == ["toy", "preoperative-glioma", "unproven", "installed", "Thresholds"]
    monkeypatch.setenv("GLIOMASEG_SITE_MODELS", str(toy_store.root))
    assert "  in the site's store  " in command("models", "list", "--store", tmp_path / "mine")[1]
    status, out, _ = command("models", "list", "--markdown")
    assert status == 0
    assert out.splitlines()[2].startswith("| `toy`: Thresholds | preoperative glioma | FLAIR, T1 + contrast ")


def test_list_without_models_is_empty(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("GliomaSegLib.zoo.catalogue.all_cards", dict)
    assert command("models", "list")[:2] == (0, "")


def test_models_are_packed_and_unpacked(command: Command, toy_store: Store, tmp_path: Path) -> None:
    status, out, _ = command("models", "export", tmp_path / "stick.zip", "--store", toy_store.root)
    assert (status, out) == (
        0,
        f"{tmp_path / 'stick.zip'} holds toy; 'gliomaseg models install --from {tmp_path / 'stick.zip'}' unpacks it.\n",
    )
    store = ("--store", tmp_path / "elsewhere")
    status, out, _ = command("models", "install", "--from", tmp_path / "stick.zip", *store)
    assert (status, out) == (0, f"toy is installed in {tmp_path / 'elsewhere' / 'toy'}.\n")
    status, out, _ = command("models", "verify", *store)
    assert status == 0
    assert out.startswith(f"{tmp_path / 'elsewhere' / 'toy' / 'weights.safetensors'} is what was installed")
    for given in ((), ("--from", tmp_path)):
        status, _, err = command("models", "install", *given, *store)
        assert (status, err) == (
            1,
            "gliomaseg: Say which model to install (gliomaseg models list), or give a pack or a store with --from.\n",
        )


def test_own_model_is_added_installed_carried_and_removed(
    command: Command, toy_card: Card, toy_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "toy", Family("Testing.support.toy"))
    path = tmp_path / "mine.json"
    path.write_text(card_text(replace(toy_card, id="mine")))
    store, elsewhere = ("--store", tmp_path / "models"), ("--store", tmp_path / "elsewhere")
    assert command("models", "install", "mine", "--from", toy_files, *store)[0] == 1
    status, out, _ = command("models", "add", path, *store)
    assert (status, out) == (0, "mine is added; 'gliomaseg models install mine' installs its weights.\n")
    assert command("models", "install", "mine", "--from", toy_files, *store)[0] == 0
    assert "\nmine " in command("models", "list", *store)[1]
    assert "\nmine " not in command("models", "list", *elsewhere)[1]
    assert command("models", "export", tmp_path / "stick.zip", "mine", *store)[0] == 0
    assert command("models", "install", "--from", tmp_path / "stick.zip", *elsewhere)[0] == 0
    assert command("models", "verify", "mine", *elsewhere)[0] == 0
    assert command("models", "remove", "mine", *elsewhere)[:2] == (0, "mine is removed.\n")
    assert "\nmine " not in command("models", "list", *elsewhere)[1]


def test_own_model_segments(
    command: Command, toy_card: Card, toy_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "toy", Family("Testing.support.toy"))
    (tmp_path / "mine.json").write_text(card_text(replace(toy_card, id="mine")))
    store = ("--store", tmp_path / "models")
    assert command("models", "add", tmp_path / "mine.json", *store)[0] == 0
    assert command("models", "install", "mine", "--from", toy_files, *store)[0] == 0
    study = write_study(tmp_path / "study")
    options = ("--brain", "stripped", "--no-registration", "--fill-holes-mm3", 2, *store)
    status, out, err = command("segment", study, "--model", "mine", "-o", tmp_path / "out", *options)
    assert status == 0, err
    assert f"ET   {volume_ml(Label.ET):9.2f} mL" in out


def test_damaged_added_card_is_reported_and_the_others_work(
    command: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".cards").mkdir()
    (tmp_path / ".cards" / "broken.json").write_text("{")
    status, out, _ = command("models", "list", "--store", tmp_path)
    assert status == 0
    assert "ca-cnn-brats17" in out
    assert "broken.json is not valid" in caplog.text


def test_card_that_is_no_card_is_one_sentence(command: Command, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{}")
    status, out, err = command("models", "add", tmp_path / "card.json", "--store", tmp_path / "models")
    assert (status, out) == (1, "")
    assert err.startswith(f"gliomaseg: The model card {tmp_path / 'card.json'} is not valid: id: Field required")
    assert len(err.splitlines()) == 1


def test_environment_names_the_store(command: Command, toy_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIOMASEG_MODELS", str(toy_store.root))
    assert command("models", "verify", "toy")[0] == 0
    monkeypatch.setenv("HOME", str(toy_store.root.parent))
    monkeypatch.setenv("GLIOMASEG_MODELS", f"~/{toy_store.root.name}")
    assert command("models", "verify", "toy")[0] == 0
    monkeypatch.delenv("GLIOMASEG_MODELS")
    assert command("models", "verify", "toy", f"--store=~/{toy_store.root.name}")[0] == 0
