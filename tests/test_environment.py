"""Versions that match and those that do not; what the set-up asks pip for."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from recsys import environment
from recsys.environment import TRIOS, Versions, mending_command, problems, usable_trios

NEWEST, NEXT = TRIOS[:2]
GOOD = Versions(f"{NEXT.torch}+cpu", NEXT.torchrec, NEXT.fbgemm, None, "2.6.6", "0.1.0")
SCRIPT = Path(environment.__file__)


@pytest.mark.parametrize("trio", TRIOS, ids=lambda trio: trio.torch)
def test_a_matching_trio_has_no_problems(trio):
    good = replace(GOOD, torch=f"{trio.torch}+cpu", torchrec=trio.torchrec, fbgemm_cpu=trio.fbgemm)
    assert problems(good) == []
    assert problems(replace(good, torch=trio.torch.rpartition(".")[0] + ".9")) == [], "a later patch"
    assert problems(replace(good, torch=f"{trio.torch}+cu130", fbgemm_cpu=None, fbgemm_cuda=trio.fbgemm)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"torch": None}, "torch is not installed; this release is made for torch 2.14, 2.13, 2.12, 2.11"),
        ({"torch": "2.15.0"}, "torch is 2.15.0; this release is made for torch 2.14, 2.13, 2.12, 2.11"),
        ({"torch": "2.1.3"}, "torch is 2.1.3;"),
        ({"torchrec": None}, "torchrec is not installed; torch 2.13.0+cpu pairs with torchrec 1.8.0"),
        ({"torchrec": "1.9.2"}, "torchrec 1.9.2 is installed; torch 2.13.0+cpu pairs with torchrec 1.8.0"),
        ({"fbgemm_cpu": None}, "fbgemm is not installed"),
        ({"fbgemm_cpu": "1.9.0"}, "fbgemm 1.9.0 is installed; torch 2.13.0+cpu pairs with fbgemm 1.8.0"),
        ({"torch": NEXT.torch, "fbgemm_cuda": "1.9.0"}, "both installed"),
        ({"fbgemm_cpu": None, "fbgemm_cuda": NEXT.fbgemm}, "built for CUDA"),
    ],
)
def test_each_mismatch_is_one_problem(change, said):
    (problem,) = problems(replace(GOOD, **change))
    assert said in problem


def test_the_python_decides_which_there_are():
    assert usable_trios((3, 11)) == list(TRIOS)
    with pytest.raises(ValueError, match=r"no torch, torchrec and fbgemm for Python 3.99; take 3.10 to 3.14"):
        usable_trios((3, 99))


@pytest.fixture
def pip_calls(monkeypatch):
    """What pip was asked for; `answers` maps a word of a call to its failure."""
    calls, answers = [], {}

    def run(command, **_):
        calls.append(" ".join(command[3:-1]))
        failure = next((text for word, text in answers.items() if word in calls[-1]), "")
        return subprocess.CompletedProcess(command, int(bool(failure)), "", failure)

    monkeypatch.setattr(environment.subprocess, "run", run)
    monkeypatch.setattr(environment, "_version", lambda name: None)
    return calls, answers


def test_the_cpu_set_up_never_asks_for_a_cuda_build(pip_calls):
    environment.install("cpu", None, None)
    assert pip_calls[0][0] == f"install torch=={NEWEST.torch}+cpu"
    assert f"fbgemm-gpu-cpu=={NEWEST.fbgemm}" in pip_calls[0][1]
    assert pip_calls[0][2] == f"install --no-deps torchrec=={NEWEST.torchrec}"
    assert len(pip_calls[0]) == 3


@pytest.mark.parametrize("words", ["No matching distribution found for torch", "ResolutionImpossible: for help visit"])
def test_the_newest_with_a_cpu_build_is_taken_whole(pip_calls, words):
    pip_calls[1][f"{NEWEST.torch}+cpu"] = f"ERROR: {words}"
    environment.install("cpu", None, None)
    assert pip_calls[0][1] == f"install torch=={NEXT.torch}+cpu"
    assert f"fbgemm-gpu-cpu=={NEXT.fbgemm}" in pip_calls[0][2]
    assert pip_calls[0][3] == f"install --no-deps torchrec=={NEXT.torchrec}"


def test_without_a_cpu_build_the_plain_one_is_taken_and_said(pip_calls, capsys):
    pip_calls[1]["+cpu"] = "ERROR: No matching distribution found for torch"
    environment.install("cpu", None, None)
    assert pip_calls[0][: len(TRIOS) + 1] == [
        *(f"install torch=={t.torch}+cpu" for t in TRIOS),
        f"install torch=={NEWEST.torch}",
    ]
    assert "no index offers a torch for CPUs alone" in capsys.readouterr().out


def test_a_broken_download_is_no_reason_to_take_the_larger_build(pip_calls):
    pip_calls[1]["+cpu"] = "ERROR: Connection broken"
    with pytest.raises(subprocess.CalledProcessError):
        environment.install("cpu", None, None)
    assert len(pip_calls[0]) == 1


def test_cuda_and_indexes(pip_calls):
    environment.install("cuda", "https://mirror.example/simple", "https://torch.example/whl")
    torch, fbgemm, torchrec = pip_calls[0]
    assert torch == "install --index-url https://torch.example/whl torch==2.14.0,!=2.14.0+cpu"
    assert fbgemm.startswith("install --index-url https://mirror.example/simple fbgemm-gpu==1.9.0 ")
    assert torchrec == "install --index-url https://mirror.example/simple --no-deps torchrec==1.9.0"


def test_the_other_build_of_fbgemm_is_removed_first(pip_calls, monkeypatch):
    monkeypatch.setattr(environment, "_version", lambda name: "1.8.0")
    environment.install("cpu", None, None)
    assert pip_calls[0][0] == "uninstall --yes fbgemm-gpu-cpu fbgemm-gpu"


def test_mending_command_runs_the_set_up_of_this_interpreter():
    command = mending_command(GOOD, "cpu")
    assert command == f"{sys.executable} -P {SCRIPT.resolve()} install --device cpu"
    assert mending_command(replace(GOOD, lightning=None), "cpu").endswith('install "recsys-tables[train]"')


def test_the_doctor_works_without_any_package():
    bare = [
        sys.executable,
        "-S",
        "-c",
        "import sys; sys.path.insert(0, '.'); from recsys.commands.doctor import main; sys.exit(main([]))",
    ]
    report = subprocess.run(bare, cwd=SCRIPT.parents[1], capture_output=True, text=True, check=False)
    assert report.returncode == 1, report.stderr
    assert "PROBLEM       torch is not installed" in report.stdout
    assert "install --device" in report.stdout


def test_the_set_up_explains_itself_without_any_package():
    usage = [sys.executable, "-S", "-P", str(SCRIPT), "--help"]
    assert "--torch-index" in subprocess.run(usage, capture_output=True, text=True, check=True).stdout
