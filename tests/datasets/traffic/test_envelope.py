import pytest
import torch

from skyclone.datasets.errors import ObservationError
from skyclone.datasets.traffic.envelope import MARGIN, Envelope, envelope_of
from skyclone.datasets.traffic.observation import Observation

ENVELOPE = Envelope(low=(-1.0, 0.0), high=(1.0, 2.0), nearest=(0.1, 0.3))


def seen(own, distances, present=True):
    """One row that sees intruders at these distances."""
    intruders = torch.zeros((1, len(distances), 5))
    intruders[0, :, 0] = torch.tensor(distances)
    return Observation(torch.tensor([own]), intruders, torch.full((1, len(distances)), present))


@pytest.mark.parametrize(
    ("own", "distances", "is_outside"),
    [
        ((0.0, 1.0), (0.2, 0.4), False),
        ((1.0, 2.0), (0.1, 0.3), False),  # the bounds themselves belong to it
        ((0.0, -0.01), (0.2, 0.4), True),
        ((1.01, 1.0), (0.2, 0.4), True),
        ((0.0, 1.0), (0.09, 0.4), True),
        ((0.0, 1.0), (0.2, 0.29), True),  # two are closer than two ever were
        ((0.0, 1.0), (0.2, 0.4, 0.4), False),  # of a third nothing is known
        ((0.0, 1.0), (), False),
    ],
)
def test_what_lies_beyond_a_bound_is_outside(own, distances, is_outside):
    assert ENVELOPE.is_outside(seen(own, distances)).tolist() == [is_outside]


def test_padding_is_nobody():
    assert not ENVELOPE.is_outside(seen((0.0, 1.0), (0.0, 0.0), present=False)).any()


def test_bounds_lie_around_the_rows_with_some_room():
    own = torch.linspace(-1.0, 1.0, 1001).unsqueeze(-1)
    intruders = torch.zeros((1001, 2, 5))
    intruders[:, 0, 0] = torch.linspace(0.5, 1.0, 1001)
    is_present = torch.zeros((1001, 2), dtype=torch.bool)
    is_present[:, 0] = True
    found = envelope_of([Observation(own, intruders, is_present)])
    assert found.low == pytest.approx([-1.0 - 2 * MARGIN])
    assert found.high == pytest.approx([1.0 + 2 * MARGIN])
    assert found.nearest == pytest.approx([0.5 * (1 - MARGIN)])  # nobody saw a second


def test_a_row_in_a_hundred_thousand_moves_no_bound():
    own = torch.zeros((100_000, 1))
    own[0] = 50.0
    nobody = torch.zeros((100_000, 0, 5)), torch.zeros((100_000, 0), dtype=torch.bool)
    assert envelope_of([Observation(own, *nobody)]).high == (0.0,)


def test_one_around_two_holds_what_either_holds():
    other = Envelope((-2.0, 1.0), (0.0, 3.0), (0.2, 0.2, 0.5))
    assert ENVELOPE.with_other(other) == Envelope((-2.0, 0.0), (1.0, 3.0), (0.1, 0.2, 0.5))
    assert other.with_other(ENVELOPE) == ENVELOPE.with_other(other)


def test_json_goes_there_and_back_and_anything_else_is_refused():
    assert Envelope.from_json(ENVELOPE.to_json()) == ENVELOPE
    for bad in (None, {}, {**ENVELOPE.to_json(), "more": []}, {**ENVELOPE.to_json(), "low": [1.0]}, {"low": "x"}):
        with pytest.raises(ObservationError, match="expected an envelope, low, high and nearest with numbers, got"):
            Envelope.from_json(bad)
