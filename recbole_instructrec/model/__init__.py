"""The model and its parts. Nothing here imports leaderboard, steering or live code."""
