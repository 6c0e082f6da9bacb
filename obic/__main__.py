"""`python -m obic`: the command line."""

import sys

from obic.cli.main import main

sys.exit(main())
