"""Commands called up to where their work begins, for tests of what they are given."""

import io
from contextlib import redirect_stderr, redirect_stdout
from typing import Any, NoReturn

import pytest

from skyclone.cli import main
from skyclone.datasets.errors import SkycloneError

WORK = (
    "skyclone.collect.collector.engines.work",
    "skyclone.datasets.conversion.convert",
    "skyclone.collect.collector.minari_export._write",
    "skyclone.datasets.selection.assembly._write",
    "skyclone.collect.exports.lerobot._write",
    "skyclone.collect.exports.multi_agent._write",
    "skyclone.evaluate.flights.flown.write",
    "skyclone.train.cloning.run.Cloning.train",
    "skyclone.train.dagger.run.Dagger.train",
    "skyclone.train.finetuning.run.Finetuning.train",
    "skyclone.evaluate.evaluation.evaluation.evaluate",
    "skyclone.evaluate.comparison.comparison._train",
    "skyclone.evaluate.deployment.onnx_export.export_onnx",
)
"""Where the work begins."""
HAS_BEGUN = "the work has begun"


class BegunError(SkycloneError):
    """The work has begun."""


def stop_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all work end as it begins."""

    def begin(*arguments: Any, **options: Any) -> NoReturn:
        raise BegunError(HAS_BEGUN)

    for target in WORK:
        monkeypatch.setattr(target, begin)


def call(arguments: list[str]) -> tuple[int, str, str]:
    """Call a command; return its exit code, and what is on standard error and standard output."""
    said, printed = io.StringIO(), io.StringIO()
    try:
        with redirect_stderr(said), redirect_stdout(printed):
            main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0), said.getvalue(), printed.getvalue()
    return 0, said.getvalue(), printed.getvalue()
