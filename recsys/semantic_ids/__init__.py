"""Semantic ids beside their preparation: RQ-VAE, which torch trains, and a page that shows how codes are used."""
