"""Raw files to prepared folders, without torch."""
