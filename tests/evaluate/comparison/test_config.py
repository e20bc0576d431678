from pathlib import Path

import pytest

from skyclone.datasets.errors import ConfigurationError, SkycloneError
from skyclone.evaluate.comparison.config import (
    Budget,
    CompareConfig,
    Training,
    Variant,
    parse_budgets,
    parse_rates,
    parse_seeds,
    parse_variants,
)
from skyclone.train import networks

STEPS, SECONDS = Budget("steps", 200), Budget("seconds", 5)
VARIANTS = parse_variants("attention-additive,pairwise:width=96@cpa:intruders=8", "ego")


def test_a_variant_is_a_network_on_a_view() -> None:
    assert (Variant("attention-additive", "ego"), Variant("pairwise:width=96", "cpa:intruders=8")) == VARIANTS
    assert VARIANTS[1].name == "pairwise:width=96@cpa:intruders=8"
    assert VARIANTS[1].network().settings.width == 96
    assert [variant.model for variant in parse_variants("", "seed")] == list(networks.NAMES)


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", (0, 1, 2)), ("0,1,5", (0, 1, 5)), ("7,", (7,)), ("1", (0,)), (" 2, 4 ", (2, 4))]
)
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


def test_budgets_and_rates() -> None:
    assert parse_budgets(200, 5) == (STEPS, SECONDS)
    assert parse_budgets(0, 5) == (SECONDS,)
    assert (STEPS.name, SECONDS.name) == ("200 steps", "5 processor seconds")
    assert parse_rates("1e-3,4e-3") == (0.001, 0.004)


def test_each_budget_ends_its_own_trainings() -> None:
    plan = CompareConfig(VARIANTS, (STEPS, SECONDS), batch_size=64)
    steps, seconds = (plan.config(Training(VARIANTS[0], budget, 4e-3, 1)) for budget in plan.budgets)
    assert (steps.max_batches, steps.max_processor_seconds, seconds.max_batches) == (200, None, None)
    assert seconds.max_processor_seconds == 5
    assert (steps.lr, steps.seed, steps.batch_size, steps.observation) == (0.004, 1, 64, "ego")


def test_learning_rates_are_chosen_on_a_seed_that_is_not_reported() -> None:
    plan = CompareConfig(VARIANTS, (STEPS, SECONDS), seeds=(0, 4), rates=(1e-3, 4e-3))
    assert {training.seed for training in plan.sweep()} == {5}
    assert len(plan.sweep()) == 2 * 2 * 2
    chosen = {(VARIANTS[0], STEPS): 4e-3}
    trainings = plan.trainings(chosen)
    assert {training.seed for training in trainings} == {0, 4}
    assert {each.lr for each in trainings if (each.variant, each.budget) == (VARIANTS[0], STEPS)} == {4e-3}
    assert {each.lr for each in trainings if each.variant == VARIANTS[1]} == {1e-3}
    assert CompareConfig(VARIANTS, (STEPS,)).sweep() == []


def test_every_training_has_a_folder_of_its_own() -> None:
    plan = CompareConfig(VARIANTS, (STEPS, SECONDS), rates=(1e-3, 4e-3))
    trainings = [*plan.sweep(), *plan.trainings({})]
    folders = {training.folder(Path("out")) for training in trainings}
    assert len(folders) == len(trainings)
    expected = Path("out/runs/pairwise,width=96@cpa,intruders=8/seconds-5/lr-0.001/seed-2")
    assert Training(VARIANTS[1], SECONDS, 1e-3, 2).folder(Path("out")) == expected


def test_every_training_is_told_how_often_conflicts_come() -> None:
    plan = CompareConfig(VARIANTS, (STEPS,), conflict_weight=3.0)
    assert {plan.config(training).conflict_weight for training in plan.trainings({})} == {3.0}


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("oracle", "unknown model 'oracle'. There are: "),
        ("pairwise:depth=3", "model 'pairwise' has no parameter 'depth'"),
        ("pairwise@", "expected MODEL@VIEW, such as pairwise@ego:intruders=8, got 'pairwise@'"),
        ("pairwise@sead", "unknown observation 'sead'"),
        ("pairwise,pairwise@seed", "'pairwise@seed' is given twice"),
    ],
)
def test_models_that_cannot_be(models: str, message: str) -> None:
    with pytest.raises(SkycloneError, match=message):
        CompareConfig(parse_variants(models, "seed"), (STEPS,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budgets": ()}, "expected a budget, got none. Use --steps 2000, or --seconds 60"),
        ({"seeds": ()}, "expected at least one seed, got none"),
        ({"seeds": (1, 1)}, "expected each seed once, got 1, 1"),
        ({"rates": (1e-3, 1e-3)}, "expected each learning rate once"),
        ({"rates": (-1.0,)}, "expected rates above 0"),
        ({"schedule": "linear"}, "unknown schedule 'linear'"),
        ({"scenarios": 1}, "expected scenarios from 2 to 1,048,576, got 1"),
    ],
)
def test_plans_that_cannot_be(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        CompareConfig(**{"variants": VARIANTS, "budgets": (STEPS,), **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_seeds, "many", "expected a number of seeds such as 3, or seeds such as 0,1,2, got 'many'"),
        (parse_seeds, "0", "expected a number of seeds such as 3"),
        (parse_seeds, "-1", "expected a number of seeds"),
        (parse_rates, "1e-3,fast", "expected learning rates such as 1e-3,4e-3, got '1e-3,fast'"),
    ],
)
def test_texts_that_cannot_be_read(parse: object, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse(text)  # type: ignore[operator]
