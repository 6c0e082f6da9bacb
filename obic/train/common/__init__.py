"""What all training shares: options, pictures, optimisers, processes, files."""
