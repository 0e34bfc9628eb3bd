"""tpopt: which layout serves a model best, on exactly which GPUs, with a proof.

The command line is the public face (``tpopt --help``); ``optimizer.pipeline`` holds the same trip for programs.
"""

__version__ = "0.1.0"
