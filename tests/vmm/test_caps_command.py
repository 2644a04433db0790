"""`python -m vmm caps`: what it says is so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import x86core
from vmm import Machine, idle_policy
from vmm.cli import cli
from vmm.cpuid import FEATURE_CHOICES, cpuid, feature_flags
from vmm.inventory import inventory
from vmm.loader import Format

KERNEL_HEADER = Path("/usr/include/linux/kvm.h")
#: The RFC's, which is not upstream, and the numbers outside KVM's range.
OURS = {"EXIT_MWAIT", "EXIT_LIMIT", "EXIT_IDLE", "EXIT_STORE", "EXIT_IPI"}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    result = CliRunner().invoke(cli, ["caps", "--json"])
    assert (result.exit_code, result.stderr) == (0, "")
    loaded = json.loads(result.stdout)
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.skipif(not KERNEL_HEADER.exists(), reason="no kernel headers on this host")
def test_numbers_are_those_of_the_kernel(found: dict[str, Any]) -> None:
    text = KERNEL_HEADER.read_text()
    defined = {name: int(number) for name, number in re.findall(r"#define (KVM_\w+)\s+(\d+)", text)}
    exits = {f"KVM_{name}": number for name, number in found["exits"].items() if name not in OURS}
    assert len(exits) >= 10
    assert exits == {name: defined[name] for name in exits}
    numbers = {each["name"]: each["number"] for each in found["kvm_capabilities"]}
    assert numbers["KVM_CAP_X86_DISABLE_EXITS"] == defined["KVM_CAP_X86_DISABLE_EXITS"]


def test_capabilities_are_those_that_a_machine_answers(found: dict[str, Any]) -> None:
    values = {each["number"]: each["value"] for each in found["kvm_capabilities"]}
    assert {number: values[number] for number in (143, 230)} == {143: 1 | 2, 230: 1 | 2}
    machine = Machine(memory="64K")
    assert values == {number: machine.check_extension(number) for number in values}


def test_every_policy_can_be_chosen(found: dict[str, Any]) -> None:
    assert len(found["idle"]["mwait"]) == 9
    for mwait in found["idle"]["mwait"]:
        for hlt in found["idle"]["hlt"]:
            policy = idle_policy(mwait["name"], hlt["name"])
            assert policy.mwait_policy == mwait["policy"]
            assert policy.userspace_exits == mwait["userspace_exits"] | hlt["userspace_exits"]
            assert mwait["summary"]


def test_features_are_what_a_guest_gets_from_cpuid(found: dict[str, Any]) -> None:
    assert found["cpuid"]["vendor"] == "x86core vmm"
    assert {"TSC", "CX8", "CMOV", "MONITOR"} <= set(found["cpuid"]["features"])
    optional = {each["feature"]: each["adds"] for each in found["cpuid"]["optional"]}
    assert optional == {"monitorx": ["MONITORX"], "waitpkg": ["WAITPKG"]}
    assert set(optional) == set(FEATURE_CHOICES)


def test_no_feature_bit_goes_without_a_name() -> None:
    assert not [flag for flag in feature_flags(tuple(FEATURE_CHOICES)) if "bit" in flag]


def test_cpuid_of_an_unknown_feature() -> None:
    with pytest.raises(ValueError, match="avx512"):
        cpuid(1, ["avx512"])


def test_the_limits_are_those_that_are_enforced(found: dict[str, Any]) -> None:
    vcpus, memory = found["limits"]["vcpus"], found["limits"]["memory"]
    with pytest.raises(ValueError, match=str(memory)):
        x86core.Memory(memory + 4096)
    with pytest.raises(ValueError, match=str(vcpus)):
        Machine("1M", vcpus=vcpus + 1)


def test_kinds_of_guests(found: dict[str, Any]) -> None:
    kinds = {each["format"]: each["tools"] for each in found["guests"]}
    assert {str(each) for each in Format} < set(kinds)
    assert kinds["GNU as source (.S)"] == ["gcc", "ld"]


def test_a_missing_tool_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = inventory()
    assert {each["format"] for each in found["guests"] if not each["available"]} == {
        "GNU as source (.S)",
        "nasm source (.asm)",
    }
    assert found["versions"]["gcc"] is None
    text = CliRunner().invoke(cli, ["caps"]).stdout
    assert "needs gcc, ld: not all are there" in text
    assert re.search(r"^  nasm +not installed$", text, re.MULTILINE)


def test_a_tool_that_fails_has_no_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "nasm"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert inventory()["versions"]["nasm"] is None


def test_text_for_people(found: dict[str, Any]) -> None:
    result = CliRunner().invoke(cli, ["caps"])
    assert result.exit_code == 0
    assert "  230  KVM_CAP_X86_USERSPACE_EXITS  0x3\n" in result.stdout
    assert "  1,024 vCPUs, 4,032M of memory\n" in result.stdout
    for each in [*found["idle"]["mwait"], *found["idle"]["hlt"]]:
        assert re.search(rf"^  {each['name']} +{re.escape(each['summary'])}$", result.stdout, re.M)
    assert max(len(line) for line in result.stdout.splitlines()) <= 110
