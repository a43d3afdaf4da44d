"""The examples of the READMEs, run as they are written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import PASSPHRASE

HERE = Path(__file__).resolve().parent.parent
ADDRESS = '"s3://my-bucket/coffre?region=eu-west-3"'


@pytest.mark.parametrize("readme", [HERE / "README.md", HERE.parent.parent / "README.md"])
def test_its_python_runs(readme: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", readme.read_text(), re.MULTILINE | re.DOTALL)
    program = "\n".join(blocks)
    assert ADDRESS in program
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    done = subprocess.run(
        [sys.executable, "-c", program.replace(ADDRESS, repr(str(tmp_path / "store")))],
        cwd=tmp_path,
        env={**os.environ, "COFFRE_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    if len(blocks) > 1:
        assert "/reports/may.txt 23" in done.stdout
        assert "june" in done.stdout
    else:
        assert "b'..'" in done.stdout
