"""What may be chosen: the CP-SAT model over priced candidates, the only room with ortools."""
