"""Dropout from 16 random bits an element: the chances of torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from embexp.encoding.dropout import bernoulli_noise, fast_dropout, sixteen_bit_noise

MANY = 400_003


@pytest.mark.parametrize("p", [0.1, 0.5, 1 / 3, 0.9])
@pytest.mark.parametrize("noise", [sixteen_bit_noise, bernoulli_noise])
def test_elements_are_dropped_with_the_chance_asked_for_and_the_mean_is_kept(noise, p):
    torch.manual_seed(1)
    drawn = noise(torch.empty(MANY), p)
    # Five standard errors of a share.
    error = 5 * (p * (1 - p) / MANY) ** 0.5
    assert float((drawn == 0).float().mean()) == pytest.approx(p, abs=error)
    assert float(drawn.mean()) == pytest.approx(1, abs=error / (1 - p))
    assert len(drawn.unique()) == 2


def test_neighbours_that_are_cut_from_one_number_are_dropped_independently():
    torch.manual_seed(1)
    dropped = (sixteen_bit_noise(torch.empty(MANY), 0.3) == 0).double()
    for distance in (1, 2, 3, 4):
        pair = torch.stack([dropped[:-distance], dropped[distance:]])
        # A correlation of independent draws has a standard error of one over the root of their number.
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 5 / MANY**0.5


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 0, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_noise_is_of_the_tensors_shape_and_dtype(shape, dtype):
    noise = sixteen_bit_noise(torch.empty(shape, dtype=dtype), 0.25)
    assert noise.shape == shape
    assert noise.dtype == dtype


@pytest.mark.parametrize(("p", "value"), [(0.0, 1.0), (1.0, 0.0), (1 - 1e-9, 0.0)])
def test_at_the_ends_all_is_kept_or_all_dropped(p, value):
    assert (sixteen_bit_noise(torch.empty(1000), p) == value).all()


def test_a_seed_gives_the_same_draws_and_the_next_are_others():
    def drawn() -> torch.Tensor:
        return sixteen_bit_noise(torch.empty(1000), 0.5)

    torch.manual_seed(7)
    first, second = drawn(), drawn()
    torch.manual_seed(7)
    assert torch.equal(first, drawn())
    assert not torch.equal(first, second)


def test_within_it_a_models_dropout_is_drawn_so_and_afterwards_by_torch_again():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.0)))
    given = torch.ones(1000, requires_grad=True)
    with fast_dropout(model):
        torch.manual_seed(3)
        out = model[1](given)
        assert torch.equal(model[2](given), given)
        model.eval()
        assert torch.equal(model[1](given), given)
    torch.manual_seed(3)
    noise = sixteen_bit_noise(given, 0.5)
    assert torch.equal(out, noise)
    # The gradient is dropped where the value was.
    assert torch.equal(torch.autograd.grad(out.sum(), given)[0], noise)
    model.train()
    torch.manual_seed(3)
    expected = nn.functional.dropout(given, 0.5)
    torch.manual_seed(3)
    assert torch.equal(model[1](given), expected)
