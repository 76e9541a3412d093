"""Sigma rules: parsed by pySigma, asked as SQL of each micro-batch and of history, converted to Lucene."""
