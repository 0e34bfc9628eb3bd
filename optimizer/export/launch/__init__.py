"""What one engine process is started with, whatever starts it: seats, ports, argument list, environment."""
