"""What is wired: the graph of the hardware and every bandwidth question, answered from it."""
