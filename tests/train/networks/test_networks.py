import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skyclone.datasets.errors import ConfigurationError
from skyclone.datasets.traffic.observation import Observation
from skyclone.datasets.traffic.view import View
from skyclone.train import networks
from skyclone.train.networks import order

VIEWS = ("seed", "ego:intruders=8", "cpa")
CHOICES = ("lstm:order=near-to-far", "lstm:order=random", "lstm:order=late-to-soon", "deepsets:pooling=max",
           "deepsets:pooling=mean", "transformer:layers=1")  # fmt: skip
EVERY = (*networks.NAMES, *CHOICES)


def build(text: str, view: View, **others: int) -> networks.Network:
    name, parameters = networks.parse(text)
    return networks.make(name, view, **parameters, **others)


def heads_of(network: networks.Network) -> int:
    """Heads of attention; 0 for a network without."""
    return getattr(network.settings, "heads", 0)


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


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("rows", "count"), [(5, 19), (5, 4), (2, 59), (3, 1), (3, 0), (0, 4)])
def test_any_number_of_intruders(name: str, view: str, rows: int, count: int) -> None:
    network = build(name, View.parse(view))
    heads = heads_of(network)
    observation = random_observation(View.parse(view), rows, count)
    action, attention = network(observation, with_attention=True)
    assert action.shape == (rows, 2)
    assert attention.shape == (rows, heads, count)
    absent = ~observation.is_present.unsqueeze(1).expand_as(attention)
    assert (attention[absent] == 0).all()
    anyone = observation.is_present.any(1, keepdim=True).float().expand(rows, heads)
    torch.testing.assert_close(attention.sum(2), anyone)
    with torch.no_grad():
        assert torch.equal(network(observation), action), "the same with and without gradient, bit for bit"
    action.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", EVERY)
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 12))
def test_order_and_padding_of_intruders_do_not_matter(name: str, seed: int, count: int) -> None:
    view = View()
    network = build(name, view, seed=seed).double()
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


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("view", VIEWS)
def test_what_stands_in_padding_changes_no_bit(name: str, view: str) -> None:
    seen = View.parse(view)
    network = build(name, seen)
    ownship, intruders, is_present = random_observation(seen, 64, 12)
    for rubbish in (-50.0, 1e6):
        dirty = Observation(ownship, torch.where(is_present.unsqueeze(-1), intruders, rubbish), is_present)
        parts = network(dirty, with_attention=True)
        for found, expected in zip(
            parts, network(Observation(ownship, intruders, is_present), with_attention=True)
        ):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("name", EVERY)
def test_with_nobody_there_the_gradient_is_finite_and_the_ownship_counts(name: str) -> None:
    network, view = build(name, View()), View()
    ownship = torch.randn(3, view.ownship_features, generator=torch.Generator().manual_seed(2))
    nobody = Observation(ownship, torch.zeros(3, 4, 5), torch.zeros(3, 4, dtype=torch.bool))
    action = network(nobody)
    no_places = Observation(ownship, torch.zeros(3, 0, 5), nobody.is_present[:, :0])
    torch.testing.assert_close(action, network(no_places))
    assert action.std(0).min() > 0
    action.square().sum().backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any((gradient != 0).any() for gradient in gradients)


@pytest.mark.parametrize("name", EVERY)
def test_every_weight_is_learned(name: str) -> None:
    network = build(name, View())
    network(random_observation(View(), 64, 12)).square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert (parameter.grad != 0).any(), key


@pytest.mark.parametrize("name", [name for name in networks.NAMES if heads_of(networks.make(name, View()))])
def test_gradcheck_of_action_and_attention(name: str) -> None:
    """With a loss on the attention too, with absent intruders, and with a row without any."""
    view = View()
    sizes = {"hidden": 2, "width": 3, "heads": 2, "head_size": 2}
    parameters = {key: size for key, size in sizes.items() if hasattr(networks.make(name, view).settings, key)}
    network = networks.make(name, view, seed=1, **parameters).double()
    observation = random_observation(view, 3, 3, seed=2, dtype=torch.float64)
    observation.is_present[0] = False
    names, leaves = zip(*network.named_parameters())

    def run(*values: torch.Tensor) -> Any:
        return torch.func.functional_call(network, dict(zip(names, values)), (observation, True))

    action, attention = run(*leaves)
    assert torch.autograd.gradcheck(run, leaves)
    (action.square().mean() + attention.square().mean()).backward()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


@pytest.mark.parametrize("name", EVERY)
def test_spec_builds_the_same_network_also_with_one_output(name: str) -> None:
    network = build(name, View(), hidden=8, outputs=1)
    spec = json.loads(json.dumps(network.spec))
    again = networks.make(spec["name"], View(), **spec["parameters"])
    again.load_state_dict(network.state_dict())
    observation = random_observation(View(), 3, 4)
    assert again(observation).shape == (3, 1)
    assert torch.equal(again(observation), network(observation))
    action, attention = again(observation, with_attention=True)
    assert torch.equal(action, network(observation))
    assert attention.shape == (3, heads_of(network), 4)


@pytest.mark.parametrize("name", networks.NAMES)
def test_projections_are_one_matrix_per_head(name: str) -> None:
    network = networks.make(name, View())
    projections = network.projections()
    assert set(projections) in ({"W_q", "W_k", "W_v"}, set())
    assert projections or name not in ("attention-additive", "attention-dot", "attention-context", "pairwise")
    assert all(weight.shape[0] == heads_of(network) and weight.dim() == 3 for weight in projections.values())


def test_dot_is_the_formula_of_the_papers() -> None:
    view = View()
    network = networks.make("attention-dot", view, seed=3).double()
    ownship, intruders, is_present = random_observation(view, 6, 4, seed=1, dtype=torch.float64)
    contexts = []
    for head in range(3):
        query = ownship @ network.W_q[head].T + network.b_q[head]  # (M, 5)
        scores = (intruders @ network.W_k[head].T) @ query.unsqueeze(2) / math.sqrt(5)  # (M, K, 1)
        weights = torch.softmax(scores.squeeze(2).masked_fill(~is_present, -math.inf), 1).nan_to_num(0.0)
        contexts.append((weights.unsqueeze(-1) * (intruders @ network.W_v[head].T + network.b_v[head])).sum(1))
    expected = network.action(torch.cat((*contexts, ownship), 1))
    torch.testing.assert_close(network(Observation(ownship, intruders, is_present)), expected)


def test_context_is_its_formula_and_equals_an_additive_network_where_somebody_is() -> None:
    view = View()
    network = networks.make("attention-context", view, seed=3).double()
    ownship, intruders, is_present = observation = random_observation(view, 40, 4, seed=1, dtype=torch.float64)
    together = torch.cat((intruders, ownship.unsqueeze(1).expand(-1, 4, -1)), 2)  # (M, K, 5 + 7)
    contexts = []
    for head in range(3):
        query = ownship @ network.W_q[head].T + network.b_q[head]
        scores = torch.tanh(query.unsqueeze(1) + intruders @ network.W_k[head].T) @ network.v[head]
        weights = torch.softmax(scores.masked_fill(~is_present, -math.inf), 1).nan_to_num(0.0)
        contexts.append((weights.unsqueeze(-1) * (together @ network.W_v[head].T + network.b_v[head])).sum(1))
    expected = network.action(torch.cat((*contexts, ownship), 1))
    torch.testing.assert_close(network(observation), expected)

    # The ownship's part of the values, W_c o, goes into the first layer: A (c + W_c o) + B o = A c + (B + A W_c) o.
    equal = networks.make("attention-additive", view).double()
    state = {**equal.state_dict(), **{k: v for k, v in network.state_dict().items() if k != "W_v"}}
    about = network.W_v[:, :, 5:].reshape(15, 7)
    first = network.action[0].weight  # type: ignore[index, union-attr]
    state |= {"b_k": torch.zeros(3, 5).double(), "W_v": network.W_v[:, :, :5]}
    state["action.0.weight"] = torch.cat((first[:, :15], first[:, 15:] + first[:, :15] @ about), 1)
    equal.load_state_dict(state)
    somebody = is_present.any(1)
    assert 0 < somebody.sum() < 40
    torch.testing.assert_close(equal(observation)[somebody], network(observation)[somebody])
    assert ((equal(observation) - network(observation))[~somebody].abs() > 1e-3).any()


# Distance, position, velocity of three: the third comes closest after 2, the first after 5, the second has passed.
THREE = ((0.5, 0.5, 0.0, -0.1, 0.0), (0.3, 0.3, 0.0, 0.2, 0.0), (0.4, 0.0, 0.4, 0.0, -0.2))


@pytest.mark.parametrize(
    ("name", "sequence"),
    [("near-to-far", (1, 2, 0)), ("far-to-near", (0, 2, 1)), ("late-to-soon", (1, 0, 2)), ("random", (0, 2, 1))],
)
def test_the_lstm_reads_in_its_order_and_stops_before_the_padding(name: str, sequence: tuple[int, ...]) -> None:
    # random: 256 x (0.5, 0.3, 0.4) = 128, 76.8, 102.4, so the fractions 0, 0.8 and 0.4
    network = networks.make("lstm", View(), order=name, seed=5).double()
    inputs = []
    network.action.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))  # type: ignore[operator, union-attr]
    three = torch.tensor(THREE, dtype=torch.float64)
    places = [4, 0, 2]  # where they stand among five
    intruders, is_present = torch.full((1, 5, 5), 9.0).double(), torch.zeros(1, 5, dtype=torch.bool)
    intruders[0, places], is_present[0, places] = three, True
    network(Observation(torch.ones(1, 7).double(), intruders, is_present))
    cell = torch.nn.LSTMCell(5, 15).double()
    cell.load_state_dict({key.removesuffix("_l0"): value for key, value in network.reader.state_dict().items()})  # type: ignore[operator, union-attr]
    hidden, memory = torch.zeros(1, 15).double(), torch.zeros(1, 15).double()
    for number in sequence:
        hidden, memory = cell(three[number : number + 1], (hidden, memory))
    torch.testing.assert_close(inputs[0][:, :15], hidden)


def test_random_order_has_nothing_to_do_with_distance() -> None:
    distance = torch.rand(400, generator=torch.Generator().manual_seed(0)).view(1, -1, 1)
    keys = order.random(distance.expand(-1, -1, 5))[0]
    assert ((keys >= 0) & (keys < 1)).all()
    assert abs(torch.corrcoef(torch.stack((keys, distance[0, :, 0])))[0, 1]) < 0.1


def test_the_mlp_sees_the_nearest_side_by_side() -> None:
    network = networks.make("mlp", View(), nearest=4, length_gain=10.0, speed_gain=3.0)
    inputs = []
    network.action.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))  # type: ignore[operator, union-attr]
    intruders = torch.tensor((*THREE, (0.1,) * 5)).unsqueeze(0)  # the last is not there
    network(Observation(torch.zeros(1, 7), intruders, torch.tensor([[True, True, True, False]])))
    places = inputs[0][0, :24].view(4, 6)
    torch.testing.assert_close(places[0], torch.tensor([3.0, 3.0, 0.0, 0.6, 0.0, 1.0]))
    torch.testing.assert_close(places[2], torch.tensor([5.0, 5.0, 0.0, -0.3, 0.0, 1.0]))
    assert (places[3] == 0).all()
    small = networks.make("mlp", View(), nearest=2)
    alone = Observation(torch.zeros(1, 7), intruders[:, 1:3], torch.ones(1, 2, dtype=torch.bool))
    more = Observation(torch.zeros(1, 7), intruders[:, :3], torch.ones(1, 3, dtype=torch.bool))
    assert torch.equal(small(alone), small(more)), "what is beyond the nearest two is not seen"


@pytest.mark.parametrize("pooling", ["sum", "mean", "max"])
def test_deepsets_pools_over_those_present(pooling: str) -> None:
    network = networks.make("deepsets", View(), pooling=pooling)
    ownship, intruders, is_present = observation = random_observation(View(), 6, 4, seed=1)
    leaky = torch.nn.LeakyReLU(0.2)
    pooled = []
    for row, there in zip(intruders, is_present):
        embedded = leaky(network.second(leaky(network.first(row[there] * network.gains))))  # type: ignore[operator]
        if pooling == "max":
            pooled.append(torch.cat((embedded, torch.zeros(1, 64))).amax(0))
        else:
            pooled.append(embedded.sum(0) / (max(len(embedded), 1) if pooling == "mean" else 1))
    expected = network.action(torch.cat((torch.stack(pooled), ownship), 1))  # type: ignore[operator]
    torch.testing.assert_close(network(observation), expected)


def test_transformer_is_torchs_own_encoder_layer_and_then_attention() -> None:
    """Its first layer is `nn.TransformerEncoderLayer`, its last one `nn.MultiheadAttention` with one query."""
    network: Any = networks.make("transformer", View(), seed=4)
    ownship, intruders, is_present = random_observation(View(), 9, 5, seed=1)
    is_present[:, 0] = True  # torch's own attention is NaN where nobody is
    action, attention = network(Observation(ownship, intruders, is_present), with_attention=True)
    first, last = network.layers

    def attention_of(layer: Any, module: nn.MultiheadAttention) -> None:
        module.in_proj_weight.copy_(torch.cat((layer.query.weight, layer.key_value.weight)))
        module.in_proj_bias.copy_(torch.cat((layer.query.bias, layer.key_value.bias)))
        module.out_proj.load_state_dict(layer.join.state_dict())

    encoder = nn.TransformerEncoderLayer(32, 2, 64, 0.0, nn.LeakyReLU(0.2), batch_first=True, norm_first=True)
    looking = nn.MultiheadAttention(32, 2, batch_first=True)
    with torch.no_grad():
        attention_of(first, encoder.self_attn)
        attention_of(last, looking)
        for theirs, ours in ((encoder.norm1, first.norm), (encoder.norm2, first.work[0])):
            theirs.load_state_dict(ours.state_dict())
        for theirs, ours in ((encoder.linear1, first.work[1]), (encoder.linear2, first.work[3])):
            theirs.load_state_dict(ours.state_dict())
        tokens = torch.cat(
            (network.from_ownship(ownship).unsqueeze(1), network.from_intruder(intruders * network.gains)), 1
        )
        absent = torch.cat((torch.zeros(9, 1, dtype=torch.bool), ~is_present), 1)
        tokens = encoder(tokens, src_key_padding_mask=absent)
        own, others = tokens[:, :1], last.norm(tokens[:, 1:])
        seen, weights = looking(last.norm(own), others, others, absent[:, 1:], average_attn_weights=False)
        token = (own + seen).squeeze(1)
        token = token + last.work(token)
        expected = network.action(torch.cat((network.norm(token), ownship), 1))
    torch.testing.assert_close(attention, weights.squeeze(2))
    torch.testing.assert_close(action, expected)


def test_parse() -> None:
    assert networks.parse("pairwise:width=32:slope=0.1") == ("pairwise", {"width": 32, "slope": 0.1})
    assert networks.parse("lstm:order=random:state_size=4") == ("lstm", {"order": "random", "state_size": 4})
    for text, message in (
        ("lstm:order=up", r"expected one of near-to-far, far-to-near, random, late-to-soon for order, got 'up'"),
        ("deepsets:pooling=3", r"expected one of sum, mean, max for pooling, got '3'"),
        ("mpl", r"unknown model 'mpl'. There are: attention-additive, attention-dot, .* mlp"),
        ("pairwise:depth=3", r"no parameter 'depth'. It has: .*width"),
        ("pairwise:width=wide", r"expected a whole number for width, got 'wide'"),
        ("pairwise:width=0", r"expected width from 1 to 1,048,576, got 0"),
        ("pairwise:width=" + "9" * 400, r"expected a whole number for width, got 9999"),
        ("transformer:layers=101", r"expected layers from 1 to 100, got 101"),
        ("pairwise:slope=-1", r"expected slope of 0 or more, got -1"),
        ("pairwise:slope", r"expected NAME:key=value:key=value, got 'slope'"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            networks.parse(text)


def test_which_have_attention() -> None:
    without = {name for name in networks.NAMES if not heads_of(networks.make(name, View()))}
    assert without == {"lstm", "deepsets", "mlp"}


@pytest.mark.parametrize("name", networks.NAMES)
def test_a_network_that_does_not_fit_into_memory_is_refused_before_it_is_made(name: str) -> None:
    """An edited checkpoint of 155 kB may ask for it, too."""
    with pytest.raises(ConfigurationError, match=rf"model '{name}': expected at most 50,000,000 weights, got 1,0"):
        networks.make(name, View.parse("seed"), hidden=2**20)
