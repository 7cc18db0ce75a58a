"""Run folders: configuration, storage, progress, and what a report reads."""
