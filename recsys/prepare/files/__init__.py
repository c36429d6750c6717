"""Raw files, bad lines, vocabularies and prepared folders."""
