"""Statistics of plain arrays: intervals, convergence, importance sampling. Nothing here knows InferenceData."""
