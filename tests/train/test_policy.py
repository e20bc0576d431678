import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.flight import fly
from skyclone.collect.flying.world import World
from skyclone.datasets.errors import ObservationError
from skyclone.datasets.traffic.observation import Observation, observe_all
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.view import View
from skyclone.train import Policy, checkpoint, load_pilot, load_policy, networks
from skyclone.train.policy import limit

VIEW = View.parse("ego:intruders=4")


@pytest.fixture
def policy() -> Policy:
    return Policy(networks.make("pairwise", VIEW, width=8, hidden=8), VIEW)


def observations(*leading: int, count: int = 4) -> Observation:
    generator = torch.Generator().manual_seed(1)
    is_present = torch.rand(*leading, count, generator=generator) < 0.6
    intruders = torch.randn(*leading, count, 5, generator=generator) * is_present.unsqueeze(-1)
    return Observation(torch.randn(*leading, 7, generator=generator), intruders, is_present)


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (0,)])
def test_act_keeps_leading_dimensions(policy: Policy, leading: tuple[int, ...]) -> None:
    observation = observations(*leading)
    action = policy.act(observation)
    assert action.shape == (*leading, 2)
    flat = torch.cat((observation.ownship, observation.intruders.flatten(-2)), -1)
    assert torch.equal(policy.act(flat, observation.is_present), action)
    assert policy.attention(flat, observation.is_present).shape == (*leading, 3, 4)


def test_numpy_in_numpy_out(policy: Policy) -> None:
    observation = observations(3)
    arrays = Observation(*(part.numpy() for part in observation))
    action = policy.act(arrays)
    assert isinstance(action, np.ndarray)
    assert action.dtype == np.float32
    np.testing.assert_array_equal(action, policy.act(observation).numpy())
    flat = np.concatenate((arrays.ownship, arrays.intruders.reshape(3, -1)), -1)
    np.testing.assert_array_equal(policy.act(flat.astype(np.float64), arrays.is_present), action)


def test_without_a_mask_all_intruders_are_real(policy: Policy) -> None:
    observation = observations(3)._replace(is_present=torch.ones(3, 4, dtype=torch.bool))
    flat = torch.cat((observation.ownship, observation.intruders.flatten(-2)), -1)
    assert torch.equal(policy.act(flat), policy.act(observation))


def test_actions_are_clamped(policy: Policy) -> None:
    with torch.no_grad():
        policy.network.action[-1].bias.copy_(torch.tensor([5.0, -5.0]))  # type: ignore[index, operator, union-attr]
    assert policy.act(observations(3)).tolist() == [[1.0, -1.0]] * 3


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (torch.zeros(3, 7 + 9), r"7 features of the ownship and 5 per intruder.*'ego:intruders=4'.*got 16 numbers"),
        (torch.zeros(3, 5), r"got 5 numbers"),
        (
            Observation(torch.zeros(3, 7), torch.zeros(3, 4, 9), torch.zeros(3, 4)),
            r"K, 5\).*got \(3, 7\), \(3, 4, 9\)",
        ),
        (Observation(torch.zeros(3, 7), torch.zeros(3, 4, 5), torch.zeros(3, 5)), r"got .*\(3, 5\)"),
    ],
)
def test_observation_of_another_view(policy: Policy, observation: Observation, message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        policy.act(observation)


@pytest.mark.parametrize("aircraft", [1, 2, 20])
@pytest.mark.parametrize("view", ["seed", "ego:intruders=4"])
def test_pilot_flies_what_act_says_and_skips_the_ended(aircraft: int, view: str) -> None:
    policy = Policy(networks.make("attention-additive", View.parse(view)), View.parse(view))
    traffic = World(WorldConfig(aircraft=aircraft), 0, range(3)).traffic
    traffic.is_flying[1, 0] = False
    pairs = pairs_of(traffic)
    action = policy(traffic, pairs)
    flying = traffic.is_flying
    expected = policy.act(observe_all(traffic, policy.view, pairs))
    torch.testing.assert_close(action[flying], expected[flying])
    assert (action[~flying] == 0).all()


def test_a_saved_policy_flies(tmp_path: Path) -> None:
    network = networks.make("pairwise", VIEW, width=8, hidden=8)
    checkpoint.save(tmp_path / "best", network, VIEW, {"stage": "clone"})
    assert pickle.loads(pickle.dumps(load_pilot)) is load_pilot
    pilot = load_pilot(str(tmp_path))
    policy = load_policy(tmp_path)
    assert pilot.fingerprint == policy.meta["weights_sha256"][:16]
    world = World(WorldConfig(aircraft=5, max_steps=4), 0, range(2))
    steps = list(fly(world, pilot))
    assert len(steps) == 4
    assert all((step.action.abs() <= 1).all() for step in steps)


def test_limit_lets_only_gradients_through_that_lead_back() -> None:
    action = torch.tensor([-2.0, -2.0, 0.5, 0.5, 1.0, 2.0, 2.0], requires_grad=True)
    limited = limit(action)
    assert limited.tolist() == [-1, -1, 0.5, 0.5, 1, 1, 1]
    limited.backward(torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0, 1.0, -1.0]))  # descent goes against it
    assert action.grad is not None
    assert action.grad.tolist() == [0, -1, 1, -1, -1, 1, 0]


def test_a_notebook_shows_where_it_comes_from() -> None:
    text = load_policy("pretrained:tuned")._repr_html_()
    for part in (
        "pairwise:",
        "35,506",
        "ego:intruders=12",
        "finetune",
        "mvp:margin=1.15",
        "runs/any-traffic-6",
        "aircraft 40",
    ):
        assert part in text
    assert "None" not in text


def test_a_notebook_shows_a_policy_of_unknown_origin(policy: Policy) -> None:
    assert policy.fingerprint in policy._repr_html_()
    assert "teacher" not in policy._repr_html_()


def test_a_notebook_escapes_what_a_checkpoint_says() -> None:
    name = "<script>alert(1)</script>"
    meta = {"stage": name, "teacher": name, "parent": {"path": name}, "world": {"scenario": name}}
    policy = Policy(networks.make("pairwise", VIEW), VIEW, {**meta, "datasets": [{"path": name}]})
    assert "<script" not in policy._repr_html_()
    assert policy._repr_html_().count("&lt;script&gt;") == 5
