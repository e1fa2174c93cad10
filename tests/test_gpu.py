"""Tests that need a GPU. ``make gpu`` runs them one by one; KD_GPU_DEVICE=cpu runs them on a CPU."""

from __future__ import annotations

import copy
import os
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from helpers.commands import LAUNCH, run, succeed
from helpers.hosts import FORMS, HOST, SMALL, imported_host
from helpers.models import distil_options, distilling, host_batch, set_up, train_step
from helpers.tensors import flat
from torch import nn

from kd_plugin.metrics.memory import peak_memory

DEVICE = torch.device(os.environ.get("KD_GPU_DEVICE", "cuda:0"))
GPUS = torch.cuda.device_count() if DEVICE.type == "cuda" else 0
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(DEVICE.type == "cuda" and not GPUS, reason="PyTorch sees no GPU"),
]
TERMS = "wavelet,pixel,srp,feature,attention,similarity,kernel_alignment,gram,ssim,tv,frequency"


@pytest.fixture(params=FORMS)
def models(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    with imported_host(HOST, request.param) as module:
        yield module


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions in float32, so that a GPU can be compared with a CPU."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def build(models: ModuleType, teachers: Path, device: torch.device = DEVICE, **changes: Any):  # type: ignore[no-untyped-def]
    gpu_ids = changes.pop("gpu_ids", [device.index or 0] if device.type == "cuda" else [])
    opt = options(teachers, **{"device": device, "gpu_ids": gpu_ids, **changes})
    return set_up(distilling(models.find_model_using_name(opt.model)), opt)


def options(teachers: Path, **changes: Any) -> Namespace:
    given = {"distill": "wavelet,pixel", "wavelet_levels": 2, "student_ngf": 4, "n_epochs": 5, **changes}
    opt = distil_options(teachers, **given)
    Path(opt.checkpoints_dir, opt.name).mkdir(exist_ok=True)
    return opt


def networks(model) -> dict[str, nn.Module]:  # type: ignore[no-untyped-def]
    held = {name: getattr(model, f"net{name}") for name in model.model_names}
    return {name: net.module if isinstance(net, nn.DataParallel) else net for name, net in held.items()}


def weights(model) -> dict[str, dict[str, torch.Tensor]]:  # type: ignore[no-untyped-def]
    return {name: copy.deepcopy(network.state_dict()) for name, network in networks(model).items()}


def load(model, state: dict[str, dict[str, torch.Tensor]]) -> None:  # type: ignore[no-untyped-def]
    for name, network in networks(model).items():
        network.load_state_dict(state[name])


def gradient(model) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """What the last step gave the first generator, as one vector."""
    generator = next(iter(networks(model).values()))
    return torch.cat([p.grad.flatten().cpu() for p in generator.parameters() if p.grad is not None])


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize("name", ["pix2pix", "cycle_gan"])
def test_teachers_adapters_and_terms_are_where_the_student_is(models: ModuleType, teachers: Path, name: str) -> None:
    """And a step there gives the losses and the gradient of a step on the CPU."""
    model = build(models, teachers, model=name, distill=TERMS)
    reference = build(models, teachers, torch.device("cpu"), model=name, distill=TERMS)
    load(reference, weights(model))
    for one in (model, reference):
        train_step(one, 2)
    for distilled in model._run.pairs:
        distiller = distilled.distiller
        assert len(distiller.adapters) == 2
        modules = [distilled.teacher, distiller.adapters, *(active.term for active in distiller.terms.values())]
        held = [t for m in modules if isinstance(m, nn.Module) for t in (*m.parameters(), *m.buffers())]
        assert {tensor.device for tensor in held} == {DEVICE}
    ours, theirs = model.get_current_losses(), reference.get_current_losses()
    assert {key: pytest.approx(value, rel=1e-3, abs=1e-5) for key, value in theirs.items()} == ours
    assert distance(gradient(model), gradient(reference)) < 1e-2


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_half_precision_trains_as_float32_does(models: ModuleType, teachers: Path, amp: str) -> None:
    model, reference = build(models, teachers, distill=TERMS, amp=amp), build(models, teachers, distill=TERMS)
    before = weights(model)
    load(reference, before)
    train_step(reference, 2)
    for _ in range(20):  # fp16 looks for its scale first, and skips the steps that overflow
        load(model, before)
        train_step(model, 2)
        if all(parameter.grad is not None for parameter in networks(model)["G"].parameters()):
            break
    assert 0 < distance(gradient(model), gradient(reference)) < 0.5  # half precision, and no other gradient
    for seed in range(4):
        train_step(model, 2, seed)
    after = weights(model)
    for net in before:
        assert all(torch.isfinite(tensor).all() for tensor in after[net].values())
        assert any(not torch.equal(before[net][key], after[net][key]) for key in before[net])
    assert {tensor.dtype for tensor in flat(after) if tensor.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("dtype", ["", "bf16", "fp16"])
def test_the_cache_gives_what_the_teacher_gave(
    models: ModuleType, teachers: Path, tmp_path: Path, dtype: str
) -> None:
    changes = {"teacher_dtype": dtype} if dtype else {}
    model = build(models, teachers, distill="pixel,srp", teacher_cache=str(tmp_path / "cache"), **changes)
    train_step(model, 2)
    calls: list[int] = []
    model._run.pairs[0].teacher.register_forward_hook(lambda *arguments: calls.append(1))
    first, loss = model.teacher_fake_B.clone(), model.loss_pixel
    train_step(model, 2)
    assert not calls and torch.equal(model.teacher_fake_B, first) and first.device == DEVICE
    assert model.loss_pixel != loss and torch.isfinite(model.loss_pixel)  # the student has moved
    train_step(model, 2, seed=1)
    assert calls


@pytest.mark.skipif(GPUS < 2, reason="DataParallel needs two GPUs")
def test_data_parallel_gives_the_losses_of_one_gpu(teachers: Path) -> None:
    with imported_host(HOST, "2020") as models:
        model, reference = build(models, teachers, gpu_ids=[0, 1]), build(models, teachers)
        load(reference, weights(model))
        for one in (model, reference):
            train_step(one, 4)
    assert isinstance(model.netG, nn.DataParallel) and len(model.netG.device_ids) == 2
    ours, theirs = model.get_current_losses(), reference.get_current_losses()
    assert {key: pytest.approx(value, rel=1e-3) for key, value in theirs.items()} == ours
    assert distance(gradient(model), gradient(reference)) < 1e-2


@pytest.mark.skipif(GPUS < 2, reason="there is no second GPU")
def test_a_second_gpu_alone(models: ModuleType, teachers: Path) -> None:
    model = build(models, teachers, torch.device("cuda:1"), distill=TERMS)
    train_step(model)
    assert {tensor.device.index for tensor in flat(weights(model))} == {1}
    assert all(torch.isfinite(torch.tensor(value)) for value in model.get_current_losses().values())


def test_a_skipped_step_after_a_save_leaves_the_statistics_finite(models: ModuleType, teachers: Path) -> None:
    """Hosts of 2020 to 2024 save with .cpu() and .cuda(), after which every buffer is another tensor."""
    found = models.find_model_using_name("pix2pix")

    class SavingHost(found):  # type: ignore[misc, valid-type]
        def save_networks(self, epoch: int | str) -> None:
            for name, network in networks(self).items():
                file = Path(self.save_dir) / f"{epoch}_net_{name}.pth"
                torch.save(network.cpu().state_dict(), file)
                network.to(DEVICE)

    opt = options(teachers, device=DEVICE, gpu_ids=[0] if DEVICE.type == "cuda" else [], norm="batch")
    model = set_up(distilling(SavingHost), opt)
    train_step(model)
    model.save_networks("latest")
    before = weights(model)
    spoilt = host_batch(1)
    spoilt["A"] = spoilt["A"] * float("nan")
    model.set_input(spoilt)
    model.optimize_parameters()
    model.save_networks("latest")
    for name, state in before.items():
        saved = torch.load(Path(model.save_dir) / f"latest_net_{name}.pth", weights_only=True)
        kept = {key: tensor.cpu() for key, tensor in state.items() if tensor.is_floating_point()}  # no counters
        assert not [key for key, tensor in kept.items() if not torch.equal(tensor, saved[key])], name
    train_step(model)
    assert all(torch.isfinite(tensor).all() for tensor in flat(weights(model)))


@pytest.mark.parametrize("amp", ["", "fp16"])
def test_a_run_continues_with_the_state_it_was_saved_with(models: ModuleType, teachers: Path, amp: str) -> None:
    """Weights, optimizers, adapters and the GPU's random numbers; a step after that is equal but for rounding."""
    changes = {"distill": "pixel,feature", **({"amp": amp} if amp else {})}
    model = build(models, teachers, **changes)
    for seed in range(3):
        train_step(model, 1, seed)
    model.update_learning_rate()
    model.save_networks("latest")
    drawn = torch.rand(3, device=DEVICE)
    torch.rand(5, device=DEVICE)
    again = build(models, teachers, continue_train=True, epoch_count=2, **changes)
    assert torch.equal(torch.rand(3, device=DEVICE), drawn)
    for part in ("weights", "optimizers", "adapters"):
        ours, theirs = (
            flat({
                "weights": weights(one),
                "optimizers": [optimizer.state_dict()["state"] for optimizer in one.optimizers],
                "adapters": one._run.pairs[0].distiller.adapters.state_dict(),
            }[part])
            for one in (again, model)
        )  # fmt: skip
        assert len(ours) == len(theirs) > 0 and all(map(torch.equal, ours, theirs)), part
        assert [tensor.device for tensor in ours] == [tensor.device for tensor in theirs], part
    for one in (again, model):
        train_step(one, 1, 7)
    assert again.loss_pixel.item() == pytest.approx(model.loss_pixel.item(), rel=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_scripts_train_continue_and_test(form: str, images: Path, teachers: Path, tmp_path: Path) -> None:
    """A host's own train.py and test.py, with workers and all."""
    device = ["--gpu_ids", "0" if DEVICE.type == "cuda" else "-1"] if form == "2020" else []
    shared = f"--dataroot {images}/paired --checkpoints_dir {tmp_path} --name small --model pix2pix {SMALL}"
    train = (
        f"kd run train.py {shared} --ndf 4 --n_epochs 1 --n_epochs_decay 1 --save_epoch_freq 1 --print_freq 1 "
        f"--no_html --distill wavelet,srp,feature --teacher {teachers} --student_ngf 4 --amp bf16"
    )
    succeed(run([LAUNCH, *train.split(), *device], HOST, form))
    continued = succeed(
        run([LAUNCH, *train.split(), "--n_epochs_decay", "2", "--continue_train", *device], HOST, form)
    )
    assert "continuing after epoch 2" in continued.stdout
    test = f"kd run test.py {shared} --results_dir {tmp_path}/results"
    succeed(run([LAUNCH, *test.split(), *device], HOST, form))
    assert len(list((tmp_path / "results").rglob("*fake_B.png"))) == 4


@pytest.mark.skipif(DEVICE.type != "cuda", reason="PyTorch counts requested memory on GPUs alone")
def test_the_peak_memory_is_what_a_network_without_workspaces_requests() -> None:
    network = nn.Sequential(nn.ReflectionPad2d(3), nn.Upsample(scale_factor=2), nn.ReLU(True), nn.Tanh())
    torch.cuda.reset_peak_memory_stats(DEVICE)
    before = torch.cuda.memory_stats(DEVICE)["requested_bytes.all.current"]
    images = torch.zeros(2, 3, 100, 90, device=DEVICE)
    with torch.no_grad():
        network(images)
    requested = torch.cuda.memory_stats(DEVICE)["requested_bytes.all.peak"] - before
    assert peak_memory(network, images) == requested
