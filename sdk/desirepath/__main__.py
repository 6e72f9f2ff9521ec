"""`python -m desirepath`: the same as the `desirepath` command."""

import sys

from desirepath.cli import main

sys.exit(main())
