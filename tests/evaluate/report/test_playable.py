"""What the page computes is what skyclone computes: observations, networks and MVP, in a browser against torch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from skyclone.collect import teachers
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.flight import advise
from skyclone.datasets.traffic.observation import observe_all
from skyclone.datasets.traffic.pairs import pairs_of
from skyclone.datasets.traffic.state import Traffic
from skyclone.datasets.traffic.view import INTRUDER_FEATURES, View
from skyclone.evaluate.report import page as page_module
from skyclone.evaluate.report.archive import encode
from skyclone.evaluate.report.playable import PLAYED, network_of, rule_of
from skyclone.train import networks
from skyclone.train.policy import Policy, load_policy

SCRIPTS = ("flight.js", "observation.js", "mvp.js", "networks.js")
N = 14


@pytest.fixture(scope="module")
def scripts(browser):
    """An empty page with the modules that compute."""
    page = browser.new_page()
    assets = Path(page_module.__file__).parent / "assets"
    page.add_script_tag(content="\n".join((assets / name).read_text() for name in SCRIPTS))
    yield page
    page.close()


def traffic_of(seed: int, batch: int, wind: bool = False, zones: bool = False) -> Traffic:
    """Random traffic in float64, dense enough for conflicts; one aircraft stands still, two are in one place."""
    random = np.random.default_rng(seed)
    columns = random.uniform(-1, 1, (6, batch, N)) * np.array([400, 400, np.pi, 9, 900, 900]).reshape(6, 1, 1)
    columns[3] += 9.0
    columns[3, :, 1] = 0.0
    columns[4, :, 2] = 5000.0  # a waypoint beyond what is seen
    columns[0, :, 3], columns[1, :, 3] = columns[0, :, 4], columns[1, :, 4] + 0.01
    is_flying = random.random((batch, N)) < 0.9
    traffic = Traffic(*torch.from_numpy(columns).unbind(0), torch.from_numpy(is_flying))
    if wind:
        blown = torch.tensor(random.uniform(-5, 5, (2, batch, 1))).expand(2, batch, N)
        traffic.wind_east_mps, traffic.wind_north_mps = blown.unbind(0)
    if zones:
        traffic.zone_scale = torch.tensor(random.uniform(0.5, 2.0, (batch, N)))
    return traffic


def states_of(traffic: Traffic, config: WorldConfig) -> list[list[dict]]:
    """The flying aircraft of each episode as the page has them."""
    columns = (traffic.east_m, traffic.north_m, traffic.track_rad, traffic.speed_mps)
    numbers = torch.stack((*columns, traffic.waypoint_east_m, traffic.waypoint_north_m), dim=-1).tolist()
    zeros = torch.zeros_like(traffic.east_m)
    winds = torch.stack(
        (
            zeros if traffic.wind_east_mps is None else traffic.wind_east_mps,
            zeros if traffic.wind_north_mps is None else traffic.wind_north_mps,
        ),
        dim=-1,
    ).tolist()
    scales = (torch.ones_like(zeros) if traffic.zone_scale is None else traffic.zone_scale).tolist()
    limits = [config.cruise_mps, config.min_speed_mps, config.max_speed_mps]
    return [
        [
            {"number": i, "east": row[0], "north": row[1], "track": row[2], "speed": row[3], "waypoint": row[4:],
             "wind": winds[b][i], "scale": scales[b][i], "limits": limits}
            for i, row in enumerate(episode) if traffic.is_flying[b, i]
        ]
        for b, episode in enumerate(numbers)
    ]  # fmt: skip


EACH = "episodes.flatMap((all) => all.map((own) => each(own, all.filter((other) => other !== own))))"


@pytest.mark.parametrize("name", INTRUDER_FEATURES)
@pytest.mark.parametrize("intruders", [None, 5])
def test_observations(scripts, name, intruders):
    view, traffic = View(name, intruders), traffic_of(1, 12)
    seen = observe_all(traffic, view)
    found = scripts.evaluate(
        f"([episodes, view]) => {{ const each = (own, others) => observe(own, others, view); return {EACH}; }}",
        [states_of(traffic, WorldConfig()), view.to_json()],
    )
    rows = traffic.is_flying.nonzero().tolist()
    assert len(found) == len(rows) > 100
    for (episode, own), got in zip(rows, found, strict=True):
        np.testing.assert_allclose(got["ownship"], seen.ownship[episode, own].numpy(), atol=1e-9)
        present = seen.is_present[episode, own]
        np.testing.assert_allclose(got["intruders"], seen.intruders[episode, own][present].numpy(), atol=1e-9)


@pytest.mark.parametrize("text", ["mvp", "mvp:margin=1.4:lookahead_s=30", "none"])
@pytest.mark.parametrize("kind", ["calm", "wind", "zones"])
def test_mvp(scripts, text, kind):
    config = WorldConfig()
    traffic, teacher = traffic_of(2, 40, wind=kind == "wind", zones=kind == "zones"), teachers.parse(text, config)
    pairs = pairs_of(traffic)
    wanted = advise(teacher, config, traffic, pairs)
    rule = rule_of(teacher)
    assert rule
    found = scripts.evaluate(
        f"""([episodes, rule, world]) => {{
            const each = (own, others) => actionTowards(own, mvpVelocity(own, others, rule), world);
            return {EACH};
        }}""",
        [
            states_of(traffic, config),
            rule._asdict(),
            {"turn_rad": config.turn_rad, "change_mps": config.speed_change_mps},
        ],
    )
    np.testing.assert_allclose(found, wanted.action[traffic.is_flying].numpy(), atol=1e-6)
    assert len(wanted.conflicts.episode) > 200


def _played(scripts, policy: Policy, seed: int) -> tuple[np.ndarray, ...]:
    """Actions and weights of the page, then of torch, of the flying aircraft of some episodes, and one alone."""
    traffic = traffic_of(seed, 6)
    traffic.is_flying[0, 1:] = False
    traffic.is_flying[0, 0] = True
    found = scripts.evaluate(
        f"""([episodes, data]) => {{
            const network = new Network(data);
            const each = (own, others) => {{
                const seen = observe(own, others, network.view);
                return network.forward(network, seen);
            }};
            return {EACH};
        }}""",
        [states_of(traffic, WorldConfig()), encode(network_of(policy))],
    )
    seen = observe_all(traffic, policy.view)
    rows = traffic.is_flying.nonzero().tolist()
    actions = policy.act(seen)[traffic.is_flying].numpy()
    weights = policy.attention(seen)[traffic.is_flying].numpy()
    got = np.zeros_like(weights)
    for row, each in enumerate(found):
        for head, shares in enumerate(each["weights"]):
            got[row, head, : len(shares)] = shares
    assert len(rows) == len(found)
    return np.array([each["action"] for each in found]), got, actions, weights


@pytest.mark.parametrize("name", ["clone", "tuned"])
def test_the_policies_that_ship(scripts, name):
    action, weights, wanted, shares = _played(scripts, load_policy(f"pretrained:{name}"), 3)
    np.testing.assert_allclose(action, wanted, atol=1e-4)
    np.testing.assert_allclose(weights, shares, atol=1e-4)


@pytest.mark.parametrize("view", ["seed:intruders=6", "cpa"])
@pytest.mark.parametrize("name", PLAYED)
def test_every_network_with_attention(scripts, name, view):
    if name == "thresholds" and view.startswith("cpa"):
        view = "ego"
    seen = View.parse(view)
    more = {"layers": 3} if name == "transformer" else {}
    network = networks.make(name, seen, seed=5, hidden=32, heads=3, **more)
    action, weights, wanted, shares = _played(scripts, Policy(network, seen), 4)
    np.testing.assert_allclose(action, wanted, atol=1e-4)
    np.testing.assert_allclose(weights, shares, atol=1e-4)
    assert wanted.std() > 0.01
    assert shares.std() > 0.001


def test_what_the_page_cannot_run_is_left_out():
    view = View.parse("ego:intruders=4")
    assert network_of(None) is None
    assert network_of(Policy(networks.make("mlp", view), view)) is None
    assert network_of(Policy(networks.make("pairwise", view, hidden=512), view)) is None  # too many weights
    assert rule_of(teachers.make("rvo")) is None
