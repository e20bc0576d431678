import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.observation import Observation, View
from skyclone.train import networks

VIEWS = ("seed", "ego:intruders=8", "cpa")


def random_observation(
    view: View, rows: int, count: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Observation:
    generator = torch.Generator().manual_seed(seed)
    is_present = torch.rand(rows, count, generator=generator) < 0.6
    intruders = torch.randn(rows, count, view.intruder_features, generator=generator, dtype=dtype)
    ownship = torch.randn(rows, view.ownship_features, generator=generator, dtype=dtype)
    return Observation(ownship, intruders * is_present.unsqueeze(-1), is_present)


def test_additive_has_exactly_the_seeds_parameters() -> None:
    network = networks.make("attention-additive", View())
    per_head = (7 * 5 + 5) + (5 * 5 + 5) + (5 * 5 + 5) + 5  # W_q, W_k, W_v with bias, v without
    layers = (22 * 256 + 256) + (256 * 256 + 256) + (256 * 2 + 2)
    assert sum(parameter.numel() for parameter in network.parameters()) == 3 * per_head + layers == 72_509


def test_additive_worked_by_hand() -> None:
    # Query and key weights zero: scores equal, so both of two intruders get 1/2 and the context is W_v times
    # their mean. With W_v picking the first feature in the first component, that is (0.2 + 0.6) / 2 = 0.4.
    network = networks.make("attention-additive", View(), hidden=1)
    inputs = []
    network.action.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.W_v[:, 0, 0] = 1.0
        network.b_v[1, 2] = 7.0
    intruders = torch.zeros(2, 3, 5)
    intruders[0, :, 0] = torch.tensor([0.2, 0.6, 100.0])
    is_present = torch.tensor([[True, True, False], [False] * 3])
    ownship = torch.arange(14.0).view(2, 7)
    action, attention = network(Observation(ownship, intruders, is_present), with_attention=True)
    assert attention[0].tolist() == [[0.5, 0.5, 0.0]] * 3
    expected = torch.zeros(15)
    expected[[0, 5, 10]] = 0.4
    expected[7] = 7.0  # bias of head 1, component 2
    torch.testing.assert_close(inputs[0][0], torch.cat((expected, ownship[0])))
    assert inputs[0][1].tolist() == [0.0] * 15 + ownship[1].tolist(), "no intruder: the context is exactly zero"
    assert action.shape == (2, 2)


def test_additive_is_the_formula_of_the_design() -> None:
    view = View()
    network = networks.make("attention-additive", view, seed=3).double()
    ownship, intruders, is_present = random_observation(view, 6, 4, seed=1, dtype=torch.float64)
    contexts = []
    for head in range(3):
        query = ownship @ network.W_q[head].T + network.b_q[head]  # (M, 5)
        keys = intruders @ network.W_k[head].T + network.b_k[head]  # (M, K, 5)
        values = intruders @ network.W_v[head].T + network.b_v[head]
        scores = torch.tanh(query.unsqueeze(1) + keys) @ network.v[head]  # (M, K)
        weights = torch.softmax(scores.masked_fill(~is_present, -math.inf), 1).nan_to_num(0.0)
        contexts.append((weights.unsqueeze(-1) * values).sum(1))
    expected = network.action(torch.cat((*contexts, ownship), 1))
    found = network(Observation(ownship, intruders, is_present))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", networks.NAMES)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("rows", "count"), [(5, 19), (5, 4), (2, 59), (3, 1), (3, 0), (0, 4)])
def test_any_number_of_intruders(name: str, view: str, rows: int, count: int) -> None:
    network = networks.make(name, View.parse(view))
    observation = random_observation(View.parse(view), rows, count)
    action, attention = network(observation, with_attention=True)
    assert action.shape == (rows, 2)
    assert attention.shape == (rows, 3, count)
    absent = ~observation.is_present.unsqueeze(1).expand_as(attention)
    assert (attention[absent] == 0).all()
    anyone = observation.is_present.any(1, keepdim=True).float().expand(rows, 3)
    torch.testing.assert_close(attention.sum(2), anyone)
    with torch.no_grad():
        assert torch.equal(network(observation), action), "the same with and without gradient, bit for bit"
    action.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", networks.NAMES)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 12))
def test_order_and_padding_of_intruders_do_not_matter(name: str, seed: int, count: int) -> None:
    view = View()
    network = networks.make(name, view, seed=seed).double()
    ownship, intruders, is_present = random_observation(view, 4, count, seed, torch.float64)
    action, attention = network(Observation(ownship, intruders, is_present), with_attention=True)

    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    permuted = Observation(ownship, intruders[:, order], is_present[:, order])
    again, attention_again = network(permuted, with_attention=True)
    torch.testing.assert_close(again, action)
    torch.testing.assert_close(attention_again, attention[:, :, order])

    rubbish = torch.where(is_present.unsqueeze(-1), intruders, 1e3)
    longer = torch.cat((rubbish, torch.full((4, 3, 5), -50.0, dtype=torch.float64)), 1)
    mask = torch.cat((is_present, torch.zeros(4, 3, dtype=torch.bool)), 1)
    torch.testing.assert_close(network(Observation(ownship, longer, mask)), action)


@pytest.mark.parametrize("name", networks.NAMES)
def test_weights_depend_on_the_seed_only_and_global_state_stays(name: str) -> None:
    before = torch.random.get_rng_state()
    one, same, other = (networks.make(name, View(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    for first, second in zip(one.parameters(), same.parameters()):
        assert torch.equal(first, second)
    assert not torch.equal(next(one.parameters()), next(other.parameters()))


@pytest.mark.parametrize("name", networks.NAMES)
def test_spec_builds_the_same_network(name: str) -> None:
    network = networks.make(name, View(), heads=2, outputs=1)
    spec = network.spec
    again = networks.make(spec["name"], View(), **spec["parameters"])
    shapes = [{key: tensor.shape for key, tensor in each.state_dict().items()} for each in (network, again)]
    assert shapes[0] == shapes[1]
    assert again(random_observation(View(), 3, 4)).shape == (3, 1)


@pytest.mark.parametrize("name", networks.NAMES)
def test_projections_are_one_matrix_per_head(name: str) -> None:
    projections = networks.make(name, View()).projections()
    assert set(projections) == {"W_q", "W_k", "W_v"}
    assert all(weight.shape[0] == 3 and weight.dim() == 3 for weight in projections.values())


def test_parse() -> None:
    assert networks.parse("pairwise:width=32:slope=0.1") == ("pairwise", {"width": 32, "slope": 0.1})
    for text, message in (
        ("mpl", r"unknown model 'mpl'. There are: attention-additive, pairwise"),
        ("pairwise:depth=3", r"no parameter 'depth'. There are: .*width"),
        ("pairwise:width=wide", r"whole number above 0 for width, got 'wide'"),
        ("pairwise:width=0", r"whole number above 0 for width, got 0"),
        ("pairwise:slope=-1", r"number from 0 on for slope, got -1"),
        ("pairwise:slope", r"number from 0 on for slope, got ''"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            networks.parse(text)
