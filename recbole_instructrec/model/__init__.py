"""The model and its parts. Nothing here imports benchmarks or command-line tools."""
