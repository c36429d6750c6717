"""The commands of `recsys`, one file each: main(arguments) -> exit code."""
