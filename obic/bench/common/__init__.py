"""What several benchmarks share: pictures, coders, measures, and the pages that they write."""
