"""Install a wheel into an environment of its own and use it from another folder: `python tests/wheel.py WHEEL`.

The heavy dependencies come from the environment that runs this script, through a path file; the wheel itself
is installed by pip. Guards: the only top level is `skyclone`; nobody's `datasets` or `evaluate` is overwritten.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
import zipfile
from pathlib import Path


def main(wheel: Path) -> None:
    """Check one wheel; any failure raises."""
    files = zipfile.ZipFile(wheel).namelist()
    root = Path(__file__).parents[1]
    data = [*root.glob("pretrained/*"), *root.glob("evaluate/report/assets/*")]
    missing = {f"skyclone/{path.relative_to(root)}" for path in data} - set(files)
    assert not missing, f"expected weights, templates and scripts in the wheel, without {sorted(missing)}"
    tops = {name.split("/")[0] for name in files}
    packages = {top for top in tops if not top.endswith(".dist-info")}
    assert packages == {"skyclone"}, f"expected skyclone as the only top level, got {sorted(packages)}"
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "environment"
        venv.create(home, with_pip=False)
        binaries = home / ("Scripts" if os.name == "nt" else "bin")
        python, where = str(binaries / "python"), "import sysconfig; print(sysconfig.get_path('purelib'))"
        purelib = Path(subprocess.check_output([python, "-c", where], text=True).strip())
        install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps"]
        subprocess.check_call([*install, str(wheel)])
        # Only after the wheel, and only what it depends on: the editable skyclone there comes later on the path.
        (purelib / "zz_dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        elsewhere = Path(folder) / "elsewhere"
        elsewhere.mkdir()

        def run(*arguments: str) -> str:
            return subprocess.run(arguments, cwd=elsewhere, check=True, capture_output=True, text=True).stdout

        where = run(python, "-c", "import skyclone; print(skyclone.__file__)").strip()
        assert where.startswith(str(purelib)), f"expected the installed skyclone, got {where}"
        found = run(
            python, "-c", "import importlib.util as u; print(u.find_spec('datasets'), u.find_spec('evaluate'))"
        )
        assert "skyclone" not in found, f"a bare `datasets` or `evaluate` finds ours: {found}"
        skyclone = str(binaries / "skyclone")
        run(python, "-m", "skyclone", "--help")
        run(skyclone, "collect", "--out", "data", "--episodes", "2", "--aircraft", "4", "--workers", "1")
        assert '"complete": true' in run(skyclone, "datasets", "info", "data", "--json")
        begin = time.perf_counter()
        assert "tuned" in run(skyclone, "evaluate", "pretrained:tuned")
        print(f"evaluate pretrained:tuned: {time.perf_counter() - begin:.0f} s")
        run(skyclone, "evaluate", "pretrained:clone", "--scenarios", "2", "--out", "report")
        assert (elsewhere / "report" / "report.html").stat().st_size > 100_000
        print(run(skyclone, "smoke"), end="")
    print(f"{wheel.name}: installs, and works from another folder")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
