from cloning_runs import iteration

from skyclone.train.cloning.heldout import HeldOut
from skyclone.train.cloning.iteration import Iteration


def test_the_line_a_person_reads() -> None:
    assert iteration(3).line(100) == (
        "Stage 1 - Iter 3/100 | Imitation Loss: 0.0312 | held-out 0.0298 (conflict 0.11, free 0.009) | "
        "sharpness 0.61 | 61,000 samples/s"
    )
    bare = HeldOut(0.5, None, 0.5, None, None, 0.07, 5)
    assert "(conflict none, free 0.5) | sharpness none" in Iteration(
        1, 1, 0.5, bare, 1e-3, 5.0, 0.1, {}, {}, 1.0
    ).line(1)
