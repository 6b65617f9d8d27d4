"""One fold: build, loop, checkpoint, resume, and the test part opened once."""
