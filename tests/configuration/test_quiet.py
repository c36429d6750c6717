"""Lines that no user can do anything about are left out, and no others."""

import logging

from recsys.configuration.quiet import keep_quiet


def test_of_two_lines_the_useful_one_is_shown(caplog):
    keep_quiet()
    keep_quiet()
    logging.getLogger().warning("_fbgemm_torch_compat_table has no entry for 1.6.0 of FBGEMM")
    logging.getLogger().warning("the disk is full")
    assert [record.getMessage() for record in caplog.records] == ["the disk is full"]
    assert len(logging.getLogger().filters) == 1
