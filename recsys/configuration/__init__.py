"""What YAML and the command line become: classes, defaults, links, and what was meant by a mistyped word."""
