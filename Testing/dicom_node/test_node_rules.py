"""The node's configuration: rules that decide with a reason, and configurations that are refused with one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from GliomaSegLib.cli.main import main
from GliomaSegLib.dicom_node.config import Config, DicomPeer, Orthanc, Receive, read_config
from GliomaSegLib.dicom_node.header import StudyHeader, read_header
from GliomaSegLib.dicom_node.rules import Routing, Rule, decide
from GliomaSegLib.dicom_node.tls import Tls
from GliomaSegLib.errors import InputError
from GliomaSegLib.options import ExportKind
from GliomaSegLib.record import read_record
from Testing.support.node_site import NAME, NUMBER, ROOT, RULES, write_config, write_images, write_secret

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra 'node') is not installed")


def header(**values: str | tuple[str, ...]) -> StudyHeader:
    return StudyHeader({key: (one,) if isinstance(one, str) else one for key, one in values.items()}, ())


def rules(*given: dict[str, Any]) -> tuple[Rule, ...]:
    return Routing(rules=given).rules


GLIOMA = {"name": "glioma", "when": {"StudyDescription": "glioma|tumou?r"}, "job": {}}
SPINE = {"name": "spine", "when": {"BodyPartExamined": "spine"}, "ignore": "no brain"}


def test_the_first_rule_that_fits_decides_and_says_why() -> None:
    decision = decide(header(StudyDescription="MR Brain TUMOR", BodyPartExamined="HEAD"), rules(SPINE, GLIOMA))
    assert decision.rule.name == "glioma"
    assert decision.reason == (
        "the rule 'glioma' fits: StudyDescription 'MR Brain TUMOR' has 'glioma|tumou?r'; "
        "not 'spine': BodyPartExamined is 'HEAD', without 'spine'"
    )
    both = header(StudyDescription="tumour", BodyPartExamined=("HEAD", "CSPINE"))
    assert decide(both, rules(SPINE, GLIOMA)).rule.name == "spine"
    assert decide(both, rules(GLIOMA, SPINE)).rule.name == "glioma"


def test_a_study_that_no_rule_fits_has_a_reason() -> None:
    decision = decide(header(), rules(GLIOMA, SPINE))
    assert decision.rule is None
    assert decision.reason.startswith("no rule fits: not 'glioma': StudyDescription is nothing, without ")


def test_an_exception_outdoes_a_condition() -> None:
    rule = GLIOMA | {"unless": {"SeriesDescription": "intraop"}}
    decision = decide(header(StudyDescription="glioma", SeriesDescription=("T1", "T1 IntraOp")), rules(rule))
    assert decision.rule is None
    assert "SeriesDescription 'T1 IntraOp' has 'intraop'" in decision.reason


@pytest.mark.parametrize(
    ("study", "rule"),
    [
        ("MR BRAIN GLIOMA FOLLOW-UP", "glioma after surgery"),
        ("MRI brain tumour", "glioma before surgery"),
        ("MR brain tumor, metastases", "other kinds of tumour"),
        ("MR knee", None),
    ],
)
def test_the_example_routes(study: str, rule: str | None) -> None:
    routing = read_record(Routing, ROOT / "Resources" / "routing.example.json", "routing")
    decision = decide(header(StudyDescription=study, BodyPartExamined="HEAD"), routing.rules)
    assert (decision.rule.name if decision.rule else None) == rule


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (GLIOMA | {"when": {"StudyDescription": "("}}, "is no regular expression"),
        (GLIOMA | {"when": {"PatientName": "x"}}, "'PatientName' is none of StudyDescription"),
        (GLIOMA | {"job": {"output": "/tmp/x"}}, "'output' is for the node to say"),
        (GLIOMA | {"job": {"modle": "x"}}, "modle"),
        (GLIOMA | {"ignore": "both"}, "either a 'job' or says with 'ignore'"),
        (SPINE | {"ignore": None}, "either a 'job' or says with 'ignore'"),
        (GLIOMA | {"kinds": ["pdf"]}, "kinds"),
    ],
)
def test_a_wrong_rule_is_refused(rule: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"The routing .*routing\.json is not valid") as error:
        read_config(write_config(tmp_path, [rule]))
    assert says in str(error.value)


def test_all_that_can_be_exported_is_sent_unless_the_site_or_a_rule_says_less(tmp_path: Path) -> None:
    assert set(Config.model_fields["kinds"].default) == set(ExportKind)
    config = read_config(write_config(tmp_path, [GLIOMA | {"kinds": ["seg", "overlay"]}], kinds=["rtstruct"]))
    assert (config.kinds, config.rules()[0].kinds) == (("rtstruct",), ("seg", "overlay"))


def test_two_rules_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two rules are called 'glioma'"):
        read_config(write_config(tmp_path, [GLIOMA, GLIOMA]))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"receive": None}, "no study could come in"),
        ({"send": "orthanc"}, "there is no 'orthanc'"),
        ({"receive": {"callers": []}}, "receive.callers"),
        ({"receive": {"callers": ["A" * 17]}}, "receive.callers"),
        ({"web": {"host": "0.0.0.0"}}, "give it a login"),
        ({"web": {"login": {"user": "u", "password_file": "none"}}}, "password file .*none cannot be read"),
        ({"quiet_s": 0}, "quiet_s"),
        ({"quiet": 3}, "quiet: there is no such key"),
        ({"routing": "none.json"}, "The routing .*none.json cannot be read"),
    ],
)
def test_a_wrong_configuration_is_refused(fields: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        read_config(write_config(tmp_path, **fields))


def test_paths_are_seen_from_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    write_secret(tmp_path / "password", "öffne dich\n")
    config = read_config(write_config(tmp_path, web={"login": {"user": "u", "password_file": "password"}}))
    assert config.folder == tmp_path / "node"
    assert config.web.login.password() == "öffne dich"


def test_the_command_checks_and_prepares(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, folder="new")
    assert main(["serve", str(config), "--check"]) == 0
    assert main(["serve", str(config)]) == 1, "an unmounted disk looks like a folder that is not there"
    assert "gone" in capfd.readouterr().err
    assert main(["serve", str(config), "--prepare"]) == 0
    mark = (tmp_path / "new" / "node.json").read_text()
    assert main(["serve", str(config), "--prepare"]) == 0
    assert (tmp_path / "new" / "node.json").read_text() == mark, "prepared twice is prepared once"
    assert main(["serve", str(config), "--drift"]) == 0
    assert capfd.readouterr().out.splitlines()[-1].startswith("week,cases,figure")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    assert main(["serve", str(write_config(tmp_path, folder="full")), "--prepare"]) == 1
    assert "is not empty" in capfd.readouterr().err


def test_the_header_holds_back_who_the_patient_is(tmp_path: Path) -> None:
    last = NAME.split("^")[0]
    write_images(tmp_path, slices=1, StudyDescription=f"MR glioma {last.lower()} {NUMBER}", StationName="MR1")
    said = read_header(tmp_path)
    (description,) = said.values["StudyDescription"]
    assert said.shown(description) == "MR glioma (withheld) (withheld)"
    assert said.values["StationName"] == ("MR1",)
    assert len(said.values["SeriesDescription"]) == 2
    assert not set(said.values) & {"PatientName", "PatientID"}
    assert said.shown(f"the exam of {NAME}, {NUMBER}: bad") == "the exam of (withheld), (withheld): bad"


def test_the_rules_of_the_tests_are_rules(tmp_path: Path) -> None:
    assert len(read_config(write_config(tmp_path)).rules()) == len(RULES)
    assert json.loads((tmp_path / "routing.json").read_text())["rules"] == RULES


def test_the_handbook_shows_configurations_that_are_valid() -> None:
    text = (ROOT / "docs" / "hospital.md").read_text(encoding="utf-8")
    shown = [Config.model_validate_json(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    assert [config.send == "orthanc" for config in shown] == [False, True]
    (tls,) = re.findall(r'`"tls": (\{.*?\})`', text)
    assert Tls.model_validate_json(tls)
    holders = {"": Config, "orthanc": Orthanc, "receive": Receive, "send": DicomPeer}
    for row in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE):
        for key in re.findall(r"`([a-z_.]+)`", row):
            holder, _, name = key.rpartition(".")
            assert name in holders[holder].model_fields, key
    plain = {"free_gb": 5, "keep": 200, "quiet_s": 120, "after_abort_s": 1800, "retries": 3, "longest_s": 7200}
    for name, value in plain.items():
        assert Config.model_fields[name].default == value
        assert re.search(rf"^\| `{name}`.*\| {value} \|$", text, re.MULTILINE), name


# --- rules look at what the scanner wrote ----------------------------------------------------------------------------


def decided(tmp_path: Path, *given: dict[str, Any], **tags: object) -> tuple[str | None, str]:
    """The name of the rule that fits a study with these tags, and the reason."""
    write_images(tmp_path / "images", slices=1, **tags)
    decision = decide(read_header(tmp_path / "images"), rules(*given))
    return decision.rule and decision.rule.name, decision.reason


MENINGIOMA = {"name": "no glioma", "when": {"StudyDescription": "meningioma"}, "ignore": "No glioma is expected."}
ANY_GLIOMA = {"name": "glioma", "when": {"StudyDescription": "glio"}, "job": {}}


def test_a_patient_called_meningioma_does_not_make_a_meningioma_a_glioma(tmp_path: Path) -> None:
    name, reason = decided(
        tmp_path, MENINGIOMA, ANY_GLIOMA, PatientName="Meningioma^Anna", StudyDescription="glioblastoma or meningioma?"
    )
    assert name == "no glioma"
    assert "StudyDescription 'glioblastoma or (withheld)?' has 'meningioma'" in reason


def test_a_physician_called_surgery_does_not_make_a_study_preoperative(tmp_path: Path) -> None:
    after = {"name": "after surgery", "when": {"StudyDescription": "after surgery"}, "job": {}}
    before = {"name": "before surgery", "when": {}, "job": {}}
    tags = {"ReferringPhysicianName": "Surgery^Sam", "StudyDescription": "MR head after surgery"}
    name, reason = decided(tmp_path, after, before, **tags)
    assert name == "after surgery"
    assert "Sam" not in reason


def test_a_rule_that_does_not_fit_by_its_unless_names_nobody(tmp_path: Path) -> None:
    rule = {"name": "glioma", "when": {}, "unless": {"StudyDescription": "meningioma"}, "job": {}}
    tags = {"PatientName": "Nobody^Anna", "StudyDescription": "meningioma of Anna"}
    assert decided(tmp_path, rule, **tags) == (
        None,
        "no rule fits: not 'glioma': StudyDescription 'meningioma of (withheld)' has 'meningioma'",
    )


def test_a_patient_called_brain_is_matched(tmp_path: Path) -> None:
    brain = {"name": "brain", "when": {"StudyDescription": "^MR brain"}, "job": {}}
    name, reason = decided(tmp_path, brain, PatientName="Brain^Russell", StudyDescription="MR brain")
    assert name == "brain"
    assert "StudyDescription 'MR (withheld)' has '^MR brain'" in reason


# --- what the configuration must not say -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"device": "gpu0"}, "device: String should match"),
        ({"quiet_s": float("inf")}, "quiet_s: Input should be a finite number"),
        ({"after_abort_s": float("nan")}, "after_abort_s: Input should be a finite number"),
        ({"longest_s": float("inf")}, "longest_s: Input should be a finite number"),
        ({"free_gb": float("inf")}, "free_gb: Input should be a finite number"),
        ({"largest_image_mb": 0}, "largest_image_mb"),
        ({"folder": "routing.json"}, r"The folder .*routing\.json of the configuration .*node\.json is a file"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(tmp_path: Path, fields: dict[str, Any], says: str) -> None:
    config = write_config(tmp_path)
    config.write_text(json.dumps(json.loads(config.read_text()) | fields))
    with pytest.raises(InputError, match=says):
        read_config(config)
