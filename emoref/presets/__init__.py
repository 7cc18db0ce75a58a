"""One TOML file for each experiment that ships with emoref."""
