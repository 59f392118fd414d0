"""Statistics of plain arrays: intervals, convergence, importance sampling. Independent of InferenceData."""
