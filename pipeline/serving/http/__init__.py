"""The classifier as an HTTP service: admission, decoding, batches, and the model that follows production."""
