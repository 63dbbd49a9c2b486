"""One thin module a DVC stage; a stage's name is its module's name."""
