"""Which layers each machine of a routed pool holds, so that most tokens flow, and the proof that no more can."""
