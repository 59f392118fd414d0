"""Steps after sampling: predictions, pointwise terms, and all groups of a run as one InferenceData."""
