"""``python -m optimizer`` is ``tpopt``."""

from optimizer.cli import main

main()
