"""Pulumi program of the shop: the program of this clone, on stacks of this folder."""

import runpy
import sys
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]

sys.path.insert(0, str(CLONE))
runpy.run_path(str(CLONE / "__main__.py"), run_name="__main__")
