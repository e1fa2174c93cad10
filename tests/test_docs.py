"""README, docs and examples are correct: commands run, tables are complete, code works."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from helpers.commands import LAUNCH, REPOSITORY, kd, run, succeed
from helpers.hosts import FORMS, HOST, HOSTS, host_arguments, imported_host

from kd_plugin import Distiller, GeneratorSpec
from kd_plugin.cli import main
from kd_plugin.networks.generator import build_generator

README, TRAINING, FASTER = (
    (REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "docs/training.md", "docs/faster.md")
)


def test_readme_is_short() -> None:
    assert len(README.splitlines()) < 160


def test_times_of_faster_training_are_those_of_the_benchmarks() -> None:
    """Each is a row of the table there, and a multiple of the student's step alone."""
    measured = (REPOSITORY / "docs" / "benchmarks.md").read_text(encoding="utf-8").split("<!-- cuda:begin -->")[0]
    alone = float(re.search(r"\| ([\d.]+) ms \+ [\d.]+ ms \|", measured)[1])
    rows = re.findall(r"^\| (the student alone|distilled.*?) \| (\d+) ms \| ([\d.]+) \|$", FASTER, re.MULTILINE)
    assert len(rows) == 4
    for name, ms, times in rows:
        option = re.search(r"`(--[^`]*)`", name)
        row = re.search(rf"\| wavelet,srp{f', {option[1]}' if option else ''} \| ([\d.]+) ms", measured)
        taken = alone if name == "the student alone" else float(row[1])
        assert (ms, times) == (f"{taken:.0f}", f"{taken / alone:.1f}")
    assert "takes 2.0 times" in README and "make that 1.2 times" in README


def test_local_links_lead_somewhere() -> None:
    folders = [REPOSITORY / name for name in ("examples", "docs")]
    for page in [*REPOSITORY.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_map_of_the_code_names_every_room_and_the_way_every_file() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    package = REPOSITORY / "kd_plugin"
    rooms = {folder.name for folder in package.iterdir() if (folder / "__init__.py").is_file()}
    assert rooms <= set(re.findall(r"`(\w+)/`", text))
    way = re.findall(r"^([\w/]+\.py)  ", text, re.MULTILINE)
    assert len(way) > 8 and all((package / path).is_file() for path in way)


def test_make_explains_itself() -> None:
    text = subprocess.run(["make"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert "make demo" in text and "make test" in text


def commands(begin: str) -> list[str]:
    """The README's shell commands that start so, joined over continued lines."""
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
    return [" ".join(line.split()) for line in shell.splitlines() if line.startswith(begin)]


def save_teacher(file: Path, spec: GeneratorSpec) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(build_generator(spec).state_dict(), file)


def test_readme_commands_run(images: Path, tmp_path: Path) -> None:
    """All of them, in order, in a copy of the embedded host; smaller networks and pictures than a reader's."""
    host = tmp_path / "host"
    shutil.copytree(HOST, host, ignore=shutil.ignore_patterns("checkpoints", "results", "__pycache__"))
    (host / "datasets").mkdir()
    (host / "datasets" / "facades").symlink_to(images / "paired")
    (host / "datasets" / "horse2zebra").symlink_to(images / "unpaired")
    spec = GeneratorSpec("resnet", 3, 3, 6, 2, "instance", False, True)
    facades = host / "checkpoints" / "facades_big"
    save_teacher(facades / "latest_net_G.pth", spec)
    (facades / "train_opt.txt").write_text("direction: BtoA\n")
    for net in ("G_A", "G_B"):
        save_teacher(host / "checkpoints" / "zebra_big" / f"latest_net_{net}.pth", spec)
    small = " --load_size 32 --crop_size 32"
    training = " --netG resnet_6blocks --n_epochs 1 --n_epochs_decay 0 --max_dataset_size 2 --num_threads 0 --ndf 4"
    training += " --save_epoch_freq 1 --student_ngf 5"
    found = commands("kd run")
    assert len(found) == 5
    for command in found:
        more = small + (training if " train.py " in command else "")
        more += " --n_epochs 2" if "--continue_train" in command else ""
        succeed(kd(command.removeprefix("kd ") + more, host))


def test_inspect_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    session = re.search(r"\$ kd inspect (\S+)\n(.*?)```", TRAINING, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    save_teacher(tmp_path / session[1], GeneratorSpec("unet", 3, 3, 64, 8, "batch", None, False))
    assert main(["inspect", session[1]]) == 0
    assert capsys.readouterr().out == session[2]


def test_readme_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks, with what they leave to the reader filled in."""
    subclass, loop = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    with imported_host(HOST, "2025"):
        scope: dict = {}
        exec(subclass, scope)  # noqa: S102 - our own README
        assert [cls.__name__ for cls in scope["DistillPix2PixModel"].__mro__][1:3] == ["DistillMixin", "Pix2PixModel"]
    spec = GeneratorSpec("resnet", 3, 3, 4, 2, "instance", False, True)
    save_teacher(tmp_path / "checkpoints/facades_big/latest_net_G.pth", spec)
    monkeypatch.chdir(tmp_path)
    images = torch.rand(2, 3, 16, 16)
    scope = {"student": build_generator(spec), "images": images, "target": images, "my_loss": torch.nn.L1Loss()}
    exec(loop, scope)  # noqa: S102 - our own README
    scope["loss"].backward()


def test_python_for_faster_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block runs, and under an autocast and a scaler of one's own, nothing is special."""
    (block,) = re.findall(r"```python\n(.*?)```", FASTER, re.DOTALL)
    spec = GeneratorSpec("resnet", 3, 3, 4, 2, "instance", False, True)
    save_teacher(tmp_path / "checkpoints/facades_big/latest_net_G.pth", spec)
    monkeypatch.chdir(tmp_path)
    student = build_generator(spec)
    scope: dict = {"student": student}
    exec(block.replace('device="cuda"', 'device="cpu"'), scope)  # noqa: S102 - our own page
    optimizer = torch.optim.Adam(student.parameters())
    before = student.model[1].weight.clone()
    images = torch.rand(2, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        result = Distiller(student, scope["teacher"], ["feature", "srp", "wavelet"])(images)
        loss = result.output.square().mean() + result.total
    if hasattr(torch.amp, "GradScaler"):
        scaler = torch.amp.GradScaler("cpu")
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        assert not torch.equal(student.model[1].weight, before)
    scope["distiller"](images)
    assert len(list((tmp_path / "cache").rglob("*.pt"))) == 2


DATA = {"pix2pix": "paired", "cycle_gan": "unpaired"}


@pytest.fixture
def patched_host(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A copy of a host with the examples in its models/."""
    folder, form = request.param
    copy = tmp_path / "host"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("checkpoints", "results", "__pycache__"))
    for example in (REPOSITORY / "examples").glob("distill_*_model.py"):
        shutil.copy(example, copy / "models")
    return copy, form


# Of the embedded host's forms one for each model, since starting a host takes seconds.
@pytest.mark.parametrize(
    ("patched_host", "model"),
    [
        *((HOSTS[i].values[0], model) for i, model in enumerate(DATA)),
        *(pytest.param(place.values[0], model, marks=place.marks) for place in HOSTS[len(FORMS) :] for model in DATA),
    ],
    indirect=["patched_host"],
)
def test_example_models(patched_host: tuple[Path, str], images: Path, model: str) -> None:
    """Dropped into models/, they train and test with plain python, and misuse is one line."""
    folder, form = patched_host
    for net in ("G", "G_A", "G_B"):
        save_teacher(
            folder / "checkpoints" / "big" / f"latest_net_{net}.pth",
            GeneratorSpec("resnet", 3, 3, 6, 2, "instance", False, True),
        )
    more = host_arguments(folder, form)
    common = [*f"--model distill_{model} --name small --load_size 32 --crop_size 32".split(), *more["test"]]
    common += ["--dataroot", str(images / DATA[model])]
    train = "--netG resnet_6blocks --n_epochs 1 --n_epochs_decay 0 --max_dataset_size 2 --num_threads 0 --no_html"
    train += " ".join([" --ndf 4 --save_epoch_freq 1 --student_ngf 4", *more["train"]])
    if model == "pix2pix":
        bad = run([LAUNCH, "plain", "train.py", *common, *train.split()], folder, form)
        assert bad.returncode == 2 and "--distill wavelet,srp" in bad.stderr and "Traceback" not in bad.stderr
    train += " --distill wavelet,srp --teacher checkpoints"
    if model == "pix2pix":
        bad = run([LAUNCH, "plain", "train.py", *common, *train.split()], folder, form)
        assert bad.returncode == 2 and "Traceback" not in bad.stderr
        assert "there is no latest_net_G" in bad.stderr.splitlines()[-1]
    succeed(run([LAUNCH, "plain", "train.py", *common, *(train + "/big").split()], folder, form))
    succeed(run([LAUNCH, "plain", "test.py", *common], folder, form))
    assert len(list((folder / "results").rglob("*_fake_B.png"))) == 4


@pytest.mark.slow
def test_example_loop(tmp_path: Path) -> None:
    """It runs as its first line says, and what it minimises falls; one term alone may rise for the others."""
    save_teacher(tmp_path / "G.pth", GeneratorSpec("resnet", 3, 3, 8, 2, "batch", True, False))
    script = str(REPOSITORY / "examples" / "own_loop.py")
    assert len(succeed(run([script, "G.pth"], tmp_path)).stdout.splitlines()) == 5
    longer = f"import runpy; runpy.run_path({script!r})['main']('G.pth', steps=30)"
    text = succeed(run(["-c", longer], tmp_path)).stdout
    values = [float(v) for v in re.findall(r"total ([\d.]+)", text)]
    assert len(values) == 30 and values[-1] < 0.95 * values[0]
    assert run([script], tmp_path).returncode != 0


def test_example_of_a_model_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    """It runs, the terms fall, and the page shows the same lines."""
    script = REPOSITORY / "examples" / "own_model.py"
    runpy.run_path(str(script))["main"](40)
    wavelet = [float(value) for value in re.findall(r"wavelet ([\d.]+)", capsys.readouterr().out)]
    assert len(wavelet) == 40 and sum(wavelet[-5:]) < 0.9 * sum(wavelet[:5])
    page = (REPOSITORY / "docs" / "your-own-repo.md").read_text(encoding="utf-8")
    for line in ("with distiller.record() as recorder:", "distilled = distiller.distill(recorder.calls[0])"):
        assert line in page and line in script.read_text(encoding="utf-8")
