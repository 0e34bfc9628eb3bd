"""One line of an estimate: batch, tokens/s of the replica, seconds per token."""

import json
import sys

answer = json.load(sys.stdin)
sys.stdout.write(
    f"{answer['concurrency']:4d} in flight: {answer['output_tokens_per_s']:6,.0f} tokens/s, "
    f"TPOT {answer['tpot_s'] * 1e3:5.1f} ms\n"
)
