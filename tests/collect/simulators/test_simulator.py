import re
from dataclasses import replace

import pytest
import torch

from skyclone.collect import simulators
from skyclone.collect.airspace.dynamics import advance
from skyclone.collect.airspace.world_config import WorldConfig
from skyclone.collect.flying.world import World
from skyclone.collect.scenarios.registry import lay_out
from skyclone.collect.scenarios.start import stack
from skyclone.collect.simulators import bluesky_process
from skyclone.datasets.errors import ConfigurationError


def test_the_embedded_simulator_is_the_default_and_leaves_no_trace_in_the_json() -> None:
    """So that datasets and checkpoints from before there was another keep their hashes."""
    config = WorldConfig()
    assert isinstance(World(config, 0, [0]).simulator, simulators.Embedded)
    assert "simulator" not in config.to_json()
    assert WorldConfig.from_json(config.to_json()) == config
    other = replace(config, simulator="bluesky:simdt_s=0.1")
    assert other.to_json()["simulator"] == "bluesky:simdt_s=0.1"
    assert WorldConfig.from_json(other.to_json()) == other
    with pytest.raises(ConfigurationError, match=re.escape("missing keys ['aircraft'], unknown keys ['planes']")):
        WorldConfig.from_json({("planes" if k == "aircraft" else k): v for k, v in config.to_json().items()})


def test_embedded_advances_by_the_dynamics() -> None:
    config = WorldConfig(aircraft=3)
    traffic = stack([lay_out(config, 0, 0)], config).traffic
    action = torch.tensor([[[0.5, -0.5], [1.0, 1.0], [0.0, 0.0]]])
    after = simulators.simulator_of(config).advance(traffic, action)
    assert torch.equal(after.east_m, advance(traffic, action, config).east_m)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("redsky", "unknown simulator 'redsky'. There are: embedded, bluesky."),
        ("embedded:simdt_s=1", "simulator 'embedded' has no parameter 'simdt_s'. It has: none."),
        ("bluesky:wind=1", "simulator 'bluesky' has no parameter 'wind'. It has: simdt_s."),
        ("bluesky:simdt_s=fast", "simulator 'bluesky': expected a number for simdt_s, got 'fast'"),
    ],
)
def test_unknown_simulators_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        simulators.check(text)
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        World(WorldConfig(simulator=text), 0, [0])


def test_without_bluesky_everything_else_works_and_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> str:
        raise bluesky_process.PackageNotFoundError(name)

    monkeypatch.setattr(bluesky_process, "version", missing)
    simulators.check("embedded")
    assert simulators.packages_of(WorldConfig()) == {}
    with pytest.raises(ConfigurationError, match=re.escape("pip install 'skyclone[bluesky]'")):
        simulators.check("bluesky")


def test_own_resolution_is_refused_by_the_embedded_simulator() -> None:
    embedded = simulators.simulator_of(WorldConfig())
    embedded.resolve_with(None)
    with pytest.raises(ConfigurationError, match=r"own MVP flies in BlueSky only. Add --simulator bluesky"):
        embedded.resolve_with(simulators.Resolution("MVP", 1.05, 15.0))
