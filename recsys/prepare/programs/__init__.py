"""The programs of `recsys prepare`, one file each."""
