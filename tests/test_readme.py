"""What the README shows runs."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_python_blocks_run():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_files_that_commands_name_exist():
    blocks = "\n".join(re.findall(r"```(?:console|bash|sh)\n(.*?)```", README, re.DOTALL))
    named = set(re.findall(r"(?:configs|data_scripts|benchmarks)/[\w/.]+\.(?:yaml|py)", blocks))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
