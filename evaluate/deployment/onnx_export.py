"""Export to ONNX: a policy as one file that needs neither torch nor skyclone to fly. Needs `skyclone[onnx]`.

The file takes what `datasets.observation.observe` makes and gives what `Policy.act` gives; its metadata say in
which units, and where the network comes from. It is published only if onnxruntime and torch agree.

Notation: M ownships, K intruders, F features per intruder.
"""

import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...collect.airspace.world_config import WorldConfig
from ...collect.collector.workers import one_thread
from ...collect.flying.flight import fly
from ...collect.flying.world import World
from ...datasets.errors import ConfigurationError, SkycloneError
from ...datasets.files.atomic import check_ours, publish
from ...datasets.traffic.observation import Observation, observe_all
from ...datasets.traffic.view import FEATURE_NAMES, View
from ...train.networks import Network
from ...train.policy import Policy
from .rounding import allowed_error

OPSET = 18
_MARK = b"\x12\x08skyclone"
"""The producer's name at the beginning of each exported file: field 2 of ONNX's ModelProto."""
INPUTS, OUTPUT = ("ownship", "intruders", "mask"), "action"
TOLERANCE = 1e-5
"""How far the actions of onnxruntime may be from those of the same weights in float64; farther only where float32
may round off as much, see `rounding`."""
ROWS, COUNTS = (1, 1000), (0, 1, 5, 19, 60)
"""How many ownships and how many intruders the parity is checked with."""


class ParityError(SkycloneError):
    """onnxruntime gives other actions than the network; nothing is published."""


@dataclass(frozen=True)
class Speed:
    """How long one call takes, on one thread.

    Attributes:
        rows: Ownships M in the call.
        intruders: Intruders K of each.
        onnxruntime_ms: Median of some calls, milliseconds.
        torch_ms: The same of `Policy.act`.
    """

    rows: int
    intruders: int
    onnxruntime_ms: float
    torch_ms: float


@dataclass(frozen=True)
class Export:
    """What came out.

    Attributes:
        path: The file.
        size: Its bytes.
        difference: Largest absolute difference between the actions of onnxruntime and torch, on observations from
            flights (`flown`) and on noise (`random`).
        rows: How many rows were compared, M and K varied.
        speed: For one ownship and for a thousand.
    """

    path: Path
    size: int
    difference: dict[str, float]
    rows: int
    speed: tuple[Speed, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {**asdict(self), "path": str(self.path), "speed": [asdict(each) for each in self.speed]}


class Deployed(nn.Module):
    """What is exported: observation in, action in [-1, 1] out.

    Each row gets one more intruder that is absent, which by the contract of `Network` changes nothing. So no
    operator ever meets an empty axis, of which ONNX's reductions make other things than torch (measured: with no
    intruder at all, actions 0.05 off).
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, ownship: Tensor, intruders: Tensor, mask: Tensor) -> Tensor:
        """Return the actions (M, 2) from ownship (M, 7), intruders (M, K, F) and mask (M, K)."""
        rows, _, features = intruders.shape
        intruders = torch.cat((intruders, intruders.new_zeros(rows, 1, features)), 1)
        mask = torch.cat((mask, mask.new_zeros(rows, 1)), 1)
        action: Tensor = self.network(Observation(ownship, intruders, mask))
        return action.clamp(-1.0, 1.0)


def export_onnx(policy: Policy, path: str | Path) -> Export:
    """Write a policy as ONNX, with any number of rows and intruders, and check that it does the same.

    Args:
        policy: On the CPU.
        path: The file; its folder exists. It is written whole, and only if the check is passed.

    Raises:
        ConfigurationError: A package of the extra is missing, or the path is a folder, in none, or that of a file
            which was not exported by skyclone.
        ParityError: An action is off by more than 1e-5, and by more than float32 may round off there.
        OSError: It cannot be written.
    """
    path = Path(path)
    onnx, runtime = _packages()
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigurationError(f"expected a file in a folder that is there for --onnx, got {path}.")
    check_ours(path, _MARK, "an ONNX file")
    with one_thread():
        model = _translate(policy, onnx)
        session = _session(model, runtime)
        difference, rows = _compare(policy, session)
        speed = tuple(_race(policy, session, count) for count in ROWS)
    publish(path, model)
    return Export(path, len(model), difference, rows, speed)


def describe(policy: Policy) -> dict[str, str]:
    """Return the metadata of the file: texts, most of them JSON."""
    own, intruder = FEATURE_NAMES[policy.view.name]
    world = {**WorldConfig().to_json(), **(policy.meta.get("world") or {})}
    facts: dict[str, Any] = {
        "observation": policy.view.to_json(),
        "ownship": {name: unit_of(name, policy.view) for name in own},
        "intruders": {name: unit_of(name, policy.view) for name in intruder},
        "mask": "True for a real intruder, False for padding; the order of intruders is free",
        "action": {
            "turn": f"{world['turn_rad']} rad, positive to the right",
            "speed_change": f"{world['speed_change_mps']} m/s",
        },
        "world": world,
        "network": policy.network.spec,
        **{key: policy.meta.get(key) for key in ("stage", "teacher", "code", "packages", "weights_sha256")},
    }
    texts = {key: fact if isinstance(fact, str) else json.dumps(fact) for key, fact in facts.items()}
    return {f"skyclone.{key}": text for key, text in texts.items()}


def unit_of(feature: str, view: View) -> str:
    """Return the unit of a feature: what its value is a multiple of."""
    if "velocity" in feature or "speed" in feature:
        return f"{view.speed_mps} m/s"
    if feature == "tcpa":
        return f"{view.lookahead_s} s"
    return "1" if feature in ("cos_drift", "sin_drift", "in_conflict") else f"{view.length_m} m"


def _packages() -> tuple[Any, Any]:
    """Return onnx and onnxruntime, if all that is needed is installed."""
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ImportError as error:
        raise ConfigurationError(
            f"the export needs onnx, onnxscript and onnxruntime, and {error.name} is not installed. "
            "Install the extra: pip install 'skyclone[onnx]'"
        ) from None
    return onnx, onnxruntime


def _translate(policy: Policy, onnx: Any) -> bytes:
    """Return the model's bytes."""
    any_size = torch.export.Dim.DYNAMIC
    view = policy.view
    example = (
        torch.zeros(4, view.ownship_features),
        torch.zeros(4, 3, view.intruder_features),
        torch.ones(4, 3, dtype=torch.bool),
    )
    with torch.no_grad(), _quietly():
        program: Any = torch.onnx.export(
            Deployed(policy.network),
            example,
            input_names=INPUTS,
            output_names=(OUTPUT,),
            dynamic_shapes=({0: any_size}, {0: any_size, 1: any_size}, {0: any_size, 1: any_size}),
            custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    model = program.model_proto
    model.producer_name = "skyclone"
    model.doc_string = (
        f"Policy '{policy.network.name}' on the observation '{view}': {', '.join(INPUTS)} -> {OUTPUT}."
    )
    onnx.helper.set_model_props(model, describe(policy))
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def _stable_sort(values: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    """Translate torch's stable sort: ONNX's TopK of all puts equal values in the order in which they came."""
    from onnxscript import opset18

    operator: Any = opset18
    count = operator.Gather(operator.Shape(values), operator.Constant(value_ints=[dim]))
    return operator.TopK(values, count, axis=dim, largest=int(descending), sorted=1)


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what torch's exporter says to its developers off people's screens."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _session(model: bytes, runtime: Any) -> Callable[[Observation], np.ndarray]:
    """Return a function that lets onnxruntime act, on one thread."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def act(observation: Observation) -> np.ndarray:
        inputs = {name: tensor.numpy() for name, tensor in zip(INPUTS, observation)}
        action: np.ndarray = session.run([OUTPUT], inputs)[0]
        return action

    return act


def _compare(policy: Policy, act: Callable[[Observation], np.ndarray]) -> tuple[dict[str, float], int]:
    """Return the largest difference from torch on flown and on random observations, and over how many rows.

    The judge is float64: torch itself rounds, more or less than onnxruntime, depending on the processor.
    """
    exact = deepcopy(policy.network).double()
    worst, compared = {"flown": 0.0, "random": 0.0}, 0
    for count in COUNTS:
        for kind, most in (("flown", _flown(policy, count)), ("random", _random(policy.view, count))):
            for rows in ROWS:
                observation = Observation(*(tensor[:rows] for tensor in most))
                found, expected = torch.from_numpy(act(observation)), policy.act(observation)
                difference, allowed = _farthest(found, exact, observation)
                if not difference <= allowed:
                    raise ParityError(
                        f"expected onnxruntime to act like the network in float64 within {allowed:.2g}, got a "
                        f"difference of {difference:.2g} for {rows} {kind} observations of "
                        f"{observation.is_present.shape[1]} intruders. Nothing was written. Please report it with "
                        "the versions of torch, onnx, onnxscript and onnxruntime."
                    )
                worst[kind] = max(worst[kind], float((found - expected).abs().max()))
                compared += rows
    return worst, compared


def _farthest(found: Tensor, exact: Network, observation: Observation) -> tuple[float, float]:
    """Return how far actions are from those of a float64 network, and how far they may be, where it is worst."""
    precise = Observation(observation.ownship.double(), observation.intruders.double(), observation.is_present)
    with torch.no_grad():
        expected = exact(precise).clamp_(-1.0, 1.0)
        if found.shape != expected.shape:
            return inf, TOLERANCE
        difference = (found - expected).abs().nan_to_num_(inf)  # (M, 2)
        far = (difference > TOLERANCE).any(1)  # (M,): few, and only they need the long calculation
        if not far.any():
            return float(difference.max()), TOLERANCE
        allowed = allowed_error(exact, Observation(*(tensor[far] for tensor in precise))).clamp_min_(TOLERANCE)
    difference = difference[far]
    place = (difference / allowed).argmax()
    return float(difference.flatten()[place]), float(allowed.flatten()[place])


def _random(view: View, count: int) -> Observation:
    """Return a thousand rows of noise, a third of their intruders absent."""
    generator = torch.Generator().manual_seed(count)
    rows = max(ROWS)
    return Observation(
        torch.randn(rows, view.ownship_features, generator=generator),
        torch.randn(rows, count, view.intruder_features, generator=generator),
        torch.rand(rows, count, generator=generator) < 2 / 3,
    )


def _flown(policy: Policy, count: int) -> Observation:
    """Return a thousand observations from flights of so many intruders (repeated if they were fewer)."""
    config = WorldConfig(aircraft=count + 1, max_steps=20)
    seen = []
    for record in fly(World(config, 0, range(8)), policy.pilot):
        flying = record.traffic.is_flying.flatten()  # (B * N,)
        everyone = observe_all(record.traffic, policy.view, record.pairs).flatten()
        seen.append(Observation(*(tensor[flying] for tensor in everyone)))
    joined = [torch.cat(parts) for parts in zip(*seen)]
    places = torch.arange(max(ROWS)) * 7 % len(joined[0])  # from all of the flight, whatever its length
    return Observation(*(tensor[places] for tensor in joined))


def _race(policy: Policy, act: Callable[[Observation], np.ndarray], rows: int) -> Speed:
    """Time onnxruntime and torch by turns on observations of 20 aircraft."""
    observation = Observation(*(tensor[:rows] for tensor in _flown(policy, 19)))
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(35):
        for times, call in zip(seconds, (act, policy.act)):
            begin = time.perf_counter()
            call(observation)
            if turn >= 5:  # the first ones warm up
                times.append(time.perf_counter() - begin)
    medians = (1e3 * statistics.median(times) for times in seconds)
    return Speed(rows, observation.is_present.shape[1], *medians)
