"""Speed, measured beside the libraries that people would otherwise use."""
