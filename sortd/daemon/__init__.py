"""The service around the engine: the loop, the control socket, the clocks and the signals."""
