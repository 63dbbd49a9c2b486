"""The demo page: what a model says of a picture, and how a person reports that it is wrong."""
