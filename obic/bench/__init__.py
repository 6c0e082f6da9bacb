"""What obic achieves, measured. `make` names each benchmark; CONTRIBUTING.md says where its figures
go."""
