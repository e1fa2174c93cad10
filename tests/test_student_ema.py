"""``--student_ema``: the average of the student's weights."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.models import distil_options, distilling, set_up, train_step
from torch import nn
from torch.optim.swa_utils import AveragedModel

from kd_plugin.errors import CheckpointError
from kd_plugin.training.average import WeightAverage


def network(channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels), nn.Conv2d(channels, 3, 1))


def move(trained: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
    trained(torch.rand(2, 3, 8, 8, generator=generator))  # changes the running statistics


def warm(mean: torch.Tensor, value: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    decay = min(0.999, count.item() / (9 + count.item()))  # counts the copy of the first weights, too
    return decay * mean + (1 - decay) * value


def test_it_is_that_of_pytorch_with_the_same_decay() -> None:
    trained = network()
    ours, theirs = WeightAverage(trained), AveragedModel(trained, avg_fn=warm)
    theirs.update_parameters(trained)
    for step in range(30):
        move(trained, step)
        ours.update()
        theirs.update_parameters(trained)
    expected = theirs.module.state_dict()
    for name, _ in trained.named_parameters():
        torch.testing.assert_close(ours.weights[name], expected[name])
    for name, value in trained.named_buffers():  # copied
        assert torch.equal(ours.weights[name], value)


def test_the_decay_grows_to_its_limit() -> None:
    """A weight that is 0 and then always 1: what remains of the 0 is the product of the decays."""
    trained = nn.Linear(1, 1, bias=False)
    trained.weight.data.zero_()
    average = WeightAverage(trained)
    trained.weight.data.fill_(1)
    remains = 1.0
    for step in range(9_501):  # the limit is reached at 8,990
        average.update()
        remains *= min(0.999, (1 + step) / (10 + step))
        if step in (0, 10, 100, 9_500):
            # Each sum is rounded to 6e-8 of a number below 1.
            assert 1 - average.weights["weight"].item() == pytest.approx(remains, abs=6e-8 * (step + 1))


def test_it_continues_where_it_was() -> None:
    trained = network()
    first = WeightAverage(trained)
    move(trained, 1)
    first.update()
    second = WeightAverage(trained)
    second.load_state_dict(first.state_dict())
    for step in range(2, 5):
        move(trained, step)
        first.update()
        second.update()
    assert all(torch.equal(value, second.weights[name]) for name, value in first.weights.items())


def test_that_of_another_network_is_refused() -> None:
    with pytest.raises(CheckpointError, match="is of another network"):
        WeightAverage(network()).load_state_dict(WeightAverage(network(4)).state_dict())


@pytest.mark.parametrize("name", ["pix2pix", "cycle_gan"])
def test_a_training_is_unchanged_and_saves_the_average_of_its_steps(
    models: ModuleType, teachers: Path, name: str
) -> None:
    """The average of every generator, from the weights after every step; and off is off."""
    nets = {"pix2pix": ["G"], "cycle_gan": ["G_A", "G_B"]}[name]
    folder = teachers.parent / "student"
    trained = {}
    for ema in (False, True):
        options = distil_options(teachers, model=name, distill="pixel", student_ema=ema)
        model = set_up(distilling(models.find_model_using_name(name)), options)
        averages = {net: WeightAverage(getattr(model, f"net{net}")) for net in nets}
        for step in range(3):
            train_step(model, seed=step)
            for average in averages.values():
                average.update()
        trained[ema] = {net: getattr(model, f"net{net}").state_dict() for net in nets}
        model.save_networks("latest")
        assert (folder / f"ema_net_{nets[0]}.pth").exists() == ema
    for net in nets:
        assert all(torch.equal(value, trained[False][net][key]) for key, value in trained[True][net].items())
        saved = torch.load(folder / f"ema_net_{net}.pth", weights_only=True)
        assert saved.keys() == torch.load(folder / f"latest_net_{net}.pth", weights_only=True).keys()
        assert all(torch.equal(value, averages[net].weights[key]) for key, value in saved.items())
        assert any(not torch.equal(value, trained[True][net][key]) for key, value in saved.items())
    model.model_names = nets
    model.load_networks("ema")  # as the host's test does
    assert all(torch.equal(v, saved[k]) for k, v in getattr(model, f"net{nets[-1]}").state_dict().items())
