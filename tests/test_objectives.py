"""Losses of a student besides the terms: the ground truth, and a discriminator."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kd_plugin import Distiller, GeneratorSpec
from kd_plugin.networks.discriminator import build_discriminator, load_discriminator
from kd_plugin.networks.generator import build_generator
from kd_plugin.training.objectives import Adversary, GanMode, GroundTruth
from kd_plugin.training.trainer import StudentTrainer

SPEC = GeneratorSpec("resnet", 3, 3, 3, 1, "instance", False, True)


def batch(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    names = ("input", "truth", "real.input")
    return {name: torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1 for name in names}


def student(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_generator(SPEC)


def discriminator() -> nn.Sequential:
    torch.manual_seed(9)
    return build_discriminator(3, 4)


def teacher() -> nn.Module:
    return student(5).requires_grad_(False).eval()


def trainer(*objectives: GroundTruth | Adversary, steps: int = 4) -> StudentTrainer:
    return StudentTrainer(Distiller(student(), teacher(), {"pixel": 1.0}), steps, objectives=objectives)


def states(*networks: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for network in networks for value in network.state_dict().values()]


def equal(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> bool:
    return len(ours) == len(theirs) > 0 and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("mode", ["lsgan", "vanilla"])
def test_steps_are_those_of_a_loop_by_hand(mode: GanMode) -> None:
    """Student first, then the discriminator on the same images, as in the family's loop of a CycleGAN."""
    judge = discriminator()
    trained = trainer(GroundTruth(10.0), Adversary(judge, 2.0, mode), steps=4)
    ours, theirs, large = student(), discriminator(), teacher()
    settings = {"lr": 2e-4, "betas": (0.5, 0.999)}
    optimizers = [torch.optim.Adam(network.parameters(), **settings) for network in (ours, theirs)]  # type: ignore[arg-type]
    criterion = {"lsgan": nn.MSELoss(), "vanilla": nn.BCEWithLogitsLoss()}[mode]

    def gan(scores: torch.Tensor, real: bool) -> torch.Tensor:
        return criterion(scores, torch.tensor(float(real)).expand_as(scores))  # type: ignore[no-any-return]

    for step, rate in enumerate((1, 1, 1, 0.5)):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = 2e-4 * rate
        data = batch(step)
        losses = trained.step(data["input"], batch=data)
        output = ours(data["input"])
        parts = {
            "pixel": F.l1_loss(output, large(data["input"])),
            "L1": 10 * F.l1_loss(output, data["truth"]),
            "GAN": 2 * gan(theirs(output), True),
        }
        optimizers[0].zero_grad()
        sum(parts.values()).backward()  # type: ignore[union-attr]
        optimizers[0].step()
        optimizers[1].zero_grad()
        fake, real = gan(theirs(output.detach()), False), gan(theirs(data["real.input"]), True)
        ((fake + real) / 2).backward()
        optimizers[1].step()
        for name, value in {**parts, "D_fake": fake, "D_real": real}.items():
            torch.testing.assert_close(losses[name], value.detach())
    # Adam amplifies the rounding of sums that are made in another order.
    for a, b in zip(states(trained.distiller.student, judge), states(ours, theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=4 * 2e-4 * 1e-2)


def test_it_continues_exactly() -> None:
    whole, first, second = (trainer(GroundTruth(), Adversary(discriminator())) for _ in range(3))
    for step in range(4):
        whole.step(batch(step)["input"], batch=batch(step))
    for step in range(2):
        first.step(batch(step)["input"], batch=batch(step))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for step in range(2, 4):
        second.step(batch(step)["input"], batch=batch(step))
    networks = [[t.distiller.student, t.objectives[1].network] for t in (whole, second)]
    assert equal(states(*networks[0]), states(*networks[1]))  # type: ignore[arg-type]


def test_a_weight_of_zero_leaves_the_student_as_without() -> None:
    plain, judged = trainer(), trainer(Adversary(discriminator(), 0.0))
    for step in range(2):
        plain.step(batch(step)["input"], batch=batch(step))
        judged.step(batch(step)["input"], batch=batch(step))
    assert equal(states(plain.distiller.student), states(judged.distiller.student))


def test_the_discriminator_is_the_familys() -> None:
    """70x70 PatchGAN: its convolutions with biases, and no parameters of instance norm."""
    network = build_discriminator(3)
    shapes = [(64, 3), (128, 64), (256, 128), (512, 256), (1, 512)]
    assert sum(p.numel() for p in network.parameters()) == sum(o * (i * 16 + 1) for o, i in shapes)
    image = torch.zeros(1, 3, 70, 70, requires_grad=True)
    scores = network.requires_grad_(False)(image)
    assert scores.shape == (1, 1, 6, 6)  # as the hosts: 70 -> 35 -> 17 -> 8 -> 7 -> 6
    weights = torch.cat([module.weight.detach().flatten() for module in network if isinstance(module, nn.Conv2d)])
    assert abs(float(weights.std()) - 0.02) < 5 * 0.02 / (2 * len(weights)) ** 0.5


def test_it_can_be_loaded_as_that_of_a_host(tmp_path) -> None:  # type: ignore[no-untyped-def]
    network = build_discriminator(3, 8)
    torch.save({f"model.{key}": value for key, value in network.state_dict().items()}, tmp_path / "latest_net_D.pth")
    loaded = load_discriminator(tmp_path / "latest_net_D.pth")
    image = torch.rand(2, 3, 40, 40)
    assert torch.equal(loaded.layers(image), network.eval()(image))
