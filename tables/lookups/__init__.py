"""Where rows live in one process, and how they are read and updated."""
