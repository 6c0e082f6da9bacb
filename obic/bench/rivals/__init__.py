"""obic beside other codecs, at the same bytes: the headline of the README and `docs/results.md`."""
