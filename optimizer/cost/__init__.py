"""What it costs: bytes and seconds of one layout on given seats, pure functions in SI floats."""
