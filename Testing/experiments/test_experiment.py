"""The missing-sequence and domain-gap experiments, with the toy model on phantoms and with runs made up by hand."""

from __future__ import annotations

import argparse
import base64
import csv
import dataclasses
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from scipy import stats

from GliomaSegLib.case import Case, Modality, TimePoint
from GliomaSegLib.cli import experiment as command
from GliomaSegLib.datasets import prepared_case as in_place
from GliomaSegLib.datasets.case_table import CaseRow
from GliomaSegLib.errors import Cancelled, InputError, WeightsError
from GliomaSegLib.evaluation.froc import match_lesions
from GliomaSegLib.evaluation.metrics import RegionScore, evaluate
from GliomaSegLib.experiments import gallery, runner
from GliomaSegLib.experiments.analysis import analyse
from GliomaSegLib.experiments.definition import (
    DataSet,
    Experiment,
    Run,
    left_out,
    read_data_sets,
    short_name,
    subsets_of,
)
from GliomaSegLib.experiments.experiment_page import write_experiment
from GliomaSegLib.experiments.gallery import draw_gallery, extremes
from GliomaSegLib.experiments.run_log import read_runs
from GliomaSegLib.experiments.runner import SegmentedCase, _labels_to_image, run_experiment
from GliomaSegLib.io.images import read_labels
from GliomaSegLib.job import Job
from GliomaSegLib.labels import TUMOUR_REGIONS, LabelScheme, Region
from GliomaSegLib.measures.assessment import assess_case
from GliomaSegLib.options import BrainMethod
from GliomaSegLib.phantom import Phantom, make_phantom
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.pipeline.segment import segment_case
from GliomaSegLib.preprocessing.resampling import resample_image, resample_labels
from GliomaSegLib.progress import ProgressRecorder, Silent
from GliomaSegLib.results.manifest import ModelUsed
from GliomaSegLib.results.result import Result
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.store import Store

T1N, T1C, T2W, T2F = Modality
COLUMNS = ("case", "patient", "hospital", "t1n", "t1c", "t2w", "t2f", "truth", "truth_of", "scheme")


def write_stripped(phantom: Phantom, folder: Path) -> dict[str, str]:
    """The study in place on the grid of T1c and stripped; the row of the case table."""
    folder.mkdir(parents=True)
    reference = phantom.images[T1C]
    for sequence, image in phantom.images.items():
        in_place = resample_image(image, reference, phantom.transforms[sequence])
        sitk.WriteImage(sitk.Mask(in_place, phantom.brain), folder / f"{sequence.value}.nii.gz")
    sitk.WriteImage(phantom.reference, folder / "truth.nii.gz")
    files = {sequence.value: f"{folder.name}/{sequence.value}.nii.gz" for sequence in Modality}
    return {"case": folder.name, "patient": folder.name, "hospital": "A", "scheme": "gliomaseg", "truth_of": ""} | {
        **files,
        "truth": f"{folder.name}/truth.nii.gz",
    }


def write_table(path: Path, rows: list[Mapping[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, fieldnames=COLUMNS)
        table.writeheader()
        table.writerows(rows)
    return path


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case table of two phantoms in different hospitals."""
    folder = tmp_path_factory.mktemp("phantoms")
    rows = [write_stripped(make_phantom(seed, spacing_mm=3.0), folder / f"case{seed}") for seed in range(2)]
    rows[1]["hospital"] = "B"
    return write_table(folder / "phantoms.csv", rows)


@pytest.fixture
def plan(toy_store: Store) -> Experiment:
    return Experiment(models=("toy",), network_only=True, store=toy_store.root)


def made(labels: sitk.Image, brain: sitk.Image, transforms: Mapping[Modality, sitk.Transform]) -> Result:
    """A result with these labels."""
    used = ModelUsed(
        id="toy", title="", version="1", licence="", citation="", weights_sha256="", device="cpu", precision=""
    )
    assessed = assess_case(labels, brain, TUMOUR_REGIONS, {}, TimePoint(), ())
    return Result("case", used, TUMOUR_REGIONS, T1C, labels, brain, transforms, assessed, {}, {})


# --- running -------------------------------------------------------------------------------------------------------


def test_all_subsets(phantoms: Path, toy_zoo: Card) -> None:
    row = read_data_sets([phantoms])[0].rows[0]
    four = replace(toy_zoo, inputs=replace(toy_zoo.inputs, sequences=tuple(Modality)))
    assert len(set(subsets_of(row, four, "all"))) == 15
    assert subsets_of(row, four, "all")[0] == tuple(Modality)
    assert [len(one) for one in subsets_of(row, four, "leave-one-out")] == [4, 3, 3, 3, 3]
    assert subsets_of(row, four, "full") == [tuple(Modality)]
    assert subsets_of(row, toy_zoo, "all") == [(T1C, T2F), (T1C,), (T2F,)]
    assert subsets_of(row, toy_zoo, ((T2F,), (T2W, T2F))) == [(T2F,)]  # the toy does not take T2


def test_runs_are_those_of_the_pipeline(phantoms: Path, plan: Experiment, tmp_path: Path) -> None:
    data = read_data_sets([phantoms])
    runs = run_experiment(plan, data)
    assert [(one.case, one.present) for one in runs] == [
        (case, subset) for case in ("case0", "case1") for subset in ((T1C, T2F), (T1C,), (T2F,))
    ]
    row = data[0].rows[0]
    job = Job(
        volumes={T2F: row.images[T2F]},
        model="toy",
        output=tmp_path / "out",
        registration=False,
        brain="stripped",
        store=plan.store,
    )
    run(job)
    direct = evaluate(read_labels(job.output / "segmentation.nii.gz"), read_labels(row.reference), [Region.WT])
    assert runs[2].scores == direct
    assert runs[0].scores[Region.ET].dice > 0.5
    assert set(runs[2].scores) == {Region.WT}  # without T1c the toy gives WT alone
    assert runs[0].lesions[Region.WT].reference[0].voxels * 0.027 == pytest.approx(
        direct[Region.WT].reference_ml, rel=0.2
    )


def test_cases_are_prepared_once(
    small_phantom: Phantom, toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Skull on, the head moved between the sequences, the reference labels where FLAIR was scanned."""
    folder, cache = tmp_path / "head", tmp_path / "cache"
    small_phantom.write(folder)
    back = small_phantom.transforms[T2F].GetInverse()
    sitk.WriteImage(
        resample_labels(small_phantom.reference, small_phantom.images[T2F], back), folder / "truth_t2f.nii.gz"
    )
    row = {"case": "head", "patient": "p", "hospital": "h", "t1n": "", "t2w": "", "scheme": "gliomaseg"} | {
        "t1c": "study/head_t1c.nii.gz", "t2f": "study/head_t2f.nii.gz", "truth": "truth_t2f.nii.gz", "truth_of": "t2f",
    }  # fmt: skip
    data = read_data_sets([write_table(folder / "cases.csv", [row])])
    plan = Experiment(models=("toy",), prepared_cases=cache, store=toy_store.root)
    runs = run_experiment(plan, data)
    assert [one.present for one in runs] == [(T1C, T2F), (T1C,), (T2F,)]
    assert not any(one.failure for one in runs)
    assert runs[0].scores[Region.ET].dice > 0.5
    assert runs[2].scores[Region.WT].dice > 0.7  # the reference labels went with FLAIR to T1c
    assert len({one.scores[Region.WT].reference_ml for one in runs}) == 1
    assert runs[0].scores[Region.WT].reference_ml == pytest.approx(
        made(small_phantom.reference, small_phantom.brain, {}).volume("WT").ml, rel=0.05
    )

    def never(*_: object) -> None:
        raise AssertionError("it is there already")

    monkeypatch.setattr(in_place, "prepare_case", never)
    again = run_experiment(plan, data)
    assert [one.scores for one in again] == [one.scores for one in runs]
    assert {one.source for one in again} == {one.source for one in runs} != {data[0].rows[0].key}


def test_a_case_that_cannot_be_prepared_is_a_failure(phantoms: Path, plan: Experiment, tmp_path: Path) -> None:
    rows = list(csv.DictReader(phantoms.open()))
    sitk.WriteImage(sitk.Image(20, 20, 20, sitk.sitkFloat32) + 7, tmp_path / "constant.nii.gz")
    broken = rows[0] | {"t1c": str(tmp_path / "constant.nii.gz")}
    table = write_table(phantoms.parent / "not-in-place.csv", [broken])
    runs = run_experiment(plan.model_copy(update={"prepared_cases": tmp_path / "cache"}), read_data_sets([table]))
    assert [one.present for one in runs] == [(T1C, T2F), (T1C,), (T2F,)]
    assert all("constant" in one.failure for one in runs)


def test_a_case_that_fails_does_not_stop_the_others(phantoms: Path, plan: Experiment, tmp_path: Path) -> None:
    rows = list(csv.DictReader(phantoms.open()))
    constant = sitk.Image(20, 20, 20, sitk.sitkFloat32) + 7
    sitk.WriteImage(constant, tmp_path / "constant.nii.gz")
    rows[0]["t1c"] = str(tmp_path / "constant.nii.gz")
    runs = run_experiment(plan, read_data_sets([write_table(phantoms.parent / "broken.csv", rows)]))
    failed = [one for one in runs if one.failure]
    assert {(one.case, T1C in one.present) for one in failed} == {("case0", True)}
    assert "constant" in failed[0].failure
    assert [failure.reason for failure in analyse(runs).failures] == [one.failure for one in failed]


def test_goes_on_after_a_stop(
    phantoms: Path, plan: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, data = tmp_path / "runs.jsonl", read_data_sets([phantoms])
    calls = []

    def stopping(*given: object) -> object:
        calls.append(given)
        if len(calls) == 3:
            raise Cancelled("stopped")
        return segment_case(*given)

    monkeypatch.setattr(runner, "segment_case", stopping)
    with pytest.raises(Cancelled):
        run_experiment(plan, data, kept)
    assert len(kept.read_text().splitlines()) == 2
    with kept.open("a") as stream:
        stream.write('{"model": "to')  # killed while writing
    resumed = run_experiment(plan, data, kept)
    assert len(calls) == 3 + 4
    assert run_experiment(plan, data, kept) == resumed
    moved = [DataSet(one.name, tuple(dataclasses.replace(row, hospital="B") for row in one.rows)) for one in data]
    assert {one.hospital for one in run_experiment(plan, moved, kept)} == {"B"}, "as the table says now"
    assert len(calls) == 7
    kept.write_text(kept.read_text().replace(resumed[0].weights, "0" * 64))
    run_experiment(plan, data, kept)
    assert len(calls) == 7 + len(resumed), "runs with other weights are others"
    assert [one.model_copy(update={"seconds": 0}) for one in run_experiment(plan, data)] == [
        one.model_copy(update={"seconds": 0}) for one in resumed
    ]


def test_what_failed_is_tried_again_and_another_seed_is_another_run(
    phantoms: Path, plan: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, data = tmp_path / "runs.jsonl", read_data_sets([phantoms])

    def full(*_: object) -> object:
        raise InputError("no room")

    monkeypatch.setattr(runner, "segment_case", full)
    assert all(one.failure == "no room" for one in run_experiment(plan, data, kept))
    calls: list[object] = []

    def counting(*given: object) -> object:
        calls.append(given)
        return segment_case(*given)

    monkeypatch.setattr(runner, "segment_case", counting)
    done = run_experiment(plan, data, kept)
    assert not any(one.failure for one in done)
    assert run_experiment(plan, data, kept) == done
    assert len(calls) == len(done)
    run_experiment(plan.model_copy(update={"seed": 2}), data, kept)
    assert len(calls) == 2 * len(done)


def test_runs_that_an_older_version_kept_are_read(tmp_path: Path) -> None:
    """It called the reference the truth."""
    score = '{"dice":0.8,"hd95_mm":4.0,"sensitivity":0.7,"precision":null,"truth_ml":8.5,"prediction_ml":7.0}'
    lesion = '{"true":[{"voxels":27,"certainty":0.9,"dice":0.8}],"predicted":[]}'
    (tmp_path / "kept").write_text(
        '{"model":"m","version":"1","data":"d","case":"a","hospital":"h","source":"s","present":["t1c"],'
        f'"network_only":true,"scores":{{"ET":{score}}},"lesions":{{"ET":{lesion}}},"seconds":1.0}}\n'
    )
    (run,) = read_runs(tmp_path / "kept")
    assert run.scores[Region.ET].reference_ml == 8.5
    assert run.lesions[Region.ET].reference[0].voxels == 27
    assert Experiment.model_validate({"models": ["m"], "nullify": "cases"}).prepared_cases == Path("cases")


def test_foreign_file_is_not_taken_for_kept_runs(phantoms: Path, plan: Experiment, tmp_path: Path) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("one\ntwo\n")
    with pytest.raises(InputError, match=r"notes.txt, line 1, is no run"):
        run_experiment(plan, read_data_sets([phantoms]), foreign)
    assert foreign.read_text() == "one\ntwo\n"
    for text in ('{"a": 1}', "one line"):  # without a line break at the end, as a run that was cut off
        foreign.write_text(text)
        with pytest.raises(InputError, match=r"notes.txt, line 1, is no run"):
            run_experiment(plan, read_data_sets([phantoms]), foreign)
        assert foreign.read_text() == text


def test_a_run_without_the_end_of_its_line_is_cut_off(tmp_path: Path) -> None:
    line = made_up("a", ALL, 0.8, hospital="Sykehuset\u2028Innlandet").model_dump_json().encode()
    for rest, runs in ((b"", 1), (b"\n", 2)):
        (tmp_path / "kept").write_bytes(line + b"\n" + line + rest)
        assert len(read_runs(tmp_path / "kept")) == runs
        assert (tmp_path / "kept").read_bytes() == (line + b"\n") * runs, "the next one has a line of its own"


def test_model_that_is_not_installed_is_refused_before_any_run(
    phantoms: Path, plan: Experiment, tmp_path: Path
) -> None:
    nowhere = plan.model_copy(update={"store": tmp_path / "empty"})
    with pytest.raises(WeightsError):
        run_experiment(nowhere, read_data_sets([phantoms]))


def test_tables_are_checked(phantoms: Path, tmp_path: Path) -> None:
    assert [row.case for row in read_data_sets([phantoms], patients=frozenset({"case1"}))[0].rows] == ["case1"]
    with pytest.raises(InputError, match="patient that was asked for"):
        read_data_sets([phantoms], patients=frozenset({"nobody"}))
    with pytest.raises(InputError, match="Two case tables are called 'phantoms'"):
        read_data_sets([phantoms, phantoms])
    rows = list(csv.DictReader(phantoms.open()))
    with pytest.raises(InputError, match=r"line 2: the case 'case0' has no labels"):
        read_data_sets([write_table(tmp_path / "bad.csv", [rows[0] | {"truth": ""}])])


# --- the grid of the reference labels ------------------------------------------------------------------------------


def shift(x_mm: float) -> sitk.Transform:
    return sitk.TranslationTransform(3, (x_mm, 0.0, 0.0))


@pytest.mark.parametrize(
    ("truth_of", "present", "moved_mm"),
    [
        (None, (T1C, T2F), None),  # drawn on the reference of the full set, T1c
        (T2F, (T1C, T2F), -5),  # back from FLAIR to T1c
        (T2F, (T2F,), None),  # FLAIR is the reference itself
        (T2F, (T1N,), -5 + 2),  # back to T1c, on to T1
        (None, (T1N,), 2),
        (T1C, (T2W,), None),  # T2 needed no moving
    ],
)
def test_reference_labels_are_resampled_to_the_result(
    phantoms: Path, truth_of: Modality | None, present: tuple[Modality, ...], moved_mm: float | None
) -> None:
    row = read_data_sets([phantoms])[0].rows[0]
    row = row.__class__(**{**row.__dict__, "drawn_on": truth_of})
    there = _labels_to_image(row, present, {T2F: shift(5), T1N: shift(2)})
    assert (there and there.TransformPoint((0, 0, 0))[0]) == moved_mm


def test_reference_labels_drawn_on_a_moved_sequence(
    small_phantom: Phantom, toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference labels lie where FLAIR was scanned, the result where T1c was, and the head has moved in between.

    The result is the reference itself and its transform the true one, so that nothing but the way back is measured.
    """
    folder = tmp_path / "head"
    small_phantom.write(folder)
    back = small_phantom.transforms[T2F].GetInverse()
    sitk.WriteImage(
        resample_labels(small_phantom.reference, small_phantom.images[T2F], back), folder / "truth_t2f.nii.gz"
    )

    perfect = made(small_phantom.reference, small_phantom.brain, {T2F: small_phantom.transforms[T2F]})
    monkeypatch.setattr(runner, "segment_case", lambda *_: (perfect, {}))
    row = {"case": "head", "patient": "p", "hospital": "h", "t1n": "", "t2w": "", "scheme": "gliomaseg"} | {
        "t1c": "study/head_t1c.nii.gz", "t2f": "study/head_t2f.nii.gz", "truth": "truth_t2f.nii.gz",
    }  # fmt: skip
    dice = {}
    for name, truth_of in (("given", "t2f"), ("missing", "")):
        table = write_table(folder / f"{name}.csv", [row | {"truth_of": truth_of}])
        plan = Experiment(models=("toy",), subsets="full", store=toy_store.root)
        dice[name] = run_experiment(plan, read_data_sets([table]))[0].scores[Region.WT].dice
    assert dice["given"] > 0.99
    assert dice["missing"] < 0.95


def test_reference_labels_drawn_on_a_sequence_that_the_model_does_not_take(
    small_phantom: Phantom, toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "head"
    small_phantom.write(folder)
    back = small_phantom.transforms[T2W].GetInverse()
    drawn = resample_labels(small_phantom.reference, small_phantom.images[T2W], back)
    sitk.WriteImage(drawn, folder / "truth_t2w.nii.gz")
    perfect = made(small_phantom.reference, small_phantom.brain, {T2F: small_phantom.transforms[T2F]})
    monkeypatch.setattr(runner, "segment_case", lambda *_: (perfect, {}))
    row = {"case": "head", "patient": "p", "hospital": "h", "t1n": "", "scheme": "gliomaseg", "truth_of": "t2w"} | {
        one.value: f"study/head_{one.value}.nii.gz" for one in (T1C, T2W, T2F)
    }
    table = write_table(folder / "cases.csv", [row | {"truth": "truth_t2w.nii.gz"}])
    plan = Experiment(models=("toy",), subsets="full", store=toy_store.root)
    (found,) = run_experiment(plan, read_data_sets([table]))
    assert found.present == (T1C, T2F)
    assert found.scores[Region.WT].dice > 0.97


def test_a_run_whose_reference_labels_cannot_be_placed_is_a_failure(
    phantoms: Path, plan: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registration of all sequences says where the labels lie that were drawn on T1 + contrast."""
    phantom = make_phantom(0, spacing_mm=3.0)
    asked: list[tuple[Modality, ...]] = []

    def segmented(case: Case, *_: object) -> object:
        asked.append(tuple(case.volumes))
        if len(case.volumes) == 2:
            raise InputError("no room")
        return made(phantom.reference, phantom.brain, {}), {}

    monkeypatch.setattr(runner, "segment_case", segmented)
    registered = plan.model_copy(update={"network_only": False})
    (data,) = read_data_sets([phantoms])
    for subsets in ("all", ((T2F,), (T1C,))):
        asked.clear()
        one = replace(data, rows=data.rows[:1])
        found = run_experiment(registered.model_copy(update={"subsets": subsets}), [one])
        by_subset = {run.present: run for run in found}
        assert by_subset[T1C,].scores[Region.WT].dice == 1
        assert by_subset[T2F,].failure == "where its reference labels lie is not known without all sequences: no room"
        assert asked.count((T2F,)) == 0
        assert len(asked) == 2, "all sequences were tried once"


# --- what is made of the runs --------------------------------------------------------------------------------------


def made_up(case: str, present: tuple[Modality, ...], dice: float, **changes: object) -> Run:
    """A run whose ET has this Dice; with ``reference_ml=0`` the reference has none and ``dice`` means nothing."""
    reference_ml = float(changes.pop("reference_ml", 8.0))
    score = RegionScore(
        dice=dice, hd95_mm=4.0, sensitivity=dice if reference_ml else None, precision=dice, reference_ml=reference_ml,
        prediction_ml=float(changes.pop("prediction_ml", 8.0)),
    )  # fmt: skip
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = reference_ml > 0
    fields = {
        "model": "m",
        "version": "1",
        "data": "d",
        "patient": case,
        "hospital": "h",
        "source": case,
        "network_only": True,
    } | changes
    return Run(
        case=case,
        present=present,
        scores={Region.ET: score},
        lesions={Region.ET: match_lesions(mask, mask)},
        **fields,
    )


ALL, NO_FLAIR = (T1N, T1C, T2W, T2F), (T1N, T1C, T2W)


def test_subsets_are_compared_pair_by_pair() -> None:
    full = [0.9, 0.8, 0.85, 0.7, 0.95, 0.6, 0.75]
    less = [0.5, 0.46, 0.8, 0.33, 0.88, 0.08, 0.17]  # no difference twice, so that the test is exact
    runs = [made_up(f"c{i}", ALL, dice) for i, dice in enumerate(full)]
    runs += [made_up(f"c{i}", NO_FLAIR, dice) for i, dice in enumerate(less)]
    runs.append(made_up("alone", NO_FLAIR, 0.2))  # lacks FLAIR, so is in no pair
    found = analyse(runs)
    comparison = found.comparisons[0]
    assert (comparison.kind, comparison.present, comparison.against_present) == ("subset", NO_FLAIR, ALL)
    assert comparison.difference.cases == 7
    assert comparison.difference.p == pytest.approx(2 / 2**7)
    assert comparison.difference.p == pytest.approx(stats.wilcoxon(less, full).pvalue)
    assert [row.dice.cases for row in found.rows] == [7, 8]
    assert found.rows[0].dice.median == 0.8


def test_several_cases_of_a_patient_are_one_observation() -> None:
    full, less = [0.9, 0.8, 0.85, 0.7, 0.95, 0.6, 0.75], [0.5, 0.46, 0.8, 0.33, 0.88, 0.08, 0.17]
    once, thrice = (
        analyse(
            [
                made_up(f"c{i}-{scan}", present, dice + 0.01 * (scan - scans // 2), patient=f"p{i}")
                for present, values in ((ALL, full), (NO_FLAIR, less))
                for i, dice in enumerate(values)
                for scan in range(scans)
            ]
        ).comparisons
        for scans in (1, 3)
    )
    assert once[0].difference.p == thrice[0].difference.p == pytest.approx(2 / 2**7)
    assert thrice[0].difference.cases == 7
    assert thrice[0].difference.lower == pytest.approx(once[0].difference.lower)


def test_one_correction_over_all_tests() -> None:
    runs = [
        made_up(f"c{i}", present, 0.9 - 0.01 * i - 0.1 * (4 - len(present)) - 0.2 * (model == "n"), model=model)
        for model in ("m", "n")
        for present in (ALL, NO_FLAIR)
        for i in range(8)
    ]
    found = analyse(runs)
    assert [one.kind for one in found.comparisons] == ["subset", "subset", "model", "model"]
    assert all(one.difference.p_adjusted == pytest.approx(min(1, 4 * one.difference.p)) for one in found.comparisons)
    assert found.comparisons[2].difference.median == pytest.approx(-0.2)


def test_cases_without_the_region_are_apart() -> None:
    runs = [made_up("a", ALL, 0.8), made_up("b", ALL, 0.0, reference_ml=0, prediction_ml=0.3)]
    row = analyse(runs).rows[0]
    assert (row.dice.cases, row.dice.mean, row.without, row.false_ml) == (1, 0.8, 1, (0.3,))


def test_reference_of_a_data_set_that_lacks_a_sequence() -> None:
    """One case of three has T2: all are compared with what at least half of them have."""
    three = (T1N, T1C, T2F)
    runs = [made_up("a", ALL, 0.9), *(made_up(case, three, 0.8) for case in "abc")]
    runs += [made_up(case, (T1N, T1C), 0.3) for case in "abc"]
    kinds = [(one.present, one.against_present, one.difference.cases) for one in analyse(runs).comparisons]
    assert kinds == [((T1N, T1C), three, 3)]


def test_domain_gap() -> None:
    """One model on two data sets, and two models of one procedure, each at home."""
    dice = {("m", "public"): 0.8, ("m", "clinic"): 0.5, ("n", "public"): 0.6, ("n", "clinic"): 0.45}
    runs = [
        made_up(f"{data}{i}", ALL, level + 0.01 * i, model=model, data=data)
        for (model, data), level in dice.items()
        for i in range(5)
    ]
    found = analyse(runs, own_data={"m": "public", "n": "clinic"})
    gaps = {(one.kind, one.model, one.data): one.difference.median for one in found.comparisons if one.kind != "model"}
    assert gaps == {
        ("data", "m", "clinic"): pytest.approx(-0.3),
        ("data", "n", "clinic"): pytest.approx(-0.15),
        ("procedure", "n", "clinic"): pytest.approx(-0.35),
    }
    procedure = next(one for one in found.comparisons if one.kind == "procedure")
    assert (procedure.against_model, procedure.against_data) == ("m", "public")
    assert procedure.difference.p == pytest.approx(2 / 252)  # five against five, apart


def test_hospitals() -> None:
    runs = [made_up(case, ALL, dice, hospital=case[0]) for case, dice in (("A1", 0.9), ("A2", 0.7), ("B1", 0.4))]
    assert [(row.hospital, row.dice.cases, row.dice.median) for row in analyse(runs).hospitals] == [
        ("A", 2, pytest.approx(0.8)),
        ("B", 1, 0.4),
    ]


def test_small_lesions_are_apart_where_there_are_any() -> None:
    """Three lesions of 1, 1 and 8 voxels: none is below the median size. With 1, 4 and 8 the first is."""
    for size, limits in ((1, [None]), (4, [None, 4])):
        mask = np.zeros((9, 9, 9), bool)
        mask[0, 0, 0] = mask[4, 4, 4 : 4 + size] = mask[7:, 7:, 7:] = True
        one = made_up("a", ALL, 0.8).model_copy(update={"lesions": {Region.ET: match_lesions(mask, mask)}})
        assert [row.smaller_than_voxels for row in analyse([one]).lesions] == limits


def test_lesions_below_the_median_are_half_of_an_even_number() -> None:
    mask = np.zeros((12, 12, 12), bool)  # 1, 5, 6 and 8 voxels: the median is 5.5
    mask[0, 0, 0] = mask[4, 4, :5] = mask[8, 4, :6] = mask[8:10, 8:10, 8:10] = True
    one = made_up("a", ALL, 0.8).model_copy(update={"lesions": {Region.ET: match_lesions(mask, mask)}})
    assert [row.curve.lesions for row in analyse([one]).lesions] == [4, 2]


# --- the page ------------------------------------------------------------------------------------------------------


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(list(words))


def test_command_makes_one_page(phantoms: Path, plan: Experiment, tmp_path: Path) -> None:
    output, said = tmp_path / "out", io.StringIO()
    words = [str(phantoms), "--model", "toy", "-o", str(output), "--network-only", "--store", str(plan.store)]
    assert command.run(arguments(*words), said) == 0
    page = (output / "experiment.html").read_text(encoding="utf-8")
    assert str(output / "experiment.html") in said.getvalue()
    assert "Not a medical device" in page
    assert not any(word in page for word in ("http://localhost", " src=", " href=", "<script", "@import"))
    assert page.count("<svg") == 3 + 2 * 3  # a box plot and two curves for each of WT, TC, ET
    rows = list(csv.DictReader((output / "cases.csv").open()))
    assert {row["sequences"] for row in rows} == {"T1c + FLAIR", "T1c", "FLAIR"}
    assert len(rows) == 2 * (3 + 3 + 1)
    assert {path.name for path in output.iterdir()} == {
        "experiment.html", "cases.csv", "subsets.csv", "hospitals.csv", "comparisons.csv", "lesion-curves.csv",
        "manifest.json",
    }  # fmt: skip
    with pytest.raises(InputError, match="exists already"):
        command.run(arguments(*words), said)
    assert command.run(arguments(*words, "--overwrite", "--subsets", "full"), said) == 0


def test_command_takes_named_subsets(
    phantoms: Path, plan: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(phantoms), "--model", "toy", "-o", str(tmp_path / "out"), "--network-only", "--store", str(plan.store)]
    command.run(arguments(*words, "--subsets", "t2f+t1c,t2f"), io.StringIO())
    rows = csv.DictReader((tmp_path / "out" / "cases.csv").open())
    assert {row["sequences"] for row in rows} == {"T1c + FLAIR", "FLAIR"}
    with pytest.raises(SystemExit):
        arguments(*words, "--subsets", "t2f+t3")
    assert "'t2f+t3' is not all, leave-one-out, full" in capsys.readouterr().err


def test_what_is_left_out_is_told() -> None:
    data = [
        DataSet("clinic", tuple(CaseRow(case, case, "h", {}, Path(), None, LabelScheme.GLIOMASEG) for case in "ab"))
    ]
    runs = [made_up("a", (Modality.T1C,), 0.8, data="clinic", model="any")]
    plan = Experiment(models=("any", "two"), subsets=((Modality.T1C,),))
    assert left_out(plan, data, runs) == [
        "1 of 2 cases of clinic, which lack the sequences that were asked for: b.",
        "T1c of clinic for two, which does not take it.",
    ]
    assert left_out(plan.model_copy(update={"subsets": "all", "models": ("any",)}), data[:1], runs)[1:] == []


def test_how_the_brain_is_found_is_chosen(
    phantoms: Path, plan: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(phantoms), "--model", "toy", "-o", str(tmp_path / "out"), "--store", str(plan.store)]
    command.run(
        arguments(*words, "--brain", "stripped", "--subsets", "full", "--keep", str(tmp_path / "kept")), io.StringIO()
    )
    assert {Run.model_validate_json(line).brain for line in (tmp_path / "kept").open()} == {BrainMethod.STRIPPED}
    with pytest.raises(SystemExit):
        arguments(*words, "--brain", "brain")
    assert "invalid choice: 'brain'" in capsys.readouterr().err


def test_command_takes_a_split(phantoms: Path, plan: Experiment, tmp_path: Path) -> None:
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps({"train": ["case0"], "test": ["case1"], "validation": []}))
    words = [str(phantoms), "--model", "toy", "-o", str(tmp_path / "out"), "--network-only", "--store", str(plan.store)]
    command.run(arguments(*words, "--splits", str(splits), "--subsets", "full"), io.StringIO())
    assert {row["case"] for row in csv.DictReader((tmp_path / "out" / "cases.csv").open())} == {"case1"}
    both = arguments(*words, "--overwrite", "--splits", str(splits), "--split", "test", "--split", "train")
    assert command._patients(both) == {"case0", "case1"}
    with pytest.raises(InputError, match="no split 'tes'"):
        command.run(arguments(*words, "--overwrite", "--splits", str(splits), "--split", "tes"), io.StringIO())


def test_trained_for_must_name_what_there_is(phantoms: Path, plan: Experiment, tmp_path: Path) -> None:
    words = [str(phantoms), "--model", "toy", "-o", str(tmp_path / "out"), "--trained-for", "toy=elsewhere"]
    with pytest.raises(InputError, match=r"--trained-for toy=elsewhere.*phantoms"):
        command.run(arguments(*words), io.StringIO())


def test_page_escapes_what_comes_from_files(toy_zoo: Card, tmp_path: Path) -> None:
    failed = made_up("<b>case</b>", ALL, 0).model_copy(
        update={"failure": "<script>x</script>", "scores": {}, "lesions": {}}
    )
    runs = [made_up("a", ALL, 0.8, model="toy"), failed.model_copy(update={"model": "toy"})]
    page = write_experiment(tmp_path / "out", Experiment(models=("toy",)), [DataSet("d", ())], runs, analyse(runs))
    text = page.read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<b>case" not in text


def test_best_and_worst_are_chosen_by_the_regions_that_are_there() -> None:
    runs = [made_up("a", ALL, 0.6), made_up("b", ALL, 0.9), made_up("c", ALL, 0.3)]
    runs += [made_up("none", ALL, 0.0, reference_ml=0), made_up("b", NO_FLAIR, 0.1), made_up("a", NO_FLAIR, 0.2)]
    runs.append(made_up("only", ALL, 0.5, data="another"))
    assert [(one.kind, one.run.case, one.run.present) for one in extremes(runs)] == [
        ("best", "b", ALL),
        ("worst", "c", ALL),
        ("best", "only", ALL),
    ]


def test_the_gallery_shows_segmentation_and_reference(phantoms: Path, plan: Experiment, tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = [str(phantoms), "--model", "toy", "-o", str(output), "--network-only", "--store", str(plan.store)]
    command.run(arguments(*words, "--subsets", "full", "--gallery"), io.StringIO())
    assert {path.name for path in (output / "gallery").iterdir()} == {
        "toy-phantoms-best.svg",
        "toy-phantoms-worst.svg",
    }
    rows = [row for row in csv.DictReader((output / "cases.csv").open()) if row["region"] == "WT"]
    sheet = (output / "gallery" / "toy-phantoms-worst.svg").read_text(encoding="utf-8")
    drawn = ElementTree.fromstring(sheet)
    pictures = drawn.findall("{*}svg")
    assert len(pictures) == 3 * 3  # FLAIR and T1c where the reference is largest, FLAIR where the two differ most
    contours = [{path.get("class") for path in picture.iterfind(".//{*}path")} for picture in pictures[:3]]
    assert contours == [set(), {"WT", "TC", "ET"}, {"WT", "TC", "ET"}]
    shown = next(row for row in rows if f"phantoms: {row['case']}" in sheet)
    assert f"WT: Dice {float(shown['dice']):.2f}" in sheet
    assert sheet in (output / "experiment.html").read_text(encoding="utf-8")


def test_a_picture_that_cannot_be_drawn_costs_no_run(
    phantoms: Path, plan: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = read_data_sets([phantoms])
    runs = run_experiment(plan, data)

    def full(*_: object) -> object:
        raise InputError("no room")

    monkeypatch.setattr(runner, "segment_case", full)
    progress = ProgressRecorder(Silent())
    assert draw_gallery(plan, data, runs, progress) == []
    assert progress.warnings == [f"toy-phantoms-{kind} is not drawn: no room" for kind in ("best", "worst")]


def test_the_gallery_shows_no_skull(phantoms: Path, toy_card: Card, tmp_path: Path) -> None:
    """A brain of grey noise in a head that is brighter; the model has marked something in the skin."""
    row = read_data_sets([phantoms])[0].rows[0]
    brain, labels = np.zeros((30, 40, 36), np.uint8), np.zeros((30, 40, 36), np.uint8)
    brain[8:22, 10:30, 10:26] = 1
    labels[14, 2:5, 2:5] = 2
    grey = np.where(brain > 0, np.random.default_rng(0).uniform(50, 60, brain.shape), 1000).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(grey), tmp_path / "t2f.nii.gz")
    map_of = sitk.GetImageFromArray(labels)
    result = made(map_of, sitk.GetImageFromArray(brain), {})
    row = dataclasses.replace(row, images={T2F: tmp_path / "t2f.nii.gz"}, drawn_on=None)
    found = SegmentedCase(row, toy_card, (T2F,), map_of, map_of * 0 + 0, result, {})
    (title, pictures), *_ = gallery._rows(found, (Region.WT,))
    assert title.startswith("FLAIR")
    encoded = str(pictures[0]).partition("base64,")[2].partition('"')[0]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    assert pixels.max() > 200
    assert not pixels[:12].any()  # around the brain, where the head is
    assert not pixels[:, :12].any()


def test_nothing_is_left_when_the_page_cannot_be_made(toy_zoo: Card, tmp_path: Path) -> None:
    runs = [made_up("a", ALL, 0.8)]
    with pytest.raises(InputError, match="no model 'gone'"):
        write_experiment(tmp_path / "out", Experiment(models=("gone",)), [], runs, analyse(runs))
    assert list(tmp_path.iterdir()) == []


def test_names_of_subsets() -> None:
    assert short_name(ALL) == "T1 + T1c + T2 + FLAIR"
