"""Run the command `lab`: `python -m waypoint_lab.cli`."""

import sys

from waypoint_lab.cli.main import main

sys.exit(main())
