"""From a model to draws: one file a sampler; `base` says what a sampler is."""
