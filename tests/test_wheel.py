"""What is installed from a wheel works outside the checkout, conf/ included."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

from tests.conftest import CHECKOUT


def test_a_wheel_runs_outside_the_checkout(tmp_path):
    built = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(built, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    script = (
        "import embexp, embexp.shipped as c; from embexp.data.helpdesk import classes;"
        "print(c.conf_folder()); print(embexp.compose(['batch_size=7']).batch_size); print(len(list(classes('dev', count=3, seed=0))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path / "installed" / "embexp" / "conf"), "7", "3"]
